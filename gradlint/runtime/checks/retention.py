"""What keeps graphs alive: the nodes that hold the others, and the containers that hold the tensors of these."""

from __future__ import annotations

import ast
import gc
import inspect
import linecache
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CellType, FrameType
from typing import Any

from torch import Tensor

from gradlint.runtime.checks.cause import Cause, counted
from gradlint.runtime.checks.graphs import GraphWatch, roots
from gradlint.runtime.frames import USER, Frames, Spot
from gradlint.runtime.place import NOWHERE, Place, place_of
from gradlint.source.positions import Lines

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_STORES = frozenset({"add", "append", "appendleft", "extend", "insert", "put", "setdefault", "update"})


@contextmanager
def quick_collections() -> Iterator[None]:
    """Have ``gc.collect()`` look at objects made in this block only, unless somebody has frozen objects already."""
    frozen_by_us = gc.get_freeze_count() == 0
    if frozen_by_us:
        gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if frozen_by_us:
            gc.unfreeze()


def causes(watch: GraphWatch, frames: Frames, step: Callable[..., Any]) -> tuple[list[Cause], list[str]]:
    """Return where the graphs that pile up were made and kept, and in words what holds them."""
    kept = roots(watch.alive())
    held = [tensor for tensor in _tensors() if watch.node_of(tensor) in kept]
    names = _named(step, frames)
    holders = _holders(held, names)
    by_place: Counter[tuple[str, Spot | None]] = Counter((node.name, node.spot) for node in kept)
    made = [frames.place(spot) for _, spot in by_place]
    storing = list(dict.fromkeys(place for at in (_begin(step), *made) for place in _storing(at, holders)))
    results = [
        (frames.place(spot), f"`{name}` made {counted(count, 'result')} here that {_are(count)} still alive")
        for (name, spot), count in by_place.most_common()
    ]
    found = [Cause(place, "keeps results with the graphs they come from", tuple(results)) for place in storing]
    return found or [Cause(place, text) for place, text in results], [
        f"{counted(count, 'tensor')} held by {holder}" for holder, count in Counter(holders).most_common(3)
    ]


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _tensors() -> list[Tensor]:
    return [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor) and thing.grad_fn is not None]


def _holders(tensors: list[Tensor], names: Mapping[int, str]) -> dict[str, int]:
    """Return what refers to ``tensors``, by its name if it has one in sight or else by its type, and to how many."""
    wanted = {id(tensor) for tensor in tensors}
    found: dict[str, set[int]] = {}
    for container in gc.get_referrers(*tensors) if tensors else ():
        if container is tensors:
            continue
        if isinstance(container, CellType):
            held = [(names.get(id(container), ""), container.cell_contents)]
        elif isinstance(container, dict):
            own = names.get(id(container), "")
            held = [(own or f"`{key}`", value) for key, value in list(container.items())]
        elif isinstance(container, list | tuple | set | deque):
            name = names.get(id(container), f"a {type(container).__name__}")
            held = [(name, value) for value in list(container)]
        else:
            continue
        for name, value in held:
            if name and id(value) in wanted:
                found.setdefault(name, set()).add(id(value))
    return {name: len(identities) for name, identities in found.items()}


def _named(step: Callable[..., Any], frames: Frames) -> dict[int, str]:
    """Return names for the containers that ``step`` and its callers can see, by identity."""
    found: dict[int, str] = {}
    for name, value in _visible(step, frames):
        found.setdefault(id(value), f"`{name}`")
        inner = getattr(value, "__dict__", None)
        if isinstance(inner, dict) and not isinstance(value, type(sys)):
            for attribute, held in list(inner.items()):
                found.setdefault(id(held), f"`{name}.{attribute}`")
    return {identity: name for identity, name in found.items()}


def _visible(step: Callable[..., Any], frames: Frames) -> Iterator[tuple[str, Any]]:
    function: Any = inspect.unwrap(step)
    owner = getattr(function, "__self__", None)
    if owner is not None:
        yield type(owner).__name__, owner
    function = getattr(function, "__func__", function)
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(getattr(getattr(function, "__code__", None), "co_freevars", ()), cells, strict=False):
        yield name, cell
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frames.kind(frame.f_code) == USER:
            yield from list(frame.f_locals.items())
        frame = frame.f_back
    yield from list(getattr(function, "__globals__", {}).items())


def _begin(step: Callable[..., Any]) -> Place:
    code = getattr(inspect.unwrap(step), "__code__", None)
    return place_of(code, 0) if code is not None else NOWHERE


def _storing(at: Place, holders: Iterable[str]) -> Iterator[Place]:
    """Yield the places in the function around ``at`` that put something into one of ``holders``, by their names."""
    wanted = {holder.strip("`").rpartition(".")[2] for holder in holders}
    text = "".join(linecache.getlines(at.path))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    around = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS) and _spans(node, at.line)]
    nodes: Iterable[Any] = ast.walk(around[-1]) if around else ()
    for node in nodes:
        if any(_last_name(target) in wanted for target in _targets(node)):
            span = (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            yield Place(at.path, Lines(text).location(span), at.function)


def _spans(node: Any, line: int) -> bool:
    first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
    return bool(first <= line <= node.end_lineno)


def _targets(node: Any) -> list[ast.expr]:
    """Return what a statement or call puts something into."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _STORES:
        return [node.func.value]
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _last_name(target: ast.expr) -> str:
    while isinstance(target, ast.Subscript):
        target = target.value
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
