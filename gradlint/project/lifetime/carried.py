"""What a loop carries from one iteration to the next on the graph, and goes backward through in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.ir import events as ir
from gradlint.project.lifetime.growing import CLEARING

if TYPE_CHECKING:
    from gradlint.project.values.lineage import Lineage

GROWING = frozenset({"append", "extend", "insert", "appendleft"})


class Carried:
    """The variables of one body that carry a graph over the iterations of a loop."""

    def __init__(self, lineage: Lineage, records: Callable[[ir.Call], bool]) -> None:
        self.lineage, self.known, self.records = lineage, lineage.known, records

    def into(self, target: ir.Ref, loop: int) -> tuple[ir.Call, str] | None:
        """The forward whose graph a variable carries into the next pass from ``target``, and the variable."""
        walked = self.lineage.possible(target)
        made = [event for event in walked if isinstance(event, ir.Call) and self._is_forward(event, loop)]
        for load in walked:
            if isinstance(load, ir.Load) and loop in self.known.loops(load):
                shared = self._brought(load, loop, made) if made else None
                shared = shared or self._hoarded(load, loop)
                if shared is not None:
                    return shared, load.name
        return None

    def _is_forward(self, call: ir.Call, loop: int) -> bool:
        return loop in self.known.loops(call) and self.records(call)

    def _brought(self, load: ir.Load, loop: int, made: list[ir.Call]) -> ir.Call | None:
        """The forward that all assignments in the loop hang on which a variable may have its value from.

        Each computes the new value from the old one: what is assigned in every iteration, before it is read, is not
        carried on.
        """
        stores = self.known.seen.get(load, frozenset())
        inside = [store for store in stores if store is not None and loop in self.known.loops(store)]
        if not inside or len(inside) == len(stores):
            return None
        found: ir.Call | None = None
        for store in inside:
            behind = self.lineage.possible(store.src)
            shared = next((call for call in made if call in behind), None)
            if shared is None or load not in behind:
                return None
            found = found or shared
        return found

    def _hoarded(self, load: ir.Load, loop: int) -> ir.Call | None:
        """The forward whose results gather in a list, or in a tensor, that is older than the loop."""
        only = self.known.only(load)
        if only is None or loop in self.known.loops(only) or self._is_emptied(load.name, loop):
            return None
        written = list(self._written(load.name, loop))
        if self._is_list(only.src):
            values = list(self._gathered(load.name, loop)) if self._is_read_whole(load) and not written else []
        else:
            values = written if self._is_made_by_torch(only.src) else []
        for value in values:
            for event in self.lineage.possible(value):
                if isinstance(event, ir.Call) and self._is_forward(event, loop):
                    return event
        return None

    def _is_made_by_torch(self, ref: ir.Ref) -> bool:
        maker = self.known.makers.get(ref)
        return isinstance(maker, ir.Call) and self.lineage.is_of_torch(maker)

    def _written(self, name: str, loop: int) -> Iterator[ir.Ref]:
        """What is written into parts of a tensor in a loop: what was written there before stays on its graph."""
        for event in self.known.events(ir.SetItem):
            holder = self.known.makers.get(event.obj)
            if loop in self.known.loops(event) and isinstance(holder, ir.Load) and holder.name == name:
                yield event.src

    def _is_list(self, ref: ir.Ref) -> bool:
        maker = self.known.makers.get(ref)
        return isinstance(maker, ir.Build) and maker.kind == "list"

    def _is_read_whole(self, load: ir.Load) -> bool:
        return not any(isinstance(reader, (ir.Item, ir.Attr)) for reader in self.known.readers.get(load.dst, ()))

    def _methods(self, name: str, wanted: frozenset[str], loop: int) -> Iterator[ir.Call]:
        """The calls of some methods of a variable in a loop."""
        for call in self.known.events(ir.Call):
            method = self.known.makers.get(call.func)
            if isinstance(method, ir.Attr) and method.name in wanted and loop in self.known.loops(call):
                holder = self.known.makers.get(method.obj)
                if isinstance(holder, ir.Load) and holder.name == name:
                    yield call

    def _gathered(self, name: str, loop: int) -> Iterator[ir.Ref]:
        """What is added to a list in a loop."""
        for call in self._methods(name, GROWING, loop):
            yield from call.args[-1:]

    def _is_emptied(self, name: str, loop: int) -> bool:
        """Whether something in a loop empties a list, or assigns it."""
        deleted = any(loop in self.known.loops(event) for event in self.known.events(ir.Delete))
        return deleted or any(self._methods(name, CLEARING | {"detach_"}, loop))
