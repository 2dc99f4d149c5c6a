"""From text to a syntax tree that is safe to walk.

The parser of CPython does not kill the process, but a tree a thousand levels deep would exhaust the stack of
whatever walks it, and a literal with a million elements its time. Real code is nowhere near these bounds:
the deepest expression in 56 MB of it has 21 levels, the longest literal 3,000 elements.
"""

from __future__ import annotations

import ast
import symtable
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from gradlint.source.reading import NotReadable

MAX_DEPTH = 100
MAX_WIDTH = 20_000

_TOO_DEEP = "not analysed: nested too deeply"
_TOO_WIDE = f"not analysed: more than {MAX_WIDTH:,} elements in one expression"
# What CPython's own limits are called when they are met as syntax errors.
_LIMITS = ("too many nested", "too many levels of indentation", "too many statically nested blocks")
_LEAVES = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.Name, ast.Constant)

_Block: TypeAlias = "ast.stmt | ast.excepthandler | ast.match_case"


def parse(text: str) -> ast.Module:
    """Return the tree of ``text``. Raises `NotReadable` for what is no Python, and for what is too deep or too wide."""
    tree = parse_unbounded(text)
    require_bounds(tree)
    return tree


def parse_unbounded(text: str) -> ast.Module:
    """Return the tree of ``text``, however deep or wide it is. Raises `NotReadable` for what is no Python."""
    with _refusals(text):
        return ast.parse(text)


def require_valid(text: str) -> None:
    """Raise `NotReadable` for what is no Python: all that is asked of text of which nothing is needed.

    A symbol table needs no tree of Python objects, which is a third of the time of `parse`.
    """
    with _refusals(text):
        symtable.symtable(text, "<source>", "exec")


@contextmanager
def _refusals(text: str) -> Iterator[None]:
    """Turn what the parser of CPython raises over ``text`` into `NotReadable`."""
    try:
        with warnings.catch_warnings():
            # Warnings about the code that is linted are not for the standard error of the linter.
            warnings.simplefilter("ignore")
            yield
    except (RecursionError, MemoryError):
        raise NotReadable(_TOO_DEEP, fault=False) from None
    except SyntaxError as error:
        raise _syntax_error(error, text) from None
    except ValueError as error:
        raise NotReadable(f"cannot be parsed: {error}") from None


def _syntax_error(error: SyntaxError, text: str) -> NotReadable:
    # Python points behind the end of the text when something is missing there.
    line = min(max(error.lineno or 1, 1), text.count("\n") + 1)
    column = max(error.offset or 1, 1)
    message = error.msg or "invalid syntax"
    if message.startswith(_LIMITS):
        return NotReadable(_TOO_DEEP, line, column, fault=False)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    problem = f"not valid syntax for Python {version}: {message}"
    return NotReadable(problem, line, column, remedy="correct it; newer syntax needs gradlint under a newer Python")


def require_bounds(tree: ast.Module) -> None:
    """Raise `NotReadable` for a tree that is too deep or too wide to be analysed."""
    # Without recursion: statements one by one, the expressions of all of them level by level.
    blocks: list[ast.Module | _Block] = [tree]
    level: list[ast.AST] = []
    while blocks:
        for child in _children(blocks.pop(), bounded=False):
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
                blocks.append(child)
            else:
                level.append(child)
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [child for node in level for child in _children(node, bounded=True)]
    if level:
        raise NotReadable(_TOO_DEEP, *_start(level[0]), fault=False)


def _children(node: ast.AST, bounded: bool) -> list[ast.AST]:
    """Return the parts of ``node`` that may be out of bounds."""
    found: list[ast.AST] = []
    for value in vars(node).values():
        if isinstance(value, list):
            if bounded and len(value) > MAX_WIDTH:
                raise NotReadable(_TOO_WIDE, *_start(node), fault=False)
            found += [item for item in value if isinstance(item, ast.AST) and not _is_small(item)]
        elif isinstance(value, ast.AST) and not _is_small(value):
            found.append(value)
    return found


def _is_small(node: ast.AST) -> bool:
    """Whether a part is certainly within the bounds: each level of depth takes a character of its own at least."""
    if isinstance(node, _LEAVES):
        return True
    if not isinstance(node, ast.expr):
        return False
    return node.lineno == node.end_lineno and (node.end_col_offset or 0) - node.col_offset < MAX_DEPTH


def _start(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
