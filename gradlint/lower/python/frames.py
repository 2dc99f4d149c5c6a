"""Frames: the enclosing constructs that say what a jump or an exception has to run when it leaves them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.ir.events import Await, Exit, Ref, Span, Swallow
from gradlint.lower.python.dispatch import suite

if TYPE_CHECKING:
    from gradlint.ir.cfg import Block
    from gradlint.lower.python.graph import GraphBuilder


class Label:
    """A place ahead: the blocks that go there wait in ``pending`` until it is placed."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: list[Block] = []


class Frame:
    """An enclosing construct; this class itself is the outermost one, the body.

    ``loops`` and ``regions`` are those of the blocks in it; ``pad`` is where their exceptions land, once known.
    """

    __slots__ = ("loops", "pad", "parent", "regions")

    def __init__(self, parent: Frame | None, loops: tuple[int, ...], regions: tuple[int, ...]) -> None:
        self.parent = parent
        self.loops = loops
        self.regions = regions
        self.pad: int | None = None

    def land(self, builder: GraphBuilder, outer: int) -> int:
        """The block where exceptions from inside land; ``outer`` is the one around this frame."""
        return outer


class LoopFrame(Frame):
    """The inside of a loop: ``again`` is where ``continue`` goes, ``after`` where ``break`` goes."""

    __slots__ = ("after", "again")

    def __init__(self, parent: Frame, loop: int) -> None:
        super().__init__(parent, (*parent.loops, loop), parent.regions)
        self.again = Label()
        self.after = Label()


class HandlerFrame(Frame):
    """The suite of a ``try`` with handlers; ``dispatch`` is the block before them, once anything raises to it."""

    __slots__ = ("dispatch",)

    def __init__(self, parent: Frame) -> None:
        super().__init__(parent, parent.loops, parent.regions)
        self.dispatch: Block | None = None

    def land(self, builder: GraphBuilder, outer: int) -> int:
        """Exceptions land before the handlers; those decide whether they go on to ``outer``."""
        if self.dispatch is None:
            self.dispatch = builder.new_block_in(self.parent)
        return self.dispatch.index


class LeavingFrame(Frame):
    """A frame that has something to run when it is left."""

    __slots__ = ()

    def leave(self, builder: GraphBuilder) -> None:
        """Starts a block with what has to run, and goes on behind it, outside of the frame."""
        raise NotImplementedError


class WithFrame(LeavingFrame):
    """The inside of one with-item; ``after`` is where the program goes on behind the ``with``."""

    __slots__ = ("after", "context", "is_async", "region", "span")

    def __init__(self, parent: Frame, region: int, context: Ref, span: Span, is_async: bool) -> None:
        super().__init__(parent, parent.loops, (*parent.regions, region))
        self.region = region
        self.context = context
        self.span = span
        self.is_async = is_async
        self.after = Label()

    def exit(self, builder: GraphBuilder) -> None:
        """Emits the end of the region into the current block."""
        if self.is_async:
            builder.events.append(Await(self.span, builder.new_ref(), self.context, "async with"))
        builder.events.append(Exit(self.span, self.region))

    def leave(self, builder: GraphBuilder) -> None:
        """Starts a block that exits the region."""
        builder.frame = self
        builder.start_block()
        self.exit(builder)

    def land(self, builder: GraphBuilder, outer: int) -> int:
        """Exceptions exit the region; then they go on to ``outer``, unless the context swallows them."""
        pad = builder.new_block_in(self)
        builder.at(pad)
        self.exit(builder)
        swallow = builder.new_block_in(self.parent)
        swallow.events.append(Swallow(self.span, self.region))
        pad.successors += (swallow.index, outer)
        self.after.pending.append(swallow)
        return pad.index


class FinallyFrame(LeavingFrame):
    """All of a ``try`` but its ``finally`` suite, ``statements``."""

    __slots__ = ("statements",)

    def __init__(self, parent: Frame, statements: list[ast.stmt]) -> None:
        super().__init__(parent, parent.loops, parent.regions)
        self.statements = statements

    def leave(self, builder: GraphBuilder) -> None:
        """Starts a copy of the ``finally`` suite."""
        assert self.parent is not None
        builder.frame = self.parent
        builder.start_block()
        suite(builder, self.statements)

    def land(self, builder: GraphBuilder, outer: int) -> int:
        """Exceptions run the suite and go on to ``outer``."""
        assert self.parent is not None
        builder.frame = self.parent
        pad = builder.new_block()
        builder.at(pad)
        suite(builder, self.statements)
        if builder.block is not builder.dead:
            builder.block.successors.append(outer)
        return pad.index
