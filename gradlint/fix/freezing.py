"""Edits of statements that were meant to set ``requires_grad``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from gradlint.finding import Edit
from gradlint.fix.source import NoFix, Place, Source, span_of

if TYPE_CHECKING:
    from gradlint.facts import LostFreeze
    from gradlint.facts.freezing import ConstantParameter, StaleGradient

_NAME = "requires_grad"
_ALIASES = (".data", ".detach()")


def reaching(source: Source, freeze: LostFreeze) -> tuple[Edit, ...]:
    """Make a freeze reach the parameters: by the method of the module, or on the tensor instead of an alias."""
    place = source.place(freeze.span)
    if freeze.form == "module":
        _require_whole(place)
        return (_as_call(source, place, _assigned(place, freeze)),)
    if freeze.form == "data":
        return (_without_alias(source, place),)
    if freeze.form == "state_dict":
        return (_over_parameters(source, place),)
    raise NoFix("which of two statements is meant is not known")


def dropped(source: Source, stale: StaleGradient) -> tuple[Edit, ...]:
    """Drop the gradient of a parameter behind the statement that freezes it."""
    place = source.place(stale.span)
    node = place.node
    parameter: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Attribute):
        parameter = node.targets[0].value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        parameter = node.value.func.value
    if not isinstance(parameter, ast.Name) or not stale.is_tensor:
        raise NoFix("what is frozen is no single parameter")
    if place.suite[place.index + 1 :] and place.suite[place.index + 1].lineno == node.lineno:
        raise NoFix("another statement stands on the line")
    return (source.behind(node, f"\n{source.indent(node.lineno)}{source.of(parameter)}.grad = None"),)


def untrained(source: Source, parameter: ConstantParameter) -> tuple[Edit, ...]:
    """Say that a parameter is not to be trained."""
    call = source.at(parameter.span, ast.Call)
    if len(call.args) != 1 or call.keywords or isinstance(call.args[0], ast.Starred):
        raise NoFix("it is given more than its data")
    return (source.behind(call.args[0], f", {_NAME}=False"),)


def spelled(source: Source, write: LostFreeze) -> tuple[Edit, ...]:
    """Correct a misspelt name, a comparison, or a method that is assigned to."""
    place = source.place(write.span)
    node = place.node
    if write.form == "compared":
        return (_assigned_instead(source, place),)
    if write.form == "misspelt" and isinstance(node, ast.Expr):
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            return (source.replace(_name_of(call.func), f"{_NAME}_"),)
    if write.form in ("misspelt", "method"):
        target = _assigned(place, write)
        if write.form == "method" or not write.is_tensor:
            return (_as_call(source, place, target),)
        return (source.replace(_name_of(target), _NAME),)
    raise NoFix("what is meant is not known")


def _require_whole(place: Place) -> None:
    """Raise `NoFix` where modules are picked one by one: the method would reach the modules inside of them as well."""
    inner: ast.AST = place.node
    for node in reversed(place.around):
        if isinstance(node, ast.For) and _runs_over_modules(node.iter):
            picks = isinstance(inner, ast.If) and not _asks_for_layers(inner.test)
            if picks or len(node.body) != 1:
                raise NoFix("modules inside of the one that is meant would be reached")
        inner = node


def _runs_over_modules(node: ast.expr) -> bool:
    names = ("modules", "named_modules")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names


def _asks_for_layers(test: ast.expr) -> bool:
    return isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "isinstance"


def _assigned(place: Place, freeze: LostFreeze) -> ast.Attribute:
    """Return the attribute to which a plain assignment assigns."""
    node = place.node
    if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Attribute):
        raise NoFix("it is no plain assignment")
    if span_of(node.targets[0])[:2] != freeze.span[:2] or isinstance(node.value, (ast.Tuple, ast.Yield, ast.Await)):
        raise NoFix("it is no plain assignment")
    return node.targets[0]


def _as_call(source: Source, place: Place, target: ast.Attribute) -> Edit:
    """Write ``module.requires_grad_(flag)`` for ``module.requires_grad = flag``."""
    name, end = _name_of(target), span_of(place.node)[2:]
    given = source.cut((*name[2:], *end)).strip().removeprefix("=").strip()
    return source.replace((*name[:2], *end), f"{_NAME}_({given})")


def _name_of(attribute: ast.Attribute) -> tuple[int, int, int, int]:
    """Where the last name of an attribute stands."""
    _, _, line, column = span_of(attribute)
    return line, column - len(attribute.attr.encode()), line, column


def _without_alias(source: Source, place: Place) -> Edit:
    """Drop ``.data`` or ``.detach()`` in front of the flag."""
    node = place.node
    flag: ast.expr | None = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        flag = node.targets[0]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        flag = node.value.func
    if not isinstance(flag, ast.Attribute):
        raise NoFix("the flag is not visible")
    alias = flag.value.func if isinstance(flag.value, ast.Call) else flag.value
    if isinstance(alias, ast.Attribute):
        gap = (*span_of(alias.value)[2:], *span_of(flag.value)[2:])
        if source.cut(gap) in _ALIASES:
            return source.replace(gap, "")
    raise NoFix("the alias is not visible")


def _over_parameters(source: Source, place: Place) -> Edit:
    """Run over the parameters themselves instead of ``state_dict()``, in a loop that does nothing but set flags."""
    for node in reversed(place.around):
        if isinstance(node, ast.For) and all(_only_sets_flags(statement) for statement in node.body):
            call = node.iter
            inner = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
            source_of = inner.func if isinstance(inner, ast.Call) and not inner.args and not inner.keywords else None
            if isinstance(source_of, ast.Attribute) and source_of.attr == "state_dict":
                assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
                method = {"items": "named_parameters", "values": "parameters"}.get(call.func.attr)
                if method is not None:
                    return source.replace(span_of(call), f"{source.of(source_of.value)}.{method}()")
    raise NoFix("the loop over `state_dict()` is not visible")


def _only_sets_flags(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(_only_sets_flags(inner) for inner in (*statement.body, *statement.orelse))
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Attribute) and target.attr == _NAME for target in statement.targets)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        flag = isinstance(function, ast.Attribute) and function.attr == f"{_NAME}_"
        return flag or (isinstance(function, ast.Name) and function.id == "print")
    return isinstance(statement, (ast.Pass, ast.Continue))


def _assigned_instead(source: Source, place: Place) -> Edit:
    """Write ``=`` for ``==``."""
    compared = place.node.value if isinstance(place.node, ast.Expr) else None
    if not isinstance(compared, ast.Compare) or len(compared.ops) != 1 or not isinstance(compared.left, ast.Attribute):
        raise NoFix("it is no plain comparison")
    value = compared.comparators[0]
    if not isinstance(value, ast.Constant) or not isinstance(value.value, bool):
        raise NoFix("it may be no bool")
    gap = (*span_of(compared.left)[2:], *span_of(value)[:2])
    if source.cut(gap).strip() != "==":
        raise NoFix("it is no plain comparison")
    return source.replace(gap, " = ")
