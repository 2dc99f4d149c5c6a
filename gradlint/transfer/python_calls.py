"""Calls of Python's own functions and classes that pass tensors on, hold them, or look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import (
    CONTAINER,
    ITERATOR,
    SCALAR,
    TOP,
    Api,
    Atom,
    Literal,
    Sym,
    Tuple,
    Value,
    union,
)
from gradlint.torch_model import names_module, names_parameter, trainable_modules
from gradlint.transfer import attributes, calls, keys, operators, questions

if TYPE_CHECKING:
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

COLLECT = frozenset(f"builtins.{name}" for name in "list tuple set frozenset sorted reversed iter filter".split()) | {
    "tqdm.tqdm",
    "tqdm.auto.tqdm",
    "tqdm.trange",
    "tqdm.notebook.tqdm",
    "rich.progress.track",
    "itertools.chain",
    "tqdm",
}

WHOLE = frozenset(f"builtins.{name}" for name in "list tuple set frozenset sorted".split())
"""Those that run a generator to its end before they return."""

SCALARS = frozenset(
    f"builtins.{name}"
    for name in """len int float bool str repr complex round range isinstance issubclass hasattr callable id hash type
    print format ord chr bytes any all input open divmod bin hex vars dir globals locals""".split()
)


def builtin(ip: Interpreter, site: Site, name: str) -> Value:
    """Builtin functions that matter to tensors; the others return numbers or something unknown."""
    if name in COLLECT:
        return collect(ip, site, name)
    if name in SCALARS:
        for value in site.values():
            ip.program.escaped(value)
        return ip.make(site.event, SCALAR, tensor.PLAIN if name != "builtins.float" else tensor.CUT, via=name)
    if name in ("builtins.max", "builtins.min", "builtins.abs", "builtins.pow"):
        if all(questions.is_number(value) for value in site.args):
            return ip.make(site.event, SCALAR, tensor.PLAIN)
        return ip.operate(site.event, name, operators.flatten(ip, site.args))
    return calls.unknown(ip, site)


def collect(ip: Interpreter, site: Site, name: str) -> Value:
    """``list(items)``, ``tqdm(items)``: a new collection of the same items."""
    made = ip.make(site.event, CONTAINER if name.startswith("builtins.") else ITERATOR, tensor.PLAIN)
    given = site.args[1:2] if name == "builtins.filter" else site.args[:1]
    held = [attributes.items_of(ip, site.event, value) for value in given]
    if name in WHOLE:
        ip.program.consumed.update(*site.args[:1])
    ip.state.contents[next(iter(made))] = union(held) if held else frozenset()
    if name == "builtins.dict" and not site.args and "**" not in site.keywords:
        keys.displayed(ip, made, [frozenset((ip.world.literal(key),)) for key in site.keywords])
    return made


def enumerated(ip: Interpreter, site: Site, name: str) -> Value:
    """``enumerate(items)``."""
    items = attributes.items_of(ip, site.event, site.args[0]) if site.args else TOP
    made = ip.make(site.event, ITERATOR, tensor.PLAIN)
    count = frozenset((ip.world.obj(site.event, SCALAR),))
    ip.state.contents[next(iter(made))] = frozenset((ip.world.tuple((count, items)),))
    return made


def zipped(ip: Interpreter, site: Site, name: str) -> Value:
    """``zip(a, b)``."""
    items = tuple(attributes.items_of(ip, site.event, value) for value in site.args)
    made = ip.make(site.event, ITERATOR, tensor.PLAIN)
    ip.state.contents[next(iter(made))] = frozenset((ip.world.tuple(items),))
    return made


def summed(ip: Interpreter, site: Site, name: str) -> Value:
    """``sum(items)``: nothing is on the graph if no item is."""
    items = attributes.items_of(ip, site.event, site.args[0]) if site.args else TOP
    ip.program.consumed.update(*site.args[:1])
    return operators.apply(ip, site.event, "add", [items or TOP])


def mapped(ip: Interpreter, site: Site, name: str) -> Value:
    """``map(function, items)``: the function runs when the result is iterated over."""
    made = calls.unknown(ip, site)
    ip.program.mapped.update(dict.fromkeys(made, site.args[0] if site.args else TOP))
    return made


def next_item(ip: Interpreter, site: Site, name: str) -> Value:
    """``next(iterator)``."""
    return attributes.items_of(ip, site.event, site.args[0]) if site.args else TOP


def get_attribute(ip: Interpreter, site: Site, name: str) -> Value:
    """``getattr(obj, "name")``."""
    key = next(iter(site.args[1])) if len(site.args) > 1 and len(site.args[1]) == 1 else None
    if isinstance(key, Literal) and isinstance(key.value, str):
        return attributes.read(ip, site.event, site.args[0], key.value)
    return TOP


def set_attribute(ip: Interpreter, site: Site, name: str) -> Value:
    """``setattr(obj, "name", value)``."""
    key = next(iter(site.args[1])) if len(site.args) == 3 and len(site.args[1]) == 1 else None
    if isinstance(key, Literal) and isinstance(key.value, str):
        attributes.write(ip, site.event, site.event.args[0], key.value, site.event.args[2])
    return ip.world.none


def is_instance(ip: Interpreter, site: Site, name: str) -> Value:
    """``isinstance(thing, nn.Linear)``: an answer that remembers which unknown thing was asked about."""
    answer = builtin(ip, site, name)
    thing, kind = site.args if len(site.args) == 2 else (TOP, TOP)
    (asked,) = thing if len(thing) == 1 else (None,)
    if isinstance(asked, Sym) and all(is_layer_class(atom) for atom in kind):
        ip.program.layers_asked[next(iter(answer))] = asked
    return answer


def is_layer_class(atom: Atom) -> bool:
    """Whether an atom is a class of torch whose instances have a ``weight``, or a tuple of such classes."""
    if isinstance(atom, Tuple):
        return bool(atom.items) and all(is_layer_class(one) for item in atom.items for one in item)
    last = atom.name.rpartition(".")[2] if isinstance(atom, Api) else ""
    return last in trainable_modules() and names_module(atom.label) and names_parameter(last, "weight")


def super_(ip: Interpreter, site: Site, name: str) -> Value:
    """``super()``: the same object, seen as an instance of its base."""
    return ip.program.super_of(ip)


def partial(ip: Interpreter, site: Site, name: str) -> Value:
    """``functools.partial(function, ...)``."""
    made = ip.make(site.event, "functools.partial", tensor.PLAIN)
    ip.state.contents[next(iter(made))] = site.args[0] if site.args else TOP
    return made


def copied_object(ip: Interpreter, site: Site, name: str) -> Value:
    """``copy.copy(obj)``: another object around the same parts."""
    return site.args[0] if site.args else TOP


def cast(ip: Interpreter, site: Site, name: str) -> Value:
    """``typing.cast(type, obj)`` returns the object."""
    return site.argument(1, "val") or TOP


HANDLERS: dict[str, Callable[[Interpreter, Site, str], Value]] = {
    "builtins.enumerate": enumerated,
    "builtins.zip": zipped,
    "builtins.sum": summed,
    "builtins.map": mapped,
    "builtins.next": next_item,
    "builtins.isinstance": is_instance,
    "builtins.getattr": get_attribute,
    "builtins.setattr": set_attribute,
    "builtins.super": super_,
    "copy.copy": copied_object,
    "functools.partial": partial,
    "typing.cast": cast,
}
