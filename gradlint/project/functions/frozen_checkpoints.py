"""Gradient checkpointing inside of a model whose own parameters are frozen, and that trains small layers in it.

The checkpoints of such a model are reentrant unless told otherwise, and behind a frozen embedding nothing that they are
given requires grad (facts: CK01, CK04).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import Literal
from gradlint.facts.functions import CheckpointCall
from gradlint.ir import events as ir
from gradlint.project.values.guards import Guards

if TYPE_CHECKING:
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions

ENABLE = "gradient_checkpointing_enable"
ADAPTERS = re.compile(r"lora|adapter", re.IGNORECASE)
"""Names of what puts trained layers into a frozen model."""
READING = re.compile(
    r"(?:^|[._])(?:save|load|get|state|unload|merge|delete|remove|disable|print|is|has)(?:_|$)|state_dict"
)
"""Names of what only reads or takes away such layers."""
CARES = re.compile(r"enable_input_require_grads|get_peft_model|prepare_model_for|prepare_peft|make_inputs_require_grad")
"""Names of what makes the input of the checkpoints require grad; `WRAP` does if checkpointing is on by then."""
WRAP = "get_peft_model"
"""What freezes a model and puts adapters into it."""


def frozen_checkpoints(run: Run, definitions: Definitions) -> Iterator[CheckpointCall]:
    """The calls that turn checkpointing on in a model that the body freezes and puts adapters into."""
    enabled = [event for event in definitions.attributes if event.name == ENABLE]
    for attribute in enabled:
        calls = [one for one in definitions.readers.get(attribute.dst, ()) if isinstance(one, ir.Call)]
        name = run.labels[attribute.obj]
        if len(calls) != 1 or calls[0].args or calls[0].keywords or not name:
            continue
        model = Model(run, definitions, name, calls[0])
        if model.frozen and model.adapted and not model.cared_for:
            yield CheckpointCall(calls[0].span, "frozen", name, "", False, model.frozen[0])


class Model:
    """What one body does to the model that it calls ``name``: where it freezes it and puts adapters into it.

    What no run does that turns checkpointing on does not count. ``cared_for``: something in the body may make the input
    of its checkpoints require grad.
    """

    def __init__(self, run: Run, definitions: Definitions, name: str, enabled: ir.Call) -> None:
        self.run, self.name, self.enabled = run, name, enabled
        self.frozen: list[ir.Span] = []
        self.adapted = self.cared_for = False
        guards = Guards(definitions)
        for call in definitions.events(ir.Call):
            if not guards.exclude(call, enabled):
                self._note(definitions, call)
        for write in definitions.events(ir.SetAttr):
            self.cared_for |= write.name == "requires_grad" and self._is_true(write.src)

    def _note(self, definitions: Definitions, call: ir.Call) -> None:
        label = self.run.labels[call.func] if call.func >= 0 else ""
        owner, _, method = label.rpartition(".")
        mine = owner == self.name or owner.startswith(f"{self.name}.")
        given = any(self._is_model(ref) for ref in (*call.args, *(ref for _, ref in call.keywords)))
        if method == WRAP or label == WRAP:
            self._wrapped(definitions, call, given)
        elif method == "requires_grad_":
            # A part of the model may have any name: `accelerator.unwrap_model(model).embeddings`.
            if not call.args or self._is_true(call.args[0]):
                self.cared_for = True
            elif owner == self.name:
                self.frozen.append(call.span)
        elif (mine or given) and CARES.search(label):
            self.cared_for = True
        elif (given or owner == self.name) and ADAPTERS.search(label if given else method):
            self.adapted |= READING.search(method) is None

    def _wrapped(self, definitions: Definitions, call: ir.Call, given: bool) -> None:
        """``model = get_peft_model(model, config)``: freezes what it is given, all but the adapters."""
        readers = definitions.readers.get(call.dst, ())
        stored = any(isinstance(one, ir.Store) and one.name == self.name for one in readers) or any(
            isinstance(one, ir.SetAttr) and f"{self.run.labels[one.obj]}.{one.name}" == self.name for one in readers
        )
        if stored and call.span < self.enabled.span:
            self.frozen.append(call.span)
            self.adapted = True
        elif stored or given:
            self.cared_for = True

    def _is_model(self, ref: ir.Ref) -> bool:
        return 0 <= ref < len(self.run.labels) and self.run.labels[ref] == self.name

    def _is_true(self, ref: ir.Ref) -> bool:
        value = self.run.temps[ref] if ref >= 0 else frozenset()
        return not value or any(not isinstance(atom, Literal) or bool(atom.value) for atom in value)
