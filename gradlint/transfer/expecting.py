"""Code that asks for an exception: what stands in it is meant to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import Fn, Obj, Value
from gradlint.facts.expectations import Expectation
from gradlint.torch_model import expecting_contexts, expecting_methods

if TYPE_CHECKING:
    from gradlint.ir import events as ir
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter


def ask(ip: Interpreter, site: Site, name: str) -> Value | None:
    """``pytest.raises(RuntimeError)``; None for ``self.assertRaises(RuntimeError, f, x)``, which calls what it is given
    at once.
    """
    before = 2 if "regex" in name.lower() else 1
    if len(site.args) <= before:
        return ip.make(site.event, name, tensor.PLAIN)
    run = frozenset(atom.body for atom in site.args[before] if isinstance(atom, Fn))
    ip.recorder.note(Expectation(site.event.span, *ip.where(), None, run))
    return None


def ask_by_name(ip: Interpreter, site: Site) -> Value | None:
    """A method of something unknown that is called what those of test cases are; None if it is another."""
    name = ip.labels[site.event.func].rpartition(".")[2] if site.event.func >= 0 else ""
    return ask(ip, site, name) if name in expecting_methods() else None


def enter(ip: Interpreter, e: ir.Enter, context: Value) -> None:
    """A ``with`` is entered."""
    if any(map(asks, context)):
        ip.recorder.note(Expectation(e.span, *ip.where(), e.region))


def asks(context: object) -> bool:
    """Whether this is what the calls above make, to be entered."""
    return isinstance(context, Obj) and (context.type in expecting_contexts() or context.type in expecting_methods())
