"""The handlers of events: what each event of the representation does to a state."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradlint.domains import tensor
from gradlint.domains.values import (
    CONTAINER,
    ITERATOR,
    SCALAR,
    TENSOR,
    TOP,
    Sym,
    Value,
    union,
)
from gradlint.facts import AttributeWrite
from gradlint.ir import events as ir
from gradlint.torch_model import names as torch_names
from gradlint.transfer import (
    attributes,
    calls,
    contexts,
    gradients,
    inference,
    keys,
    left_out,
    misuse,
    named_modules,
    operators,
    questions,
    saving,
    unseen,
)
from gradlint.transfer.recorder import LocalCall

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter

MOVES = re.compile(r"\.(?:to|cuda|cpu|half|float|double|bfloat16)\([^()]*\)$")
"""The end of a statement that moves a module where it stands; moving a tensor so would do nothing."""


def const(ip: Interpreter, e: ir.Const) -> None:
    ip.set(e, frozenset((ip.world.literal(e.value),)))


def copy(ip: Interpreter, e: ir.Copy) -> None:
    joined = ip.value(e.src)
    if ip.temps[e.dst] is not TOP and e.dst in ip.recorder.uses:
        joined = union([ip.temps[e.dst], joined])
    ip.recorder.uses.add(e.dst)
    # Temporaries are no part of the state: without this a block behind both arms could miss that one was reached later.
    ip.state.env[str(e.dst)] = joined
    ip.set(e, joined, ip.labels[e.src] if e.src >= 0 else "")


def load(ip: Interpreter, e: ir.Load) -> None:
    value = ip.program.loaded(ip.body, e.name, ip.state.env.get(e.name))
    inference.read(ip, value)
    ip.set(e, value, e.name.partition("@")[0])  # what follows tells a variable of a comprehension from its namesakes


def store(ip: Interpreter, e: ir.Store) -> None:
    value = ip.value(e.src)
    if e.annotation and value & TOP:
        value = frozenset((ip.world.sym(ip.body, e.name, e.annotation),))
    misuse.stored(ip, e)
    named_modules.stored(ip, e, value)
    value = ip.program.bound(e.name, value)
    gone = ip.state.env.get(e.name, frozenset()) - value
    ip.state.env[e.name] = value
    saving.forget(ip, gone)
    ip.program.stored(ip.body, e.name, value)


def import_(ip: Interpreter, e: ir.Import) -> None:
    name = "." * e.level + e.module
    if e.name is not None:
        name = f"{name}.{e.name}" if e.module else f"{name}{e.name}"
    if e.name == "*":
        ip.program.stars.add("." * e.level + e.module)
        return
    ip.set(e, ip.program.outside(torch_names.canonical(name)), name)


def attr(ip: Interpreter, e: ir.Attr) -> None:
    label = ip.labels[e.obj] if e.obj >= 0 else ""
    ip.receivers[e.dst] = e.obj
    ip.set(e, attributes.read(ip, e, ip.value(e.obj), e.name), f"{label}.{e.name}" if label else e.name)


def item(ip: Interpreter, e: ir.Item) -> None:
    whole = ip.value(e.obj)
    label = ip.labels[e.obj] if e.obj >= 0 else ""
    ip.set(e, attributes.item(ip, e, whole, ip.value(e.key)), f"{label}[...]" if label else "")


def unary(ip: Interpreter, e: ir.Unary) -> None:
    if e.op == "not":
        ip.set(e, ip.make(e, SCALAR, tensor.PLAIN))
    elif e.op == "-" and (number := questions.number(ip.value(e.src))) is not None:
        ip.set(e, frozenset((ip.world.literal(-number),)))
    else:
        ip.set(e, operators.apply(ip, e, {"-": "neg", "~": "bitwise_not"}.get(e.op, "pos"), [ip.value(e.src)]))


def binary(ip: Interpreter, e: ir.Binary) -> None:
    left, right = ip.value(e.left), ip.value(e.right)
    ip.set(e, operators.binary(ip, e, e.op, left, right))


def compare(ip: Interpreter, e: ir.Compare) -> None:
    ip.set(e, ip.make(e, SCALAR if e.op in ("is", "is not", "in", "not in") else TENSOR, tensor.PLAIN, via=e.op))
    left_out.compared(ip, e)
    if e.op == "==" and ip.labels[e.left].endswith(".requires_grad"):
        ip.comparisons[e.dst] = e


def build(ip: Interpreter, e: ir.Build) -> None:
    items = [ip.value(ref) for ref in e.items]
    if e.kind == "tuple" and not e.starred and len(items) <= 8:
        ip.set(e, frozenset((ip.world.tuple(tuple(items)),)))
    elif e.kind in ("slice", "string"):
        ip.set(e, ip.make(e, e.kind if e.kind == "slice" else SCALAR, tensor.PLAIN))
    else:
        made = ip.make(e, CONTAINER, tensor.PLAIN)
        ip.state.contents[next(iter(made))] = frozenset().union(*items) if items else frozenset()
        if e.kind == "dict":
            keys.displayed(ip, made, [TOP if key is None else ip.value(key) for key in e.keys])
        ip.set(e, made)


def unpack(ip: Interpreter, e: ir.Unpack) -> None:
    ip.set(e, attributes.unpack(ip, e, ip.value(e.src), e.index, e.count))


def augment(ip: Interpreter, e: ir.Augment) -> None:
    target, value = ip.value(e.target), ip.value(e.value)
    operand = ip.operand(e.target)
    kept = operators.keep_added(ip, e, target, value)
    if kept is not None:
        ip.set(e, kept, operand.name)
        return
    if not questions.may_be_tensor(ip, target):
        unseen.note(ip, e, target, operand, f"{e.op}=")
        ip.set(e, operators.binary(ip, e, e.op, target, value), operand.name)
        return
    in_place = f"{e.op}="
    saving.save_operands(ip, e, in_place, [target, value], target)
    ip.edit(e, target, operand, in_place, [value])
    result = ip.operate(e, operators.OPERATORS.get(e.op, e.op), [target, value])
    if any(ip.program.is_tensor(ip, atom) for atom in target):
        result = operators.edited(ip, e, target, result)
        saving.save_result(ip, e, in_place, [target, value], result)
    ip.set(e, result, operand.name)


def call(ip: Interpreter, e: ir.Call) -> bool:
    return calls.call(ip, e)


def make_function(ip: Interpreter, e: ir.MakeFunction) -> None:
    ip.set(e, frozenset((ip.world.fn(e.body),)), e.body.name)
    ip.program.defined(e.body, ip.body, {name: ip.value(ref) for name, ref in e.defaults})
    if e.body.kind == "genexp":
        marks = dict(ip.state.marks)
        ip.program.surroundings[e.body] = marks
        ip.recorder.calls[ip.block.index].append(LocalCall(ip.world.fn(e.body), ip.state.modes, e.span, marks=marks))


def make_class(ip: Interpreter, e: ir.MakeClass) -> None:
    cls = ip.world.cls(e.body, tuple(ip.value(base) for base in e.bases))
    ip.program.define_class(cls, ip.body)
    ip.set(e, frozenset((cls,)), e.body.name)


def set_attr(ip: Interpreter, e: ir.SetAttr) -> None:
    named_modules.stored(ip, e, ip.value(e.src))
    attributes.write(ip, e, e.obj, e.name, e.src)


def set_item(ip: Interpreter, e: ir.SetItem) -> None:
    attributes.write_item(ip, e)


def delete(ip: Interpreter, e: ir.Delete) -> None:
    if e.obj is None and e.name is not None:
        ip.state.env.pop(e.name, None)
    elif e.name == "grad":
        gradients.assign(ip, e.span, ip.value(ir.OPAQUE_REF if e.obj is None else e.obj))


def discard(ip: Interpreter, e: ir.Discard) -> None:
    misuse.discarded(ip, e)
    if e.src >= 0:
        ip.run.discarded.add(ip.spans[e.src])
        if MOVES.search(ip.labels[e.src]):
            ip.program.seen_as_module.update(a for a in ip.value(e.src) if isinstance(a, Sym) and "." in a.path)
    compared = ip.comparisons.get(e.src)
    if compared is not None:
        target = ip.labels[compared.left].rpartition(".")[0]
        operand = ip.describe(TOP, target, e.span)
        ip.recorder.note(
            AttributeWrite(e.span, *ip.where(), operand, "requires_grad", ip.operand(compared.right), compared=True)
        )


def opaque(ip: Interpreter, e: ir.Opaque) -> None:
    for name in e.writes:
        ip.state.env[name] = TOP
    ip.set(e, TOP)


def iterate(ip: Interpreter, e: ir.Iterate) -> None:
    made = ip.make(e, ITERATOR, tensor.PLAIN)
    ip.state.contents[next(iter(made))] = attributes.items_of(ip, e, ip.value(e.src))
    ip.set(e, made, ip.labels[e.src] if e.src >= 0 else "")


def next_(ip: Interpreter, e: ir.Next) -> None:
    found: list[Value] = [ip.state.contents.get(atom, TOP) for atom in ip.value(e.iterator)]
    value = union(found) or TOP
    ip.set(e, value, "")


def enter(ip: Interpreter, e: ir.Enter) -> None:
    contexts.enter(ip, e)


def exit_(ip: Interpreter, e: ir.Exit) -> None:
    contexts.leave(ip, e)


def swallow(ip: Interpreter, e: ir.Swallow) -> bool:
    return contexts.may_swallow(ip, e.region)


def assume(ip: Interpreter, e: ir.Assume) -> bool:
    return questions.assume(ip, e) and not left_out.passed_by(ip, e)


def yield_(ip: Interpreter, e: ir.Yield) -> bool:
    contexts.suspended(ip, e, "yield")
    ip.run.yields[e.span] = ip.run.yields.get(e.span, 0) | ip.state.modes
    ip.set(e, TOP)
    if ip.run.resume is None:
        return True
    place, ip.state.modes = ip.run.resume
    return place == e.span


def await_(ip: Interpreter, e: ir.Await) -> None:
    contexts.suspended(ip, e, e.kind)
    ip.set(e, ip.value(e.src), ip.labels[e.src] if e.src >= 0 else "")


def return_(ip: Interpreter, e: ir.Return) -> None:
    value = ip.world.none if e.src is None else ip.value(e.src)
    ip.program.returned(ip, e, value)


def raise_(ip: Interpreter, e: ir.Raise) -> bool:
    ip.throw(ip.state)
    return False


HANDLERS: dict[type[ir.Event], Callable[[Any, Any], object]] = {
    ir.Const: const,
    ir.Copy: copy,
    ir.Load: load,
    ir.Import: import_,
    ir.Attr: attr,
    ir.Item: item,
    ir.Unary: unary,
    ir.Binary: binary,
    ir.Compare: compare,
    ir.Build: build,
    ir.Unpack: unpack,
    ir.Augment: augment,
    ir.Call: call,
    ir.MakeFunction: make_function,
    ir.MakeClass: make_class,
    ir.Store: store,
    ir.SetAttr: set_attr,
    ir.SetItem: set_item,
    ir.Delete: delete,
    ir.Discard: discard,
    ir.Opaque: opaque,
    ir.Iterate: iterate,
    ir.Next: next_,
    ir.Enter: enter,
    ir.Exit: exit_,
    ir.Swallow: swallow,
    ir.Assume: assume,
    ir.Yield: yield_,
    ir.Await: await_,
    ir.Return: return_,
    ir.Raise: raise_,
}
