"""What a value is computed from, without what only says which of several values it is."""

from __future__ import annotations

from gradlint.domains.values import Api, Cls, Fn
from gradlint.ir import events as ir
from gradlint.project.values.lineage import Lineage, is_of_tensor

INDEXING = frozenset("gather index_select take take_along_dim index_copy scatter select narrow".split())
"""Operations of which all arguments but the first say where, not what."""
PAIRED = frozenset("max min sort topk kthvalue median mode cummax cummin unique".split())
"""Operations that return values, and where they stand."""


class Valued(Lineage):
    """What a value is computed from, without what only says which of several it is."""

    def operands(self, event: ir.Event) -> list[ir.Ref]:
        """See `Lineage.operands`."""
        if isinstance(event, ir.Attr) and event.name in ("values", "T", "mT"):
            return [event.obj]
        found = super().operands(event)
        if isinstance(event, (ir.Item, ir.Unpack)) and self._is_position(event):
            return []
        if isinstance(event, ir.Call) and self._last(event) in INDEXING:
            found = found[:1]
        return found or (self._receiver(event) if isinstance(event, ir.Call) else [])

    def _receiver(self, call: ir.Call) -> list[ir.Ref]:
        """What an unknown thing is, of which a method is called that tensors have."""
        method = self.known.makers.get(call.func)
        known = any(isinstance(atom, (Api, Fn, Cls)) for atom in self.tracer.value(self.body, call.func))
        is_tensor = isinstance(method, ir.Attr) and not known and is_of_tensor(method.name)
        return [method.obj] if isinstance(method, ir.Attr) and is_tensor else []

    def _last(self, call: ir.Call) -> str:
        maker = self.known.makers.get(call.func)
        return maker.name if isinstance(maker, ir.Attr) else ""

    def _is_position(self, event: ir.Item | ir.Unpack) -> bool:
        """Whether a part of what ``max`` and its kin return is the index."""
        whole = self.known.makers.get(event.obj if isinstance(event, ir.Item) else event.src)
        key = self.known.makers.get(event.key) if isinstance(event, ir.Item) else None
        second = key.value == 1 if isinstance(key, ir.Const) else isinstance(event, ir.Unpack) and event.index == 1
        return second and isinstance(whole, ir.Call) and self._last(whole) in PAIRED
