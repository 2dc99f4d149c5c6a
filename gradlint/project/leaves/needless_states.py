"""Recurrent states that start at zero in every forward and require grad for nobody (facts: RG37)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import Cls
from gradlint.facts.leaves import NeedlessFlag
from gradlint.ir import events as ir
from gradlint.project import classes, purpose
from gradlint.project.leaves.hidden import class_of_method
from gradlint.project.values.reading import Reading
from gradlint.torch_model import factories

ASKS = (
    "grad",
    "checkpoint",
    "checkpoint_sequential",
    "register_hook",
    "retain_grad",
    "jacobian",
    "hessian",
    "jvp",
    "vjp",
    "gradients",
)
"""Calls by which the gradient of something else than a parameter is asked for."""
STATE = re.compile(
    r"(?:^|_)(?:[hc]_?[0nt]|h|c|hx|cx|hiddens?|states?|cells?|memory|memories|context|carry)(?:_(?:0|t|state|vec|vecs|h|c))?$"
)
"""Names of what a recurrent network carries from step to step."""
MAKES_STATE = re.compile(r"^_*(?:get_)?(?:init|initial|zero|reset)\w*_(?:hidden|states?|memory|cell|carry)(?:_\w+)?$")
"""Names of methods that return such a state."""
FRESH = frozenset(
    name for name in factories() if name.rpartition(".")[2].partition("_")[0] in ("zeros", "ones", "full")
)
VARIABLE = frozenset(("torch.autograd.Variable",))
ONCE = frozenset("__init__ reset_parameters init_weights build setup".split())


class States(Reading):
    """Looks through one method of a module class."""

    def found(self) -> Iterator[NeedlessFlag]:
        """The states that are made with a flag; nothing in a file that asks for other gradients anywhere."""
        flagged = [call for call in self.events(ir.Call) if self._form(call)]
        if not flagged or not self._is_of_module() or self._is_asked_for():
            return
        for call in flagged:
            name = self._state(call)
            if name and self._is_fresh(call, 0):
                yield NeedlessFlag(call.span, self._form(call), name, state=True)

    def _form(self, call: ir.Call) -> str:
        """How a call makes its result require grad; empty if it does not."""
        method = self.method(call)
        if method is not None and method.name == "requires_grad_":
            only = self.maker(call.args[0]) if call.args else None
            return "method" if not call.args or (isinstance(only, ir.Const) and only.value is True) else ""
        return "argument" if self.is_true(call, "requires_grad") else ""

    def _is_of_module(self) -> bool:
        cls = class_of_method(self.program, self.body)
        return isinstance(cls, Cls) and classes.is_module(cls) and self.body.name not in ONCE

    def _is_asked_for(self) -> bool:
        if purpose.explains(self.body) or any(True for name in ASKS for _ in self.program.module.calls(name)):
            return True
        return bool(self.tracer.reads_of("grad"))

    def _state(self, call: ir.Call) -> str:
        """The variable that is given the state, or the function that returns it; empty if it is not called like one."""
        for reader in self.known.readers.get(call.dst, ()):
            if isinstance(reader, ir.Store) and STATE.search(reader.name) and not self._is_kept(reader):
                return reader.name
            returned = isinstance(reader, ir.Return) or (isinstance(reader, ir.Build) and self._is_returned(reader))
            if returned and MAKES_STATE.search(self.body.name):
                return f"{self.body.name}()"
            if isinstance(reader, ir.Build) or self._adds(reader):
                names = [one.name for one in self.events(ir.Store) if ir.is_within(call.span, self._span(one.src))]
                return next((name for name in names if STATE.search(name)), "")
        return ""

    def _span(self, ref: ir.Ref) -> ir.Span:
        maker = self.maker(ref)
        return maker.span if maker is not None else (0, 0, 0, 0)

    def _adds(self, reader: ir.Event) -> bool:
        method = self.method(reader) if isinstance(reader, ir.Call) else None
        return method is not None and method.name == "append"

    def _is_returned(self, built: ir.Build) -> bool:
        return any(isinstance(reader, ir.Return) for reader in self.known.readers.get(built.dst, ()))

    def _is_kept(self, store: ir.Store) -> bool:
        """Whether the state outlives the call as an attribute."""
        loads = {load.dst for load in self.known.loads.get(store, ())}
        return any(write.src in loads for write in self.events(ir.SetAttr))

    def _is_fresh(self, call: ir.Call, depth: int) -> bool:
        """Whether a call returns a new tensor of constants."""
        if self.is_api(call.func, FRESH):
            return True
        method, inner = self.method(call), None
        if self.is_api(call.func, VARIABLE) and call.args:
            inner = self.maker(call.args[0])
        elif method is not None and method.name in ("new_zeros", "new_ones", "new_full"):
            return True
        elif method is not None and method.name in ("zero_", "fill_"):
            made = self.maker(method.obj)
            source = self.method(made) if isinstance(made, ir.Call) else None
            if source is not None and source.name in ("new", "new_empty"):
                return True
            inner = made
        elif method is not None and method.name in ("requires_grad_", "to", "cuda", "type", "type_as", "float"):
            inner = self.maker(method.obj)
        return isinstance(inner, ir.Call) and depth < 6 and self._is_fresh(inner, depth + 1)
