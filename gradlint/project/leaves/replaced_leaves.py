"""Leaves that an optimizer changes, and that a loop replaces by a corrected copy (facts: RG23)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import Api, Fn
from gradlint.facts.leaves import Rebound
from gradlint.ir import events as ir
from gradlint.project.values.reading import Reading
from gradlint.torch_model import optimizers, roles
from gradlint.torch_model.attributes import tensor_methods

MARKS = frozenset("requires_grad requires_grad_ retain_grad".split())
REMAKES = frozenset("requires_grad_ Variable Parameter tensor leaf".split())
CORRECTS = re.compile(r"(?:^|_)(?:clamp|clip|project|normali[sz]e|bound|quanti[sz]e|round)(?:_\w+)?(?<!_)$")
"""Names of functions, wherever they are, that return a corrected copy."""


class Replaced(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[Rebound]:
        """Assignments in a loop of steps that put another tensor in the place of the one that the optimizer has."""
        for made, holder in self._optimizers():
            steps = self._steps(holder)
            for name in sorted(self._given(made)) if steps else ():
                for store in self.known.stores.get(name, ()):
                    read = self._read_again(made, steps, store)
                    if read is not None and self._is_corrected(store):
                        because = (
                            (made.span, f"the optimizer takes `{name}` here"),
                            (read.span, "the next iteration reads what the optimizer does not know"),
                        )
                        yield Rebound(store.span, name, because, optimizer=self.label(made.func))

    def _optimizers(self) -> Iterator[tuple[ir.Call, ir.Store]]:
        """The calls that make an optimizer, and the variables that hold it."""
        for call in self.events(ir.Call):
            store = next((one for one in self.known.readers.get(call.dst, ()) if isinstance(one, ir.Store)), None)
            if store is None:
                continue
            known = self.is_api(call.func, frozenset(optimizers()))
            if known or roles.OPTIMIZER.search(store.name) is not None:
                yield call, store

    def _steps(self, holder: ir.Store) -> list[ir.Call]:
        """Where it steps."""
        loads = {load.dst for load in self.known.loads.get(holder, ())}
        found = []
        for call in self.events(ir.Call):
            method = self.method(call)
            if method is not None and method.name == "step" and method.obj in loads:
                found.append(call)
        return found

    def _given(self, made: ir.Call) -> set[str]:
        """The variables whose tensors the optimizer is given in a list."""
        maker = self.maker(self.given(made, 0, "params"))
        items = maker.items if isinstance(maker, ir.Build) and maker.kind == "list" else ()
        return {load.name for item in items if isinstance(load := self.maker(item), ir.Load)}

    def _read_again(self, made: ir.Call, steps: list[ir.Call], store: ir.Store) -> ir.Load | None:
        """What reads the new tensor in the next iteration of a loop in which the optimizer steps."""
        loops = set(self.known.loops(store)) - set(self.known.loops(made))
        if not any(loops & set(self.known.loops(step)) for step in steps):
            return None
        told = [call for call in self.events(ir.Call) if self._tells(call) and loops & set(self.known.loops(call))]
        loads = self.known.loads.get(store, ())
        accesses: list[ir.Attr | ir.SetAttr] = [*self.events(ir.Attr), *self.events(ir.SetAttr)]
        if told or any(event.name in MARKS and self._reads(event.obj, loads) for event in accesses):
            return None
        maker = self.maker(store.src)
        for load in loads:
            own = maker is not None and ir.is_within(load.span, maker.span)
            if load.span < store.span and not own and loops & set(self.known.loops(load)):
                return load
        return None

    def _reads(self, ref: ir.Ref, loads: list[ir.Load] | tuple[()]) -> bool:
        return any(load.dst == ref for load in loads)

    def _tells(self, call: ir.Call) -> bool:
        """Whether a call makes an optimizer, or gives it more."""
        method = self.method(call)
        name = method.name if method is not None else ""
        return name == "add_param_group" or self.is_api(call.func, frozenset(optimizers()))

    def _is_corrected(self, store: ir.Store | ir.SetAttr) -> bool:
        """Whether what is stored is surely another tensor, computed from the one that stood there."""
        maker = self.maker(store.src)
        if isinstance(maker, ir.Binary):
            return self._is_of(maker.left, store.name) or self._is_of(maker.right, store.name)
        if not isinstance(maker, ir.Call):
            return False
        method = self.method(maker)
        callees = self.value(maker.func)
        name = self.label(maker.func).rpartition(".")[2]
        if name.endswith("_") or name in REMAKES or any(isinstance(one, Fn) for one in callees):
            return False
        if method is not None and method.name in tensor_methods() and self._is_of(method.obj, store.name):
            return True
        refs = (*maker.args, *(ref for _, ref in maker.keywords))
        torchs = bool(callees) and all(isinstance(one, Api) and one.name.startswith("torch.") for one in callees)
        known = torchs or CORRECTS.search(name) is not None
        return known and any(self._is_of(ref, store.name) for ref in refs)

    def _is_of(self, ref: ir.Ref, name: str) -> bool:
        """Whether a temporary is what stands in a place, or computed from it by methods."""
        for _ in range(4):
            maker = self.maker(ref)
            if isinstance(maker, ir.Load) or self._is_place(maker, name):
                return self._is_place(maker, name)
            method = self.method(maker) if isinstance(maker, ir.Call) else None
            if isinstance(maker, ir.Attr) and maker.name == "data":
                ref = maker.obj
            elif method is not None and method.name in tensor_methods() and not method.name.endswith("_"):
                ref = method.obj
            else:
                return False
        return False

    def _is_place(self, maker: ir.Event | None, name: str) -> bool:
        """Whether an event reads the place of that name."""
        return isinstance(maker, ir.Load) and maker.name == name
