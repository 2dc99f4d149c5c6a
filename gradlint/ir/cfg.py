"""Bodies and their control-flow graphs.

Three rules make the graph both sound and exact for state that a ``with`` block or a call changes; the fuzz
test fails when any of them is broken:

1. *Exits are copied.* ``Exit`` events and ``finally`` suites stand on every edge that leaves their region:
   fall through, ``return``, ``break``, ``continue`` and exceptions each run their own copy. Copies are shared
   per pair of region and destination, so their number is linear in the number of regions.
2. *Landing pads.* An exception runs the pending exits before the handler sees the state.
3. *Only calls raise, and they raise before they act.* A block names the `Block.pad` that its calls raise to;
   the pad receives the state before each call. An exception that no handler takes ends in ``Graph.raised``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct, field

from gradlint.ir.events import Event, Span


class Block(Struct, eq=False):
    """A straight run of events.

    ``index`` is the position in ``Graph.blocks``; ``successors`` are indices of blocks; ``pad`` is the index of
    the block where an exception raised in here lands. ``loops`` are the ids of the loops around it, outermost
    first; ``regions`` the with-items that are active in it, outermost first.
    """

    index: int
    events: list[Event] = field(default_factory=list)
    successors: list[int] = field(default_factory=list)
    pad: int | None = None
    loops: tuple[int, ...] = ()
    regions: tuple[int, ...] = ()


class Loop(Struct, eq=False):
    """A loop: ``kind`` is ``for``, ``while`` or ``comprehension``; ``head`` is the index of a block."""

    id: int
    kind: str
    span: Span
    head: int
    iterator: int | None = None


class Parameter(Struct, eq=False):
    """A parameter: ``kind`` is ``positional``, ``keyword`` (keyword only), ``args`` or ``kwargs``."""

    name: str
    kind: str
    annotation: str | None
    span: Span


class Graph(Struct, eq=False):
    """The control-flow graph of one body.

    ``entry`` is block 0; ``exit`` is reached by every normal end and ``raised`` by every exception that leaves
    the body; both are empty blocks. Temporaries are numbered from 0 to ``refs - 1``. ``too_large`` tells that
    the graph grew beyond its bound: it is then empty and the body is not analysed.
    """

    blocks: list[Block] = field(default_factory=list)
    loops: dict[int, Loop] = field(default_factory=dict)
    exit: int = 0
    raised: int = 0
    refs: int = 0
    too_large: bool = False

    def events(self) -> Iterator[Event]:
        """Yield all events, block after block."""
        for block in self.blocks:
            yield from block.events


def _no_calls(name: str) -> Iterator[tuple[int, int, bool]]:
    return iter(())


class Body(Struct, eq=False):
    """One function, lambda, generator expression, class block or module.

    ``kind`` is ``module``, ``class``, ``function``, ``lambda`` or ``genexp``. ``qualname`` is dotted from the
    module down (``Trainer.fit``, ``outer.inner``; the module's is empty). ``span`` covers the whole statement
    without its decorators, ``name_span`` the name. ``relevant`` tells whether the text of the body itself says
    anything about gradients. ``locals`` are the names bound in this body and not declared ``global`` or
    ``nonlocal``. The graph is built on first use, for most bodies of a file are never asked for.
    """

    kind: str
    name: str
    qualname: str
    span: Span
    name_span: Span
    build: Callable[[Body], Graph]
    parent: Body | None = None
    parameters: list[Parameter] = field(default_factory=list)
    returns: str | None = None
    is_async: bool = False
    is_generator: bool = False
    relevant: bool = True
    locals: frozenset[str] = frozenset()
    global_names: frozenset[str] = frozenset()
    nonlocal_names: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    """Of a class: the names of its functions that say nothing of gradients and are no ``children``."""
    children: list[Body] = field(default_factory=list)
    calls: Callable[[str], Iterator[tuple[int, int, bool]]] = _no_calls
    """Of a module: the lines and columns of its text that call something of a name, and whether each was lowered."""
    _graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The control-flow graph, lowered on first use."""
        if self._graph is None:
            self._graph = self.build(self)
        return self._graph

    def functions(self) -> Iterator[Body]:
        """Yield the functions that stand in the body itself: of a class its methods."""
        yield from (child for child in self.children if child.kind == "function")

    def around(self) -> Iterator[Body]:
        """Yield the body and those it stands in, from the inside out."""
        scope: Body | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def inside(self) -> Iterator[Body]:
        """Yield the body and those that stand in it, outer before inner, in source order.

        The lambdas of a body are among them once its graph is asked for, at the latest when it is yielded.
        """
        pending = [self]
        while pending:
            body = pending.pop()
            yield body
            if body.kind == "lambda" and body.relevant:
                body.graph  # noqa: B018 - its lambdas are known when it is lowered
            pending.extend(reversed(body.children))
