"""Facts about graphs that live too long, or are walked once too often: what the rules GRD4xx read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gradlint.facts.base import Happening

if TYPE_CHECKING:
    from gradlint.facts.base import Reasons
    from gradlint.ir.events import Span


class IdleForward(Happening, frozen=True):
    """A forward records a graph that nobody walks back; ``reason`` says in words what tells so.

    ``whole``: it tells of all that the function does, of which this is the first forward.
    """

    call: str
    reason: str
    because: Reasons
    whole: bool = False


class KeptGraph(Happening, frozen=True):
    """``store`` keeps, in every iteration, another graph that nobody walks back: that of ``target``.

    ``collected``: a framework keeps it, in a method that has turned gradients on. ``hook``: a forward hook
    does, until the next pass. ``constructor``: an object does, from its constructor on.
    """

    store: str
    target: str
    because: Reasons
    collected: bool = False
    hook: bool = False
    constructor: bool = False


class PiledGraph(Struct, frozen=True):
    """``store`` keeps, in every iteration, what is left of another graph that was walked back: that of ``target``.

    ``through``: the backward pass starts from what the store holds.
    """

    span: Span
    store: str
    target: str
    because: Reasons
    through: bool = False


class RunningGraph(Struct, frozen=True):
    """State that outlives the step is updated with ``value``, which is on the graph: so is ``store`` from then on.

    ``stored``: what is computed is a tensor that the statement assigns, rather than the argument of an edit in place.
    """

    span: Span
    store: str
    value: str
    because: Reasons


class WalkedTwice(Struct, frozen=True):
    """A backward pass, ``call``, walks the graph of ``source`` which an earlier pass has freed.

    ``carried`` is the variable that brings it from one iteration to the next, if one does. ``loop``: the same call
    is the earlier pass, in the iteration before. ``returned``: it is the earlier pass itself, in a ``forward`` that
    returns what is still to be walked.
    """

    span: Span
    call: str
    source: str
    carried: str
    loop: bool
    because: Reasons
    returned: bool = False


class OddPass(Struct, frozen=True):
    """A call about a backward pass that does not do what it is meant to.

    ``form``: ``non-scalar`` (backward from a tensor of many values), ``data-parallel`` (from what several devices
    return), ``flat`` (a gradient without a graph enters what is backwarded), ``again`` (one is differentiated again),
    ``returned`` (a ``forward`` returns one), ``kept`` (``create_graph`` that nothing clears), ``needless``
    (``retain_graph`` that nothing uses), ``constructor`` (a loss is made from tensors), ``anomaly`` (the check is left
    on), ``saved`` (``call`` is on the graph and put into a file), ``late`` (``call`` is made a leaf after it was used),
    ``freed`` (``create_graph`` where ``retain_graph`` may be false).
    """

    span: Span
    form: str
    call: str
    because: Reasons = ()
