"""Where a value falls off the graph on its way to a backward pass.

What a backward pass starts from is taken apart into the terms of its sum, and each term is followed back through what
it was computed from. A term that is off the graph whatever way one takes was cut off somewhere: there is the mistake,
for it adds nothing to any gradient, and if all terms are such, backward raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import tensor
from gradlint.domains.values import PARAMETER, SCALAR, Api, Atom, Literal, Method, Obj, Sym, Tuple, Value, ordered
from gradlint.facts import Backward
from gradlint.facts.leaves import LostGraph
from gradlint.ir import events as ir
from gradlint.project.leaves import cutting
from gradlint.project.leaves.cutting import Cut
from gradlint.project.leaves.starved import Starved
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.project.program import Program
    from gradlint.project.summaries import Run
    from gradlint.project.values.definitions import Definitions
    from gradlint.project.values.uses import Tracer

MACHINE = frozenset("os sys time datetime platform socket argparse json re".split())
"""Modules of Python's whose functions return texts, numbers and settings."""
DEEPEST = 80
"""A value that is computed in more steps than this is taken to be on the graph."""
DATA = re.compile(
    r"(?:^|_)(?:x|y|xs|ys|x[bsit]|y[bt]|inputs?|images?|imgs?|targets?|labels?|batch(?:es)?|data|samples?|real|truth|gt"
    r"|masks?|ids|tokens?|noise|rewards?|dones?|actions?|states?|obs(?:ervations?)?)(?:_(?:batch|b|t|i|data|ids))?\d?$"
)
"""Names of parameters that hold what is learned from."""
CONSTANT = re.compile(
    r"(?:^|[._])(?:args|cfg|config|opts?|hparams|params)\.[\w.]+$|(?:^|[._])(?:alpha|beta|gamma|eps(?:ilon)?|lambda\w*|lambd|lam"
    r"|\w*_?coeff?|\w*_coefficient|\w*_weight|weight_\w+|\w*_scale|lr|ratio|\w*_steps|n|num_\w+|temperature|margin)$"
)
"""Names of the numbers by which terms are weighted."""
SAME = frozenset(
    "sum mean squeeze unsqueeze view reshape to float double half cpu cuda flatten contiguous clone".split()
)
"""Methods whose result depends on the sum of what they are given."""
SUMS = frozenset("torch.sum torch.mean torch.stack torch.cat torch.squeeze builtins.sum torch.add".split())


class Found(NamedTuple):
    """A cut, and what of it was on the graph, or may have been. ``sure``: it was, on every path."""

    cut: Cut
    source: Value
    sure: bool
    into: str = ""
    """The kind of another cut that its result is given to."""


class Off(NamedTuple):
    """Whether a value is off the graph whatever way it came, and the cuts that took it there."""

    off: bool
    found: frozenset[Found] = frozenset()


OFF, ON = Off(True), Off(False)


def order(one: Found) -> tuple[object, ...]:
    """Where a cut stands; of several findings at one place the surest comes first."""
    sources = sorted(atom.event.span for atom in one.source if isinstance(atom, Obj))
    return one.cut.event.span, not one.sure, one.into, sources


def lost(program: Program, tracer: Tracer, run: Run) -> list[LostGraph]:
    """The cuts on the way to the backward passes of a body, each once."""
    if run.lost is None:
        passes = run.recorder.backwards()
        cuts = Cuts(program, run, tracer.definitions(run.body)) if passes else None
        found = [one for backward in passes for one in cuts.behind(backward)] if cuts is not None else []
        found += Starved(program, tracer, run).found()
        run.lost = list({one.span: one for one in reversed(found) if one.sure}.values())[::-1]
    return run.lost


class Cuts:
    """Follows the values of one body back to where they left the graph."""

    def __init__(self, program: Program, run: Run, definitions: Definitions) -> None:
        self.program, self.run, self.definitions = program, run, definitions
        self._known: dict[Atom, Off] = {}

    def behind(self, backward: Backward) -> Iterator[LostGraph]:
        """The cuts between a backward pass and what it should reach."""
        target = backward.target
        if target.off_graph or target.flagged or target.graph == tensor.LEAF:
            return
        sums: set[Atom] = set()
        terms = self._terms(target.atoms, 0, sums)
        answers = {term: self.off(term) for term in ordered(terms)}
        gone = [answer for answer in answers.values() if answer.off]
        whole = len(gone) == len(answers) and bool(answers)
        if any(self._is_flagged(atom) for atom in terms):
            return
        if not whole and backward.through and len(target.atoms) > 1:
            return  # a callee computes the loss from all of them, and not as their sum
        found = frozenset().union(*(answer.found for answer in gone)) if gone else frozenset()
        if whole and target.graph & tensor.ATTACHED and not self.run.demanded:
            found = frozenset(one for one in found if one.cut.kind == cutting.ZERO)
        for one in sorted(found, key=order):
            if not whole and one.cut.kind == cutting.DETACH:
                continue
            if not whole and (not one.sure or (one.cut.kind != cutting.INDEX and one.source & sums)):
                continue
            yield self._fact(one, whole, target.cut, backward)

    def _fact(self, one: Found, whole: bool, raises: bool, backward: Backward) -> LostGraph:
        made = min((atom.event.span for atom in one.source if isinstance(atom, Obj)), default=None)
        name = self.run.labels[one.cut.sources[0]] if one.cut.sources and one.cut.sources[0] >= 0 else ""
        shown = name.removesuffix("(...)").removesuffix("()") if name.endswith(")") else name
        on = ((made, f"`{shown}` computed here" if shown else "computed here"),) if made is not None else ()
        span = one.cut.event.span
        because = (*on, (span, "taken off the graph here"), (backward.span, "backward here"))
        listed = isinstance(one.cut.event, ir.Call) and cutting.is_list(self.run, one.cut.event)
        form = one.into or ("list" if listed else one.cut.of)
        return LostGraph(
            span, one.cut.kind, one.cut.call, name, whole, backward.span, because, one.sure or raises, form
        )

    # -- terms ---------------------------------------------------------------------------------------------

    def _terms(self, value: Value, depth: int, seen: set[Atom]) -> set[Atom]:
        """What is added up to make a value; a factor that is off the graph counts for nothing."""
        found: set[Atom] = set()
        for atom in value - seen:
            seen.add(atom)
            parts = self._parts(atom) if depth < DEEPEST else None
            found |= self._terms(self._added(atom), depth + 1, seen)
            if parts is None:
                found.add(atom)
            else:
                found |= self._terms(parts, depth + 1, seen)
        return found

    def _parts(self, atom: Atom) -> Value | None:
        """The terms of a sum; None for anything else."""
        if not isinstance(atom, Obj) or cutting.of(self.run, self.definitions, atom) is not None:
            return None
        event = atom.event
        if event not in self.definitions.blocks:
            return None
        if isinstance(event, (ir.Binary, ir.Augment)):
            return self._operands(atom, event)
        if isinstance(event, ir.Call) and self._sums(event):
            return frozenset(self.run.origins.get(atom, ())) or None
        return None

    def _added(self, atom: Atom) -> Value:
        """What was added to a tensor in place."""
        found: set[Atom] = set()
        for origin in self.run.origins.get(atom, ()) if isinstance(atom, Obj) else ():
            event = origin.event if isinstance(origin, Obj) else None
            if event not in self.definitions.blocks:
                continue
            if isinstance(event, ir.Augment) and event.op in ("+", "-") and event is not getattr(atom, "event", None):
                found |= self._temp(event.value)
        return frozenset(found)

    def _operands(self, atom: Obj, event: ir.Binary | ir.Augment) -> Value | None:
        left, right = (event.left, event.right) if isinstance(event, ir.Binary) else (event.target, event.value)
        one, other = self._temp(left) - {atom}, self._temp(right) - {atom}
        if event.op in ("+", "-"):
            return one | other
        if event.op == "/" and self._all_off(other):
            return one
        if event.op == "*" and one and self._all_off(one) != self._all_off(other):
            return other if self._all_off(one) else one
        return None

    def _sums(self, event: ir.Call) -> bool:
        func = self._temp(event.func)
        if any(isinstance(atom, Api) for atom in func):
            return all(isinstance(atom, Api) and atom.name in SUMS for atom in func)
        label = self.run.labels[event.func] if event.func >= 0 else ""
        return label.rpartition(".")[2] in SAME and isinstance(self.definitions.makers.get(event.func), ir.Attr)

    def _all_off(self, value: Value) -> bool:
        return all(self.off(atom).off for atom in value)

    # -- off the graph -------------------------------------------------------------------------------------

    def off(self, atom: Atom, depth: int = 0) -> Off:
        """Whether ``atom`` is off the graph, and by which cuts."""
        if atom not in self._known:
            self._known[atom] = OFF  # what is computed from itself, in a loop, is what the rest of it is
            self._known[atom] = self._judge(atom, depth) if depth < DEEPEST else ON
        return self._known[atom]

    def _judge(self, atom: Atom, depth: int) -> Off:
        if isinstance(atom, Literal):
            return OFF
        if isinstance(atom, Tuple):
            return self._joined([inner for item in atom.items for inner in item], depth)
        if isinstance(atom, Sym):
            place = self.run.places.get(atom)
            attached = place is not None and bool(place.graph & tensor.ATTACHED) and atom not in self.run.demanded
            return OFF if not attached and self._is_plain(atom) else ON
        if not isinstance(atom, Obj) or self._is_flagged(atom):
            return ON
        if self._is_of_machine(atom):
            return OFF
        cut = cutting.of(self.run, self.definitions, atom)
        if cut is not None:
            return Off(True, frozenset(self._blamed(cut, atom, None, depth)))
        if atom.event not in self.definitions.blocks:
            place = self.run.places.get(atom)
            return OFF if place is not None and place.graph and not place.graph & ~tensor.NO_GRAPH else ON
        graph = self.run.plain.get(atom, tensor.LEAF if atom.type == PARAMETER else tensor.ANY)
        origins = self.run.origins.get(atom)
        if graph and not graph & ~tensor.ATTACHED and not origins:
            return ON
        if graph and not graph & ~tensor.NO_GRAPH and graph & (tensor.OFF | tensor.OFF_CALL):
            return OFF
        if "." in atom.type:
            return self._held(atom, depth)
        if origins:
            return self._joined(list(origins), depth) if self._is_transparent(atom) else ON
        return OFF if atom.type == SCALAR or (graph and not graph & ~tensor.NO_GRAPH) else ON

    def _is_of_machine(self, atom: Obj) -> bool:
        """Whether a function of Python's has made something that knows no tensors: ``os.environ.get("RANK")``."""
        funcs = self._temp(atom.event.func) if isinstance(atom.event, ir.Call) else frozenset()
        return bool(funcs) and all(isinstance(one, Api) and one.name.partition(".")[0] in MACHINE for one in funcs)

    def _held(self, atom: Obj, depth: int) -> Off:
        """An object of a class of torch is what it was made of: a distribution."""
        event = atom.event
        if self.program.is_module(atom) or not isinstance(event, ir.Call) or not atom.type.startswith("torch."):
            return ON
        refs = (*event.args, *(ref for _, ref in event.keywords))
        return self._joined([one for ref in refs for one in self._temp(ref)], depth)

    def _joined(self, atoms: list[Atom], depth: int) -> Off:
        found: frozenset[Found] = frozenset()
        for atom in ordered(atoms):
            answer = self.off(atom, depth + 1)
            if not answer.off:
                return ON
            found |= answer.found
        return Off(True, found)

    def _is_transparent(self, atom: Obj) -> bool:
        """Whether nothing but what it was computed from can put a value on the graph."""
        event = atom.event
        if not isinstance(event, ir.Call):
            return True
        for func in self._temp(event.func):
            if isinstance(func, Api):
                if not func.name.startswith(("torch.", "builtins.", "numpy.", "math.")):
                    return False
            elif not isinstance(func, Method) and (
                not self.program.is_free_of_parameters(func) or self._given_modules(event)
            ):
                return False
        return True

    def _given_modules(self, event: ir.Call) -> bool:
        refs = (*event.args, *(ref for _, ref in event.keywords))
        return any(self.program.is_module(atom) for ref in refs for atom in self._temp(ref))

    def _is_plain(self, atom: Sym) -> bool:
        """Whether something from outside is data or a number for all that its name says."""
        name = atom.path.partition("[")[0]
        if self.run.plain.get(atom) == tensor.PLAIN or roles.DATA.search(name) is not None:
            return True
        return DATA.search(name) is not None or CONSTANT.search(name) is not None

    def _is_flagged(self, atom: Atom) -> bool:
        place = self.run.places.get(atom)
        return place is not None and bool(place.flagged)

    # -- whom to blame -------------------------------------------------------------------------------------

    def _blamed(self, cut: Cut, atom: Obj, above: Cut | None, depth: int) -> Iterator[Found]:
        """The cuts that took something off the graph that was on it; ``above`` is one that was applied to this one."""
        shown = cut if above is None or cut.kind not in cutting.SOFT else above
        sources = self._sources(cut, atom)
        attached = frozenset(source for source in sources if self._stands(source, 0) == tensor.GRAPH)
        if attached:
            yield Found(shown, attached, True)
            return
        for source in ordered(sources):
            inner = cutting.of(self.run, self.definitions, source) if isinstance(source, Obj) else None
            if inner is not None and isinstance(source, Obj):
                if depth < DEEPEST:
                    for one in self._blamed(inner, source, shown, depth + 1):
                        yield one if one.cut is shown else one._replace(into=shown.kind)
                continue
            answer = self.off(source, depth + 1)
            if answer.off:
                for found in answer.found:
                    soft = found.cut.kind in cutting.SOFT
                    yield found._replace(cut=shown) if soft else found._replace(into=shown.kind)
            elif isinstance(source, Obj) and self._reached([source], attached=True):
                yield Found(shown, frozenset((source,)), True)
            elif isinstance(source, Obj):
                label = self.run.labels[cut.sources[0]] if cut.sources and cut.sources[0] >= 0 else ""
                called_loss = shown.kind == cutting.NUMBER and roles.LOSS.search(label) is not None
                yield Found(shown, frozenset((source,)), called_loss)

    def _sources(self, cut: Cut, atom: Obj) -> Value:
        taken = frozenset(self.run.taken_from.get(atom, ()))
        given = frozenset(one for ref in cut.sources for one in self._temp(ref))
        return taken | frozenset(one for one in given if not isinstance(one, Literal))

    def _stands(self, atom: Atom, depth: int) -> int:
        """Where something stood when it was made."""
        if isinstance(atom, Sym):
            place = self.run.places.get(atom)
            return tensor.GRAPH if place is not None and place.graph in (tensor.GRAPH, tensor.LEAF) else tensor.ANY
        if not isinstance(atom, Obj) or cutting.of(self.run, self.definitions, atom) is not None or depth > DEEPEST:
            return tensor.ANY
        if atom.type == PARAMETER:
            return tensor.GRAPH
        graph = self.run.plain.get(atom)
        if graph is None:
            origins = self.run.origins.get(atom, ())
            return tensor.GRAPH if any(self._stands(o, depth + 1) == tensor.GRAPH for o in origins) else tensor.ANY
        return tensor.GRAPH if graph and not graph & ~tensor.ATTACHED else graph

    def _reached(self, atoms: list[Atom], *, attached: bool = False) -> set[Atom]:
        """What atoms were computed from, without a cut between; ``attached``: as far as that is on the graph."""
        pending, seen = list(atoms), set(atoms)
        while pending and len(seen) < 2000:
            atom = pending.pop()
            if isinstance(atom, Obj) and cutting.of(self.run, self.definitions, atom) is not None:
                continue
            new = self.run.origins.get(atom, set()) - seen
            seen |= new
            pending.extend(new)
        return {atom for atom in seen if self._stands(atom, 0) == tensor.GRAPH} if attached else seen

    def _temp(self, ref: ir.Ref) -> Value:
        return self.run.temps[ref] if 0 <= ref < len(self.run.temps) else frozenset()
