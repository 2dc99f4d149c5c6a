"""What a file tells of the code in it that was not analysed: names, functions, classes, and whom they call.

All of it is read off the syntax tree. Code that says nothing of gradients switches no mode, so that of a call is that
of whoever calls the function around it; where the mode is switched all the same, the analysis was given up.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from typing import TypeAlias

import msgspec

from gradlint.domains import grad_mode
from gradlint.domains.values import INSTANCE
from gradlint.ir.events import Span
from gradlint.linking.interface import (
    DECIDING,
    Anything,
    Call,
    Class,
    Function,
    Interface,
    Made,
    Named,
    Parameter,
    Place,
    Thing,
)
from gradlint.lower.python import suites
from gradlint.lower.python.dispatch import span_of
from gradlint.lower.python.names import target_names
from gradlint.project.outside import is_known_outside, named_class
from gradlint.project.scopes import BUILTINS
from gradlint.project.values.uses import RETURNED
from gradlint.source.positions import Lines
from gradlint.torch_model import grad_contexts, roles
from gradlint.torch_model import names as torch_names

_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITION = (*_FUNCTION, ast.ClassDef)
_DEFINITIONS = frozenset(_DEFINITION)
_DOTTED = frozenset((ast.Name, ast.Attribute))
_BINDS_NOTHING = frozenset((ast.Expr, ast.Return, ast.If, ast.Raise, ast.Try, ast.Pass, ast.While, ast.Assert))
_LOOKED_FOR = frozenset((ast.Call, ast.Yield, ast.YieldFrom, ast.comprehension))
_KEYWORDS = {ast.FunctionDef: "def ", ast.AsyncFunctionDef: "async def ", ast.ClassDef: "class "}
_CLASS_METHOD = "builtins.classmethod"
_NO_METHOD = frozenset({"builtins.staticmethod", _CLASS_METHOD})
_UNUSED, _HANDED_ON = frozenset[str](), frozenset({RETURNED})
"""What becomes of the result of a call: nothing, or perhaps that it is returned; nobody goes backward here."""
_NOWHERE = Place(1, 1, 1, 1)
_ANYTHING: tuple[Thing, ...] = (Anything(),)


def sketch(tree: ast.Module, path: str, lines: Lines, solved: Collection[str] = ()) -> Interface:
    """Return what the syntax tree of the file ``path`` tells, whose text is ``lines``.

    ``solved`` are the qualified names of functions that more is known of: of these it tells that they are there.
    """
    return _Sketch(path, lines, solved).of(tree)


def place(lines: Lines, span: Span) -> Place:
    """Return the place of ``span`` as other files are told it."""
    found = lines.location(span)
    return Place(found.line, found.column, found.end_line, found.end_column)


class _Scope(msgspec.Struct):
    """The names that a function, a class or the module binds, and the function whose code it is part of."""

    qualname: str
    around: _Scope | None = None
    is_class: bool = False
    names: dict[str, tuple[Thing, ...]] = msgspec.field(default_factory=dict)
    calls: dict[Call, None] = msgspec.field(default_factory=dict)
    yields: bool = False
    switches: bool = False
    bases: tuple[tuple[Thing, ...], ...] = ()

    def bind(self, name: str, *things: Thing) -> None:
        """The name is bound to something, too."""
        known = self.names.get(name)
        self.names[name] = things if known is None else tuple(dict.fromkeys((*known, *things)))

    def called(self) -> tuple[Call, ...]:
        """The calls; where the code switches the mode somewhere, nothing is known of it at any of them."""
        if not self.switches:
            return tuple(self.calls)
        modes = grad_mode.INHERITED | grad_mode.OFF
        return tuple(msgspec.structs.replace(call, modes=modes) for call in self.calls)

    def inner(self, name: str) -> str:
        """The qualified name of what is called ``name`` in here."""
        return f"{self.qualname}.{name}" if self.qualname else name

    @property
    def function(self) -> _Scope:
        """The scope whose function's code this is: a class block is part of the function around it."""
        scope = self
        while scope.is_class and scope.around is not None:
            scope = scope.around
        return scope


class _Sketch:
    def __init__(self, path: str, lines: Lines, solved: Collection[str]) -> None:
        self._path, self._lines, self._solved = path, lines, solved
        self._stars: set[str] = set()
        self._functions: dict[str, Function] = {}
        self._classes: dict[str, Class] = {}

    def of(self, tree: ast.Module) -> Interface:
        scope = _Scope("")
        self._suite(tree.body, scope)
        plain = Function("", _NOWHERE, ())
        self._functions[""] = msgspec.structs.replace(plain, calls=scope.called())
        names = {name: things for name, things in scope.names.items() if all(isinstance(one, Named) for one in things)}
        return Interface(self._path, names, tuple(sorted(self._stars)), self._functions, self._classes)

    # -- what is bound -------------------------------------------------------------------------------------

    def _suite(self, statements: list[ast.stmt], scope: _Scope) -> None:
        """Take in the code of one scope: first all that it binds, for functions see what is bound behind them."""
        every = list(suites.statements(statements))
        inner = [node for node in every if node.__class__ in _DEFINITIONS]
        solved = scope.function.qualname in self._solved
        for node in every:
            if node.__class__ not in _BINDS_NOTHING:
                self._bind(node, scope)
        if not solved:
            self._read(every, scope)
        for node in inner:
            if isinstance(node, ast.ClassDef):
                self._class(node, scope)
            elif isinstance(node, _FUNCTION):
                self._function(node, scope)

    def _bind(self, node: ast.stmt, scope: _Scope) -> None:
        if isinstance(node, ast.Assign):
            self._bind_assigned(node, scope)
        elif isinstance(node, _DEFINITION):
            scope.bind(node.name, Named(f"{self._path}:{scope.inner(node.name)}"))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                scope.bind(alias.asname or root, _named(alias.name if alias.asname else root))
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    self._stars.add(module)
                else:
                    scope.bind(alias.asname or alias.name, _named(_joined(module, alias.name)))
        else:
            for name in suites.bound_otherwise(node):
                scope.bind(name, *_ANYTHING)

    def _bind_assigned(self, node: ast.Assign, scope: _Scope) -> None:
        if isinstance(node.value, ast.Constant) and node.value.value is None:
            return
        names: set[str] = set()
        for target in node.targets:
            target_names(target, names)
        alone = len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        for name in names:
            scope.bind(name, *(self._assigned(node.value, scope) if alone else _ANYTHING))

    def _assigned(self, value: ast.expr, scope: _Scope) -> tuple[Thing, ...]:
        """What a variable stands for that is given ``value``; that it is an instance is read off the spelling."""
        if isinstance(value, ast.Call):
            called = self._stands_for(value.func, scope)
            names = [thing.name for thing in called if isinstance(thing, Named)]
            if len(names) == len(called) and all(_is_class(name) for name in names):
                return tuple(Made(INSTANCE, 0, name) for name in names)
            return _ANYTHING
        return self._stands_for(value, scope)

    # -- what stands for what ------------------------------------------------------------------------------

    def _stands_for(self, node: ast.expr, scope: _Scope) -> tuple[Thing, ...]:
        """What a name or a dotted name stands for."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            things = self._looked_up(node.id, scope)
        elif not isinstance(node, ast.Call) or not attributes:
            return _ANYTHING
        elif isinstance(node.func, ast.Name) and node.func.id == "super":
            things = self._inherited(scope)
        else:
            things = self._assigned(node, scope)
        for name in reversed(attributes):
            if things is _ANYTHING:
                break
            things = tuple([self._attribute(thing, name) for thing in things])
        return things

    def _looked_up(self, name: str, scope: _Scope) -> tuple[Thing, ...]:
        inner: _Scope | None = scope
        while inner is not None:
            if name in inner.names and (inner is scope or not inner.is_class):
                return inner.names[name]
            inner = inner.around
        if name in BUILTINS:
            return (Named(f"builtins.{name}"),)
        return tuple(Named(_joined(star, name)) for star in sorted(self._stars)) or _ANYTHING

    def _inherited(self, scope: _Scope) -> tuple[Thing, ...]:
        cls = scope.around
        things = tuple(thing for base in cls.bases for thing in base) if cls is not None and cls.is_class else ()
        return tuple(Made(INSTANCE, 0, thing.name) for thing in things if isinstance(thing, Named)) or _ANYTHING

    def _attribute(self, thing: Thing, name: str) -> Thing:
        if isinstance(thing, Made):
            return Named(f"{thing.of}.{name}")
        if isinstance(thing, Named) and (":" not in thing.name or _is_class(thing.name)):
            return _named(f"{thing.name}.{name}")
        return Anything()

    # -- functions and classes -----------------------------------------------------------------------------

    def _class(self, node: ast.ClassDef, around: _Scope) -> None:
        scope = _Scope(around.inner(node.name), around, is_class=True)
        bases = (base.value if isinstance(base, ast.Subscript) else base for base in node.bases)
        scope.bases = tuple(self._stands_for(base, around) for base in bases)
        self._suite(node.body, scope)
        prefix = f"{self._path}:"
        methods = {
            name: thing.name.removeprefix(prefix)
            for name, things in scope.names.items()
            for thing in things
            if isinstance(thing, Named) and thing.name.removeprefix(prefix) in self._functions
        }
        free = scope.names.keys().isdisjoint(DECIDING)
        self._classes[scope.qualname] = Class(
            scope.qualname, self._place(node), scope.bases, methods, parameterless=free
        )

    def _function(self, node: _Function, around: _Scope) -> None:
        scope = _Scope(around.inner(node.name), around)
        if scope.qualname in self._solved and not any(map(_is_definition, suites.statements(node.body))):
            self._functions[scope.qualname] = Function(scope.qualname, _NOWHERE, ())
            return
        marks = tuple(self._marks(node, around))
        parameters = tuple(self._parameters(node.args))
        for parameter in parameters:
            scope.bind(parameter.name, *self._annotated(parameter.annotation, around))
        if around.is_class and parameters and not _NO_METHOD.intersection(marks):
            scope.names[parameters[0].name] = (Made(INSTANCE, 0, f"{self._path}:{around.qualname}"),)
        elif around.is_class and parameters and _CLASS_METHOD in marks:
            scope.names[parameters[0].name] = (Named(f"{self._path}:{around.qualname}"),)
        scope.switches = not grad_contexts().keys().isdisjoint(marks)
        self._suite(node.body, scope)
        self._functions[scope.qualname] = Function(
            scope.qualname,
            self._place(node),
            parameters,
            isinstance(node, ast.AsyncFunctionDef),
            scope.yields,
            abstract=around.is_class and _is_empty(node.body),
            marks=marks,
            calls=scope.called(),
        )

    def _annotated(self, annotation: str, scope: _Scope) -> tuple[Thing, ...]:
        """What a parameter is whose annotation names a class."""
        if not annotation:
            return _ANYTHING
        root, *rest = named_class(annotation).split(".")
        things = self._looked_up(root, scope) if root else _ANYTHING
        for name in rest:
            things = tuple(self._attribute(thing, name) for thing in things)
        if all(isinstance(thing, Named) and _is_class(thing.name) for thing in things):
            return tuple(Made(INSTANCE, 0, thing.name) for thing in things if isinstance(thing, Named))
        return _ANYTHING

    def _marks(self, node: _Function, around: _Scope) -> Iterator[str]:
        for decorator in reversed(node.decorator_list):
            made = decorator.func if isinstance(decorator, ast.Call) else decorator
            for thing in self._stands_for(made, around):
                if isinstance(thing, Named) and ":" not in thing.name:
                    yield thing.name

    def _parameters(self, arguments: ast.arguments) -> Iterator[Parameter]:
        for node in (*arguments.posonlyargs, *arguments.args):
            yield self._parameter(node, "positional")
        if arguments.vararg is not None:
            yield self._parameter(arguments.vararg, "args")
        for node in arguments.kwonlyargs:
            yield self._parameter(node, "keyword")
        if arguments.kwarg is not None:
            yield self._parameter(arguments.kwarg, "kwargs")

    def _parameter(self, node: ast.arg, kind: str) -> Parameter:
        annotation = node.annotation
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return Parameter(node.arg, kind, annotation.value)
        return Parameter(node.arg, kind, self._lines.segment(span_of(annotation)) if annotation is not None else "")

    def _place(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Place:
        column = node.col_offset + len(_KEYWORDS[type(node)])
        return place(self._lines, (node.lineno, column, node.lineno, column + len(node.name.encode())))

    # -- calls ---------------------------------------------------------------------------------------------

    def _read(self, statements: list[ast.stmt], scope: _Scope) -> None:
        """Note the calls in the expressions of one scope, lambdas and comprehensions included."""
        returns = False
        dropped: set[ast.expr] = set()
        for statement in statements:
            if isinstance(statement, ast.Expr):
                dropped.add(_awaited(statement.value))
            elif isinstance(statement, ast.Return):
                returns = returns or statement.value is not None
        for node in suites.expressions(statements, _LOOKED_FOR):
            if isinstance(node, ast.Call):
                self._note(node, scope, _HANDED_ON if returns and node not in dropped else _UNUSED)
            elif isinstance(node, (ast.Yield, ast.YieldFrom)):
                scope.yields = True
            elif isinstance(node, ast.comprehension):
                self._bind_variables(node, scope)

    def _bind_variables(self, node: ast.comprehension, scope: _Scope) -> None:
        names: set[str] = set()
        target_names(node.target, names)
        for name in names:
            scope.names.setdefault(name, _ANYTHING)

    def _note(self, node: ast.Call, scope: _Scope, uses: frozenset[str]) -> None:
        """Note whom a call calls, and the functions that it hands over, which may be called."""
        for thing in self._stands_for(node.func, scope):
            if isinstance(thing, Named):
                self._note_name(thing.name, node, scope, uses)
            elif isinstance(node.func, ast.Attribute) and roles.MAY_INFER.search(node.func.attr):
                self._note_name(f"?.{node.func.attr}", node, scope, uses)
        for each in node.args:
            if each.__class__ in _DOTTED:
                self._note_handed(each, node, scope, uses)
        for keyword in node.keywords:
            if keyword.value.__class__ in _DOTTED:
                self._note_handed(keyword.value, node, scope, uses)

    def _note_handed(self, given: ast.expr, node: ast.Call, scope: _Scope, uses: frozenset[str]) -> None:
        for thing in self._stands_for(given, scope):
            if isinstance(thing, Named) and not _is_class(thing.name):
                self._note_name(thing.name, node, scope, uses)

    def _note_name(self, name: str, node: ast.Call, scope: _Scope, uses: frozenset[str]) -> None:
        if not is_known_outside(name):
            call = Call(name, place(self._lines, span_of(node)), grad_mode.INHERITED, uses)
            scope.function.calls[call] = None
        elif name in grad_contexts():
            scope.function.switches = True


def _is_definition(node: ast.stmt) -> bool:
    return node.__class__ in _DEFINITIONS


def _awaited(value: ast.expr) -> ast.expr:
    return value.value if isinstance(value, ast.Await) else value


def _is_empty(body: list[ast.stmt]) -> bool:
    """Whether a function does nothing, or nothing but raise."""
    return all(
        isinstance(node, (ast.Pass, ast.Raise)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in body
    )


def _named(name: str) -> Named:
    return Named(torch_names.canonical(name))


def _joined(module: str, name: str) -> str:
    return f"{module}{name}" if module.endswith(".") else f"{module}.{name}"


def _is_class(name: str) -> bool:
    """Whether the last part of a name is written like that of a class."""
    return name.rpartition(":")[2].rpartition(".")[2].lstrip("_")[:1].isupper()
