"""What with-items and statements do to the grad modes in force, and what leaving a with-item brings back.

A with-item either restores a mode or leaves the mode alone, and which of the two may depend on the run:
``no_grad() if flag else nullcontext()``, or an `ExitStack` that something was pushed on under a condition.
``State.held`` has what it restores in the first case, ``State.kept`` what is in force behind it in the second: the
modes at its entry, changed by every switch inside that no inner with-item undoes. An item that always leaves the
mode alone needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gradlint.domains import grad_mode
from gradlint.domains.grad_mode import Effect
from gradlint.domains.values import Atom, Context, Fn, Obj, Value
from gradlint.torch_model import grad_contexts

if TYPE_CHECKING:
    from gradlint.project.context_managers import ContextManagers
    from gradlint.transfer.interpreter import Interpreter

EFFECTS = {"off": grad_mode.turn_off, "on": grad_mode.turn_on, "inference": grad_mode.enter_inference}
STACK = "contextlib.ExitStack"


class Entry(NamedTuple):
    """A context being entered: the modes inside, those that leaving restores, those in force if it restores none."""

    inside: int
    held: int
    kept: int


def effect(name: str, flag: object, modes: int) -> int:
    """The modes behind a grad-mode context; ``flag`` is its argument (UNSET: none, anything else: not known)."""
    found = 0
    for mode in grad_contexts()[name].modes(flag):
        if mode == "on" and name == "torch.inference_mode":
            found |= grad_mode.leave_inference(modes)
        else:
            found |= EFFECTS[mode](modes)
    return found or modes


def set_by(ip: Interpreter, context: Context, modes: int) -> int:
    """The modes behind ``context``; a flag that `torch.is_grad_enabled` told brings back the modes of that time."""
    remembered = ip.program.remembered.get(context)
    return effect(context.type, context.flag, modes) if remembered is None else remembered


def switch(ip: Interpreter, change: Effect) -> None:
    """A statement changes the mode for good, or until the next with-item around it that restores one is left."""
    state = ip.state
    state.modes = change(state.modes)
    maybe_undone = False
    for region in reversed(ip.block.regions):
        kept = state.kept.get(region)
        if kept is not None:
            state.kept[region] = change(kept) | (kept if maybe_undone else 0)
            maybe_undone |= region in state.held
        elif region in state.held:
            return


def switched_back(ip: Interpreter, context: Context) -> None:
    """What calling `set_grad_enabled` did is undone, or will be when the with-item that enters it is left."""
    restored = ip.program.restores[context]
    before = ip.kept_before.get(context, {})
    for region in ip.state.kept:
        ip.state.kept[region] = before.get(region, restored)


def entry_of(ip: Interpreter, context: Value, before: int) -> Entry:
    """Enter ``context`` in the modes ``before``: the join over everything that it may be."""
    inside = held = kept = 0
    for atom in context:
        one = _entry_of_one(ip, atom, before)
        inside, held, kept = inside | one.inside, held | one.held, kept | one.kept
        if isinstance(atom, Context) and len(context) == 1 and grad_contexts()[atom.type].on_call:
            switched_back(ip, atom)
    return Entry(inside, held, kept)


def _entry_of_one(ip: Interpreter, atom: Atom, before: int) -> Entry:
    if isinstance(atom, Context):
        restored = ip.program.restores.get(atom, before) if grad_contexts()[atom.type].on_call else before
        return Entry(set_by(ip, atom, before), restored, 0)
    if isinstance(atom, Obj) and atom.cls is not None:
        inside, held = ip.program.context_managers.entering(atom, before)
        return Entry(inside, held, 0 if held else inside)
    generator = ip.program.context_managers.generator_of(atom)
    if generator is not None and not generator.wrappers:
        return _entry_of_generator(ip.program.context_managers, generator, before)
    return Entry(before, 0, before)


def _entry_of_generator(managers: ContextManagers, generator: Fn, before: int) -> Entry:
    """Enter a context manager that a generator makes: it runs up to a ``yield``, and from there when it is left.

    What leaving does is read off the modes it ends in for each mode that the block may leave behind.
    """
    inside = held = kept = 0
    for mode in grad_mode.each(before):
        yields = managers.yields(generator.body, mode)
        if not yields:
            inside, kept = inside | mode, kept | mode
        for place, given in yields.items():
            inside |= given
            found = given if given == grad_mode.INFERENCE else given | grad_mode.ON | grad_mode.OFF
            ends = {end: managers.resumed(generator.body, mode, place, end) for end in grad_mode.each(found)}
            follows = len(ends) > 1 and all(end & modes for end, modes in ends.items())
            for end, modes in ends.items():
                held |= modes & ~end if follows else modes
            kept |= given if follows else 0
    return Entry(inside, held, kept)


def is_code(ip: Interpreter, atom: Atom) -> bool:
    """Whether a context manager is code of this file: an instance of a class, or made by a generator."""
    if isinstance(atom, Obj) and atom.cls is not None:
        return True
    return ip.program.context_managers.generator_of(atom) is not None


def enter(ip: Interpreter, region: int, context: Value) -> None:
    """Enter a with-item."""
    state, before = ip.state, ip.state.modes
    state.held.pop(region, None)
    state.kept.pop(region, None)
    inside, held, kept = entry_of(ip, context, before)
    if kept and inside != before and any(is_code(ip, atom) for atom in context):
        for outer in state.kept:
            state.kept[outer] = kept | (state.kept[outer] if held else 0)
    state.modes = inside
    if held:
        state.held[region] = held
    if kept and (held or any(isinstance(atom, Obj) and atom.type == STACK for atom in context)):
        state.kept[region] = kept


def leave(ip: Interpreter, region: int) -> bool:
    """Leave a with-item; true if it may have restored a mode."""
    held, kept = ip.state.held.pop(region, 0), ip.state.kept.pop(region, 0)
    if held | kept:
        ip.state.modes = held | kept
    return bool(held)


def push(ip: Interpreter, stack: Atom, context: Value) -> None:
    """``stack.enter_context(context)``: leaving the stack undoes it. What was pushed first decides what is restored."""
    state = ip.state
    inside, held, kept = entry_of(ip, context, state.modes)
    region = next((r for r in reversed(ip.block.regions) if stack in ip.regions.get(r, ((),))[0]), None)
    if region is None or (not held and any(is_code(ip, atom) for atom in context)):
        switch(ip, lambda modes: inside)
        return
    state.modes = inside
    current = state.kept.get(region)
    if held and current is not None:
        if region == ip.block.regions[-1]:
            held = entry_of(ip, context, current).held if any(is_code(ip, atom) for atom in context) else current
        state.held[region] = state.held.get(region, 0) | held
        if not kept:
            del state.kept[region]
