"""What a run tells: the words of the contracts, as observed. Knows no framework and no torch."""

from __future__ import annotations

import msgspec

WEAKEST_FIRST = ("ignored", "read", "kept", "returned", "walked")


def strongest(one: str, other: str) -> str:
    """Return the one of two fates of a result that says more."""
    return max(one, other, key=WEAKEST_FIRST.index)


class SeenHook(msgspec.Struct, kw_only=True):
    """What all runs together showed of a method that a framework calls; see `Hook` of the contracts."""

    grad: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()
    result: str = "ignored"
    clears: bool = False
    steps: bool = False

    def add(self, other: SeenHook) -> None:
        """Take in what another run showed."""
        self.grad |= other.grad
        self.module |= other.module
        self.result = strongest(self.result, other.result)
        self.clears |= other.clears
        self.steps |= other.steps


class SeenRun(msgspec.Struct, kw_only=True):
    """How a call ran a function or module that it was given."""

    grad: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()
    result: str = "ignored"

    def add(self, other: SeenRun) -> None:
        """Take in what another call showed."""
        self.grad |= other.grad
        self.module |= other.module
        self.result = strongest(self.result, other.result)


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What one call returned: all words of the contracts that fit the whole, and those that fit each part of it if it
    is a tuple.
    """

    whole: frozenset[str]
    parts: tuple[frozenset[str], ...] = ()


class SeenCall(msgspec.Struct, kw_only=True):
    """What calling something did; see `Call` of the contracts.

    The sets ``backward`` to ``trains`` are the parameters that it was done to. ``parameters`` are the real ones in
    order. ``recorded`` tells whether what torch computed with the parameters of what was given got a graph, where the
    caller had gradients on, ``guarded`` whether a module or function was run, always with gradients off, and
    ``restores`` whether the caller's grad mode is back in the end.
    """

    parameters: tuple[str, ...] = ()
    backward: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    clears: frozenset[str] = frozenset()
    evals: frozenset[str] = frozenset()
    trains: frozenset[str] = frozenset()
    recorded: frozenset[bool] = frozenset()
    guarded: bool = False
    restores: bool = True
    later: bool = False
    returned: tuple[Returned, ...] = ()
    runs: dict[str, SeenRun] = {}


class Seen(msgspec.Struct, kw_only=True):
    """What the runs of one framework showed: hooks by ``class.method``, calls by name.

    ``absent`` are the methods in rows that the real class does not have.
    """

    hooks: dict[str, SeenHook] = {}
    calls: dict[str, SeenCall] = {}
    absent: frozenset[str] = frozenset()


def write(seen: Seen) -> bytes:
    """Return what `read` takes."""
    return msgspec.json.encode(seen, order="deterministic")


def read(data: bytes) -> Seen:
    """Return what was given to `write`."""
    return msgspec.json.decode(data, type=Seen)
