"""Expressions as values: whether two of them in one body compute the same from the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from gradlint.ir import events as ir
from gradlint.project.values.reading import Reading

DEEPEST = 8
"""Expressions are followed through so many operations."""


class Expressions(Reading):
    """The expressions of one body."""

    def key(self, ref: ir.Ref, depth: int = 0) -> Hashable:
        """Something that is equal for two temporaries that are computed alike from the same assignments."""
        made = self.maker(ref)
        if made is None or depth > DEEPEST:
            return ref
        if isinstance(made, ir.Load):
            return ("name", made.name, self.known.seen.get(made, frozenset()))
        if isinstance(made, ir.Const):
            return ("constant", type(made.value), repr(made.value))
        if isinstance(made, ir.Attr):
            return ("attribute", made.name, self.key(made.obj, depth + 1))
        if isinstance(made, ir.Item):
            return ("item", self.key(made.obj, depth + 1), self.key(made.key, depth + 1))
        if isinstance(made, ir.Unary):
            return (made.op, self.key(made.src, depth + 1))
        if isinstance(made, (ir.Binary, ir.Compare)):
            return (made.op, self.key(made.left, depth + 1), self.key(made.right, depth + 1))
        if isinstance(made, ir.Call):
            given = tuple(self.key(one, depth + 1) for one in made.args)
            named = tuple((name, self.key(one, depth + 1)) for name, one in made.keywords)
            return ("call", self.key(made.func, depth + 1), given, named)
        return ref

    def source(self, ref: ir.Ref) -> ir.Event | None:
        """The event that computes a temporary, looked for behind variables with one assignment."""
        made, left = self.maker(ref), DEEPEST
        while isinstance(made, ir.Load) and left:
            store = self.known.only(made)
            if store is None:
                return made
            made, left = self.maker(store.src), left - 1
        return made

    def name(self, call: ir.Call) -> str:
        """The last name of what is called."""
        method = self.method(call)
        return method.name if method is not None else self.label(call.func).rpartition(".")[2]

    def subject(self, call: ir.Call) -> ir.Ref:
        """What a call of torch works on: its first argument, or the tensor whose method it is."""
        method = self.method(call)
        if method is not None and not self.is_torch(call):
            return method.obj
        return call.args[0] if call.args else ir.OPAQUE_REF

    def is_torch(self, call: ir.Call) -> bool:
        """Whether a function of torch is called, rather than a method."""
        return any(getattr(atom, "name", "").startswith("torch.") for atom in self.value(call.func))

    def operands(self, event: ir.Event) -> Iterator[ir.Ref]:
        """What an operation of torch or of Python computes its result from, element by element."""
        if isinstance(event, ir.Binary):
            yield from (event.left, event.right)
        elif isinstance(event, ir.Unary):
            yield event.src
        elif isinstance(event, ir.Call):
            method = self.method(event)
            if method is not None and not self.is_torch(event):
                yield method.obj
            if method is not None or self.is_torch(event):
                yield from event.args
