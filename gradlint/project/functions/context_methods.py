"""The methods of one custom autograd function as their events tell them: what stands on ``ctx``, what is returned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Atom, Cls, Fn, Literal, Obj, Sym, Tuple, Value
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.modes.decorations import known_run
from gradlint.project.values.definitions import ENTERED, Definitions
from gradlint.torch_model import factories, roles
from gradlint.torch_model.attributes import tensor_methods
from gradlint.transfer.integers import DTYPES
from gradlint.transfer.methods import SHARED

if TYPE_CHECKING:
    from gradlint.ir.cfg import Parameter
    from gradlint.project.program import Program

NO_CONTEXT = frozenset({"builtins.staticmethod", "builtins.classmethod"})
PLAIN_FACTORIES = ("torch.Size", "torch.device", "torch.tensor", "torch.cuda", "torch.distributed", "torch.is_")
SIZED = frozenset(name for name in factories() if not name.endswith("_like"))
"""Factories, whose first argument is a size."""
OTHER_TENSOR = re.compile(r"(?!(?:Float|Double|Half|BFloat16)Tensor)\b\w+Tensor\b")
"""An annotation with a tensor of integers, or with a class of another library whose name ends so."""
ASKED = SHARED | frozenset("shape dtype device ndim data".split())


class Method:
    """One of ``forward``, ``backward``, ``setup_context``.

    ``ctx`` is the name of its context parameter, empty if it has none; ``inputs`` are the parameters behind.
    """

    def __init__(self, program: Program, fn: Fn, definitions: Definitions, *, takes_context: bool = True) -> None:
        self.fn, self.body, self.definitions = fn, fn.body, definitions
        run = known_run(program, fn.body)
        self.temps: list[Value] = run.temps if run is not None else []
        self.labels: list[str] = run.labels if run is not None else []
        self.run = run
        parameters = fn.body.parameters[1:] if "builtins.classmethod" in fn.marks else list(fn.body.parameters)
        self.ctx = parameters[0].name if takes_context and parameters else ""
        self.inputs: list[Parameter] = parameters[1:] if takes_context else parameters
        self.defaults = program.defaults.get(fn.body, {})

    # -- values --------------------------------------------------------------------------------------------

    def value(self, ref: ir.Ref | None) -> Value:
        """What a temporary may be."""
        return self.temps[ref] if ref is not None and 0 <= ref < len(self.temps) else frozenset()

    def label(self, ref: ir.Ref) -> str:
        """How the source calls a temporary."""
        return self.labels[ref] if 0 <= ref < len(self.labels) else ""

    def maker(self, ref: ir.Ref) -> ir.Event | None:
        """The event that makes a temporary."""
        return self.definitions.makers.get(ref)

    def parts(self, ref: ir.Ref) -> list[ir.Ref]:
        """The items of a tuple, list or dict that is written out, and of those inside; else the temporary itself.

        Of ``ctx.x, ctx.y = x, y`` each part is the item in its place.
        """
        event = self.maker(ref)
        if isinstance(event, ir.Unpack) and event.index is not None:
            whole = self.maker(event.src)
            if isinstance(whole, ir.Build) and not whole.starred and len(whole.items) == event.count:
                return self.parts(whole.items[event.index])
        if isinstance(event, ir.Build) and event.kind in ("tuple", "list", "dict", "set"):
            return [part for item in event.items for part in self.parts(item)]
        return [ref]

    def events(self) -> Iterator[ir.Event]:
        """All events."""
        yield from self.definitions.blocks

    # -- the context ---------------------------------------------------------------------------------------

    def is_context(self, ref: ir.Ref) -> bool:
        """Whether a temporary is the context."""
        event = self.maker(ref)
        return isinstance(event, ir.Load) and event.name == self.ctx

    def written(self) -> list[ir.SetAttr]:
        """The assignments to attributes of the context."""
        return [event for event in self.events() if isinstance(event, ir.SetAttr) and self.is_context(event.obj)]

    def read(self) -> list[ir.Attr]:
        """The reads of attributes of the context."""
        return [event for event in self.definitions.attributes if self.is_context(event.obj)]

    def calls(self, name: str) -> list[ir.Call]:
        """The calls of a method of the context."""
        functions = {event.dst for event in self.read() if event.name == name}
        return [event for event in self.events() if isinstance(event, ir.Call) and event.func in functions]

    def hands_context_on(self) -> bool:
        """Whether other code gets the context, and may set or read anything."""
        loads = [event for event in self.events() if isinstance(event, ir.Load) and event.name == self.ctx]
        readers = [reader for load in loads for reader in self.definitions.readers.get(load.dst, ())]
        return any(not isinstance(reader, (ir.Attr, ir.SetAttr, ir.Delete, ir.Discard)) for reader in readers) or any(
            event.name == "__dict__" for event in self.read()
        )

    # -- tensors -------------------------------------------------------------------------------------------

    def returned(self) -> list[ir.Return]:
        """The ``return`` statements."""
        return [event for event in self.events() if isinstance(event, ir.Return)]

    def outputs(self) -> frozenset[Atom]:
        """What ``forward`` returns, item by item."""
        found: set[Atom] = set()
        for event in self.returned():
            for part in self.parts(event.src) if event.src is not None else ():
                found |= plain_atoms(self.value(part))
        return frozenset(found)

    def parameter_of(self, ref: ir.Ref) -> str | None:
        """The input that a temporary is, as it was handed in."""
        event = self.maker(ref)
        if not isinstance(event, ir.Load) or self.definitions.seen.get(event) != ENTERED:
            return None
        return event.name if any(parameter.name == event.name for parameter in self.inputs) else None

    def used_as_tensor(self, name: str) -> bool:
        """Whether a variable is a tensor of floats, as far as an annotation or what is done with it tells."""
        if self.is_of_integers(name):
            return False
        for parameter in self.body.parameters:
            if parameter.name == name and parameter.annotation:
                annotation = parameter.annotation.strip()
                return roles.ONE_TENSOR.fullmatch(annotation) is not None and OTHER_TENSOR.search(annotation) is None
        loads = (event for event in self.events() if isinstance(event, ir.Load) and event.name == name)
        return any(
            self.as_tensor(load.dst, reader) for load in loads for reader in self.definitions.readers.get(load.dst, ())
        )

    def is_of_integers(self, name: str) -> bool:
        """Whether the dtype of a variable is compared with that of integers: ``assert x.dtype == torch.int``."""
        for event in self.definitions.events(ir.Compare):
            asked = self.maker(event.left)
            whole = self.maker(asked.obj) if isinstance(asked, ir.Attr) and asked.name == "dtype" else None
            if event.op == "==" and isinstance(whole, ir.Load) and whole.name == name:
                return any(isinstance(atom, Api) and atom.name in DTYPES for atom in self.value(event.right))
        return False

    def as_tensor(self, ref: ir.Ref, reader: ir.Event) -> bool:
        """Whether one use of a temporary is one that only a tensor has."""
        if isinstance(reader, ir.Attr):
            return reader.name in tensor_methods() and reader.name not in ASKED
        if not isinstance(reader, ir.Call) or ref not in reader.args[:1]:
            return False
        return any(
            isinstance(atom, Api)
            and atom.name.startswith("torch.")
            and not atom.name.startswith(PLAIN_FACTORIES)
            and atom.name not in SIZED
            and atom.name.rpartition(".")[2][:1].islower()
            for atom in self.value(reader.func)
        )


def plain_atoms(value: Value) -> frozenset[Atom]:
    """The objects among the atoms of a value, and of tuples in it."""
    found: set[Atom] = set()
    for atom in value:
        if isinstance(atom, Tuple):
            found = found.union(*(plain_atoms(item) for item in atom.items)) if atom.items else found
        elif isinstance(atom, (Obj, Sym)):
            found.add(atom)
    return frozenset(found)


def is_none(value: Value) -> bool:
    """Whether a value is None for certain."""
    return bool(value) and all(isinstance(atom, Literal) and atom.value is None for atom in value)


def methods_of(program: Program, cls: Cls, name: str, definitions: Definitions | None = None) -> Fn | None:
    """The method ``name`` of a custom function, if its code is in this file."""
    fn = classes.own_function(program, cls, name)
    return fn if fn is not None and not program.stubs.is_stub(fn.body) else None


def static(fn: Fn) -> bool:
    """Whether a method is called on the class."""
    return bool(NO_CONTEXT & set(fn.marks))


def saves(methods: list[Method]) -> bool:
    """Whether anything is given to ``save_for_backward``."""
    return any(method.calls("save_for_backward") for method in methods)
