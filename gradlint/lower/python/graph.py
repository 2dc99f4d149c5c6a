"""Building a control-flow graph out of blocks.

A `Frame` is an enclosing construct that matters to control flow. Leaving it early costs something: a ``with``
costs its `Exit`, a ``try ... finally`` a copy of the ``finally`` suite. `GraphBuilder.jump` pays for jumps and
`GraphBuilder.pad_of` for exceptions, both once per frame and destination, so that the graph stays linear in the
depth of nesting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.ir.cfg import Block, Graph, Loop
from gradlint.ir.events import Call, Event, Raise, Ref, Span
from gradlint.lower.python.frames import Frame, Label, LeavingFrame, LoopFrame

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.lower.python.bodies import Source

MAX_BLOCKS = 20_000
MAX_REFS = 200_000


class TooLarge(Exception):
    """The graph of a body outgrew its bound."""


class GraphBuilder:
    """The state of lowering one body: the current ``block``, its ``events``, and the ``frame`` it lies in.

    ``block`` is ``dead`` where no execution gets to. ``renames`` maps the variables of the comprehensions around
    the current expression to the unique names that they have in the body.
    """

    def __init__(self, source: Source, body: Body, renames: dict[str, str]) -> None:
        self.source = source
        self.body = body
        self.renames = renames
        self.comprehension_names: set[str] = set()
        self.negations: dict[Ref, Ref] = {}
        self.loops: dict[int, Loop] = {}
        self.refs = 0
        self.regions = 0
        self.blocks: list[Block] = []
        self.frames: list[Frame] = []
        self.copies: dict[tuple[Frame, Label], Block] = {}
        self.root = Frame(None, (), ())
        self.frame = self.root
        self.dead = Block(-1, [], [], -1)
        self.ways_out = Label()
        self.block = self.dead
        self.events: list[Event] = []
        entry = self.new_block()
        self.raised = self.new_block()
        self.root.pad = self.raised.index
        self.at(entry)

    # -- temporaries and events ----------------------------------------------------------------------------

    def new_ref(self) -> Ref:
        """A fresh temporary."""
        ref = self.refs
        self.refs = ref + 1
        return ref

    def call(
        self,
        span: Span,
        func: Ref,
        args: tuple[Ref, ...],
        keywords: tuple[tuple[str | None, Ref], ...] = (),
        starred: frozenset[int] = frozenset(),
    ) -> Ref:
        """Emits a call, whose exceptions land at the pad of the current frame."""
        block = self.block
        if block.pad is None:
            block.pad = self.pad_of(self.frame)
        dst = self.refs
        self.refs = dst + 1
        block.events.append(Call(span, dst, func, args, keywords, starred))
        return dst

    def raise_(self, span: Span, src: Ref | None) -> None:
        """Ends the current block with an exception."""
        if self.block.pad is None:
            self.block.pad = self.pad_of(self.frame)
        self.events.append(Raise(span, src))
        self.at(self.dead)

    # -- blocks --------------------------------------------------------------------------------------------

    def at(self, block: Block) -> None:
        """Makes ``block`` the current one."""
        self.block = block
        self.events = block.events

    def new_block(self) -> Block:
        """A new block in the current frame; raises `TooLarge` when there are too many."""
        index = len(self.blocks)
        if index >= MAX_BLOCKS or self.refs > MAX_REFS:
            raise TooLarge
        frame = self.frame
        block = Block(index, [], [], None, frame.loops, frame.regions)
        self.blocks.append(block)
        self.frames.append(frame)
        return block

    def new_block_in(self, frame: Frame | None) -> Block:
        """A new block in ``frame``."""
        assert frame is not None
        current, self.frame = self.frame, frame
        block = self.new_block()
        self.frame = current
        return block

    def start_block(self) -> Block:
        """Goes on from the current block into a new one in the current frame."""
        block = self.new_block()
        self.link(block)
        self.at(block)
        return block

    def link(self, block: Block) -> None:
        """Ends the current block with an edge to ``block``."""
        if self.block is not self.dead:
            self.block.successors.append(block.index)
            self.at(self.dead)

    def enter(self, frame: Frame) -> None:
        """Goes on in ``frame``; in a new block, for the loops, regions or pad may differ."""
        self.frame = frame
        if self.block is not self.dead:
            self.start_block()

    def goto(self, label: Label) -> None:
        """Ends the current block with an edge to a place ahead."""
        if self.block is not self.dead:
            label.pending.append(self.block)
            self.at(self.dead)

    def place(self, label: Label) -> bool:
        """Goes on at ``label``, in the current frame. False if nothing goes there.

        A single block that goes there is continued, unless its pad could differ.
        """
        pending = label.pending
        if not pending:
            self.at(self.dead)
            return False
        frame = self.frame
        if len(pending) == 1:
            block = pending[0]
            if (
                not block.successors
                and (block.pad is None or self.frames[block.index] is frame)
                and block.loops == frame.loops
                and block.regions == frame.regions
            ):
                self.frames[block.index] = frame
                self.at(block)
                return True
        block = self.new_block()
        for source in pending:
            source.successors.append(block.index)
        self.at(block)
        return True

    # -- loops, jumps, exceptions --------------------------------------------------------------------------

    def begin_loop(self, kind: str, span: Span, iterator: Ref | None) -> tuple[LoopFrame, Block]:
        """Goes on at the head of a new loop. Returns its frame, which is now the current one, and its head."""
        loop = len(self.loops)
        frame = LoopFrame(self.frame, loop)
        self.frame = frame
        head = self.start_block()
        self.loops[loop] = Loop(loop, kind, span, head.index, iterator)
        return frame, head

    def end_loop(self, frame: LoopFrame, head: Block) -> None:
        """Goes back to the head from here and from every ``continue``, and leaves the loop's frame."""
        self.link(head)
        for block in frame.again.pending:
            block.successors.append(head.index)
        assert frame.parent is not None
        self.frame = frame.parent

    def innermost_loop(self) -> LoopFrame | None:
        """The frame of the loop that ``break`` and ``continue`` belong to here."""
        frame: Frame | None = self.frame
        while frame is not None and not isinstance(frame, LoopFrame):
            frame = frame.parent
        return frame

    def jump(self, target: Frame, label: Label) -> None:
        """Goes from the current block to ``label`` in ``target``, an enclosing frame, leaving the frames between."""
        current = self.frame
        frame: Frame | None = current
        while frame is not target and frame is not None:
            if isinstance(frame, LeavingFrame):
                copy = self.copies.get((frame, label))
                if copy is not None:
                    self.link(copy)
                    break
                blocks = len(self.blocks)
                frame.leave(self)
                self.copies[frame, label] = self.blocks[blocks]
                if self.block is self.dead:
                    break
            frame = frame.parent
        else:
            self.goto(label)
        self.frame = current
        self.at(self.dead)

    def pad_of(self, frame: Frame) -> int:
        """The block where exceptions raised in ``frame`` land."""
        chain = []
        while frame.pad is None:
            chain.append(frame)
            assert frame.parent is not None
            frame = frame.parent
        pad = frame.pad
        if chain:
            block, current, renames = self.block, self.frame, self.renames
            self.renames = {}
            for inner in reversed(chain):
                pad = inner.pad = inner.land(self, pad)
            self.frame, self.renames = current, renames
            self.at(block)
        return pad

    # -- the end -------------------------------------------------------------------------------------------

    def finish(self) -> Graph:
        """The graph: reachable blocks in reverse post-order, then the exit and the block of lost exceptions."""
        self.goto(self.ways_out)
        self.frame = self.root
        leave = self.new_block()
        for source in self.ways_out.pending:
            source.successors.append(leave.index)
        order = _reverse_post_order(self.blocks, (leave.index, self.raised.index))
        number = {old: new for new, old in enumerate(order)}
        out, raised = number[leave.index], number[self.raised.index]
        blocks = []
        for old in order:
            block = self.blocks[old]
            block.index = number[old]
            block.successors = [number[successor] for successor in block.successors]
            if block.pad is not None:
                block.pad = number[block.pad]
            blocks.append(block)
        loops = {}
        for loop in self.loops.values():
            if loop.head in number:
                loop.head = number[loop.head]
                loops[loop.id] = loop
        return Graph(blocks, loops, out, raised, self.refs)


def _reverse_post_order(blocks: list[Block], last: tuple[int, ...]) -> list[int]:
    """The indices of the blocks that the first one reaches, those in ``last`` at the end."""
    seen = bytearray(len(blocks))
    for index in last:
        seen[index] = 1
    order = list(reversed(last))
    seen[0] = 1
    stack = [0]
    waiting = [_next_blocks(blocks[0])]
    while stack:
        targets = waiting[-1]
        while targets:
            target = targets.pop(0)
            if not seen[target]:
                seen[target] = 1
                stack.append(target)
                waiting.append(_next_blocks(blocks[target]))
                break
        else:
            waiting.pop()
            order.append(stack.pop())
    order.reverse()
    return order


def _next_blocks(block: Block) -> list[int]:
    """Where a block leads, the first successor last, so that reverse post-order keeps to the order of the source."""
    targets = block.successors[::-1]
    if block.pad is not None:
        targets.insert(0, block.pad)
    return targets
