"""The intermediate representation as text, for snapshots and for people.

A block is a head line, ``B2 -> B3 B5`` with its pad, loops and regions where it has any, and one line per event:
the line of the source, the temporary it assigns, and the rest.
"""

from __future__ import annotations

from gradlint.ir.cfg import Block, Body, Graph, Parameter
from gradlint.ir.events import Event

_PREFIXES = {"positional": "", "keyword": "", "args": "*", "kwargs": "**"}
_REFS = frozenset({"src", "obj", "key", "left", "right", "target", "value", "func", "iterator", "context", "cond"})


def render(body: Body) -> str:
    """The text of a body and of all bodies in it."""
    text = "\n".join([_header(body), *_graph(body.graph)])
    return "\n".join([text + "\n", *(render(child) for child in body.children)])


def _header(body: Body) -> str:
    words = [body.kind]
    if body.is_async:
        words.insert(0, "async")
    if body.is_generator:
        words.append("generator")
    if body.kind != "module":
        words.append(body.qualname)
    if body.kind in ("function", "lambda", "genexp"):
        words[-1] += f"({_parameters(body.parameters)})"
    if body.returns is not None:
        words.append(f"-> {body.returns}")
    lines = [" ".join(words)]
    for name, value in (
        ("locals", body.locals),
        ("global", body.global_names),
        ("nonlocal", body.nonlocal_names),
    ):
        if value:
            lines.append(f"  {name}: {' '.join(sorted(value))}")
    return "\n".join(lines)


def _parameters(parameters: list[Parameter]) -> str:
    words = []
    starred = False
    for parameter in parameters:
        if parameter.kind == "keyword" and not starred:
            words.append("*")
        starred = starred or parameter.kind in ("keyword", "args")
        annotation = "" if parameter.annotation is None else f": {parameter.annotation}"
        words.append(f"{_PREFIXES[parameter.kind]}{parameter.name}{annotation}")
    return ", ".join(words)


def _graph(graph: Graph) -> list[str]:
    if graph.too_large:
        return ["  too large"]
    lines = []
    for loop in graph.loops.values():
        iterator = "" if loop.iterator is None else f" over r{loop.iterator}"
        lines.append(f"  loop {loop.id}: {loop.kind} at line {loop.span[0]}, head B{loop.head}{iterator}")
    for block in graph.blocks:
        lines.append(_block(block, graph))
        lines += [f"  {event.span[0]:>4}  {_event(event)}" for event in block.events]
    return lines


def _block(block: Block, graph: Graph) -> str:
    words = [f"B{block.index}"]
    if block.index == graph.exit:
        words.append("exit")
    if block.index == graph.raised:
        words.append("raised")
    if block.successors:
        words += ["->", *(f"B{index}" for index in block.successors)]
    if block.pad is not None:
        words.append(f"pad B{block.pad}")
    if block.loops:
        words.append("loops " + ",".join(map(str, block.loops)))
    if block.regions:
        words.append("regions " + ",".join(map(str, block.regions)))
    return " ".join(words)


def _event(event: Event) -> str:
    words = [type(event).__name__]
    dst = ""
    for name in event.__struct_fields__:
        if name == "span":
            continue
        value = getattr(event, name)
        if name == "dst":
            dst = f"r{value} = "
        elif value is None or value == () or value == frozenset() or value is False:
            if name in ("value", "truth"):
                words.append(repr(value))
        elif name in _REFS:
            words.append(_operand(event, name, value))
        else:
            words.append(_plain(name, value))
    return dst + " ".join(words)


def _operand(event: Event, name: str, value: object) -> str:
    return repr(value) if type(event).__name__ == "Const" else _ref(value)


def _plain(name: str, value: object) -> str:
    if isinstance(value, Body):
        return value.qualname
    if name in ("args", "items", "bases", "reads") and isinstance(value, tuple):
        return f"({', '.join(map(_ref, value))})"
    if name == "keys" and isinstance(value, tuple):
        return f"keys ({', '.join(map(_ref, value))})"
    if name in ("keywords", "defaults") and isinstance(value, tuple):
        return " ".join(f"{key or '**'}={_ref(ref)}" for key, ref in value)
    if isinstance(value, frozenset):
        return f"{name} {sorted(value)}"
    if name == "writes" and isinstance(value, tuple):
        return f"writes {' '.join(value)}"
    if name in ("region", "index", "count", "level", "annotation"):
        return f"{name} {value}"
    return name if value is True and name != "truth" else str(value)


def _ref(ref: object) -> str:
    return "**" if ref is None else "r?" if ref == -1 else f"r{ref}"
