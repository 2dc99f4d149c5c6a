"""Batch norms in what is frozen, whose statistics go on moving (facts: RG32)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains.state import EVAL
from gradlint.domains.values import INSTANCE, Atom, Cls, Obj
from gradlint.facts import Forward, ModuleMode
from gradlint.facts.freezing import LiveStatistics
from gradlint.ir import events as ir
from gradlint.project import classes
from gradlint.project.leaves.freezing import Freezing
from gradlint.project.protocol import ownership
from gradlint.project.values.uses import class_around
from gradlint.torch_model import batch_norms

if TYPE_CHECKING:
    from gradlint.project.leaves.freezing import Freeze

NORMED = re.compile(
    r"(?:^|\.)(?:resnet|resnext|wide_resnet|densenet|mobilenet|efficientnet|inception|googlenet"
    r"|regnet|shufflenet|mnasnet|vgg\d+_bn)\w*$"
)
"""Names of functions of torchvision that make networks with batch norm."""


class FrozenStatistics(Freezing):
    """Looks through one body."""

    def found(self) -> Iterator[LiveStatistics]:
        """What is frozen with batch norms in it that are in train mode, or that the next ``train()`` puts there."""
        for freeze in self.whole:
            if not self._is_normed(freeze.frozen, 0):
                continue
            modes = [one for one in self.run.recorder.all(ModuleMode) if self._concerns(one, freeze)]
            stopped = any(one.marks & EVAL and one.how != "train" for one in modes)
            if self._is_constructor() and not self._class_keeps_eval():
                because = tuple((one.span, "only until somebody calls `train()`") for one in modes if one.marks & EVAL)
                yield LiveStatistics(freeze.event.span, freeze.name, stopped, because[:1])
            elif not self._is_constructor() and not stopped and self._runs(freeze):
                yield LiveStatistics(freeze.event.span, freeze.name, False, ())

    def _concerns(self, mode: ModuleMode, freeze: Freeze) -> bool:
        return self.is_part(mode.module.atoms, freeze.frozen)

    def _runs(self, freeze: Freeze) -> bool:
        """Whether a forward of it follows, in train mode: it was just made, or is put there."""
        made = isinstance(freeze.frozen, Obj) and freeze.frozen.event in self.known.blocks
        for forward in self.run.recorder.all(Forward):
            follows = forward.span > freeze.event.span and self.is_part(forward.module.atoms, freeze.frozen)
            if follows and (made or forward.marks & ~EVAL):
                return not forward.marks & EVAL
        return False

    def _is_constructor(self) -> bool:
        return self.body.name == "__init__" and class_around(self.body) is not None

    @cached_property
    def _around(self) -> Cls | None:
        around = class_around(self.body)
        return self.program.class_of(around[1]) if around is not None else None

    def _class_keeps_eval(self) -> bool:
        """Whether the class, or one that it derives from, has a ``train`` of its own, or calls ``eval`` elsewhere."""
        cls = self._around
        if cls is None or not classes.is_module(cls):
            return True
        for method in classes.methods(cls):
            if method.name in ("train", "_freeze_stages"):
                return True
            calls = self.tracer.definitions(method).attributes if method is not self.body else ()
            if any(event.name == "eval" for event in calls):
                return True
        return False

    def _is_normed(self, atom: Atom, depth: int) -> bool:
        """Whether a module surely has batch norms."""
        if not isinstance(atom, Obj) or depth > 3:
            return False
        if atom.type.rpartition(".")[2] in batch_norms():
            return True
        event = atom.event
        if isinstance(event, ir.Call) and event in self.known.blocks and NORMED.search(self.label(event.func)):
            return atom.type != INSTANCE
        return any(
            part is not atom and self._is_normed(part, depth + 1) for part in ownership.parts(self.program, atom)
        )
