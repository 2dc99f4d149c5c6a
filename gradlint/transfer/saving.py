"""What a recorded operation keeps for its backward, and which modules write to their input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import CONTAINER, RESULT, TENSOR, Atom, Cls, Fn, Obj, Sym, Tuple, Value
from gradlint.project.edits import kept_by_code
from gradlint.project.values import demands
from gradlint.torch_model import PARAMETERS, operator, saved, several_results
from gradlint.transfer import calls, operators, questions

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter


OPAQUE = frozenset({"torch.nn.Module", "torch.nn.Sequential", "torch.nn.ModuleList", "torch.nn.ModuleDict"})
"""Modules whose type does not tell what they compute."""

INPUTS = ("x", "input", "inputs", "hidden_states", "hidden", "sample", "features")
"""What the tensor that a module works on is called where all its arguments are named."""


def tracked(ip: Interpreter, operands: list[Value]) -> list[int]:
    """The positions of the operands that are on the graph for certain."""
    found = []
    for index, operand in enumerate(operands):
        graph = ip.graph_of(operand)
        if graph and not graph & ~tensor.ATTACHED:
            found.append(index)
    return found


def kinds(ip: Interpreter, operands: list[Value]) -> str:
    """The form of a call, one letter per operand: tensor, number, unknown."""
    letters = []
    for operand in operands:
        if questions.is_number(operand):
            letters.append("n")
        elif all(ip.program.is_tensor(ip, atom) for atom in operand):
            letters.append("t")
        else:
            letters.append("?")
    return "".join(letters)


def older(ip: Interpreter, operand: Value, result: Value) -> Value:
    """The operand without what the same place of the program has just made anew: in a loop that is another object."""
    return frozenset(atom for atom in operand if not ip.state.roots(atom) & result)


def forget(ip: Interpreter, gone: Value) -> None:
    """A variable let go of ``gone``: what nothing else holds cannot be edited any more.

    In a loop the same place of the program makes such a thing anew, on some paths only; what was saved of the one
    before must not be taken for the new one's where the paths meet.
    """
    for atom in gone:
        place = ip.state.places.get(atom)
        own = isinstance(atom, Obj) and atom.type in (RESULT, TENSOR)
        if own and place is not None and place.saved and not is_held(ip, atom):
            ip.state.places[atom] = place._replace(saved=frozenset())


def free(ip: Interpreter, target: Value) -> None:
    """A backward from ``target`` frees what was saved by the operations that led to it, and by no others."""
    if not any(place.saved for place in ip.state.places.values()):
        return

    def items(atom: Atom) -> Iterator[Atom]:
        for item in atom.items if isinstance(atom, Tuple) else (ip.state.contents.get(atom, ()),):
            yield from item

    walked = demands.ancestors(ip.run, target, items)
    for atom, place in ip.state.places.items():
        if place.saved:
            ip.state.places[atom] = place._replace(
                saved=frozenset(one for one in place.saved if one.result not in walked)
            )


def is_held(ip: Interpreter, atom: Atom) -> bool:
    """Whether a variable, an attribute or a container has an object, or what shares its memory."""
    state = ip.state
    pending = [*state.env.values(), *state.attributes.values(), *state.contents.values()]
    for value in pending:
        for one in value:
            if atom in state.roots(one):
                return True
            if isinstance(one, Tuple):
                pending.extend(one.items)
    return False


def save(ip: Interpreter, event: Any, op: str, operands: list[Value], result: Value) -> None:
    """Note which operands, and whether the result, the operation ``op`` keeps; nothing if it records nothing."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, operands)
    row = saved(op, kinds(ip, operands)) if on_graph else None
    if row is None:
        return
    for index in row.saved_inputs(on_graph):
        if 0 <= index < len(operands):
            save_input(ip, event, op, operands[index], result)
    save_outputs(ip, event, op, row.saved_outputs(on_graph), result)


def save_input(ip: Interpreter, event: Any, op: str, given: Value, result: Value, keeper: Atom | None = None) -> None:
    """Note that an operation keeps what it is given; what it has returned itself, it has in an earlier iteration."""
    before = older(ip, given, result)
    ip.save(before, op, "input", event.span, result, keeper)
    for atom in given - before:
        kept = {tensor.Saved(op.rpartition(".")[2], "input", event.span, made, keeper) for made in result}
        ip.run.passed_on.setdefault(atom, set()).update(kept)


def save_outputs(ip: Interpreter, event: Any, op: str, outputs: frozenset[int], result: Value) -> None:
    """Note which of its results an operation keeps; ``result`` stands for all of them."""
    several = operator(op) in several_results()
    for index in sorted(outputs) if several else outputs & {0}:
        ip.save(result, op, "output", event.span, result, part=index if several else None)


def save_operands(ip: Interpreter, event: Any, op: str, operands: list[Value], result: Value) -> None:
    """Note which operands an in-place operation keeps, but for its target: of that autograd keeps a copy."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, operands)
    row = saved(op, kinds(ip, operands)) if on_graph else None
    for index in row.saved_inputs(on_graph) if row is not None else ():
        if 0 < index < len(operands):
            ip.save(operands[index], op, "input", event.span, result)


def save_result(ip: Interpreter, event: Any, op: str, operands: list[Value], result: Value) -> None:
    """Note whether an in-place operation keeps what it wrote."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    on_graph = tracked(ip, operands)
    row = saved(op, kinds(ip, operands)) if on_graph else None
    if row is not None and 0 in row.saved_outputs(on_graph):
        ip.save(result, op, "output", event.span, result)


def save_for_module(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> None:
    """Note what the call of a module keeps of its input, its parameters and its result."""
    if not ip.state.modes & grad_mode.RECORDS:
        return
    if not isinstance(module, Obj) or module.cls is not None or module.type in OPAQUE:
        save_result_of_class(ip, site, module, result)
        save_inputs_of_class(ip, site, module, result)
        save_for_opaque(ip, site, module, result)
        return
    if not site.args:
        return
    on_graph = tracked(ip, site.args)
    if ip.program.trainable(ip, module):
        on_graph.append(PARAMETERS)
    row = saved(module.type, "t" * len(site.args)) if on_graph else None
    if row is None:
        return
    name = module.type.rpartition(".")[2]
    for index in row.saved_inputs(on_graph):
        if 0 <= index < len(site.args):
            save_input(ip, site.event, name, site.args[index], result)
        elif index == PARAMETERS:
            ip.save(frozenset((module,)), name, "parameters", site.event.span, result)
    save_outputs(ip, site.event, module.type, row.saved_outputs(on_graph), result)


def matters(ip: Interpreter, site: calls.Site) -> bool:
    """Whether it matters what the code keeps that a call runs itself."""
    return site.given is None and kept_by_code.matters(ip.program, ip.body, site.event.span)


def save_for_opaque(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> None:
    """A module of which little is known but that it trains: it keeps its parameters, and perhaps its input."""
    if not ip.program.trainable(ip, module) or ip.program.is_free_of_parameters(module):
        return
    name = (module.label or ip.labels[site.func] or "the module").replace("[...]", "")
    given = site.args[0] if site.args else next((site.keywords[one] for one in INPUTS if one in site.keywords), None)
    if given is None:
        return
    save_input(ip, site.event, name, given, result, module)
    ip.save(frozenset((module,)), name, "parameters", site.event.span, result)


def save_inputs_of_class(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> None:
    """Note what the code of a module's ``forward`` keeps of its inputs, by whatever way they are given."""
    if not isinstance(module, Obj) or module.cls is None or site.starred or not matters(ip, site):
        return
    given = kept_by_code.bound(ip.program, module.cls, site.args, site.keywords)
    on_graph = frozenset(name for name, value in given.items() if tracked(ip, [value]))
    name = (module.label or ip.labels[site.func]).replace("[...]", "")
    for kept in sorted(kept_by_code.inputs_of_module(ip.program, module.cls, on_graph)):
        save_input(ip, site.event, name, given[kept], result)


def save_result_of_class(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> None:
    """Note whether the code of a module's ``forward`` keeps the tensor that it returns."""
    if not isinstance(module, Obj) or not matters(ip, site):
        return
    on_graph = frozenset(tracked(ip, site.args))
    kept = [kept_by_code.by_module(ip.program, cls, on_graph) for cls in kept_by_code.classes_of(ip.program, module)]
    name = (module.label or ip.labels[site.func]).replace("[...]", "")
    for part in sorted({one.part for by_class in kept for one in by_class}, key=str) if all(kept) else ():
        ip.save(result, name, "output", site.event.span, result, part=part)


def save_for_function(ip: Interpreter, site: calls.Site, fn: Fn, arguments: dict[str, Value], result: Value) -> None:
    """Note what a function of the file keeps of its arguments, and of what it returns."""
    if not matters(ip, site):
        return
    on_graph = frozenset(name for name, value in arguments.items() if tracked(ip, [value]))
    kept = kept_by_code.by_function(ip.program, fn.body, on_graph)
    for name in sorted(kept.inputs):
        save_input(ip, site.event, fn.body.name, arguments[name], result)
    for atom in made_here(ip, site, result):
        for part in sorted({one.part for one in kept.outputs.get(kept_by_code.kind_of(atom), ())}, key=str):
            value = frozenset((atom,))
            ip.save(value, fn.body.name, "output", site.event.span, value, part=part)


def made_here(ip: Interpreter, site: calls.Site, value: Value, depth: int = 0) -> set[Obj]:
    """The tensors that a call has made, in what it returns and in tuples and containers of it."""
    found: set[Obj] = set()
    for atom in value if depth < 4 else ():
        if isinstance(atom, Tuple):
            found = found.union(*(made_here(ip, site, item, depth + 1) for item in atom.items))
        elif isinstance(atom, Obj) and atom.event is site.event:
            held = ip.state.contents.get(atom)
            found |= made_here(ip, site, held, depth + 1) if held else {atom}
    return found


def save_for_custom_function(ip: Interpreter, site: calls.Site, atom: Sym, result: Value) -> None:
    """Note what ``apply`` of a custom autograd function keeps: what its ``forward`` gives to ``save_for_backward``."""
    cls = atom.parent
    if not isinstance(cls, Cls) or not atom.path.endswith(".apply") or not ip.state.modes & grad_mode.RECORDS:
        return
    if not tracked(ip, site.args) or site.starred or not matters(ip, site):
        return
    inputs, output = kept_by_code.by_custom_function(ip.program, cls)
    for index in sorted(inputs):
        if index < len(site.args):
            save_input(ip, site.event, cls.label, site.args[index], result)
    if output:
        ip.save(result, cls.label, "output", site.event.span, result)


def edit_by_module(ip: Interpreter, site: calls.Site, module: Atom, result: Value) -> Value:
    """Call a module made with ``inplace=True``: it returns its input, edited."""
    target, event = site.args[0], site.event
    name = module.type.rpartition(".")[2] if isinstance(module, Obj) else module.label
    given = ip.value(event.args[0]) == target
    # In a sequence it is what the layers in front of it have computed.
    ip.edit(event, target, ip.operand(event.args[0]) if given else ip.describe(target, "", event.span), name, [])
    row = saved(module.type if isinstance(module, Obj) else "", "t")
    tracked_input = tracked(ip, [target])
    after = operators.edited(ip, event, target, result)
    if row is not None and ip.state.modes & grad_mode.RECORDS and 0 in row.saved_outputs(tracked_input):
        ip.save(after, name, "output", event.span, after)
    return after


def edit_list(ip: Interpreter, site: calls.Site, op: str) -> None:
    """``torch._foreach_add_(tensors, ...)``: every tensor of the list is edited."""
    if not site.args:
        return
    operand = ip.operand(site.event.args[0])
    for atom in site.args[0]:
        if isinstance(atom, Obj) and atom.type in (CONTAINER, "iterator"):
            items = ip.state.contents.get(atom)
            if items:
                ip.edit(site.event, items, ip.describe(items, operand.name, operand.span), op, [])
