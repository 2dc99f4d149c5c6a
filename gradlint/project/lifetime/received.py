"""Where a caller has the part of what a function returned that a backward pass walked: alone, or among other things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.project.values.definitions import Definitions

Part: TypeAlias = "int | str | None"
"""Which part of what a function returns: a place in a tuple, a key of a dict; None for all of it."""
CHECKS = frozenset({"isinstance", "is_tensor", "hasattr", "type", "callable"})
"""Functions that ask what a value is."""
MOVES = frozenset({"to", "cuda", "cpu", "float", "double", "half", "long", "view", "reshape", "unsqueeze", "squeeze"})
"""Methods that change neither the values of a tensor nor where it stands on the graph."""
MOST_STEPS = 8
"""How many steps from a value to what it was made of are looked through."""
ADDS = frozenset({"append", "appendleft", "extend", "insert"})
"""Methods that add something to a list: nothing else has them."""


def received(known: Definitions, call: ir.Call, part: Part) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """The temporaries that get a part of what a call returns, or all of it."""
    if part is None:
        yield call.dst, call
        return
    yield from taken(known, call.dst, part)


def taken(known: Definitions, whole: ir.Ref, part: int | str) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """The temporaries that get a part of a tuple or of a dict."""
    for ref in holding(known, whole):
        for reader in known.readers.get(ref, ()):
            if isinstance(part, int) and isinstance(reader, ir.Unpack) and reader.index == part:
                yield reader.dst, reader
            elif isinstance(reader, ir.Item) and reader.obj == ref:
                key = known.makers.get(reader.key)
                if isinstance(key, ir.Const) and key.value == part and type(key.value) is type(part):
                    yield reader.dst, reader


def holding(known: Definitions, ref: ir.Ref) -> Iterator[ir.Ref]:
    """A temporary, and the reads of variables that surely hold it."""
    yield ref
    for reader in known.readers.get(ref, ()):
        if isinstance(reader, ir.Store):
            yield from (load.dst for load in known.loads.get(reader, ()) if known.only(load) is reader)


def put_away(known: Definitions, whole: ir.Ref) -> Iterator[tuple[ir.Ref, ir.Call]]:
    """The calls that add all of a result to a container: `logs.append(log)`, `logs.append((epoch, log))`."""
    for ref in holding(known, whole):
        built = [one.dst for one in known.readers.get(ref, ()) if isinstance(one, ir.Build) and one.kind != "string"]
        for whole in (ref, *built):
            for reader in known.readers.get(whole, ()):
                method = known.makers.get(reader.func) if isinstance(reader, ir.Call) else None
                if isinstance(reader, ir.Call) and isinstance(method, ir.Attr) and method.name in ADDS:
                    yield ref, reader


def each_item(known: Definitions, whole: ir.Ref) -> Iterator[tuple[ir.Ref, ir.Event]]:
    """What a loop over a dict takes out of it, if it treats all values alike."""
    for held in holding(known, whole):
        for name in ("items", "values"):
            for turn in turns(known, held, name):
                parts = [one for one in known.readers.get(turn.dst, ()) if isinstance(one, ir.Unpack)]
                second = next((one for one in parts if one.index == 1), None)
                value: ir.Unpack | ir.Next | None = second if name == "items" else turn
                refs = [turn.dst, *(one.dst for one in parts)]
                if value is not None and not any(is_asked_about(known, ref) for ref in refs):
                    yield value.dst, value
        for item in known.readers.get(held, ()):
            if isinstance(item, ir.Item) and item.obj == held and is_every_key(known, item.key, whole):
                yield item.dst, item


def is_every_key(known: Definitions, ref: ir.Ref, whole: ir.Ref) -> bool:
    """Whether a key is each one of a dict in turn: `for key in losses: sums[key] += losses[key]`."""
    load = known.makers.get(ref)
    only = known.only(load) if isinstance(load, ir.Load) else None
    turn = known.makers.get(only.src) if only is not None else None
    iterate = known.makers.get(turn.iterator) if isinstance(turn, ir.Next) else None
    if not isinstance(turn, ir.Next) or not isinstance(iterate, ir.Iterate) or iterate.src not in holding(known, whole):
        return False
    return not is_told_apart(known, turn.dst)


def is_told_apart(known: Definitions, key: ir.Ref) -> bool:
    """Whether a key is compared with another one, rather than looked for in a container."""
    readers = (reader for held in holding(known, key) for reader in known.readers.get(held, ()))
    return any(
        isinstance(one, ir.Compare) and not (one.op in ("in", "not in") and one.left in holding(known, key))
        for one in readers
    )


def turns(known: Definitions, ref: ir.Ref, name: str) -> Iterator[ir.Next]:
    """The turns of loops over what a method without arguments returns."""
    for method in known.readers.get(ref, ()):
        if isinstance(method, ir.Attr) and method.name == name:
            for call in known.readers.get(method.dst, ()):
                iterated = known.readers.get(call.dst, ()) if isinstance(call, ir.Call) and not call.args else ()
                for iterate in iterated:
                    if isinstance(iterate, ir.Iterate):
                        yield from (one for one in known.readers.get(iterate.dst, ()) if isinstance(one, ir.Next))


def is_asked_about(known: Definitions, ref: ir.Ref) -> bool:
    """Whether it is asked what a value is, or which key it is."""
    for held in holding(known, ref):
        for reader in known.readers.get(held, ()):
            func = known.makers.get(reader.func) if isinstance(reader, ir.Call) else None
            if isinstance(reader, ir.Compare) or (isinstance(func, (ir.Attr, ir.Load)) and func.name in CHECKS):
                return True
    return False


def root(known: Definitions, ref: ir.Ref) -> ir.Event | None:
    """What made something that was only moved, reshaped or indexed since."""
    for _ in range(MOST_STEPS):
        maker = known.makers.get(ref)
        if isinstance(maker, ir.Load) and (only := known.only(maker)) is not None:
            ref = only.src
        elif isinstance(maker, (ir.Item, ir.Attr)):
            ref = maker.obj
        elif isinstance(maker, ir.Call) and isinstance(method := known.makers.get(maker.func), ir.Attr):
            if method.name not in MOVES:
                return maker
            ref = method.obj
        else:
            return maker
    return None


def built(known: Definitions, ref: ir.Ref | None) -> ir.Event | None:
    """What makes a value, looked for behind the variable that it stands in."""
    maker = known.makers.get(ref) if ref is not None else None
    if isinstance(maker, ir.Load) and (only := known.only(maker)) is not None:
        behind = known.makers.get(only.src)
        return behind if isinstance(behind, ir.Build) and behind.kind == "dict" else maker
    return maker


def parts_of(known: Definitions, maker: ir.Event | None) -> Iterator[tuple[Part, ir.Ref]]:
    """The parts of a tuple or of a dict that is written out, or filled under names."""
    if not isinstance(maker, ir.Build) or maker.starred:
        return
    if maker.kind == "tuple":
        yield from enumerate(maker.items)
    elif maker.kind == "dict":
        filled = ((key, item) for key, item in zip(maker.keys, maker.items, strict=False))
        for key, item in (*filled, *assigned(known, maker.dst)):
            name = known.makers.get(key) if key is not None else None
            if isinstance(name, ir.Const) and isinstance(name.value, str):
                yield name.value, item


def assigned(known: Definitions, whole: ir.Ref) -> Iterator[tuple[ir.Ref, ir.Ref]]:
    """The keys and values that are put into a dict after it was made."""
    for held in holding(known, whole):
        for reader in known.readers.get(held, ()):
            if isinstance(reader, ir.SetItem) and reader.obj == held:
                yield reader.key, reader.src
