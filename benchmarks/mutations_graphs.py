"""Mutations of what keeps a graph from being kept, freed, cut or edited."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mutants import File, Site, is_model, kind, last

DETACHING = ("item", "detach")
EDITS_OUTPUT = ("sigmoid", "tanh", "softmax", "relu", "exp", "sqrt", "log_softmax")
DIFFERENTIATES = ("backward", "grad")


@kind("GRD402 GRD403 GRD404 GRD411", "LC07 LC07b LC08", "loss")
def item_of_kept_loss(file: File) -> Iterator[Site]:
    """Drop `.item()` or `.detach()` of a loss that is added to a sum, or appended to a list, in a loop.

    Not where gradients are seen to be off, nor where the sum or list is made anew in that very loop.
    """
    for call, method in file.methods(*DETACHING):
        loops = file.loops(call)
        if "loss" not in last(method.value).lower() or not loops or call.args or file.untracked(call):
            continue
        kept = keeper(file, call)
        if kept is not None and not made_in(file, loops[0], file.of(kept)):
            yield file.site(call, file.without_call(call))


def keeper(file: File, value: ast.AST) -> ast.expr | None:
    """What a value is added or appended to, if it gets there by arithmetic only."""
    for above in file.around(value):
        if isinstance(above, ast.AugAssign) and isinstance(above.op, ast.Add):
            return above.target
        if isinstance(above, ast.Call) and last(above.func) == "append" and isinstance(above.func, ast.Attribute):
            return above.func.value
        if not isinstance(above, (ast.BinOp, ast.UnaryOp, ast.operator)):
            return None
    return None


def made_in(file: File, scope: ast.AST, name: str) -> bool:
    """Whether a name is bound to something new in the body of ``scope``."""
    made = (node for node in file.running(scope) if isinstance(node, ast.Assign))
    return any(file.of(target) == name for node in made for target in node.targets)


@kind("GRD401 GRD409", "LC16", ".detach()", ".backward(")
def detach_of_generated(file: File) -> Iterator[Site]:
    """Drop `.detach()` of generated samples that are given to a discriminator, where something goes backward.

    Not where gradients are seen to be off there, nor where the samples were made with gradients off.
    """
    for call, method in file.methods("detach"):
        given = file.nodes[call]
        if not isinstance(given, ast.Call) or call is given.func or not is_discriminator(given.func):
            continue
        function = file.function(call)
        if file.called(function, "backward") and not file.untracked(call):
            made = bindings(file, function, file.of(method.value))
            if made and not any(file.untracked(each) for each in made):
                yield file.site(call, file.without_call(call))


def is_discriminator(called: ast.AST) -> bool:
    """Whether something is called the way discriminators are."""
    name = last(called).lower()
    return "disc" in name or "critic" in name or name in ("d", "netd", "net_d", "dis", "dnet", "d_net")


def bindings(file: File, function: ast.AST, name: str) -> list[ast.Assign]:
    """Where a name is assigned in a function."""
    found = (node for node in file.running(function) if isinstance(node, ast.Assign))
    return [node for node in found if any(file.of(part) == name for target in node.targets for part in parts(target))]


def parts(target: ast.expr) -> list[ast.expr]:
    """The single targets of an assignment."""
    return target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]


@kind("GRD210", "RG13", ".detach()", ".numpy()")
def detach_before_numpy(file: File) -> Iterator[Site]:
    """Drop `.detach()` in front of `.numpy()`, of what a model returned in the same function.

    Not where gradients are seen to be off, where it is made or where it is read.
    """
    for _, method in file.methods("numpy"):
        inner = method.value
        while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr != "detach":
            inner = inner.func.value
        if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Attribute) or file.untracked(inner):
            continue
        made = [each.value for each in bindings(file, file.function(inner), file.of(inner.func.value))]
        if made and all(
            isinstance(each, ast.Call) and is_model(each.func) and not file.untracked(each) for each in made
        ):
            yield file.site(inner, file.without_call(inner))


@kind("GRD101 GRD401 GRD405 GRD412", "LC10 LC28", "create_graph=True")
def create_graph(file: File) -> Iterator[Site]:
    """Drop `create_graph=True` where a gradient is computed by `autograd.grad`.

    Not of `backward(create_graph=True)`, whose gradients need not be used.
    """
    for call in file.each(ast.Call):
        if last(call.func) == "grad":
            yield from (file.site(call, file.without_keyword(call, each)) for each in true(call, "create_graph"))


def true(call: ast.Call, name: str) -> list[ast.keyword]:
    """The keyword of this name, if its value is written `True`."""
    given = (each for each in call.keywords if each.arg == name)
    return [each for each in given if isinstance(each.value, ast.Constant) and each.value.value is True]


@kind("GRD401 GRD404", "LC04 LC23", "retain_graph=True")
def retain_graph(file: File) -> Iterator[Site]:
    """Drop `retain_graph=True` in front of a second backward pass of the same function.

    Not where no other pass follows in the same list of statements, and so nowhere but in a known order.
    """
    for statement, call, _ in file.statements("backward"):
        suite = file.suite(statement)
        later = suite[suite.index(statement) + 1 :]
        passes = [node for each in later for node in ast.walk(each) if isinstance(node, ast.Call)]
        if any(last(node.func) in DIFFERENTIATES for node in passes):
            yield from (file.site(call, file.without_keyword(call, each)) for each in true(call, "retain_graph"))


@kind("GRD101 GRD219 GRD412", "LC26 LC27b RG24", "requires_grad")
def requires_grad(file: File) -> Iterator[Site]:
    """Drop `requires_grad_()`, or write `x.requires_grad = False` for `True`, of what is differentiated later.

    Not where neither `grad(..., x)` nor `x.grad` is read further down in the same function.
    """
    for call, method in file.methods("requires_grad_"):
        statement = file.statement(call)
        asked = [method.value] if isinstance(statement, ast.Expr) else getattr(statement, "targets", [])
        if not call.args and not call.keywords and any(differentiated(file, call, each) for each in asked):
            yield file.site(call, file.without_call(call))
    for assign in file.each(ast.Assign):
        target = assign.targets[0]
        if not isinstance(target, ast.Attribute) or target.attr != "requires_grad" or file.of(assign.value) != "True":
            continue
        if differentiated(file, assign, target.value):
            yield file.site(assign, file.instead(assign.value, "False"))


def differentiated(file: File, place: ast.AST, tensor: ast.expr) -> bool:
    """Whether the gradient of a tensor is asked for behind a place."""
    name, line = file.of(tensor), file.statement(place).lineno
    for node in file.running(file.function(place)):
        if getattr(node, "lineno", 0) <= line:
            continue
        if isinstance(node, ast.Attribute) and node.attr == "grad" and file.of(node.value) == name:
            return True
        if isinstance(node, ast.Call) and last(node.func) == "grad":
            inputs = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "inputs")]
            if any(file.of(part) == name for each in inputs for part in parts(each)):
                return True
    return False


@kind("GRD302 GRD303 GRD304 GRD306 GRD308", "IP08 IP12 IP28", ".clone()")
def clone_before_edit(file: File) -> Iterator[Site]:
    """Drop `.clone()` of a tensor whose copy is edited in place, and that is read again behind the edit.

    Not where the copy is made anew before it is edited, nor where the tensor is not read any more.
    """
    for call, method in file.methods("clone"):
        assign = file.nodes[call]
        if not isinstance(assign, ast.Assign) or call.args or not isinstance(assign.targets[0], ast.Name):
            continue
        function, copy = file.function(call), assign.targets[0].id
        first = min((edit.lineno for edit in edited(file, function, copy) if edit.lineno > assign.lineno), default=0)
        read = root(method.value)
        if first and read and reads(file, function, read, first) and len(bindings(file, function, copy)) == 1:
            yield file.site(call, file.without_call(call))


def root(node: ast.expr) -> str:
    """The variable that a chain of methods starts with, or nothing."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    return node.id if isinstance(node, ast.Name) else ""


def edited(file: File, scope: ast.AST, name: str) -> Iterator[ast.stmt]:
    """The statements that edit a variable's tensor in place."""
    for node in file.running(scope):
        if isinstance(node, ast.AugAssign) and last(node.target) == name:
            yield node
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Subscript) and last(each) == name for each in targets
        ):
            yield node
        if isinstance(node, ast.Call) and edits(node) and last(receiver(node)) == name:
            yield file.statement(node)


def edits(call: ast.Call) -> bool:
    """Whether a method is called that edits its tensor in place."""
    method = last(call.func)
    return method.endswith("_") and not method.startswith(("_", "requires_grad"))


def receiver(call: ast.Call) -> ast.AST:
    """What a method is called of; the call itself if it is none of a method."""
    return call.func.value if isinstance(call.func, ast.Attribute) else call


def reads(file: File, scope: ast.AST, name: str, behind: int) -> bool:
    """Whether a variable is read behind a line, before it is bound again."""
    uses = (node for node in file.running(scope) if isinstance(node, ast.Name) and node.id == name)
    later = sorted((node.lineno, isinstance(node.ctx, ast.Store)) for node in uses if node.lineno > behind)
    return bool(later) and not later[0][1]


@kind("GRD223", "RG30", "state_dict()")
def copy_of_state_dict(file: File) -> Iterator[Site]:
    """Drop `copy.deepcopy(...)` around `model.state_dict()`, or `.clone()` of its values, where training goes on.

    Not outside of loops in which, or in functions called from there, something could train.
    """
    for call in file.each(ast.Call):
        if not file.loops(call):
            continue
        inner = call.args[0] if call.args else None
        if last(call.func) == "deepcopy" and isinstance(inner, ast.Call) and last(inner.func) == "state_dict":
            yield file.site(call, file.instead(call, file.of(inner)))
        copied = file.nodes[call]
        if last(call.func) != "clone" or not isinstance(copied, ast.DictComp) or copied.value is not call:
            continue
        if "state_dict()" in file.of(copied.generators[0].iter):
            yield file.site(call, file.without_call(call))


@kind("GRD302 GRD304", "IP07b IP24", "=")
def sum_in_place(file: File) -> Iterator[Site]:
    """Write `x += y` for `x = x + y` right behind an operation that saved `x` for its backward.

    Only behind `sigmoid`, `tanh`, `softmax`, `relu`, `exp` and `sqrt`, which need what they returned; not where
    gradients are seen to be off.
    """
    for assign in file.each(ast.Assign):
        value, target = assign.value, assign.targets[0]
        if not isinstance(value, ast.BinOp) or not isinstance(value.op, ast.Add) or not isinstance(target, ast.Name):
            continue
        suite = file.suite(assign)
        before = suite[suite.index(assign) - 1] if suite.index(assign) else None
        if file.of(value.left) != target.id or not isinstance(before, ast.Assign) or file.untracked(assign):
            continue
        made = before.value
        if file.of(before.targets[0]) == target.id and isinstance(made, ast.Call) and last(made.func) in EDITS_OUTPUT:
            yield file.site(assign, file.instead(assign, f"{target.id} += {file.of(value.right)}"))


@kind("GRD410 GRD411 GRD401", "LC17 LC29", ".detach()", ".backward(")
def detach_of_target(file: File) -> Iterator[Site]:
    """Drop `.detach()` of what a variable called a target, an advantage or an old log-probability is assigned.

    Not where gradients are seen to be off, nor in a function where nothing goes backward.
    """
    for call, _ in file.methods("detach"):
        assign = file.nodes[call]
        if not isinstance(assign, ast.Assign) or file.untracked(call):
            continue
        named = any(word in last(assign.targets[0]).lower() for word in ("target", "advantage", "old_log"))
        if named and file.called(file.function(call), "backward"):
            yield file.site(call, file.without_call(call))


@kind("GRD401 GRD404", "LC09", "detach", ".backward(")
def detach_of_hidden_state(file: File) -> Iterator[Site]:
    """Drop `.detach()` of a state that is handed from one iteration of a training loop to the next.

    Only `h = h.detach()`, alone or in a tuple, or `h = repackage(h)` by a function whose name says so, in a loop with a
    backward pass, where `h` also comes from a call that is given it.
    """
    yield from by_helper(file)
    for call, method in file.methods("detach"):
        loops, assign = file.loops(call), file.statement(call)
        if not loops or not isinstance(assign, ast.Assign) or not file.called(loops[0], "backward"):
            continue
        values = parts(assign.value)
        name = file.of(method.value)
        if call in values and name in map(file.of, parts(assign.targets[0])) and recurs(file, loops[0], name):
            held = [each for each in values if isinstance(each, ast.Call) and last(each.func) == "detach"]
            if call is held[0]:
                yield file.site(call, *(file.without_call(each) for each in held))


def by_helper(file: File) -> Iterator[Site]:
    """The states that a function detaches."""
    for call in file.each(ast.Call):
        assign, loops = file.nodes[call], file.loops(call)
        named = any(word in last(call.func).lower() for word in ("detach", "repackage"))
        if not named or not loops or not isinstance(assign, ast.Assign) or len(call.args) != 1 or call.keywords:
            continue
        name = file.of(call.args[0])
        same = [file.of(target) for target in assign.targets] == [name]
        if same and file.called(loops[0], "backward") and recurs(file, loops[0], name):
            yield file.site(call, file.instead(call, name))


def recurs(file: File, loop: ast.AST, name: str) -> bool:
    """Whether a variable is assigned what a call returns that is given the same variable."""
    made = (node for node in file.running(loop) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call))
    named = (node for node in made if any(file.of(part) == name for each in node.targets for part in parts(each)))
    return any(isinstance(node.value, ast.Call) and name in map(file.of, node.value.args) for node in named)
