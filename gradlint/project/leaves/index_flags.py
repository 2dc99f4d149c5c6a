"""Flags on indices, in the belief that they keep the embedding from being trained (facts: RG18)."""

from __future__ import annotations

from collections.abc import Iterator

from gradlint.domains import tensor
from gradlint.domains.values import Obj
from gradlint.facts.leaves import NeedlessFlag
from gradlint.ir import events as ir
from gradlint.project.values.reading import Reading
from gradlint.torch_model import factories

EMBEDDINGS = frozenset(("torch.nn.Embedding", "torch.nn.EmbeddingBag"))
FUNCTIONS = frozenset(("torch.nn.functional.embedding", "torch.nn.functional.embedding_bag", "torch.embedding"))


class IndexFlags(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[NeedlessFlag]:
        """The flags that are cleared on indices of an embedding which records all the same."""
        for event, form, ref in self._cleared():
            for load, name in self._names(ref):
                lookup = self._lookup(load)
                if lookup is not None:
                    because = ((lookup.span, "the result requires grad all the same"),)
                    yield NeedlessFlag(event.span, form, name or "the tensor", because=because)
                    break

    def _cleared(self) -> Iterator[tuple[ir.Event, str, ir.Ref]]:
        """Where a flag is cleared, how, and of which temporary."""
        for call in self.events(ir.Call):
            method = self.method(call)
            if self._is_false(dict(call.keywords).get("requires_grad")) and self.is_api(call.func, factories()):
                yield call, "argument", call.dst
            elif method is not None and method.name == "requires_grad_" and call.args and self._is_false(call.args[0]):
                yield call, "method", method.obj
        for write in self.events(ir.SetAttr):
            if write.name == "requires_grad" and self._is_false(write.src):
                yield write, "attribute", write.obj

    def _is_false(self, ref: ir.Ref | None) -> bool:
        maker = self.maker(ref) if ref is not None else None
        return isinstance(maker, ir.Const) and maker.value is False

    def _names(self, ref: ir.Ref) -> Iterator[tuple[ir.Ref, str]]:
        """The temporaries that read the same tensor, and the variable that holds it."""
        yield ref, ""
        maker = self.maker(ref)
        stores = [one for one in self.known.readers.get(ref, ()) if isinstance(one, ir.Store)]
        if isinstance(maker, ir.Load):
            only = self.known.only(maker)
            stores = [only] if only is not None else []
        for store in stores:
            yield from ((load.dst, store.name) for load in self.known.loads.get(store, ()))

    def _lookup(self, ref: ir.Ref) -> ir.Call | None:
        """The call of an embedding that is given ``ref`` as its indices, if what it returns is on the graph."""
        for call in self.known.readers.get(ref, ()):
            if not isinstance(call, ir.Call) or not call.args or call.args[0] != ref or not self._is_embedding(call):
                continue
            value = self.value(call.dst)
            if value and all(self.run.plain.get(atom) == tensor.GRAPH for atom in value):
                return call
        return None

    def _is_embedding(self, call: ir.Call) -> bool:
        value = self.value(call.func)
        modules = bool(value) and all(isinstance(atom, Obj) and atom.type in EMBEDDINGS for atom in value)
        return modules or self.is_api(call.func, FUNCTIONS)
