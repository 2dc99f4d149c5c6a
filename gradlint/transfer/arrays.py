"""Tensors that are given to numpy, which takes none that requires grad while gradients are on (facts: RG13)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains import tensor
from gradlint.domains.values import CONTAINER, RESULT, SCALAR, TENSOR, Literal, Obj
from gradlint.facts.leaves import ArrayUse
from gradlint.ir import events as ir
from gradlint.transfer import questions

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.transfer.calls import Site
    from gradlint.transfer.interpreter import Interpreter

TAKES = frozenset(
    """argwhere nonzero real shape ndim size squeeze isscalar iterable info printoptions diag_indices_from
    tril_indices_from triu_indices_from array_split split hsplit vsplit str_ float16 float32 float64 float_ double int8
    int16 int32 int64 uint8 bool_ int_ dtype arange zeros ones empty full save savez savez_compressed""".split()
)
"""Functions of numpy that do not make an array of their first argument, or are given something else first."""
READS = frozenset("load loadtxt genfromtxt fromfile fromstring fromregex memmap".split())
"""Those that read a file or a text."""
PLOTS = frozenset(
    f"matplotlib.pyplot.{name}"
    for name in "plot imshow matshow scatter hist bar errorbar fill_between semilogx semilogy loglog contour contourf "
    "pcolormesh imsave".split()
)
SAVES = frozenset({"torchaudio.save", "soundfile.write", "scipy.io.wavfile.write", "numpy.save"})
"""Functions whose first argument is the file."""
FLOATS = re.compile(
    r"(?:^|_)(?:logits?|loss(?:es)?|mu|means?|log_?var|std|recon\w*|prob(?:s|abilities)?|scores?|embed(?:s|dings?)?|features?"
    r"|hidden(?:_states?)?|pooler_output|latents?|values?|attentions?)$"
)
"""Names of parts of what a model returns that are no indices."""
JOINS = frozenset("cat concat concatenate stack hstack vstack dstack".split())
"""Operations whose result holds what its parts hold: indices, if those are."""
SINKS = ("numpy.", "scipy.", "sklearn.metrics.")


def method(ip: Interpreter, site: Site, receiver: ir.Ref) -> None:
    """``tensor.numpy()``."""
    forced = site.argument(0, "force")
    if forced is None or questions.truth(forced) is False:
        _note(ip, site, receiver, own=True)


def function(ip: Interpreter, site: Site, name: str) -> None:
    """A function that makes arrays of what it is given."""
    last = name.rpartition(".")[2]
    first = 1 if name in SAVES else 0
    if name in PLOTS:
        for ref in site.event.args:
            _note(ip, site, ref)
    elif name in SAVES or (name.startswith(SINKS) and last not in TAKES | READS and last[:1].islower()):
        refs = site.event.args[first : first + 1] if len(site.event.args) == len(site.args) else ()
        for ref in refs:
            _note(ip, site, ref)


def is_sink(name: str) -> bool:
    """Whether a function may make arrays of what it is given."""
    return name.startswith(SINKS) or name in PLOTS or name in SAVES


def _note(ip: Interpreter, site: Site, ref: ir.Ref, *, own: bool = False) -> None:
    modes = ip.modes()
    value = ip.value(ref)
    if not modes.records or ip.graph_of(value) & ~tensor.ATTACHED or not value:
        return
    operand = ip.operand(ref)
    label = ip.labels[site.func] if site.func >= 0 else ""
    inside = any(isinstance(atom, Obj) and atom.type == CONTAINER for atom in value)
    if not _is_tensor(ip, value):
        return
    known = (not inside and _is_called_float(operand.name)) or not _is_part(ip, value)
    ip.recorder.note(ArrayUse(site.event.span, *ip.where(), operand, label, own, inside, known))


def _is_called_float(name: str) -> bool:
    """Whether the last part of a name that is no call says that the tensor holds no indices."""
    parts = [part.partition("[")[0] for part in name.split(".") if not part.endswith(")")]
    return bool(parts) and FLOATS.search(parts[-1].lower()) is not None


def _is_tensor(ip: Interpreter, value: Value) -> bool:
    """Whether all atoms are tensors or hold some, rather than numbers."""
    return not any(isinstance(atom, Literal) or (isinstance(atom, Obj) and atom.type == SCALAR) for atom in value)


def _is_part(ip: Interpreter, value: Value) -> bool:
    """Whether the value is, as far as is known, one of several things that a call returned."""
    pending, seen = list(value), set(value)
    while pending:
        atom = pending.pop()
        if isinstance(atom, Obj) and atom.type == CONTAINER:
            new = set(ip.state.contents.get(atom, ())) - seen
            seen |= new
            pending.extend(new)
        if not isinstance(atom, Obj) or atom.type not in (TENSOR, RESULT):
            continue
        event = atom.event
        if isinstance(event, ir.Attr) and FLOATS.search(event.name.lower()):
            continue
        if isinstance(event, (ir.Unpack, ir.Attr)) or (
            isinstance(event, ir.Item) and questions.number(ip.value(event.key))
        ):
            return True
        place = ip.state.place(atom)
        joins = place.via.rpartition(".")[2] in JOINS
        if joins and atom not in ip.run.origins:  # in another file
            return True
        if joins or place.roots:
            new = ip.run.origins.get(atom, set()) - seen
            seen |= new
            pending.extend(new)
    return False
