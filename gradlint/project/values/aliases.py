"""Names for one memory: an edit in place through one of them is seen through all.

A variable is another name for a second one if it was bound to it (``identity = x``), to a view of it, or to what
``detach`` or ``data`` returned, as long as neither is bound anew on the way. Paths are followed through the graph of
one body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import tensor
from gradlint.domains.values import GRAD, PARAMETER, Api, Obj, Sym, Value
from gradlint.facts.edits import SharedEdit
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.values.definitions import ENTERED, Definitions, written
from gradlint.project.values.own_leaves import asks_for_gradient, becomes_leaf
from gradlint.torch_model import in_place_methods, views
from gradlint.torch_model.attributes import tensor_queries

if TYPE_CHECKING:
    from gradlint.facts import Edit
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run

MAY_COPY = frozenset({"movedim"})
"""Views that are sometimes copies, although most of their kind are not."""
LONGEST = 8
"""How many calls and indices between a value and its variable are looked through."""
MAKES = frozenset("new_zeros new_ones new_empty new_full new_tensor".split())
"""Methods that make another tensor of the same kind, without the values."""
OVERWRITES = frozenset({"copy_", "fill_", "zero_", "set_"})
"""Methods that leave nothing of the old values."""
ACTIVATION = re.compile(r"relu|elu|dropout|sigmoid|tanh|silu|swish|mish|threshold|softmax", re.IGNORECASE)
"""Operations whose in-place form is taken for the other one."""
WEIGHT = re.compile(r"(?:^|_)(?:p|q|v|params?|parameters?|weights?|bias|buffers?|w|b|data|ema\w*|avg\w*)$")
"""Names of what is updated in place on purpose."""


class Alias(NamedTuple):
    """How a value comes from a variable: itself (``same``), a ``view``, through ``detach`` or ``data``.

    ``leaf``: it was made a leaf with a gradient of its own on the way.
    """

    variable: str
    kind: str
    load: ir.Load
    through: ir.Event | None = None
    leaf: bool = False


class Link(NamedTuple):
    """The assignment that makes one variable an alias of another."""

    store: ir.Store
    alias: Alias


def alias_of(definitions: Definitions, ref: ir.Ref) -> Alias | None:
    """The variable whose memory a temporary shares; None if it is not known to share any."""
    kind = "same"
    through: ir.Event | None = None
    leaf = False
    for _ in range(LONGEST):
        event = definitions.makers.get(ref)
        if isinstance(event, ir.Load):
            return Alias(event.name, kind, event, through, leaf)
        if isinstance(event, ir.Call):
            method = definitions.makers.get(event.func)
            if not isinstance(method, ir.Attr):
                return None
            if method.name == "detach":
                kind, through = "detach", event
            elif views().get(method.name) == "always" and method.name not in MAY_COPY:
                kind = "view" if kind == "same" else kind
            elif method.name == "requires_grad_":
                leaf = leaf or asks_for_gradient(definitions, event)
            else:
                return None
            ref = method.obj
        elif isinstance(event, ir.Attr) and event.name == "data":
            kind, through = ("data", event) if through is None else (kind, through)
            ref = event.obj
        elif isinstance(event, ir.Item) and is_basic(definitions, event.key):
            kind = "view" if kind == "same" else kind
            ref = event.obj
        else:
            return None
    return None


def is_basic(definitions: Definitions, key: ir.Ref) -> bool:
    """Whether an index is made of numbers and slices, so that it gives a view."""
    event = definitions.makers.get(key)
    if isinstance(event, ir.Build) and event.kind == "tuple":
        return all(is_basic(definitions, part) for part in event.items)
    if isinstance(event, ir.Unary):
        return is_basic(definitions, event.src)
    return (isinstance(event, ir.Build) and event.kind == "slice") or (
        isinstance(event, ir.Const) and not isinstance(event.value, str)
    )


def following(definitions: Definitions, event: ir.Event, kept: frozenset[str]) -> Iterator[ir.Event]:
    """The events that may run behind ``event`` before one of the variables ``kept`` is bound anew."""
    blocks, block = definitions.body.graph.blocks, definitions.blocks[event]
    pending, seen = [(block, block.events.index(event) + 1)], set[int]()
    while pending:
        block, position = pending.pop()
        for found in block.events[position:]:
            yield found
            if not kept.isdisjoint(written(found)):
                break
        else:
            fresh = set(block.successors) - seen
            seen |= fresh
            pending += [(blocks[index], 0) for index in sorted(fresh)]


def read_after(definitions: Definitions, event: ir.Event, name: str, edited: str = "") -> ir.Load | None:
    """The first read of the values of the variable ``name`` that an edit at ``event`` changes.

    What is stored in a part of ``edited`` is no read: it is in that memory already.
    """
    start = stored_back(definitions, event) if isinstance(event, ir.Augment) and event.name == name else event
    loads = [
        found
        for found in following(definitions, start, frozenset((name,)))
        if isinstance(found, ir.Load) and found.name == name and reads_values(definitions, found, edited)
    ]
    return min(loads, key=lambda load: (load.span < event.span, load.span), default=None)


def stored_back(definitions: Definitions, event: ir.Augment) -> ir.Event:
    """The assignment with which an augmented assignment ends."""
    stores = (reader for reader in definitions.readers.get(event.dst, ()) if isinstance(reader, ir.Store))
    return next(stores, event)


def reads_values(definitions: Definitions, load: ir.Load, edited: str = "") -> bool:
    """Whether something is done with the values of what is read, rather than with its shape, or writing into it."""
    readers = definitions.readers.get(load.dst, [])
    return any(
        not (isinstance(reader, ir.Attr) and reader.name in tensor_queries() | MAKES | OVERWRITES)
        and not (isinstance(reader, ir.Compare) and reader.op in ("is", "is not"))
        and not (isinstance(reader, ir.SetItem) and stores_into(definitions, reader, load, edited))
        for reader in readers
    )


def stores_into(definitions: Definitions, event: ir.SetItem, load: ir.Load, edited: str) -> bool:
    """Whether a part is stored into what is read, or what is read into a part of the variable ``edited``."""
    whole = definitions.makers.get(event.obj)
    return event.obj == load.dst or (isinstance(whole, ir.Load) and whole.name == edited)


class Aliases:
    """The aliases of one body, and the edits that go through them."""

    def __init__(self, definitions: Definitions, run: Run) -> None:
        self.definitions, self.run = definitions, run
        body = definitions.body
        self.parameters = {parameter.name for parameter in body.parameters if parameter.kind != "kwargs"}
        if classes.is_method(body) and body.parameters:
            self.parameters -= {"self", "cls", "ctx"}
        self.links = [
            Link(store, alias)
            for stores in definitions.stores.values()
            for store in stores
            if (alias := alias_of(definitions, store.src)) is not None and alias.variable != store.name
        ]
        self.events = {
            event.span: event for event in definitions.blocks if isinstance(event, (ir.Call, ir.Augment, ir.SetItem))
        }

    @cached_property
    def _compared(self) -> set[frozenset[str]]:
        """The pairs of variables of which the body asks whether they are one: that they may be is meant."""
        found = set()
        for event in self.definitions.events(ir.Compare):
            if event.op in ("is", "is not"):
                sides = [self.definitions.makers.get(ref) for ref in (event.left, event.right)]
                found.add(frozenset(side.name for side in sides if isinstance(side, ir.Load)))
        return found

    @cached_property
    def _views(self) -> set[frozenset[str]]:
        """The pairs of variables of which one is a view of the other on some path: it is there to write through."""
        return {frozenset((link.store.name, link.alias.variable)) for link in self.links if link.alias.kind == "view"}

    def of(self, edit: Edit) -> SharedEdit | None:
        """What another name sees of an edit of this body, if it is read afterwards."""
        event = self.events.get(edit.span)
        ref = self.edited(event)
        alias = alias_of(self.definitions, ref) if ref is not None else None
        if event is None or alias is None:
            return None
        return self._direct(edit, event, alias) or self._linked(edit, event, alias) or self._result(edit, event, alias)

    def edited(self, event: ir.Event | None) -> ir.Ref | None:
        """The temporary that an event edits."""
        if isinstance(event, ir.Augment):
            return event.target
        if isinstance(event, ir.SetItem):
            return event.obj
        if isinstance(event, ir.Call):
            method = self.definitions.makers.get(event.func)
            if isinstance(method, ir.Attr) and method.name in in_place_methods() and is_object(self.value(method)):
                return method.obj
            out = dict(event.keywords).get("out")
            return out if out is not None else event.args[0] if event.args else None
        return None

    def value(self, method: ir.Attr) -> Value:
        """What the attribute of a temporary was read from."""
        return self.run.temps[method.obj] if method.obj >= 0 else frozenset()

    def _direct(self, edit: Edit, event: ir.Event, alias: Alias) -> SharedEdit | None:
        """``y = x.detach().mul_(2)``: what the edit returns goes on as if it were another tensor than ``x``."""
        if alias.kind != "detach" or alias.through is None or not isinstance(event, ir.Call):
            return None
        return self._detached(edit, event, alias) if self._goes_on(event) else None

    def _goes_on(self, event: ir.Event) -> bool:
        """Whether what a call that edits returns is used."""
        readers = self.definitions.readers.get(event.dst, ()) if isinstance(event, ir.Call) else ()
        return any(not isinstance(reader, ir.Discard) for reader in readers)

    def _linked(self, edit: Edit, event: ir.Event, alias: Alias) -> SharedEdit | None:
        """An edit of one of two variables that an assignment has made names of one memory."""
        for link in self.links:
            names = frozenset((link.store.name, link.alias.variable))
            if alias.variable not in names or event not in following(self.definitions, link.store, names):
                continue
            if names in self._views:
                continue
            (other,) = names - {alias.variable}
            found = None
            if link.alias.kind == "same":
                found = self._same(edit, event, alias.variable, other)
            elif link.alias.kind != "view" and other == link.alias.variable:
                found = self._detached(edit, event, link.alias, link.store.name)
            elif link.alias.kind == "detach":
                read = read_after(self.definitions, event, other)
                found = self._shared(edit, link.alias, other, read) if read is not None else None
            if found is not None:
                return found
        return None

    def _same(self, edit: Edit, event: ir.Event, name: str, other: str) -> SharedEdit | None:
        # A weight under two names is updated by hand through one of them.
        own = is_tensor(self.run, edit, event) or is_many_dimensional(self.definitions, event)
        own = own and not edit.writes_leaf and not edit.target.graph & tensor.LEAF
        own = own and frozenset((name, other)) not in self._compared
        read = read_after(self.definitions, event, other, name) if own else None
        return SharedEdit(edit, "alias", other, read.span) if read is not None else None

    def _detached(self, edit: Edit, event: ir.Event, alias: Alias, name: str = "") -> SharedEdit | None:
        """An edit of what was taken off the graph; ``name`` is the variable that holds it."""
        on_purpose = self._is_weight(alias) or (alias.kind == "data" and not self._was_tracked(edit, alias))
        if on_purpose and not alias.leaf and not becomes_leaf(self.definitions, event, name):
            return None
        read = read_after(self.definitions, event, alias.variable)
        if read is None and not (alias.kind == "detach" and self._is_callers(alias)):
            return None
        if read is None and name and not self._goes_on(event) and read_after(self.definitions, event, name) is None:
            return None
        return self._shared(edit, alias, alias.variable, read)

    def _shared(self, edit: Edit, alias: Alias, other: str, read: ir.Load | None) -> SharedEdit | None:
        if alias.through is None:
            return None
        how = "detach()" if alias.kind == "detach" else ".data"
        return SharedEdit(edit, "detached", other, read.span if read else None, alias.through.span, how)

    def _result(self, edit: Edit, event: ir.Event, alias: Alias) -> SharedEdit | None:
        """``y = F.relu(x, inplace=True)``, and ``x`` is read afterwards."""
        if alias.kind != "same" or not isinstance(event, ir.Call) or not ACTIVATION.search(edit.op):
            return None
        if not edit.target.atoms & self.run.temps[alias.load.dst]:
            return None  # what the layers in front of it have computed
        readers = self.definitions.readers.get(event.dst, ())
        if all(
            isinstance(one, ir.Discard) or (isinstance(one, ir.Store) and one.name == alias.variable) for one in readers
        ):
            return None
        read = read_after(self.definitions, event, alias.variable)
        return SharedEdit(edit, "result", alias.variable, read.span) if read is not None else None

    def _is_callers(self, alias: Alias) -> bool:
        """Whether a variable still is the argument that the caller has handed in."""
        return alias.variable in self.parameters and self.definitions.seen.get(alias.load) == ENTERED

    def _was_tracked(self, edit: Edit, alias: Alias) -> bool:
        """Whether what ``data`` was taken of is a result on the graph: others are written to through it on purpose."""
        places = [self.run.places.get(atom) for atom in self.run.temps[alias.load.dst]]
        return edit.op != "[]=" and all(place is not None and place.graph == tensor.GRAPH for place in places)

    def _is_weight(self, alias: Alias) -> bool:
        """Whether a variable is a parameter or a gradient, whose values are updated through ``detach`` on purpose."""
        kinds = {atom.type for atom in self.run.temps[alias.load.dst] if isinstance(atom, Obj)}
        return bool(kinds & {PARAMETER, GRAD, "state_value"}) or WEIGHT.search(alias.variable) is not None


def is_object(value: Value) -> bool:
    """Whether a value may be a tensor, rather than a module of Python or of torch with functions that edit."""
    return not any(
        isinstance(atom, Api) or (isinstance(atom, Obj) and atom.type.startswith("torch.")) for atom in value
    )


def is_tensor(run: Run, edit: Edit, event: ir.Event) -> bool:
    """Whether what is edited is a tensor for certain: numbers are added up in the same words, and by `sum`."""
    if isinstance(event, ir.Call) or edit.target.attached:
        return True
    return all(
        (isinstance(atom, Obj) and atom.type == "tensor" and is_made_by_torch(run, atom.event))
        or (isinstance(atom, Sym) and "Tensor" in (atom.annotation or ""))
        for atom in edit.target.atoms
    )


def is_made_by_torch(run: Run, event: ir.Event) -> bool:
    """Whether a call makes a tensor of whatever it is given, which the functions of Python do not."""
    if not isinstance(event, ir.Call):
        return False
    callees = run.temps[event.func] if event.func >= 0 else frozenset()
    return not any(isinstance(atom, Api) and atom.name.startswith("builtins.") for atom in callees)


def is_many_dimensional(definitions: Definitions, event: ir.Event) -> bool:
    """Whether an assignment has a key with dots or a slice among its parts, which only tensors and arrays take."""
    key = definitions.makers.get(event.key) if isinstance(event, ir.SetItem) else None
    parts = [definitions.makers.get(item) for item in key.items] if isinstance(key, ir.Build) else []
    return any(
        (isinstance(part, ir.Build) and part.kind == "slice") or (isinstance(part, ir.Const) and part.value is ...)
        for part in parts
    )


def shared_edits(definitions_of: Callable[[Body], Definitions], run: Run, edits: list[Edit]) -> Iterator[SharedEdit]:
    """The edits of a body that another name sees, one for each place; those that backward refuses are left out."""
    own = [
        edit
        for edit in edits
        if edit.inside is None
        and edit.called is None
        and not edit.saved
        and not (edit.writes_leaf and edit.modes.records)
    ]
    if not own:
        return
    aliases, known = Aliases(definitions_of(run.body), run), set[tuple[int, int]]()
    for edit in own:
        found = aliases.of(edit) if edit.span[:2] not in known else None
        if found is not None:
            known.add(edit.span[:2])
            yield found
