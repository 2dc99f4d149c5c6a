"""Targets of reinforcement learning that should be numbers, and hang on the graph of what learns from them.

A target is known by its form and by the names of its parts: a reward and a discounted value make a bootstrapped target,
a value that is taken from a return makes an advantage, and what an exponential takes off a log-probability is the old
one. That it is on the graph must be certain: nothing on any path has detached it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from gradlint.domains import grad_mode, tensor
from gradlint.domains.values import Api, Atom, Cls, Fn, Obj, Sym, Tuple
from gradlint.facts import Backward, Forward
from gradlint.facts.targets import AttachedTarget
from gradlint.ir import events as ir
from gradlint.project import purpose
from gradlint.project.leaves import cutting
from gradlint.project.values.lineage import is_of_tensor, keeps
from gradlint.project.values.valued import Valued
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.project.forwards.evaluation import Evaluation
    from gradlint.project.protocol.protocol import Protocol

REWARD = re.compile(r"(?:^|[_.])(?:r|rs|rew\w*|rewards?)(?:$|[_.])|reward", re.IGNORECASE)
DISCOUNT = re.compile(r"gamma|discount|^(?:self\.)?g$", re.IGNORECASE)
VALUE = re.compile(r"value|critic|baseline|(?:^|[_.])(?:vs?|vf|v_\w+|\w+_vs?)$", re.IGNORECASE)
ADVANTAGE = re.compile(r"adv|td|delta|return|reward|error|(?:^|[_.])(?:R|G|ret|gae)$", re.IGNORECASE)
LOG_PROBABILITY = re.compile(r"log_?p(?:i|a|rob\w*)?(?:_?\w{1,6})?$|logp|(?:^|[_.])lp$|log_softmax", re.IGNORECASE)
OLD = re.compile(r"(?:^|[_.])(?:old|prev|previous|behaviou?r)(?:_|$)|_old$", re.IGNORECASE)


class Bootstrapping:
    """The targets in one body."""

    def __init__(self, evaluation: Evaluation, protocol: Protocol) -> None:
        self.protocol, self.run, self.body = protocol, protocol.run, protocol.run.body
        self.tracer, self.frozen = evaluation.tracer, evaluation.frozen
        self.known = self.tracer.definitions(self.body)
        self.lineage = Valued(self.tracer, self.run)

    def attached(self) -> Iterator[AttachedTarget]:
        """Yield them in source order, each place once."""
        found: dict[ir.Span, AttachedTarget] = {}
        for event in self.known.events(ir.Binary):
            if not self.tracer.modes(self.body, event) & grad_mode.NO_GRAPH:
                for fact in self._of(event):
                    found.setdefault(fact.span, fact)
        yield from sorted(found.values(), key=lambda fact: fact.span)

    def _of(self, event: ir.Binary) -> Iterator[AttachedTarget]:
        for one, other in ((event.left, event.right), (event.right, event.left)):
            if event.op == "+":
                yield from self._bootstrapped(event, one, other)
            elif event.op == "*":
                yield from self._advantage(event, one, other)
        if event.op == "-":
            yield from self._old(event)

    # -- rewards and what is to come -----------------------------------------------------------------------

    def _bootstrapped(self, event: ir.Binary, reward: ir.Ref, rest: ir.Ref) -> Iterator[AttachedTarget]:
        """``reward + gamma * network(next)``, in a loss with what the network says now."""
        product = self._behind(rest)
        if not isinstance(product, ir.Binary) or product.op != "*":
            return
        networks = list(self._networks(rest))
        if not networks or self._forward(reward) is not None:
            return
        if not any(REWARD.search(name) for name in self._names(reward, whole=False)):
            return
        if not any(DISCOUNT.search(name) for one in self._factors(product) for name in self._names(one, whole=False)):
            return
        target = self._value(event.dst)
        sink = next((reached for reached in map(self._reached, self._sinks()) if target & reached), set[Atom]())
        for made in networks if sink else ():
            modules = self._callee(made)
            calls = (call for call in self.known.events(ir.Call) if call.span != made.span)
            mine = [self._callee(call) for call in calls if self._value(call.dst) & sink]
            if any(callee == modules and len(modules) == 1 for callee in mine):
                yield self._fact(event, "bootstrapped", "the target", made)
            elif any(mine) and self._forward(rest) is made and self._is_separate(modules, mine):
                yield self._fact(event, "separate", "the target", made)

    def _factors(self, product: ir.Binary) -> Iterator[ir.Ref]:
        """What is multiplied, part of it in a variable perhaps."""
        for ref in (product.left, product.right):
            inner = self.known.makers.get(ref)
            if isinstance(inner, ir.Binary) and inner.op == "*":
                yield from self._factors(inner)
            else:
                yield ref

    def _networks(self, ref: ir.Ref) -> Iterator[ir.Call]:
        """The forwards, and calls of something unknown: what is called for both sides of a loss is a network."""
        for event in self.lineage.of(ref):
            known = isinstance(event, ir.Call) and event.span in self.lineage.forwards
            if isinstance(event, ir.Call) and self._callee(event) and (not known or self.lineage.records(event)):
                yield event

    def _callee(self, call: ir.Call) -> Value:
        """The module that is called, or the unknown thing; nothing for a function or a method that is known."""
        forward = self.lineage.forwards.get(call.span)
        if forward is not None:
            return forward.module.atoms
        value = self.tracer.value(self.body, call.func)
        if value and all(isinstance(atom, Fn) and atom.body.name == "forward" for atom in value):
            return frozenset(atom.receiver for atom in value if isinstance(atom, Fn) and atom.receiver is not None)
        unknown = all(isinstance(atom, Sym) for atom in value) and not self._is_loss(call)
        return value if unknown and not self.tracer.modes(self.body, call) & grad_mode.NO_GRAPH else frozenset()

    def _is_separate(self, modules: Value, others: list[Value]) -> bool:
        """Whether a network is none of the others, and is not frozen."""
        return not self.frozen.covers(modules) and not any(modules & other for other in others)

    def _sinks(self) -> Iterator[Value]:
        """What is minimised: what the body goes backward from, or else what its losses return."""
        passes = [op.what for op in self.protocol.backwards]
        found = [what.target.atoms for what in passes if isinstance(what, Backward)]
        yield from found
        for call in self.known.events(ir.Call) if not found else ():
            if self._is_loss(call) and not self.tracer.modes(self.body, call) & grad_mode.NO_GRAPH:
                yield self._value(call.dst)

    # -- advantages and old probabilities ------------------------------------------------------------------

    def _advantage(self, event: ir.Binary, probability: ir.Ref, factor: ir.Ref) -> Iterator[AttachedTarget]:
        """``log_prob * (returns - value)`` in a loss."""
        if not self._is_log_probability(probability):
            return
        for part in self.lineage.of(factor):
            if not isinstance(part, ir.Binary) or part.op != "-" or not self._is_attached(part.right):
                continue
            names = self._names(part.left) | self._names(factor, whole=False)
            if not self._is_named(part.right, VALUE) or not any(ADVANTAGE.search(name) for name in names):
                continue
            if self._is_minimised(event):
                maker = self._forward(part.right) or part
                yield self._fact(self.known.makers[factor], "advantage", self._shown(factor, "the advantage"), maker)
                return

    def _old(self, event: ir.Binary) -> Iterator[AttachedTarget]:
        """``exp(log_prob - old_log_prob)`` in a loss."""
        same = self._behind(event.left) is self._behind(event.right)
        named = self._is_named(event.right, OLD) or (same and self._is_named(event.right, LOG_PROBABILITY))
        if not named or not self._is_attached(event.right) or not self._is_attached(event.left):
            return
        if self._is_exponentiated(event.dst) and self._is_minimised(event):
            maker = self._forward(event.right) or self.known.makers[event.right]
            yield self._fact(self.known.makers[event.right], "old", self._shown(event.right, "it"), maker)

    def _is_log_probability(self, ref: ir.Ref) -> bool:
        """Whether a value is a log-probability, maybe with a sign, a shape or a sum."""
        event = self.known.makers.get(ref)
        if isinstance(event, ir.Load):
            only = self.known.only(event)
            return LOG_PROBABILITY.search(event.name) is not None or (
                only is not None and self._is_log_probability(only.src)
            )
        if isinstance(event, ir.Unary):
            return self._is_log_probability(event.src)
        if isinstance(event, (ir.Attr, ir.Item)):
            named = isinstance(event, ir.Attr) and LOG_PROBABILITY.search(event.name) is not None
            return named or self._is_log_probability(event.obj)
        if not isinstance(event, ir.Call):
            return False
        method = self.known.makers.get(event.func)
        if LOG_PROBABILITY.search(self.tracer.label(self.body, event.func)) is not None:
            return True
        if not isinstance(method, ir.Attr):
            return False
        inner = event.args[:1] if self._is_function(event) else (method.obj,)
        return method.name in SHAPES and any(self._is_log_probability(one) for one in inner)

    def _is_exponentiated(self, ref: ir.Ref) -> bool:
        names = set[str]()
        for reader in self.known.readers.get(ref, ()):
            if isinstance(reader, ir.Store):
                if any(self._is_exponentiated(load.dst) for load in self.known.loads.get(reader, ())):
                    return True
            elif isinstance(reader, ir.Attr):
                names.add(reader.name)
            elif isinstance(reader, ir.Call) and ref in reader.args:
                names.add(self.tracer.label(self.body, reader.func).rpartition(".")[2])
        return "exp" in names

    def _is_minimised(self, event: ir.Binary) -> bool:
        """Whether a value gets to a backward pass of the body, or to a variable that is called a loss."""
        value = self._value(event.dst)
        passes = [op.what for op in self.protocol.backwards]
        targets = [what.target.atoms for what in passes if isinstance(what, Backward)]
        losses = [self._value(s.src) for name, stores in self.known.stores.items() for s in stores if is_loss(name)]
        return any(value & self._reached(sink) for sink in (targets or losses))

    # -- values --------------------------------------------------------------------------------------------

    def _value(self, ref: ir.Ref) -> Value:
        value = self.tracer.value(self.body, ref)
        inner = (part for atom in value if isinstance(atom, Tuple) for item in atom.items for part in item)
        return frozenset(atom for atom in (*value, *inner) if isinstance(atom, Obj))

    def _behind(self, ref: ir.Ref) -> ir.Event | None:
        """The operation that made a value, through variables."""
        event = self.known.makers.get(ref)
        while isinstance(event, ir.Load):
            only = self.known.only(event)
            if only is None:
                return event
            event = self.known.makers.get(only.src)
        return event

    def _forward(self, ref: ir.Ref) -> ir.Call | None:
        """The nearest forward that surely made a value and put it on the graph."""
        found = (event for event in self.lineage.of(ref) if isinstance(event, ir.Call))
        return next((event for event in found if self.lineage.records(event)), None)

    def _is_attached(self, ref: ir.Ref) -> bool:
        """Whether a value is on the graph for certain."""
        value = self.tracer.value(self.body, ref)
        return bool(value) and all(self._stands(atom) in (tensor.GRAPH, tensor.LEAF) for atom in value)

    def _stands(self, atom: Atom) -> int:
        if atom in self.run.plain:
            return self.run.plain[atom]
        place = self.run.places.get(atom)
        return place.graph if place is not None else tensor.ANY

    def _names(self, ref: ir.Ref, *, whole: bool = True) -> set[str]:
        """How the source calls a value, and what it is computed from; ``whole``: in other statements too."""
        found = {self.tracer.label(self.body, ref)}
        pending, seen = [ref], set[ir.Ref]()
        while pending and len(seen) < MOST_PARTS:
            event = self.known.makers.get(current := pending.pop())
            if event is None or current in seen:
                continue
            seen.add(current)
            found.add(self.tracer.label(self.body, current))
            if isinstance(event, ir.Load):
                found.add(event.name)
                only = self.known.only(event) if whole else None
                pending += [only.src] if only is not None else []
            elif isinstance(event, (ir.Binary, ir.Unary, ir.Item, ir.Attr, ir.Unpack)):
                pending += self.lineage.operands(event)
            elif isinstance(event, ir.Build):
                pending += event.items
            elif isinstance(event, ir.Call):
                pending += [event.func, *event.args]
        return found

    def _is_named(self, ref: ir.Ref, pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(name) for name in self._names(ref))

    def _reached(self, targets: Value) -> set[Atom]:
        """What values may be computed from, on the graph all the way, as far as the next forward."""
        pending, seen = [*targets], set[Atom](targets)
        while pending and len(seen) < MOST_ATOMS:
            atom = pending.pop()
            if not isinstance(atom, Obj) or not self._is_open(atom):
                continue
            new = (self.run.origins.get(atom, set()) | self._written.get(atom, set())) - seen
            seen |= new
            pending.extend(new)
        return seen

    @cached_property
    def _written(self) -> dict[Atom, set[Atom]]:
        """What is written into parts of each tensor: ``target[i][j] = value``."""
        found: dict[Atom, set[Atom]] = {}
        for event in self.known.events(ir.SetItem):
            for part in self._value(event.obj):
                place = self.run.places.get(part)
                for root in place.roots if place is not None else ():
                    found.setdefault(root, set()).update(self._value(event.src))
        return found

    def _is_open(self, atom: Obj) -> bool:
        """Whether what an object was made from gets the gradient that it gets."""
        event = atom.event
        if event not in self.known.blocks or cutting.of(self.run, self.known, atom) is not None:
            return False
        if not isinstance(event, ir.Call):
            return True
        callees = self.tracer.value(self.body, event.func)
        if event.span in self.lineage.forwards and not self._is_loss(event):
            return False
        method = self.known.makers.get(event.func)
        named = all(isinstance(one, Api) and keeps(one.name) for one in callees)
        return named or self._is_loss(event) or (isinstance(method, ir.Attr) and is_of_tensor(method.name))

    def _is_loss(self, call: ir.Call) -> bool:
        """Whether a loss is called whose code is torch's, or is called as torch's are."""
        callees = self.tracer.value(self.body, call.func)
        if any(isinstance(one, (Fn, Cls)) for one in callees):
            return False
        label = self.tracer.label(self.body, call.func)
        return is_loss(label) and len(call.args) == 2

    def _is_function(self, call: ir.Call) -> bool:
        return all(isinstance(one, Api) for one in self.tracer.value(self.body, call.func))

    def _shown(self, ref: ir.Ref, default: str) -> str:
        event = self.known.makers.get(ref)
        return self.tracer.label(self.body, ref) if isinstance(event, (ir.Load, ir.Attr)) else default

    def _fact(self, event: ir.Event, form: str, target: str, made: ir.Event) -> AttachedTarget:
        maker = self.tracer.label(self.body, made.func) if isinstance(made, ir.Call) else ""
        alone = made.span if self._is_alone(made, event) else None
        return AttachedTarget(event.span, form, target, maker, ((made.span, "on the graph since here"),), alone)

    def _is_alone(self, made: ir.Event, target: ir.Event) -> bool:
        """Whether what a call returns becomes part of the target, and of nothing else."""
        event = made
        while event is not target:
            readers = self._read_by(event)
            if len(readers) != 1:
                return False
            event = readers[0]
        return True

    def _read_by(self, event: ir.Event) -> list[ir.Event]:
        """Who reads what an event makes, or the variable that it assigns."""
        if isinstance(event, ir.Store):
            return [*self.known.loads.get(event, ())]
        readers = self.known.readers.get(getattr(event, "dst", ir.OPAQUE_REF), [])
        return [one for one in readers if not isinstance(one, (ir.Unpack, ir.Store)) or self._read_by(one)]


SHAPES = frozenset("sum mean squeeze unsqueeze view reshape gather flatten clone stack cat to float select".split())
"""Operations that leave a log-probability one."""
MOST_PARTS = 60
MOST_ATOMS = 1000


def is_loss(name: str) -> bool:
    """Whether a name is that of a loss."""
    return roles.LOSS.search(name) is not None


def attached_targets(path: str, evaluation: Evaluation, protocol: Protocol) -> list[AttachedTarget]:
    """The targets on the graph in one body."""
    run = protocol.run
    if purpose.is_test(run.body, path) or not (protocol.backwards or run.recorder.all(Forward)):
        return []
    return list(Bootstrapping(evaluation, protocol).attached())
