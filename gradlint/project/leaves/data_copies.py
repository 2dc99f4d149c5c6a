"""Tensors that a layer hands on by way of ``.data``, so that no gradient comes back through the copy (facts: RG14).

There is no backward pass in sight. What tells that the graph was lost by mistake is that the copy takes its place: it
is written in part and carried to the next step, or it is what the function returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import SCALAR, Literal, Obj
from gradlint.facts.leaves import LostGraph
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.leaves.cuts import DATA
from gradlint.project.leaves.needless_states import FRESH, VARIABLE
from gradlint.project.values.reading import Reading

WEIGHTS = re.compile(r"weight|kernel|param|emb|matrix|table|filter|bias|buffer|^[wp]$|box|roi|anchor|len|idx|ind")
"""Names of what is copied by hand on purpose, and of what has no gradient."""
PREPARES = re.compile(
    r"collate|pad|load|init|copy|convert|getitem|process|transform|augment|resize|surgery|merge|expand_"
)
"""Names of functions that prepare data or weights."""


class Copies(Reading):
    """Looks through one body."""

    def found(self) -> Iterator[LostGraph]:
        """The reads of ``.data`` whose copy takes the place of what was on the graph."""
        reads = [attr for attr in self.known.attributes if attr.name == "data"]
        if not reads or purpose.evaluates(self.body) or PREPARES.search(self.body.name.lower()):
            return
        for attr in reads:
            if self.tracer.modes(self.body, attr) & grad_mode.NO_GRAPH:
                continue
            load = self.maker(attr.obj)
            if isinstance(load, ir.Load) and not WEIGHTS.search(load.name.lower()) and not DATA.search(load.name):
                because = self._carried(attr, load) or self._returned(attr, load)
                if because:
                    written = because[0][1] == WRITTEN
                    form = "written" if written else ""
                    yield LostGraph(attr.span, "data", ".data", load.name, False, attr.span, because, form=form)

    # -- a copy that is carried on -------------------------------------------------------------------------

    def _carried(self, attr: ir.Attr, load: ir.Load) -> tuple[tuple[ir.Span, str], ...]:
        """``h = h.data.clone()``, of which a part is written, in a loop that reads ``h`` again."""
        store = self._stored(attr)
        if store is None or store.name != load.name or store not in self.known.seen[load]:
            return ()
        loads = self.known.loads.get(store, ())
        for write in self.events(ir.SetItem):
            if any(one.dst == write.obj for one in loads) and self._may_be_tracked(write.src):
                words = "a part of the copy is written, the rest has no graph any more"
                return ((store.span, "the next iteration goes on with the copy"), (write.span, words))
        return ()

    def _stored(self, attr: ir.Attr) -> ir.Store | None:
        """The variable that ``x.data.clone()`` is stored in."""
        for method in self.known.readers.get(attr.dst, ()):
            for call in self.known.readers.get(method.dst, ()) if isinstance(method, ir.Attr) else ():
                if isinstance(method, ir.Attr) and method.name == "clone" and isinstance(call, ir.Call):
                    return next(
                        (one for one in self.known.readers.get(call.dst, ()) if isinstance(one, ir.Store)), None
                    )
        return None

    def _may_be_tracked(self, ref: ir.Ref) -> bool:
        value = self.value(ref)
        plain = (
            isinstance(atom, Literal)
            or (isinstance(atom, Obj) and atom.type == SCALAR)
            or not self.run.plain.get(atom, tensor.ANY) & ~tensor.NO_GRAPH
            for atom in value
        )
        return bool(value) and not any(plain)

    # -- a copy that is returned ---------------------------------------------------------------------------

    def _returned(self, attr: ir.Attr, load: ir.Load) -> tuple[tuple[ir.Span, str], ...]:
        """``out[i] = x.data[i]`` or ``out.data[i] = x.data[i]`` for a new ``out`` that the function returns."""
        if None not in self.known.seen[load] or load.name not in {one.name for one in self.body.parameters}:
            return ()
        ref = attr.dst
        while item := next((one for one in self.known.readers.get(ref, ()) if isinstance(one, ir.Item)), None):
            if item.obj != ref:
                return ()
            ref = item.dst
        for write in self.known.readers.get(ref, ()):
            if isinstance(write, ir.SetItem) and write.src == ref:
                held = self.maker(write.obj)
                held = self.maker(held.obj) if isinstance(held, ir.Attr) and held.name == "data" else held
                store = self.known.only(held) if isinstance(held, ir.Load) else None
                out = self._handed_out(store) if store is not None and self._is_fresh(store.src) else None
                if out is not None:
                    return ((write.span, WRITTEN), (out.span, "returned here"))
        return ()

    def _is_fresh(self, ref: ir.Ref, depth: int = 0) -> bool:
        """Whether a temporary is a new tensor of floats."""
        call = self.maker(ref)
        if not isinstance(call, ir.Call) or depth > 5 or any(name == "dtype" for name, _ in call.keywords):
            return False
        method = self.method(call)
        if self.is_api(call.func, FRESH) or (method is not None and method.name in ("new", "new_zeros", "new_full")):
            return True
        if self.is_api(call.func, VARIABLE) and call.args:
            return self._is_fresh(call.args[0], depth + 1)
        passes = method is not None and method.name in ("zero_", "fill_", "to", "cuda", "float")
        return passes and method is not None and self._is_fresh(method.obj, depth + 1)

    def _handed_out(self, store: ir.Store) -> ir.Return | None:
        """Where a variable is returned, alone or with others."""
        loads = {load.dst for load in self.known.loads.get(store, ())}
        for event in self.events(ir.Return):
            made = self.maker(event.src) if event.src is not None else None
            items = made.items if isinstance(made, ir.Build) else (event.src,)
            if loads & set(items):
                return event
        return None


WRITTEN = "the values are written here, their graph is not"
