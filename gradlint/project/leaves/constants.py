"""Parameters that are made of what looks like a constant: windows, filters, tables (facts: RG35)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradlint.domains.values import PARAMETER, Literal, Obj
from gradlint.facts import GradFlag
from gradlint.facts.freezing import ConstantParameter
from gradlint.ir import events as ir
from gradlint.project.values.expressions import DEEPEST, Expressions

WINDOWS = re.compile(r"(?:bartlett|blackman|hamming|hann|kaiser|cosine|gaussian)_window$|windows?\.\w+$|get_window$")
"""Functions that make a window."""
TABLES = re.compile(r"^(?:from_numpy|tensor|as_tensor|Tensor|FloatTensor|arange|linspace|logspace|eye|meshgrid|outer)$")
"""Functions that make a tensor of what is written there, or follows a simple law."""
NAMED = re.compile(
    r"(?:^|_)(?:window|sobel|laplac\w*|gauss\w*|blur|mel|fbank|filter_?bank|dct|hann|hamming|pixel_(?:mean|std)|inv_freqs?"
    r"|freqs?|frequencies|grid|anchors?|lut|lookup|stft|wavelet|haar|dft|fourier_(?:basis|matrix)|time_?steps|ids?)(?:_|$)"
    r"|(?:^|_)(?:mean|std)$",
    re.IGNORECASE,
)
"""Names of what is fixed beforehand."""
LEARNT = re.compile(r"weight|bias|scale|gamma|beta|temperature|emb|learn|logit|train|log_", re.IGNORECASE)
"""Names of what is learnt, whatever it starts from."""


class Constants(Expressions):
    """Looks through one body."""

    def found(self) -> Iterator[ConstantParameter]:
        """The trainable parameters that look like constants, in source order."""
        if any(flag.value is not True for flag in self.run.recorder.all(GradFlag)):
            return
        for call in sorted(self.events(ir.Call), key=lambda call: call.span):
            name = self._registered(call) if self._is_trainable(call) else ""
            made = self._constant(call.args[0], name) if name else ""
            if made and not LEARNT.search(name):
                yield ConstantParameter(call.span, name, made, ())

    def _is_trainable(self, call: ir.Call) -> bool:
        made = [atom for atom in self.value(call.dst) if isinstance(atom, Obj) and atom.type == PARAMETER]
        own = [atom for atom in made if atom.event is call and atom.owner is None]
        return bool(own) and bool(call.args) and self.program.is_made_to_train(call) is True

    def _registered(self, call: ir.Call) -> str:
        """The attribute under which a parameter is registered."""
        for reader in self.known.readers.get(call.dst, ()):
            if isinstance(reader, ir.SetAttr):
                return reader.name
            if isinstance(reader, ir.Call) and self.name(reader) == "register_parameter" and reader.args:
                names = [atom.value for atom in self.value(reader.args[0]) if isinstance(atom, Literal)]
                return str(names[0]) if len(names) == 1 else ""
        return ""

    def _constant(self, ref: ir.Ref, name: str, depth: int = 0) -> str:
        """The call that makes the constant of which a value is computed; empty if it does not look like one."""
        event = self.source(ref)
        if depth > DEEPEST or not isinstance(event, (ir.Call, ir.Binary, ir.Item, ir.Unary)):
            return ""
        if isinstance(event, ir.Call):
            label = self.label(event.func)
            if WINDOWS.search(label):
                return f"{label}(...)"
            if TABLES.search(self.name(event)) and NAMED.search(name) and not self._is_number(event):
                return f"{label}(...)"
            if self.method(event) is None or self.is_torch(event):
                return ""
        inner = [event.obj] if isinstance(event, ir.Item) else list(self.operands(event))
        return next(filter(None, (self._constant(one, name, depth + 1) for one in inner)), "")

    def _is_number(self, call: ir.Call) -> bool:
        """Whether a tensor is made of a single number, as what is learnt often starts from one."""
        made = self.maker(call.args[0]) if call.args else None
        if isinstance(made, ir.Build) and len(made.items) == 1:
            return not isinstance(self.maker(made.items[0]), ir.Build)
        return isinstance(made, (ir.Const, ir.Unary)) and self.name(call) in ("tensor", "as_tensor", "Tensor")
