"""Reading and writing attributes and items."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import FROZEN, LAYER, THAWED
from gradlint.domains.tensor import Place, join_places
from gradlint.domains.values import (
    CONTAINER,
    GRAD,
    INSTANCE,
    ITERATOR,
    PARAMETER,
    RESULT,
    SCALAR,
    STATE_DICT,
    TENSOR,
    TOP,
    Api,
    Atom,
    Cls,
    Fn,
    Literal,
    Method,
    Obj,
    Sym,
    Tuple,
    Value,
    ordered,
    union,
)
from gradlint.facts import AttributeWrite, ContextMisuse, GradFlag, InferenceUse
from gradlint.facts.leaves import GradRead
from gradlint.ir import events as ir
from gradlint.project import classes, members
from gradlint.torch_model import grad_contexts, mode_queries, names_parameter, roles
from gradlint.torch_model import names as torch_names
from gradlint.torch_model.attributes import known_methods, tensor_properties
from gradlint.transfer import calls, contracted, gradients, inference, integers, keys, parts, questions, unseen

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter

PLAIN_ATTRIBUTES = frozenset(
    """shape dtype device requires_grad is_leaf ndim layout is_cuda is_sparse names itemsize nbytes grad_fn
    training""".split()
)
SUPER = "super()"
VIEW_ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "real", "imag"})


def read(ip: Interpreter, event: Any, whole: Value, name: str) -> Value:
    """The value of attribute ``name`` of ``whole``."""
    return of_each(ip, whole, lambda atom: read_one(ip, event, atom, name))


def of_each(ip: Interpreter, whole: Value, get: Callable[[Atom], Value]) -> Value:
    """What ``get`` makes of each of several things: an object that it makes of several stands where any of these do."""
    if len(whole) == 1:
        return get(next(iter(whole)))
    found: list[Value] = []
    places: dict[Atom, Place] = {}
    for atom in ordered(whole):
        found.append(get(atom))
        for made in found[-1]:
            place = ip.state.places.get(made)
            if place is None:
                continue
            if made in places:
                place = ip.state.places[made] = join_places(places[made], place)
                ip.run.plain[made] = place.graph
            places[made] = place
    return union(found)


def read_one(ip: Interpreter, event: Any, atom: Atom, name: str) -> Value:
    """The value of attribute ``name`` of one atom."""
    world = ip.world
    written = ip.state.attributes.get((atom, name))
    if written is not None:
        return written
    if isinstance(atom, Api):
        return ip.program.outside(torch_names.canonical(f"{atom.name}.{name}"))
    if isinstance(atom, Obj) and atom.cls is not None:
        return members.attribute(ip.program, atom, atom.cls, name)
    if isinstance(atom, Cls):
        return members.attribute(ip.program, atom, atom, name)
    if isinstance(atom, (Obj, Sym)) and ip.program.is_tensor(ip, atom):
        return tensor_attribute(ip, event, atom, name)
    if isinstance(atom, Obj) and atom.type.startswith("torch.nn.") and names_parameter(atom.type, name):
        if atom in ip.program.made_outside:
            return ip.part(event, frozenset((atom,)), RESULT)
        return frozenset((world.obj(atom.event, PARAMETER, owner=atom, name=f"{atom.label}.{name}"),))
    if isinstance(atom, Sym) and isinstance(atom.scope, Cls) and atom.path == SUPER:
        inherited = members.inherited(ip.program, atom.scope, name)
        if inherited is not None:
            return inherited
    if isinstance(atom, Sym) and atom.annotation and (method := members.method_by_annotation(ip.program, atom, name)):
        return method
    if isinstance(atom, Sym):
        if name in ("weight", "bias") and atom.path.endswith("]") and atom.parent is not None:
            # What is made of layers is a module.
            ip.program.seen_as_module.add(atom.parent)
        if name in ("weight", "bias") and (ip.program.is_module(atom) or ip.state.marks.get(atom, 0) & LAYER):
            return frozenset((world.obj(event, PARAMETER, owner=atom, name=f"{atom.label}.{name}"),))
        if name in ("data", "grad"):
            return tensor_attribute(ip, event, atom, name)
        if name in known_methods() or contracted.is_method(ip, event, atom, name):
            return frozenset((world.method(atom, name),))
        return frozenset((world.sym(atom.scope, f"{atom.path}.{name}", parent=atom),))
    if isinstance(atom, Obj) and ip.program.contracts.known_class(atom.type):
        if contracted.is_method(ip, event, atom, name) or name in known_methods():
            return frozenset((world.method(atom, name),))
        owner = atom.label or atom.type.rpartition(".")[2]
        return frozenset((world.sym(atom, f"{owner}.{name}", parent=atom),))
    if isinstance(atom, Obj) and atom.type == RESULT:
        if name in ("data", "grad"):
            return tensor_attribute(ip, event, atom, name)
        if name in known_methods() or contracted.is_method(ip, event, atom, name):
            return frozenset((world.method(atom, name),))
        return ip.part(event, frozenset((atom,)), RESULT)
    if isinstance(atom, (Obj, Literal, Tuple, Method, Fn)):
        return frozenset((world.method(atom, name),))
    return TOP


def tensor_attribute(ip: Interpreter, event: Any, atom: Atom, name: str) -> Value:
    """An attribute of something that is a tensor."""
    whole = frozenset((atom,))
    part = parts.called(ip, event, atom, name)
    if part is not None:
        return part
    if name in PLAIN_ATTRIBUTES:
        return ip.make(event, SCALAR, tensor.PLAIN, via=name)
    if name == "grad":
        if isinstance(atom, Sym):
            ip.run.grads_read.add(atom)
        gradients.read(ip, event.span, whole)
        ip.run.flags_read |= ip.state.place(atom).flagged
        if is_no_leaf(ip, atom):
            ip.recorder.note(GradRead(event.span, *ip.where(), ip.operand(ip.receivers.get(event.dst, -1))))
        return ip.make(event, GRAD, tensor.ANY, via="grad")
    if name == "data":
        made = ip.world.obj(event, TENSOR)
        behind = ip.state.behind(atom) - {made}
        ip.state.places[made] = Place(tensor.CUT, made=event.span, via=".data", behind=behind)
        return frozenset((made,))
    if name in VIEW_ATTRIBUTES:
        return ip.part(event, whole)
    if name in known_methods():
        return frozenset((ip.world.method(atom, name),))
    if name in tensor_properties() or ip.state.place(atom).via == "forward":  # a module may return an object of several
        return ip.part(event, whole)
    # No tensor has such an attribute: somebody put something there.
    if isinstance(atom, Sym):
        return frozenset((ip.world.sym(atom.scope, f"{atom.path}.{name}", parent=atom),))
    return ip.make(event, RESULT, tensor.ANY, via=name)


def is_no_leaf(ip: Interpreter, atom: Atom) -> bool:
    """Whether a tensor that requires grad is computed on some path, or a view of a leaf."""
    place = ip.state.place(atom)
    if place.graph == tensor.LEAF:
        return any(root is not atom and ip.state.place(root).graph == tensor.LEAF for root in place.roots)
    return bool(place.graph & tensor.GRAPH) and not place.graph & ~tensor.ATTACHED


def item(ip: Interpreter, event: Any, whole: Value, key: Value) -> Value:
    """The value of ``whole[key]``. Under a string a mapping holds a part that shares no memory with the others."""
    return of_each(ip, whole, lambda atom: item_of(ip, event, atom, key))


def item_of(ip: Interpreter, event: Any, atom: Atom, key: Value) -> Value:
    """The value of ``atom[key]``."""
    named = any(isinstance(part, Literal) and isinstance(part.value, str) for part in key)
    if isinstance(atom, Tuple):
        index = questions.number(key)
        if isinstance(index, int) and -len(atom.items) <= index < len(atom.items):
            return atom.items[index]
        return union(list(atom.items))
    if isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR):
        return ip.state.contents.get(atom) or TOP
    if isinstance(atom, Obj) and atom.type == STATE_DICT:
        return frozenset((ip.world.obj(event, "state_value", owner=atom.owner),))
    if isinstance(atom, Obj) and named and atom.type in (RESULT, TENSOR):
        made = ip.operate(event, "item", [frozenset((atom,))], surely=False)
        for part in made:
            inference.viewed(ip, part, frozenset((atom,)))
        return made
    if isinstance(atom, Obj) and ip.program.is_tensor(ip, atom):
        number = questions.number(key)
        return parts.at(ip, event, atom, number if isinstance(number, int) else None) or indexed(ip, event, atom, key)
    if isinstance(atom, Obj) and ip.program.is_module(atom):
        return held_by(ip, event, atom)
    if isinstance(atom, Obj) and ip.program.is_optimizer(atom):
        one = ip.world.sym(atom, f"{atom.label}[{shown(key)}]", parent=atom)
        return frozenset((ip.world.obj(atom.event, atom.type, owner=one, name=one.path),))
    if isinstance(atom, Sym):
        return frozenset((ip.world.sym(atom.scope, f"{atom.path}[{shown(key)}]", parent=atom),))
    if isinstance(atom, Obj) and atom.type in (RESULT, GRAD, INSTANCE):
        return ip.part(event, frozenset((atom,)), atom.type)
    return TOP


def shown(key: Value) -> str:
    """A constant key as written, or dots."""
    only = next(iter(key)) if len(key) == 1 else None
    return repr(only.value) if isinstance(only, Literal) else "..."


def indexed(ip: Interpreter, event: Any, atom: Obj, key: Value) -> Value:
    """``tensor[key]``: a view for numbers and slices, a copy for anything that may be a mask or an index tensor."""
    plain = all(
        isinstance(part, Literal)
        or (isinstance(part, Obj) and part.type in ("slice", SCALAR))
        or (isinstance(part, Sym) and roles.PADDING_INDEX.search(part.path) is not None)
        or is_plain_tuple(part)
        for part in key
    )
    if plain:
        return ip.part(event, frozenset((atom,)))
    return ip.operate(event, "index", [frozenset((atom,))])


def is_plain_tuple(atom: Atom) -> bool:
    """A tuple of numbers and slices."""
    return isinstance(atom, Tuple) and all(
        isinstance(part, Literal) or (isinstance(part, Obj) and part.type in ("slice", SCALAR))
        for items in atom.items
        for part in items
    )


def is_many_dimensional(key: Value) -> bool:
    """Whether a key is made of numbers and slices, and has several parts: no list and hardly a mapping takes it."""
    return bool(key) and all(is_plain_tuple(part) and has_slice(part) for part in key)


def has_slice(atom: Atom) -> bool:
    """Whether a tuple has a slice or dots among its items."""
    return isinstance(atom, Tuple) and any(
        (isinstance(part, Obj) and part.type == "slice") or (isinstance(part, Literal) and part.value is ...)
        for items in atom.items
        for part in items
    )


def unpack(ip: Interpreter, event: Any, whole: Value, index: int | None, count: int) -> Value:
    """The part at ``index`` of ``whole`` taken apart into ``count`` targets."""
    return of_each(ip, whole, lambda atom: unpacked(ip, event, atom, index, count))


def unpacked(ip: Interpreter, event: Any, atom: Atom, index: int | None, count: int) -> Value:
    """The part at ``index`` of ``atom``."""
    if isinstance(atom, Tuple):
        if index is not None and len(atom.items) == count:
            return atom.items[index]
        return union(list(atom.items)) if atom.items else TOP
    if isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR):
        return ip.state.contents.get(atom) or TOP
    if isinstance(atom, Obj) and (atom.type == RESULT or ip.program.is_tensor(ip, atom)):
        kind = atom.type if atom.type == RESULT else TENSOR
        return parts.at(ip, event, atom, index) or ip.part(event, frozenset((atom,)), kind)
    if index is not None and isinstance(atom, Obj) and ip.program.is_optimizer(atom):
        return frozenset((ip.world.obj(event, atom.type, name=atom.name),))  # one of several that a framework keeps
    if isinstance(atom, Sym):
        return frozenset((ip.world.sym(atom.scope, f"{atom.path}[{index}]"),))
    return TOP


def items_of(ip: Interpreter, event: Any, whole: Value) -> Value:
    """What iterating over ``whole`` gives."""
    return of_each(ip, whole, lambda atom: item_in(ip, event, atom))


def item_in(ip: Interpreter, event: Any, atom: Atom) -> Value:
    """What iterating over ``atom`` gives."""
    if isinstance(atom, Tuple):
        return union(list(atom.items)) if atom.items else frozenset()
    if isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR):
        return ip.state.contents.get(atom) or TOP
    if isinstance(atom, Obj) and atom.type == SCALAR:
        return frozenset((ip.world.obj(event, SCALAR),))
    if isinstance(atom, Obj) and ip.program.is_tensor(ip, atom):
        if not hands_out_several(ip, atom):
            return ip.part(event, frozenset((atom,)))
        ip.run.lists.add(atom)
        return ip.make(event, TENSOR, ip.graph_of_atom(atom), via="forward", owner=atom.owner)
    if isinstance(atom, Obj) and ip.program.is_module(atom):
        return held_by(ip, event, atom)
    if isinstance(atom, Sym):
        return frozenset((ip.world.sym(atom.scope, f"{atom.path}[...]", parent=atom),))
    return TOP


def hands_out_several(ip: Interpreter, result: Obj) -> bool:
    """Whether a module has returned ``result``, and its ``forward`` returns a list or a tuple on some way out.

    It may where another file has the ``forward``, and does not tell what that returns.
    """
    cls = result.owner.cls if isinstance(result.owner, Obj) and ip.state.place(result).via == "forward" else None
    forward = classes.own_function(ip.program, cls, "forward") if cls is not None else None
    run = ip.program.run(forward.body, grad_mode.INHERITED) if forward is not None else None
    told = ip.program.stubs.class_data(cls.body) if cls is not None and forward is None else None
    if told is not None and "forward" in told.methods:
        return True
    ways = [way for group in run.returned.values() for way in group] if run is not None else []
    return any(
        isinstance(atom, Tuple) or (isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR))
        for way in ways
        for atom in way.value
    )


def held_by(ip: Interpreter, event: Any, container: Obj) -> Value:
    """What a container of torch holds: parameters or modules."""
    kind = PARAMETER if container.type.endswith(("ParameterList", "ParameterDict")) else "torch.nn.Module"
    return frozenset((ip.world.obj(event, kind, owner=container),))


def write(ip: Interpreter, event: Any, obj: ir.Ref, name: str, src: ir.Ref) -> None:
    """``obj.name = src``."""
    whole, value = ip.value(obj), ip.value(src)
    target = ip.operand(obj)
    inference.leaves(ip, value)
    ip.recorder.note(AttributeWrite(event.span, *ip.where(), target, name, ip.operand(src)))
    for atom in whole:
        if isinstance(atom, Api):
            written_over_torch(ip, event, atom, name, value)
        elif isinstance(atom, (Obj, Sym, Cls)):
            if name not in ("requires_grad", "grad", "data"):
                ip.state.attributes[(atom, name)] = value
            if isinstance(atom, Obj) and atom.cls is not None and atom is ip.program.instance(atom.cls):
                members.attribute_written(ip.program, atom.cls, name, value)
    if name == "requires_grad":
        flag(ip, event, whole, questions.truth(value), "attribute", obj)
    elif name == "grad":
        if ip.state.modes == grad_mode.INFERENCE and not questions.is_none(value):
            ip.recorder.note(InferenceUse(event.span, *ip.where(), "grad", f"{target.name}.grad = ...", "the gradient"))
        gradients.assign(ip, event.span, whole)


def written_over_torch(ip: Interpreter, e: Any, api: Api, attribute: str, value: Value) -> None:
    """``torch.is_grad_enabled = False`` replaces the function instead of setting the mode."""
    name = torch_names.canonical(f"{api.name}.{attribute}")
    if name in (mode_queries() | grad_contexts().keys()) and questions.is_number(value):
        ip.recorder.note(ContextMisuse(e.span, *ip.where(), "replaced", name))


def flag(ip: Interpreter, event: Any, whole: Value, value: bool | None, form: str, ref: ir.Ref) -> None:
    """``requires_grad`` of ``whole`` is set to ``value`` (None: not known)."""
    ip.recorder.note(GradFlag(event.span, *ip.where(), ip.operand(ref), value, form))
    if value:
        inference.used(ip, whole, "flag", "requires_grad", event.span)
        integers.asked(ip, event, whole, "requires_grad = True" if form == "attribute" else "requires_grad_()")
    for atom in whole:
        module = atom.owner if isinstance(atom, Obj) and atom.type == PARAMETER else atom
        if module is not None and (module is not atom or ip.program.is_module(atom)) and form != "attribute-of-module":
            for part in calls.in_order(ip, module):
                marks = ip.state.marks.get(part, 0)
                ip.state.marks[part] = (marks & ~(FROZEN | THAWED)) | (THAWED if value else FROZEN)
        if not isinstance(atom, (Obj, Sym)):
            continue
        place = ip.state.place(atom)
        if value is False:
            ip.state.places[atom] = place._replace(graph=tensor.PLAIN)
        elif value:
            computed = place.made is not None and not place.graph & tensor.ATTACHED
            ip.state.places[atom] = place._replace(
                graph=place.graph
                if place.graph & tensor.GRAPH or (computed and place.graph & tensor.ANY)
                else tensor.LEAF,
                flagged=place.flagged | {event.span} if computed else place.flagged,
            )


def may_be_mapping(ip: Interpreter, whole: Value, key: Value) -> bool:
    """Whether ``whole[key] = ...`` may store under a key: the key is not known, or what holds it may be a mapping."""
    unknown = any(not isinstance(part, (Literal, Obj, Tuple)) for part in key)
    text = any(isinstance(part, Literal) and isinstance(part.value, str) for part in key)
    return text or (unknown and any(ip.state.place(atom).via in ("forward", "call", "") for atom in whole))


def write_item(ip: Interpreter, e: ir.SetItem) -> None:
    """``obj[key] = src``."""
    whole, value = ip.value(e.obj), ip.value(e.src)
    kept = False
    for atom in whole:
        if isinstance(atom, Obj) and atom.type in (CONTAINER, ITERATOR):
            ip.state.contents[atom] = union([ip.state.contents.get(atom, frozenset()), value])
            keys.stored(ip, atom, ip.value(e.key))
            kept = True
        elif isinstance(atom, Sym):
            is_tensor = roles.ONE_TENSOR.fullmatch(atom.annotation or "") is not None
            kept = kept or not (is_tensor or is_many_dimensional(ip.value(e.key)))
    if questions.may_be_tensor(ip, whole) and not kept and not may_be_mapping(ip, whole, ip.value(e.key)):
        ip.edit(e, whole, ip.operand(e.obj), "[]=", [value])
    elif not kept:
        unseen.note(ip, e, whole, ip.operand(e.obj), "[]=")
