"""What mutations are made of: a file whose tree knows what stands around each node, and a register of kinds."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from gradlint.finding import Edit
from gradlint.fix.applying import apply
from gradlint.fix.source import FUNCTION, Source, span_of, suites, within

LOOP = (ast.For, ast.AsyncFor, ast.While)
OFF = frozenset({"no_grad", "inference_mode"})
MODELS = frozenset(
    "model net network module encoder decoder generator discriminator critic actor policy teacher student backbone "
    "classifier unet vae netg netd gen dis disc ema".split()
)
_Node = TypeVar("_Node", bound=ast.AST)


@dataclass(frozen=True)
class Site:
    """A place that can be broken: its line, and the edits that break it, which keep every line where it is."""

    line: int
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class Kind:
    """A way to break right code.

    ``does`` says how, and where it is not done; ``codes`` are the findings that count, ``rows`` those of the facts
    that say why it is a mistake. Only a text with all of ``words`` is searched for ``sites``.
    """

    name: str
    does: str
    codes: frozenset[str]
    rows: tuple[str, ...]
    words: tuple[str, ...]
    sites: Callable[[File], Iterator[Site]]


KINDS: dict[str, Kind] = {}


def kind(codes: str, rows: str, *words: str) -> Callable[[Callable[[File], Iterator[Site]]], object]:
    """Register a function that yields the sites of a file as a kind with its name and its docstring."""

    def register(sites: Callable[[File], Iterator[Site]]) -> Callable[[File], Iterator[Site]]:
        name = sites.__name__.replace("_", "-")
        does = " ".join((sites.__doc__ or "").split())
        KINDS[name] = Kind(name, does, frozenset(codes.split()), tuple(rows.split()), words, sites)
        return sites

    return register


class File(Source):
    """The text of a file to break. Raises `gradlint.fix.source.NoFix` when it is asked for the tree of no Python."""

    # -- what stands where ---------------------------------------------------------------------------------

    @cached_property
    def nodes(self) -> Mapping[ast.AST, ast.AST]:
        """Every node but the module, and the node it stands in."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def each(self, kind: type[_Node]) -> Iterator[_Node]:
        """All nodes of a type."""
        return (node for node in self.nodes if isinstance(node, kind))

    def methods(self, *names: str) -> Iterator[tuple[ast.Call, ast.Attribute]]:
        """All calls of methods with one of these names."""
        for call in self.each(ast.Call):
            if isinstance(call.func, ast.Attribute) and call.func.attr in names:
                yield call, call.func

    def statements(self, *names: str) -> Iterator[tuple[ast.Expr, ast.Call, ast.Attribute]]:
        """All calls of methods with one of these names that are statements."""
        for call, method in self.methods(*names):
            statement = self.nodes[call]
            if isinstance(statement, ast.Expr):
                yield statement, call, method

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """What ``node`` stands in, from the inside out."""
        while node in self.nodes:
            node = self.nodes[node]
            yield node

    def function(self, node: ast.AST) -> ast.AST:
        """The innermost function around ``node``, or the module."""
        return next(each for each in self.around(node) if isinstance(each, (*FUNCTION, ast.Lambda, ast.Module)))

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that ``node`` is or stands in."""
        return next(each for each in (node, *self.around(node)) if isinstance(each, ast.stmt))

    def loops(self, node: ast.AST) -> list[ast.AST]:
        """The loops around ``node`` in its function, the innermost first."""
        function = self.function(node)
        return [each for each in self.around(node) if isinstance(each, LOOP) and self.function(each) is function]

    def suite(self, statement: ast.stmt) -> Sequence[ast.stmt]:
        """The statements among which this one stands."""
        return next((suite for suite in suites(self.nodes[statement]) if statement in suite), [statement])

    def untracked(self, node: ast.AST) -> bool:
        """Whether gradients are seen to be off at ``node``: by a block around it, or a decorator of its functions."""
        return any(off(item) for each in self.around(node) for item in entered(each))

    def running(self, scope: ast.AST) -> Iterator[ast.AST]:
        """What runs when the body of ``scope`` does."""
        for suite in suites(scope):
            for statement in suite:
                yield from within(statement)

    def called(self, scope: ast.AST, *names: str) -> list[ast.Call]:
        """The calls in the body of ``scope`` of something with one of these names."""
        found = (node for node in self.running(scope) if isinstance(node, ast.Call))
        return [call for call in found if last(call.func) in names]

    # -- edits ---------------------------------------------------------------------------------------------

    def without_call(self, call: ast.Call) -> Edit:
        """Take out a method call at the end of a chain: ``x.detach()`` becomes ``x``."""
        assert isinstance(call.func, ast.Attribute)
        _, _, line, column = span_of(call.func)
        _, _, *end = span_of(call)
        return self.replace((line, column - len(call.func.attr) - 1, end[0], end[1]), "")

    def without(self, statement: ast.stmt) -> Edit:
        """Take out a statement."""
        return self.instead(statement, "pass")

    def without_keyword(self, call: ast.Call, keyword: ast.keyword) -> Edit:
        """Take out a keyword argument with the comma in front of it."""
        _, _, *end = span_of(keyword.value)
        given = [*call.args, *(each.value for each in call.keywords if each is not keyword)]
        ahead = [span_of(each)[2:] for each in given if span_of(each)[2:] < (keyword.lineno, keyword.col_offset)]
        line, column = max(ahead, default=span_of(call.func)[2:])
        between = self.cut((line, column, keyword.lineno, keyword.col_offset))
        comma = between.rfind(",")
        if comma < 0:
            return self.instead(keyword.value, "False")
        before = between[:comma].encode().split(b"\n")
        start = (line + len(before) - 1, len(before[-1]) + (column if len(before) == 1 else 0))
        return self.replace((*start, end[0], end[1]), "\n" * (end[0] - start[0]))

    def instead(self, node: ast.AST, text: str) -> Edit:
        """Write something else."""
        return self.replace(span_of(node), text)

    def site(self, node: ast.AST, *edits: Edit) -> Site:
        """The site of what is done to ``node``."""
        return Site(span_of(node)[0], edits)

    def broken(self, site: Site) -> str:
        """The text after the edits. Raises `gradlint.fix.applying.FixError` when that is no Python."""
        return apply(self.text, site.edits)


def last(node: ast.AST) -> str:
    """The last name of what is named: ``step`` of ``self.opt.step``, ``h`` of ``h[0]``, nothing of what has no name."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_model(called: ast.AST) -> bool:
    """Whether something is called the way modules are, or is ``self``."""
    name = last(called).lower()
    return (
        name == "self" or bool(MODELS & set(name.split("_"))) or name.rstrip("0123456789_").endswith(("net", "model"))
    )


def entered(node: ast.AST) -> Iterator[ast.AST]:
    """The decorators of a function, or what a ``with`` enters."""
    if isinstance(node, FUNCTION):
        yield from node.decorator_list
    if isinstance(node, (ast.With, ast.AsyncWith)):
        yield from (item.context_expr for item in node.items)


def off(node: ast.AST) -> bool:
    """Whether something entered, or a decorator, is one that turns gradients off."""
    return last(node.func if isinstance(node, ast.Call) else node) in OFF
