"""Mutations of the order that optimizers need, and of what modules register."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mutants import File, Site, kind, last

from gradlint.fix.source import span_of

CLIPS = ("clip_grad_norm_", "clip_grad_value_", "clip_grad_norm")
CLEARS = ("zero_grad", "zero_grad_", "clear_grad")


@kind("GRD501 GRD502", "LC01", "zero_grad", ".backward(", ".step(")
def zero_grad_in_loop(file: File) -> Iterator[Site]:
    """Drop the only `zero_grad()` of a loop with a backward pass and a step of that optimizer, or of its model.

    Not where the loop has another call of that name, or sets a gradient by hand.
    """
    for statement, call, _ in file.statements("zero_grad"):
        loops = file.loops(call)
        if loops and only_clear(file, loops[-1]):
            yield file.site(statement, file.without(statement))


@kind("GRD501 GRD502", "LC01", "zero_grad", ".backward(", ".step(")
def zero_grad_in_function(file: File) -> Iterator[Site]:
    """Drop the only `zero_grad()` of a function without a loop around it, with a backward pass and a step.

    Not outside of functions, and not where the function has another call of that name, or sets a gradient by hand.
    """
    for statement, call, _ in file.statements("zero_grad"):
        function = file.function(call)
        if not file.loops(call) and not isinstance(function, ast.Module) and only_clear(file, function):
            yield file.site(statement, file.without(statement))


def only_clear(file: File, scope: ast.AST) -> bool:
    """Whether a loop or function trains, and clears gradients once."""
    by_hand = (node for node in file.running(scope) if isinstance(node, ast.Attribute) and node.attr == "grad")
    return (
        len(file.called(scope, *CLEARS)) == 1
        and bool(file.called(scope, "backward"))
        and bool(file.called(scope, "step"))
        and not any(isinstance(node.ctx, ast.Store) for node in by_hand)
    )


@kind("GRD505", "LC13b", ".unscale_(", "clip_grad")
def unscale(file: File) -> Iterator[Site]:
    """Drop `scaler.unscale_(optimizer)` in front of clipping. Not where nothing of that function clips."""
    for statement, call, _ in file.statements("unscale_"):
        if file.called(file.function(call), *CLIPS):
            yield file.site(statement, file.without(statement))


@kind("GRD305 GRD502 GRD503", "LC03", ".backward()", ".step()")
def step_before_backward(file: File) -> Iterator[Site]:
    """Move `optimizer.step()` in front of `backward()`, of the same list of statements in a loop.

    Only of what is called an optimizer.
    """
    for passed, step in in_order(file, ("backward",), ("step",)):
        if "opt" in receiver(step).lower() and file.loops(passed):
            line, column, *_ = span_of(passed)
            ahead = file.insert(line, column, f"{file.of(step)}; ")
            yield file.site(step, ahead, file.without(step))


@kind("GRD504 GRD505", "LC13", "clip_grad", ".step(")
def clip_after_step(file: File) -> Iterator[Site]:
    """Move the clipping of gradients behind the step of the optimizer, of the same list of statements."""
    for clip, step in in_order(file, CLIPS, ("step",)):
        if "sched" not in receiver(step).lower():
            yield file.site(clip, file.behind(step, f"; {file.of(clip)}"), file.without(clip))


def in_order(file: File, first: tuple[str, ...], second: tuple[str, ...]) -> Iterator[tuple[ast.Expr, ast.Expr]]:
    """Pairs of calls that are statements of one list, the nearest behind the last of what comes first."""
    for statement in file.each(ast.Expr):
        suite = file.suite(statement)
        if called(statement) in first:
            behind = [each for each in suite[suite.index(statement) + 1 :] if isinstance(each, ast.Expr)]
            found = next((each for each in behind if called(each) in (*first, *second)), None)
            if found is not None and called(found) in second:
                yield statement, found


def called(statement: ast.Expr) -> str:
    """The last name of what a statement calls."""
    return last(statement.value.func) if isinstance(statement.value, ast.Call) else ""


def receiver(statement: ast.Expr) -> str:
    """The last name of what a statement calls a method of."""
    call = statement.value
    return last(call.func.value) if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""


@kind("GRD507", "LC34", ".backward(", ".step(")
def backward(file: File) -> Iterator[Site]:
    """Drop the only `backward()` of a function that also makes the step of an optimizer."""
    for statement, call, _ in file.statements("backward"):
        function = file.function(call)
        steps = [each for each in file.called(function, "step") if "opt" in file.of(each.func).lower()]
        if steps and len(file.called(function, "backward", "manual_backward")) == 1:
            yield file.site(statement, file.without(statement))


@kind("GRD217 GRD220", "RG25", "ModuleList(")
def module_list(file: File) -> Iterator[Site]:
    """Write a list for `nn.ModuleList(...)` in an attribute of a module. Not of modules that it has by other names."""
    yield from plain_lists(file, "ModuleList")


@kind("GRD217 GRD220", "RG25", "ParameterList(")
def parameter_list(file: File) -> Iterator[Site]:
    """Write a list for `nn.ParameterList(...)` in an attribute of a module."""
    yield from plain_lists(file, "ParameterList")


def plain_lists(file: File, container: str) -> Iterator[Site]:
    """The containers that are assigned to attributes, each a plain list of what it is given."""
    for call in file.each(ast.Call):
        if last(call.func) != container or not is_own(file.nodes[call]) or len(call.args) > 1 or call.keywords:
            continue
        given = call.args[0] if call.args else None
        if given is None:
            yield file.site(call, file.instead(call, "[]"))
        elif isinstance(given, (ast.ListComp, ast.List)) and "self." not in "".join(map(file.of, listed(given))):
            yield file.site(call, file.instead(call, file.of(given)))


def listed(given: ast.ListComp | ast.List) -> list[ast.expr]:
    """What a list is made of, as far as it could be an attribute."""
    return [each for each in (given.elts if isinstance(given, ast.List) else [given.elt]) if not_made(each)]


def not_made(item: ast.expr) -> bool:
    """Whether an item is not made on the spot."""
    return not isinstance(item, ast.Call)


def is_own(node: ast.AST) -> bool:
    """Whether a node assigns an attribute of `self`."""
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    return isinstance(target, ast.Attribute) and last(target.value) == "self"


@kind("GRD206 GRD217 GRD220", "RG35", "Parameter(")
def parameter(file: File) -> Iterator[Site]:
    """Write `x` for `nn.Parameter(x)` in an attribute of a module. Not with `requires_grad=False`, nor of a whole name.

    A name may be anything, and a plain tensor that nobody fills, or with zeros or ones, may be meant as a constant or
    a state: only what a function fills at random is taken.
    """
    for call in file.each(ast.Call):
        assign = file.nodes[call]
        if last(call.func) != "Parameter" or not is_own(assign) or len(call.args) != 1 or call.keywords:
            continue
        assert isinstance(assign, ast.Assign)
        if isinstance(call.args[0], ast.Call) and filled(file, file.of(assign.targets[0])):
            yield file.site(call, file.instead(call, file.of(call.args[0])))


def filled(file: File, attribute: str) -> bool:
    """Whether something in the file fills an attribute at random."""
    fills = (call for call in file.each(ast.Call) if last(call.func).endswith(("normal_", "uniform_", "orthogonal_")))
    return any(file.of(call.args[0]) in (attribute, f"{attribute}.data") for call in fills if call.args)
