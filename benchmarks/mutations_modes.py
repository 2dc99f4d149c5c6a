"""Mutations of what turns gradients off, or a module back to training."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mutants import File, Site, is_model, kind, last, off
from mutations_graphs import edited

UNTRACKED = "GRD102 GRD210 GRD301 GRD316 GRD402 GRD403 GRD404 GRD410 GRD411 GRD417 GRD419"
EVALUATES = ("eval", "valid", "val", "test", "infer", "predict", "sample", "generate", "embed")
OF_LEAVES = ("weight", "bias")


@kind(UNTRACKED, "GM34 LC07b", "no_grad():")
def no_grad_block_of_evaluation(file: File) -> Iterator[Site]:
    """Write `if True:` for `with torch.no_grad():` around the call of a model in a function that evaluates.

    A function evaluates if it calls `eval()`, or its name says so. Not within another block or decorator that turns
    gradients off, nor where something goes backward in the function.
    """
    for block in blocks(file):
        function = file.function(block)
        if evaluates(file, function) and calls_model(file, block) and not file.called(function, "backward"):
            yield block_site(file, block)


@kind(UNTRACKED, "LC17 GM33 GM45", "no_grad():")
def no_grad_block_of_training(file: File) -> Iterator[Site]:
    """Write `if True:` for `with torch.no_grad():` around the call of a model in a function that goes backward.

    Not within another block or decorator that turns gradients off.
    """
    for block in blocks(file):
        if calls_model(file, block) and file.called(file.function(block), "backward"):
            yield block_site(file, block)


def blocks(file: File) -> Iterator[ast.With]:
    """The blocks that do nothing but to turn gradients off, where they are on."""
    for block in file.each(ast.With):
        item = block.items[0]
        alone = len(block.items) == 1 and item.optional_vars is None and block.lineno == item.context_expr.end_lineno
        if alone and off(item.context_expr) and not file.untracked(block):
            yield block


def block_site(file: File, block: ast.With) -> Site:
    """A block that is entered, and turns nothing off."""
    entered = block.items[0].context_expr
    assert entered.end_lineno is not None and entered.end_col_offset is not None
    head = (block.lineno, block.col_offset, entered.end_lineno, entered.end_col_offset)
    return file.site(block, file.replace(head, "if True"))


def evaluates(file: File, function: ast.AST) -> bool:
    """Whether a function is there to evaluate."""
    name = getattr(function, "name", "").lower()
    return any(name.lstrip("_").startswith(word) or f"_{word}" in name for word in EVALUATES) or bool(
        file.called(function, "eval")
    )


def calls_model(file: File, scope: ast.AST) -> bool:
    """Whether something that is called like a module is called in the body of ``scope``."""
    return any(isinstance(node, ast.Call) and is_model(node.func) for node in file.running(scope))


@kind(UNTRACKED, "GM34 GM55", "no_grad()")
def no_grad_decorator(file: File) -> Iterator[Site]:
    """Drop the decorator `@torch.no_grad()` of a function that evaluates, and calls a model.

    Not within a function whose gradients are off.
    """
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = [*file.each(ast.FunctionDef)]
    for function in [*functions, *file.each(ast.AsyncFunctionDef)]:
        found = [each for each in function.decorator_list if off(each)]
        if found and not file.untracked(function) and evaluates(file, function) and calls_model(file, function):
            yield decorator_site(file, found[0])


def decorator_site(file: File, decorator: ast.expr) -> Site:
    """A decorator that is gone, its line left empty."""
    assert decorator.end_lineno is not None and decorator.end_col_offset is not None
    line = (decorator.lineno, decorator.col_offset - 1, decorator.end_lineno, decorator.end_col_offset)
    return file.site(decorator, file.replace(line, ""))


@kind("GRD301 GRD302 GRD316 GRD411", "IP01 IP11 GM33", "no_grad():")
def no_grad_block_of_edits(file: File) -> Iterator[Site]:
    """Write `if True:` for `with torch.no_grad():` around nothing but edits of parameters in place.

    A parameter is what a loop over `parameters()` yields, or a `weight` or `bias`. Not of functions in `nn.init`,
    which turn gradients off themselves.
    """
    for block in blocks(file):
        names = [*OF_LEAVES, *looped(file, block)]
        if any(next(edited(file, block, name), None) for name in names):
            yield block_site(file, block)


def looped(file: File, node: ast.AST) -> list[str]:
    """The variables that loops around or in a node draw from `parameters()`."""
    loops = [each for each in (*file.around(node), *file.running(node)) if isinstance(each, ast.For)]
    return [
        each.target.id
        for each in loops
        if isinstance(each.target, ast.Name)
        and isinstance(each.iter, ast.Call)
        and last(each.iter.func) == "parameters"
    ]


@kind("GRD301 GRD302 GRD316 GRD411", "IP01 IP11 GM33", ".data")
def data_of_edited_leaf(file: File) -> Iterator[Site]:
    """Drop `.data` of a parameter that is edited in place through it.

    A parameter is what a loop over `parameters()` yields, or a `weight` or `bias`. Not where gradients are seen to be
    off.
    """
    for data in file.each(ast.Attribute):
        if data.attr != "data" or file.untracked(data) or not edits(file, data):
            continue
        if last(data.value) in (*OF_LEAVES, *looped(file, data)) and not isinstance(data.value, ast.Subscript):
            yield file.site(data, file.instead(data, file.of(data.value)))


def edits(file: File, tensor: ast.expr) -> bool:
    """Whether a tensor is edited where it is named."""
    above = file.nodes[tensor]
    if isinstance(above, ast.Attribute):
        call = file.nodes[above]
        return above.attr.endswith("_") and not above.attr.endswith("__") and isinstance(call, ast.Call)
    return isinstance(above, ast.AugAssign) and above.target is tensor


@kind("GRD121", "GM35", ".train()", ".eval()")
def train_after_eval(file: File) -> Iterator[Site]:
    """Drop the only `model.train()` of a loop that also calls `model.eval()`, and trains.

    Not in a loop without a step or a backward pass, and not `optimizer.train()`.
    """
    for statement, call, method in file.statements("train"):
        loops = file.loops(call)
        if not loops or call.args or call.keywords or "opt" in last(method.value):
            continue
        model, outer = file.of(method.value), loops[-1]
        same = [each for each in file.called(outer, "train", "eval") if of_model(file, each, model)]
        if sorted(last(each.func) for each in same)[-2:] == ["eval", "train"] and file.called(
            outer, "backward", "step"
        ):
            yield file.site(statement, file.without(statement))


def of_model(file: File, call: ast.Call, model: str) -> bool:
    """Whether a method is called of this model."""
    return isinstance(call.func, ast.Attribute) and file.of(call.func.value) == model
