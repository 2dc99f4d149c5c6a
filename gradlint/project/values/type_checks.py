"""Where the source has asked whether a variable holds a tensor: what was found to be none has no graph."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains.values import Api
from gradlint.ir import events as ir

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.values.uses import Tracer

TENSORS = frozenset({"torch.Tensor", "torch.autograd.Variable", "torch.autograd.variable.Variable"})
PLAIN = frozenset(
    [*(f"builtins.{name}" for name in ("int", "float", "complex", "bool", "str", "bytes")), "numpy.ndarray"]
)


class TypeChecks:
    """The questions of one body: `isinstance` and `torch.is_tensor`."""

    def __init__(self, tracer: Tracer, body: Body) -> None:
        self.tracer, self.body = tracer, body
        self.known = tracer.definitions(body)

    def arrives(self, assigned: ir.Store | None, load: ir.Load) -> bool:
        """Whether a tensor that an assignment stores may be what ``load`` reads; None stands for the entry.

        It may not where every path between the two finds that the variable holds no tensor, or assigns it anew.
        """
        denials = self._denials.get(load.name)
        if not denials:
            return True
        others = [store for store in self.known.stores.get(load.name, ()) if store is not assigned]
        return self.tracer.order(self.body).leads(assigned, load, [*denials, *others])

    @cached_property
    def _denials(self) -> dict[str, list[ir.Assume]]:
        """By name, where a variable is known to hold no tensor."""
        found: dict[str, list[ir.Assume]] = {}
        for assume in self.known.events(ir.Assume):
            name = self._denied(assume.cond, truth=assume.truth)
            if name is not None:
                found.setdefault(name, []).append(assume)
        return found

    def _denied(self, ref: ir.Ref, *, truth: bool) -> str | None:
        """The variable that holds no tensor if a condition has this truth."""
        asked = self.known.makers.get(ref)
        if isinstance(asked, ir.Unary) and asked.op == "not":
            return self._denied(asked.src, truth=not truth)
        if not isinstance(asked, ir.Call) or asked.func < 0 or not asked.args:
            return None
        subject = self.known.makers.get(asked.args[0])
        if not isinstance(subject, ir.Load):
            return None
        function = self._names(asked.func)
        types = self._types(asked.args[1]) if function == {"builtins.isinstance"} and len(asked.args) == 2 else set()
        says_tensor = function == {"torch.is_tensor"} or bool(types & TENSORS)
        denied = bool(types) and types <= PLAIN if truth else says_tensor
        return subject.name if denied else None

    def _types(self, ref: ir.Ref) -> set[str]:
        """The types that `isinstance` is given, alone or in a tuple; an empty name for one that is not known."""
        made = self.known.makers.get(ref)
        refs = made.items if isinstance(made, ir.Build) and made.kind == "tuple" else (ref,)
        return {name for one in refs for name in self._names(one)}

    def _names(self, ref: ir.Ref) -> set[str]:
        """What torch, Python or another package calls a temporary; an empty name for what is none of these."""
        return {atom.name if isinstance(atom, Api) else "" for atom in self.tracer.value(self.body, ref)}
