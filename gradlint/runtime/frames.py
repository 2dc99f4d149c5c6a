"""Finding the user's frame on the stack, cheaply enough to do it for every call of torch."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import CodeType, FrameType

import torch

from gradlint.runtime.place import NOWHERE, Place, place_of

Spot = tuple[int, int]
"""A code object's identity and the offset of an instruction in it: what is remembered while code runs."""

USER, PLUMBING, INTERNAL = 0, 1, 2
"""Code of the user (and of the libraries that use torch), code that only passes calls on, and torch itself."""

_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""The folder of the companion itself, whose frames nobody wants to see."""
_STDLIB = tuple(
    os.path.abspath(folder) + os.sep for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)
_SITE = tuple(
    os.path.abspath(folder) + os.sep for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
)
_RUNNERS = tuple(site + name for site in _SITE for name in ("_pytest", "pluggy", "pytest", "xdist", "execnet"))
_STARTERS = tuple(
    os.path.join(os.path.abspath(sysconfig.get_path("scripts")), name)
    for name in ("pytest", "py.test", "gradlint", "torchrun")
)
# A call of the user's passes through these on its way into torch's kernels; nothing else happens in them.
_PASSING = tuple(
    _TORCH + os.path.join(*parts)
    for parts in (
        ("_tensor.py",),
        ("overrides.py",),
        ("functional.py",),
        ("nn", "functional.py"),
        ("utils", "_contextlib.py"),
        ("autograd", "__init__.py"),
        ("autograd", "grad_mode.py"),
        ("_jit_internal.py",),
    )
)


class Frames:
    """Knows for every code object whose it is, and remembers code objects by identity."""

    def __init__(self) -> None:
        self.kinds: dict[int, int] = {}
        self._codes: dict[int, CodeType] = {}
        self._places: dict[Spot, Place] = {}

    def kind(self, code: CodeType) -> int:
        """Return `USER`, `PLUMBING` or `INTERNAL`."""
        found = self.kinds.get(id(code))
        if found is None:
            # Kept alive, or its identity could be given to another code object.
            self._codes[id(code)] = code
            found = self.kinds[id(code)] = _kind(code.co_filename)
        return found

    def user(self, frame: FrameType | None) -> FrameType | None:
        """Return the innermost frame of the user's, from ``frame`` outwards."""
        kinds = self.kinds
        while frame is not None:
            code = frame.f_code
            kind = kinds.get(id(code))
            if (self.kind(code) if kind is None else kind) == USER:
                return frame
            frame = frame.f_back
        return None

    def spot(self, frame: FrameType | None) -> tuple[Spot | None, bool]:
        """Return the user's innermost spot from ``frame`` outwards, and whether only plumbing lies in between."""
        kinds = self.kinds
        direct = True
        while frame is not None:
            code = frame.f_code
            kind = kinds.get(id(code))
            if kind is None:
                kind = self.kind(code)
            if kind == USER:
                return (id(code), frame.f_lasti), direct
            if kind == INTERNAL:
                direct = False
            frame = frame.f_back
        return None, False

    def spots(self, frame: FrameType | None, limit: int = 12) -> tuple[Spot, ...]:
        """Return the spots of at most ``limit`` frames of the user's, innermost first."""
        found: list[Spot] = []
        while frame is not None and len(found) < limit:
            code = frame.f_code
            if self.kind(code) == USER:
                found.append((id(code), frame.f_lasti))
            frame = frame.f_back
        return tuple(found)

    def here(self, depth: int = 1) -> Spot | None:
        """Return the user's innermost spot, leaving out ``depth`` frames above this call."""
        return self.spot(sys._getframe(depth))[0]

    @staticmethod
    def outside(frame: FrameType) -> FrameType:
        """Return the frame that called into the recorder, also when recordings lie inside each other."""
        while frame.f_code.co_filename.startswith(OURS) and frame.f_back is not None:
            frame = frame.f_back
        return frame

    def place(self, spot: Spot | None) -> Place:
        """Return the place of ``spot``; slow the first time, so only for what is reported."""
        if spot is None:
            return NOWHERE
        found = self._places.get(spot)
        if found is None:
            found = self._places[spot] = place_of(self._codes[spot[0]], spot[1])
        return found


def _kind(filename: str) -> int:
    if filename.startswith("<frozen"):
        return PLUMBING
    if filename.startswith("<"):
        # What the compiler has generated stands for the call of compiled code.
        return INTERNAL if filename.startswith("<eval_with_key>") else USER
    path = os.path.abspath(filename)
    if path.startswith(_PASSING) or path.startswith(OURS) or path in _STARTERS:
        return PLUMBING
    if path.startswith(_TORCH):
        return INTERNAL
    if path.startswith(_SITE):
        return PLUMBING if path.startswith(_RUNNERS) else USER
    return PLUMBING if path.startswith(_STDLIB) else USER
