"""The bodies of a module: built at once as skeletons, their graphs only when somebody asks."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from gradlint.ir.cfg import Body, Graph, Parameter
from gradlint.ir.events import Return, Span
from gradlint.lower.python.comprehensions import FIRST_ITERABLE, generate
from gradlint.lower.python.dispatch import span_of, suite
from gradlint.lower.python.expressions import value_of
from gradlint.lower.python.graph import GraphBuilder, TooLarge
from gradlint.lower.python.names import Bindings, Definition, bindings, target_names, walrus_names
from gradlint.torch_model.words import Places

_NEWLINE = re.compile(r"\r\n|\r|\n")
_KEYWORD = re.compile(r"(?:async[ \t]+)?(?:def|class)[ \t]+")
_FUNCTION = re.compile(r"\s+(?:async[ \t]+)?def[ \t]+(\w+)")
_PROMPT = ">>>"  # of an example in a docstring, which is no code
_LOOKED_INTO = (re.compile(r":="), re.compile(r"yield\b"))
"""Where an expression may bind a name, or make a generator of the function around it."""
_NO_RENAMES: dict[str, str] = {}


class Source:
    """The text of a module and the bodies found in it."""

    def __init__(self, text: str, places: Places, outline: str) -> None:
        self.text, self.outline = text, outline
        self.line_starts = [0, *(match.end() for match in _NEWLINE.finditer(text))]
        self.is_ascii = text.isascii()
        self.bodies: dict[ast.AST, Body] = {}
        self.places = places
        self.looked_into = sorted(match.start() for word in _LOOKED_INTO for match in word.finditer(text))

    # -- text ----------------------------------------------------------------------------------------------

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _outline_lines(self) -> list[str]:
        return self.outline.split("\n")

    def offset(self, line: int, column: int) -> int:
        """The position in the text of a line and a byte column of `ast`."""
        start = self.line_starts[line - 1]
        if self.is_ascii:
            return start + column
        head = self.text[start : start + column]
        return start + (column if head.isascii() else len(head.encode()[:column].decode(errors="ignore")))

    def segment(self, node: ast.expr) -> str:
        """The source of an expression."""
        line, column, end_line, end_column = span_of(node)
        return self.text[self.offset(line, column) : self.offset(end_line, end_column)]

    def annotation(self, node: ast.expr | None) -> str | None:
        """The source of an annotation; of one in quotes, what is inside."""
        if node is None:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.segment(node)

    def calls(self, name: str) -> Iterator[tuple[int, int, bool]]:
        """The lines and columns that call something called ``name``, each with whether it is part of the outline."""
        for match in re.finditer(rf"(?<!def )(?<!class )\b{re.escape(name)}[ \t]*\(", self.text):
            line = bisect_right(self.line_starts, match.start())
            before = self.text[self.line_starts[line - 1] : match.start()]
            if not before.lstrip().startswith(_PROMPT):
                yield line, len(before.encode(errors="ignore")), name in self._outline_lines[line - 1]

    # -- bodies --------------------------------------------------------------------------------------------

    def module_body(self, tree: ast.Module) -> Body:
        """The body of the whole module, with its children."""
        span = (1, 0, len(self.line_starts), 0)
        body = Body("module", "", "", span, (1, 0, 1, 0), partial(self._build_suite, tree.body))
        body.calls = self.calls
        self._fill(body, tree.body, 0, len(self.text))
        return body

    def _definition_body(self, node: Definition, parent: Body) -> Body:
        is_class = isinstance(node, ast.ClassDef)
        span = span_of(node)
        body = Body(
            "class" if is_class else "function",
            node.name,
            f"{parent.qualname}.{node.name}" if parent.qualname else node.name,
            span,
            self._name_span(span, node.name),
            partial(self._build_suite, node.body),
            parent,
        )
        self.bodies[node] = body
        if isinstance(node, ast.ClassDef):
            body.left_out = self._left_out(span)
        else:
            body.parameters = self._parameters(node.args)
            body.returns = self.annotation(node.returns)
            body.is_async = isinstance(node, ast.AsyncFunctionDef)
        end = self.line_starts[span[2]] if span[2] < len(self.line_starts) else len(self.text)
        self._fill(body, node.body, self.line_starts[_first_line(node) - 1], end)
        return body

    def _left_out(self, span: Span) -> frozenset[str]:
        """The functions in a class that the outline is without."""
        if self.outline is self.text:
            return frozenset()
        first, last = span[0] - 1, span[2]
        lines = zip(self._lines[first:last], self._outline_lines[first:last], strict=True)
        heads = (_FUNCTION.match(line) for line, kept in lines if line != kept)
        return frozenset(head[1] for head in heads if head is not None)

    def lambda_body(self, node: ast.Lambda, parent: Body, renames: dict[str, str]) -> Body:
        """The body of a lambda, a new child of ``parent`` the first time."""
        known = self.bodies.get(node)
        if known is not None:
            return known
        parameters = self._parameters(node.args)
        names = {parameter.name for parameter in parameters}
        found = bindings([ast.Expr(node.body)], True)
        renames = {name: unique for name, unique in renames.items() if name not in names}
        build = partial(self._build_lambda, node.body, renames)
        body = self._expression_body("lambda", "<lambda>", node, parent, build)
        body.parameters = parameters
        body.is_generator = found.yields
        body.locals = frozenset(names | found.bound)
        return body

    def generator_body(self, node: ast.GeneratorExp, parent: Body, renames: dict[str, str]) -> Body:
        """The body of a generator expression, a new child of ``parent`` the first time."""
        known = self.bodies.get(node)
        if known is not None:
            return known
        names = {FIRST_ITERABLE}
        for generator in node.generators:
            target_names(generator.target, names)
        renames = {name: unique for name, unique in renames.items() if name not in names}
        build = partial(self._build_generator, node, renames)
        body = self._expression_body("genexp", "<genexpr>", node, parent, build)
        body.parameters = [Parameter(FIRST_ITERABLE, "positional", None, span_of(node.generators[0].iter))]
        body.is_generator = True
        body.is_async = any(generator.is_async for generator in node.generators)
        body.locals = frozenset(names)
        outside = frozenset(walrus_names([node]))
        if parent.kind == "module":
            body.global_names = outside
        else:
            body.global_names = outside & parent.global_names
            body.nonlocal_names = outside - parent.global_names
        return body

    def _expression_body(
        self, kind: str, name: str, node: ast.Lambda | ast.GeneratorExp, parent: Body, build: partial[Graph]
    ) -> Body:
        span = span_of(node)
        qualname = f"{parent.qualname}.{name}" if parent.qualname else name
        body = Body(kind, name, qualname, span, span, build, parent)
        body.relevant = bool(self.places.within(self.offset(*span[:2]), self.offset(*span[2:])))
        self.bodies[node] = body
        parent.children.append(body)
        return body

    def _fill(self, body: Body, statements: list[ast.stmt], start: int, end: int) -> None:
        """Fills in what the statements of a body say, which lie between ``start`` and ``end`` in the text."""
        looked_into = bisect_left(self.looked_into, start) < bisect_left(self.looked_into, end)
        found = bindings(statements, looked_into)
        body.is_generator = found.yields
        body.global_names = frozenset(found.global_names)
        body.nonlocal_names = frozenset(found.nonlocal_names)
        names = found.bound - found.global_names - found.nonlocal_names
        names.update(parameter.name for parameter in body.parameters)
        body.locals = frozenset(names)
        body.relevant = self._is_relevant(found, start, end)
        for definition in found.definitions:
            body.children.append(self._definition_body(definition, body))

    def _is_relevant(self, found: Bindings, start: int, end: int) -> bool:
        """Whether the text of a body speaks of gradients. The text of a definition in it belongs to that one."""
        for definition in found.definitions:
            if self.places.within(start, self.line_starts[definition.lineno - 1]):
                return True
            last = definition.end_lineno or definition.lineno
            start = self.line_starts[last] if last < len(self.line_starts) else len(self.text)
        return bool(self.places.within(start, end))

    def _name_span(self, span: Span, name: str) -> Span:
        line, column = span[0], span[1]
        keyword = _KEYWORD.match(self.text, self.offset(line, column))
        width = 0 if keyword is None else keyword.end() - keyword.start()
        return (line, column + width, line, column + width + len(name.encode()))

    def _parameters(self, arguments: ast.arguments) -> list[Parameter]:
        parameters = [self._parameter(node, "positional") for node in arguments.posonlyargs]
        parameters += [self._parameter(node, "positional") for node in arguments.args]
        if arguments.vararg is not None:
            parameters.append(self._parameter(arguments.vararg, "args"))
        parameters += [self._parameter(node, "keyword") for node in arguments.kwonlyargs]
        if arguments.kwarg is not None:
            parameters.append(self._parameter(arguments.kwarg, "kwargs"))
        return parameters

    def _parameter(self, node: ast.arg, kind: str) -> Parameter:
        return Parameter(node.arg, kind, self.annotation(node.annotation), span_of(node))

    # -- graphs --------------------------------------------------------------------------------------------

    def _build_suite(self, statements: list[ast.stmt], body: Body) -> Graph:
        return self._build(body, _NO_RENAMES, suite, statements)

    def _build_lambda(self, value: ast.expr, renames: dict[str, str], body: Body) -> Graph:
        return self._build(body, renames, _return_value, value)

    def _build_generator(self, node: ast.GeneratorExp, renames: dict[str, str], body: Body) -> Graph:
        return self._build(body, renames, generate, node)

    def _build(self, body: Body, renames: dict[str, str], lower: Any, node: Any) -> Graph:
        builder = GraphBuilder(self, body, renames)
        try:
            lower(builder, node)
            graph = builder.finish()
        except TooLarge:
            return Graph(too_large=True)
        if builder.comprehension_names:
            body.locals |= builder.comprehension_names
        return graph


def _first_line(node: Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _return_value(builder: GraphBuilder, node: ast.expr) -> None:
    src = value_of(builder, node)
    builder.events.append(Return(span_of(node), src))
    builder.goto(builder.ways_out)
