"""Plain tensors that a module draws at random as weights are, and never declares to be parameters (facts: RG35)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode
from gradlint.domains.values import TENSOR, Api, Obj
from gradlint.facts.leaves import Hidden
from gradlint.ir import events as ir
from gradlint.project.entries import first_entry
from gradlint.project.forwards.frozen import FROZEN_NAME
from gradlint.project.values.reading import Reading
from gradlint.project.values.uses import owner_of
from gradlint.torch_model import roles
from gradlint.transfer.questions import is_none

if TYPE_CHECKING:
    from gradlint.domains.values import Cls
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.uses import Tracer

DRAWS = re.compile(
    r"^torch\.nn\.init\.(?:uniform|normal)_$|\.(?:(?:kaiming|xavier|trunc)_(?:uniform|normal)|orthogonal)_$"
)
"""What fills a weight at random, by torch or by a framework's own function: nobody does this to a mask or a state."""
COMPUTES = re.compile(r"^torch\.(?:nn\.(?:init|functional)\.|[a-z_]+$)")
"""Functions of torch that compute with a tensor, or fill it."""
LOOKS = frozenset("size shape dim ndim device dtype numel data".split())
"""What is read of a tensor beside its values."""


class Drawn(Reading):
    """Looks through one method of the module class ``cls``."""

    def __init__(self, program: Program, tracer: Tracer, run: Run, cls: Cls) -> None:
        super().__init__(program, tracer, run)
        self.cls = cls

    def found(self) -> Iterator[Hidden]:
        """The stores of such tensors."""
        for store in self.events(ir.SetAttr):
            if owner_of(self.tracer, self.body, store.obj) is None or not self._is_plain(store.src):
                continue
            drawn = None if FROZEN_NAME.search(store.name) else self._drawn(store.name)
            if drawn is not None and self._is_only(store) and self._is_trained(store.name):
                because = ((drawn, "filled at random, as a weight is"),)
                yield Hidden(store.span, "drawn", f"self.{store.name}", self.label(store.src), because)

    def _is_plain(self, ref: ir.Ref) -> bool:
        """Whether a value is a tensor that is made right here, and never requires grad."""
        value = self.value(ref)
        made = all(isinstance(a, Obj) and a.type == TENSOR and a.event is self.maker(ref) for a in value)
        return bool(value) and made and not any(self._may_require_grad(one) for one in value)

    def _is_only(self, store: ir.SetAttr) -> bool:
        """Whether all else that the class or its kin assigns to the attribute is None, or made here and as plain."""
        for body in (inner for method in self.tracer.methods(self.cls.body) for inner in method.inside()):
            known = self.tracer.definitions(body)
            others = (one for one in known.events(ir.SetAttr) if one.name == store.name and one is not store)
            if not all(is_none(self.tracer.value(body, one.src)) or self._is_as_plain(body, one) for one in others):
                return False
        return True

    def _is_as_plain(self, body: Body, store: ir.SetAttr) -> bool:
        return body is self.body and self._is_plain(store.src)

    def _drawn(self, name: str) -> ir.Span | None:
        """Where the class fills an attribute at random."""
        for body, read in self._reads(name):
            readers = self.tracer.definitions(body).readers
            data = [one.dst for one in readers.get(read.dst, ()) if isinstance(one, ir.Attr) and one.name == "data"]
            for given in (read.dst, *data):
                for reader in readers.get(given, ()):
                    if isinstance(reader, ir.Call) and reader.args[:1] == (given,) and self._runs(DRAWS, body, reader):
                        return reader.span
        return None

    def _runs(self, functions: re.Pattern[str], body: Body, call: ir.Call) -> bool:
        """Whether a call is surely one of these functions."""
        callees = self.tracer.value(body, call.func)
        return bool(callees) and all(isinstance(one, Api) and functions.search(one.name) for one in callees)

    def _reads(self, name: str) -> list[tuple[Body, ir.Attr]]:
        """The reads of an attribute in the class and its kin."""
        family = self.tracer.family(self.cls.body)
        reads = self.tracer.reads_of(name)
        return [(body, read) for body, read in reads if owner_of(self.tracer, body, read.obj) in family]

    def _is_trained(self, name: str) -> bool:
        """Whether a method computes with an attribute while gradients are on, and nobody else may train it."""
        own = self._reads(name)
        others = [(body, read) for body, read in self.tracer.reads_of(name) if self._is_of_another(body, read)]
        if not all(self._is_looked_at(body, read) for body, read in others):
            return False
        if any(self._is_cared_for(body, read) for body, read in own):
            return False
        return any(
            body is not self.body
            and not roles.INITIALISES.search(body.name)
            and self._may_record(body, read)
            and any(self._is_operation(one) for one in self.tracer.definitions(body).readers.get(read.dst, ()))
            for body, read in own
        )

    def _is_of_another(self, body: Body, read: ir.Attr) -> bool:
        return owner_of(self.tracer, body, read.obj) is None

    def _is_looked_at(self, body: Body, read: ir.Attr) -> bool:
        """Whether whoever reads the attribute of an object, which may be of this class, leaves its gradient alone: he
        computes with it, or fills it.
        """
        readers = self.tracer.definitions(body).readers.get(read.dst, ())
        return all(self._leaves_alone(body, read, reader) for reader in readers)

    def _leaves_alone(self, body: Body, read: ir.Attr, reader: ir.Event) -> bool:
        if isinstance(reader, ir.Attr):
            return not handles_gradient(reader)
        if isinstance(reader, ir.Call):
            return read.dst in reader.args and self._runs(COMPUTES, body, reader)
        return isinstance(reader, (ir.Compare, ir.Binary, ir.Unary, ir.Item, ir.Discard, ir.Augment))

    def _may_record(self, body: Body, read: ir.Attr) -> bool:
        """Whether gradients may be on where an attribute is read."""
        modes = (first_entry(self.program, body), self.tracer.modes(body, read))
        return not any(grad_mode.never_records(each) for each in modes)

    def _is_operation(self, reader: ir.Event) -> bool:
        """Whether a reader may compute with a value."""
        return not isinstance(reader, (ir.Compare, ir.Discard)) and getattr(reader, "name", "") not in LOOKS

    def _is_cared_for(self, body: Body, read: ir.Attr) -> bool:
        """Whether a read handles the gradient, or keeps the tensor elsewhere, where it may be registered."""
        for reader in self.tracer.definitions(body).readers.get(read.dst, ()):
            if isinstance(reader, (ir.Build, ir.SetItem, ir.SetAttr, ir.Return)):
                return True
            if isinstance(reader, ir.Attr) and handles_gradient(reader):
                return True
        return False


def handles_gradient(read: ir.Attr) -> bool:
    """Whether an attribute of a tensor is about its gradient."""
    return read.name.startswith("requires_grad") or read.name == "grad"
