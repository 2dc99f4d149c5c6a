"""Parameters that were meant to be one and are two: tied by their data, by a copy, or too late (facts: RG29)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import PARAMETER, Atom, Obj
from gradlint.facts import Backward, Forward
from gradlint.facts.leaves import Untied
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.protocol.owned import Owned

TIES = re.compile(r"(?:^|_)(?:tie|tied|tying|share|shared|sharing)(?:_|$)")
"""Names of functions that make two parameters one."""
COPIES = re.compile(
    r"load|copy|update|sync|clone|convert|fuse|merge|quant|prune|surgery|restore|export|import|average|ema"
)
"""Names of functions that hand weights over on purpose."""
APART = re.compile(
    r"target|teacher|ema|momentum|old|copy|clone|pretrain|source|ref|backup|frozen|_k\b|key|avg|average|new|orig"
)
"""Names of modules that have the same weights for once."""
MOST_TIES = 2
"""A body that hands over more weights than this converts a model."""
TURNS = frozenset("t transpose permute T mT contiguous detach data".split())


class Tying(Owned):
    """Looks through one body."""

    def untied(self) -> Iterator[Untied]:
        """Assignments that do not tie the parameters that they are about."""
        pairs = [(write, *pair) for write in self.events(ir.SetAttr) if (pair := self._shared(write)) is not None]
        if len(pairs) <= MOST_TIES:
            for write, name, other in pairs:
                if name.name == "weight" and self._are_two(name, other):
                    form = "data" if self._stands_as_it_is(write.src) else "turned"
                    yield Untied(write.span, form, self.label(name.dst), self.label(other.dst))
        if TIES.search(self.body.name):
            yield from self._copied()
        yield from self._late()

    def _shared(self, write: ir.SetAttr) -> tuple[ir.Attr, ir.Attr] | None:
        """The two parameters of ``b.weight.data = a.weight.data``."""
        name = self._weight(write.obj) if write.name == "data" else None
        other = self._weight(self._source(write.src)) if name is not None else None
        return (name, other) if name is not None and other is not None else None

    def _copied(self) -> Iterator[Untied]:
        """``b.weight.data.copy_(a.weight.data)`` in a function that is called after tying."""
        for call in self.events(ir.Call):
            method = self.method(call)
            if method is None or method.name != "copy_" or not call.args:
                continue
            name, other = self._weight(self._source(method.obj)), self._weight(self._source(call.args[0]))
            if name is not None and other is not None and self._differ(name, other):
                yield Untied(call.span, "copied", self.label(name.dst), self.label(other.dst))

    def _weight(self, ref: ir.Ref) -> ir.Attr | None:
        """A parameter that is read by its name in a module."""
        maker = self.maker(ref)
        return maker if isinstance(maker, ir.Attr) and maker.name in ("weight", "bias") else None

    def _source(self, ref: ir.Ref) -> ir.Ref:
        """What data is taken from, perhaps transposed."""
        for _ in range(6):
            maker = self.maker(ref)
            method = self.method(maker) if isinstance(maker, ir.Call) else None
            if isinstance(maker, ir.Attr) and maker.name in TURNS:
                ref = maker.obj
            elif method is not None and method.name in TURNS:
                ref = method.obj
            else:
                break
        return ref

    def _stands_as_it_is(self, ref: ir.Ref) -> bool:
        """Whether data is taken over without being transposed."""
        maker = self.maker(ref)
        return isinstance(maker, ir.Attr) and maker.name in ("data", "weight")

    def _differ(self, one: ir.Attr, other: ir.Attr) -> bool:
        """Whether the same parameter of two modules is meant."""
        first, second = self.label(one.obj), self.label(other.obj)
        return one.name == other.name and first != second and not APART.search(first) and not APART.search(second)

    def _are_two(self, one: ir.Attr, other: ir.Attr) -> bool:
        """Whether both modules go on to be used, and trained as two."""
        if not self._differ(one, other) or COPIES.search(self.body.name.lower()):
            return False
        labels = [self.label(attr.obj) for attr in (one, other)]
        if all(label.startswith("self.") for label in labels) and self._is_of_module():
            return True
        ran = {atom for forward in self.run.recorder.all(Forward) for atom in forward.module.atoms}
        both = all(self.value(attr.obj) & ran for attr in (one, other))
        return both and bool(self.run.recorder.all(Backward))

    def _is_of_module(self) -> bool:
        builds = self.body.name == "__init__" or TIES.search(self.body.name) is not None
        return builds and classes.is_method(self.body)

    def _late(self) -> Iterator[Untied]:
        """``b.weight = a.weight`` after an optimizer has taken the parameters of ``b``."""
        writes = [write for write in self.events(ir.SetAttr) if write.name in ("weight", "bias")]
        made = [(call, atom) for call in self.events(ir.Call) for atom in self._optimizers(call)] if writes else []
        for write in writes:
            other = self._weight(write.src)
            if other is None or not self._is_parameter_of_another(write, other):
                continue
            for call, optimizer in made:
                owners = self.program.owners.get(optimizer) or frozenset()
                taken = bool(owners) and self._is_of(self.value(write.obj), owners)
                if taken and self.order.precedes(call, write) and not self._is_told(write):
                    because = ((call.span, "the optimizer takes its parameters here"),)
                    name = f"{self.label(write.obj)}.{write.name}"
                    yield Untied(write.span, "late", name, self.label(other.dst), because)
                    break

    def _is_parameter_of_another(self, write: ir.SetAttr, other: ir.Attr) -> bool:
        value = self.value(other.dst)
        owners: set[Atom] = {
            a.owner for a in value if isinstance(a, Obj) and a.type == PARAMETER and a.owner is not None
        }
        return bool(owners) and not owners & self.value(write.obj)
