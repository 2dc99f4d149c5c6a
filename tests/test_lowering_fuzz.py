"""Random programs, run by Python and walked on their graphs: each probe must see the same states in both.

A program opens contexts that change a mode (and may swallow exceptions), sets the mode by calls, each place to a
value of its own, and steers through loops, ``try``, ``match`` and jumps by chance. The states that the graph predicts
at a probe are the *collecting* semantics, with no approximation of its own. So a state that Python saw and the graph
does not predict is an unsound graph, and one that it predicts and no run ever shows is an imprecise one: a forgotten
exit, or an edge that is not there in Python.
"""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import pytest

from gradlint.ir.cfg import Block, Graph
from gradlint.ir.events import Call, Const, Enter, Event, Exit, Load, Raise, Store, Swallow
from gradlint.lower.python import lower, patterns, statements
from gradlint.lower.python.frames import FinallyFrame, Frame, WithFrame
from gradlint.lower.python.graph import GraphBuilder

PROGRAMS = 300
RUNS = 200_000
MAX_CHOICES = 300

State = tuple[int, tuple[tuple[int, int], ...]]
"""The mode, and for each open region the mode to restore."""
Seen = dict[int, set[int]]
"""Modes, for each number of a probe; and for the two ways to leave the program."""

ENDED, RAISED = 0, -1


class Writer:
    """Writes a random program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.probes = 0
        self.modes = 0
        self.errors = 0
        self.budget = 9
        self.lines = ["def program():", "    global mode"]

    def program(self) -> str:
        self.suite(1, 4, False, False)
        return "\n".join(self.lines) + "\n"

    def add(self, indent: int, line: str) -> None:
        self.lines.append("    " * indent + line)

    def probe(self) -> str:
        self.probes += 1
        return f"probe({self.probes})"

    def test(self) -> str:
        return self.random.choice(["cond()", "not cond()", f"cond() and {self.probe()}", f"cond() or {self.probe()}"])

    def context(self) -> str:
        return f"{self.random.choice(['hard', 'hard', 'soft'])}({self.new_mode()})"

    def new_mode(self) -> int:
        self.modes += 1
        return self.modes

    def change(self) -> str:
        """Changes the mode: by a call, which may raise before it does so, or by an assignment, which cannot."""
        return self.random.choice(["set_mode({})", "mode = {}"]).format(self.new_mode())

    def new_error(self) -> str:
        self.errors += 1
        return f"error_{self.errors}"

    def suite(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        if self.random.random() < 0.2:
            self.add(indent, self.random.choice(["pass", self.change(), *self.jumps(in_loop, in_finally)]))
            return
        if self.random.random() < 0.3:
            self.add(indent, self.change())
        for _ in range(self.random.randint(1, 2)):
            self.statement(indent, depth, in_loop, in_finally)
        if self.random.random() < 0.6:
            self.add(indent, self.probe())

    def statement(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.budget -= 1
        kinds = ["simple", "simple", "jump"]
        if depth > 0 and self.budget > 0:
            kinds += ["with"] * 4 + ["try"] * 4 + ["if", "if", "for", "while", "forever", "match"]
        getattr(self, "write_" + self.random.choice(kinds))(indent, depth - 1, in_loop, in_finally)

    def write_simple(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        statements = [
            self.change(),
            self.probe(),
            f"x = {self.probe()} if cond() else {self.probe()}",
            f"x = [{self.probe()} for y in items() if cond()]",
            f"x = cond() < cond() < {self.probe()}",
            f"assert {self.test()}",
        ]
        self.add(indent, self.random.choice(statements))

    def write_jump(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        jumps = self.jumps(in_loop, in_finally)
        self.add(indent, "if cond():")
        self.add(indent + 1, self.random.choice([*jumps, *jumps, f"return {self.probe()}", "raise error()"]))

    def jumps(self, in_loop: bool, in_finally: bool) -> list[str]:
        if not in_loop:
            return ["return"]
        # What Python does with `continue` in a `finally` could keep an endless loop from ending.
        return ["return", "break"] if in_finally else ["return", "break", "continue"]

    def write_with(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        items = ", ".join(self.context() for _ in range(self.random.choice([1, 1, 2])))
        self.add(indent, f"with {items}:")
        self.suite(indent + 1, depth, in_loop, in_finally)

    def write_if(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.add(indent, f"if {self.test()}:")
        self.suite(indent + 1, depth, in_loop, in_finally)
        if self.random.random() < 0.3:
            self.add(indent, f"elif {self.test()}:")
            self.suite(indent + 1, depth, in_loop, in_finally)
        if self.random.random() < 0.5:
            self.add(indent, "else:")
            self.suite(indent + 1, depth, in_loop, in_finally)

    def write_for(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.add(indent, "for x in items():")
        self.suite(indent + 1, depth, True, False)
        self.loop_else(indent, depth, in_loop, in_finally)

    def write_while(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.add(indent, f"while {self.test()}:")
        self.suite(indent + 1, depth, True, False)
        self.loop_else(indent, depth, in_loop, in_finally)

    def loop_else(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        if self.random.random() < 0.4:
            self.add(indent, "else:")
            self.suite(indent + 1, depth, in_loop, in_finally)

    def write_forever(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.add(indent, "while True:")
        self.add(indent + 1, "if cond(): break")
        self.suite(indent + 1, depth, True, False)

    def write_match(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        self.add(indent, "match pick():")
        for pattern in ("0", f"1 if {self.test()}", self.random.choice(["_", "2"])):
            self.add(indent + 1, f"case {pattern}:")
            self.suite(indent + 2, depth, in_loop, in_finally)

    def write_try(self, indent: int, depth: int, in_loop: bool, in_finally: bool) -> None:
        with_finally = self.random.random() < 0.5
        handlers = [self.new_error() for _ in range(self.random.randint(1 - with_finally, 2))]
        if handlers and self.random.random() < 0.4:
            handlers[-1] = "Exception as e"
        self.add(indent, "try:")
        # By design the handlers of a suite that cannot raise count as reachable; see to it that this one can.
        self.add(indent + 1, self.probe())
        self.suite(indent + 1, depth, in_loop, in_finally)
        for handler in handlers:
            self.add(indent, f"except {handler}:")
            self.suite(indent + 1, depth, in_loop, in_finally)
            if self.random.random() < 0.3:
                self.add(indent + 1, "raise")
        if handlers and self.random.random() < 0.3:
            self.add(indent, "else:")
            self.suite(indent + 1, depth, in_loop, in_finally)
        if with_finally:
            self.add(indent, "finally:")
            self.suite(indent + 1, depth, in_loop, True)


# -- what Python does --------------------------------------------------------------------------------------


class Halt(BaseException):
    """The run has made too many choices."""


class Runner:
    """Runs a program again and again, deciding by chance, and notes the modes at the probes.

    A run that shows a new mode is remembered, and later runs begin like it: chance alone takes too long to get to
    states that lie behind many decisions.
    """

    def __init__(self, text: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.calm = 3
        self.choices: list[int] = []
        self.script: list[int] = []
        self.memory: list[list[int]] = []
        names = sorted(set(re.findall(r"error_\d+", text)))
        # Which handlers take an error is drawn anew for each error, as the graph supposes.
        self.handled: dict[str, type[Exception]] = {name: type(name, (Exception,), {}) for name in names}
        self.errors: dict[int, type[Exception]] = {0: Exception}
        self.seen: Seen = defaultdict(set)
        self.names: dict[str, Any] = {
            "probe": self.probe,
            "cond": lambda: self.act() and self.choose(2),
            "pick": lambda: self.act() and self.choose(4),
            "items": lambda: self.act() and range(self.choose(3)),
            "error": lambda: self.act() and self.error(),
            "set_mode": self.set_mode,
            "hard": partial(self.context, False),
            "soft": partial(self.context, True),
            **self.handled,
        }
        exec(compile(text, "<program>", "exec"), self.names)

    def choose(self, count: int) -> int:
        if len(self.choices) > MAX_CHOICES:
            raise Halt
        position = len(self.choices)
        choice = self.script[position] if position < len(self.script) else self.random.randrange(count)
        self.choices.append(choice)
        return choice

    @property
    def mode(self) -> int:
        return int(self.names["mode"])

    @mode.setter
    def mode(self, mode: int) -> None:
        self.names["mode"] = mode

    def context(self, soft: bool, mode: int) -> Context:
        self.act()
        return Context(self, mode, soft)

    def set_mode(self, mode: int) -> None:
        self.act()
        self.mode = mode

    def error(self) -> Exception:
        mask = self.choose(1 << len(self.handled))
        if mask not in self.errors:
            bases = tuple([kind for bit, kind in enumerate(self.handled.values()) if mask & 1 << bit])
            self.errors[mask] = type(f"Error{mask}", bases, {})
        return self.errors[mask]()

    def act(self) -> bool:
        """What each call does first: it may raise."""
        raises = self.random.randrange(self.calm) == 0
        position = len(self.choices)
        if position < len(self.script):
            raises = bool(self.script[position])
        self.choices.append(raises)
        if raises:
            raise self.error()
        return True

    def see(self, number: int) -> None:
        if len(self.choices) <= MAX_CHOICES and self.mode not in self.seen[number]:
            self.seen[number].add(self.mode)
            self.memory.append(self.choices[:])

    def probe(self, number: int) -> int:
        self.see(number)
        return self.act() and self.choose(2)

    def run(self) -> None:
        self.mode = 0
        self.choices = []
        self.calm = self.random.choice([3, 10, 40])
        self.script = self.random.choice(self.memory) if self.memory and self.random.random() < 0.7 else []
        self.script = self.script[: self.random.randint(0, len(self.script))]
        try:
            self.names["program"]()
        except Halt:
            return
        except Exception:
            self.see(RAISED)
        else:
            self.see(ENDED)


class Context:
    """Switches the mode and restores it; a soft one swallows an exception by chance."""

    def __init__(self, runner: Runner, mode: int, soft: bool) -> None:
        self.runner, self.mode, self.soft = runner, mode, soft

    def __enter__(self) -> None:
        self.saved, self.runner.mode = self.runner.mode, self.mode

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.runner.mode = self.saved
        return self.soft and isinstance(error, Exception) and bool(self.runner.choose(2))


# -- what the graph says -----------------------------------------------------------------------------------


def predicted(graph: Graph) -> Seen:
    """The modes at the probes, along all paths of the graph."""
    events = [event for block in graph.blocks for event in block.events]
    functions = {event.dst: event.name for event in events if isinstance(event, Load)}
    constants = {event.dst: event.value for event in events if isinstance(event, Const)}
    calls = {event.dst: event for event in events if isinstance(event, Call)}
    arguments = {dst: int(str(constants[call.args[0]])) for dst, call in calls.items() if call.args}
    contexts = {event.region: event.context for event in events if isinstance(event, Enter)}
    soft = {region for region, context in contexts.items() if functions[calls[context].func] == "soft"}
    seen: Seen = defaultdict(set)
    ways_out = {graph.exit: ENDED, graph.raised: RAISED}
    start: State = (0, ())
    waiting = deque([(0, start)])
    known = {(0, start)}

    def flow(target: int | None, state: State) -> None:
        assert target is not None
        if (target, state) not in known:
            known.add((target, state))
            waiting.append((target, state))

    def step(block: Block, event: Event, state: State) -> State | None:
        mode, saved = state
        if isinstance(event, Call):
            flow(block.pad, state)
            name = functions[event.func]
            if name == "probe":
                seen[arguments[event.dst]].add(mode)
            return (arguments[event.dst] if name == "set_mode" else mode, saved)
        if isinstance(event, Store) and event.name == "mode":
            return (int(str(constants[event.src])), saved)
        if isinstance(event, Enter):
            return (arguments[contexts[event.region]], (*saved, (event.region, mode)))
        if isinstance(event, Exit):
            assert saved[-1:] and saved[-1][0] == event.region, "regions are left in order"
            mode = saved[-1][1]
            return (mode, saved[:-1])
        if isinstance(event, Swallow) and event.region not in soft:
            return None
        if isinstance(event, Raise):
            flow(block.pad, state)
            return None
        return state

    while waiting:
        index, state = waiting.popleft()
        block, after = graph.blocks[index], state
        if index in ways_out:
            seen[ways_out[index]].add(state[0])
        for event in block.events:
            assert tuple(region for region, _ in after[1]) == block.regions, "a block's regions are those it runs in"
            moved = step(block, event, after)
            if moved is None:
                break
            after = moved
        else:
            for successor in block.successors:
                flow(successor, after)
    return seen


def compare(seed: int) -> tuple[int, int, int]:
    """How many states at probes agree, are missing from the graph (unsound), and exist only there (imprecise)."""
    text = Writer(seed).program()
    abstract = predicted(lower(text, ast.parse(text)).children[0].graph)
    runner = Runner(text, seed)
    for _ in range(RUNS):
        runner.run()
        if runner.seen == abstract:
            break
    exact = unsound = imprecise = 0
    for number in {*runner.seen, *abstract}:
        concrete, claimed = runner.seen.get(number, set()), abstract.get(number, set())
        exact += len(concrete & claimed)
        unsound += len(concrete - claimed)
        imprecise += len(claimed - concrete)
    return exact, unsound, imprecise


def test_graphs_are_sound_and_exact() -> None:
    exact, unsound, imprecise = map(sum, zip(*map(compare, range(PROGRAMS)), strict=True))
    assert exact > 10 * PROGRAMS
    assert (unsound, imprecise) == (0, 0)


# -- the fuzz itself finds what it is made for -------------------------------------------------------------


def forget_exit_on_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(frame: WithFrame, builder: GraphBuilder) -> None:
        builder.start_block()

    monkeypatch.setattr(WithFrame, "leave", leave)


def forget_finally_on_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(frame: FinallyFrame, builder: GraphBuilder) -> None:
        builder.start_block()

    monkeypatch.setattr(FinallyFrame, "leave", leave)


def forget_finally_on_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FinallyFrame, "land", Frame.land)


def forget_exit_on_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WithFrame, "land", Frame.land)


def take_all_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_takes_all", lambda handler: True)


def take_no_exception_for_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "_takes_all", lambda handler: False)


def always_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_always_matches", lambda pattern: True)


def never_always_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_always_matches", lambda pattern: False)


def land_with_the_state_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(builder: GraphBuilder, *parts: Any) -> int:
        ref = original(builder, *parts)
        builder.block.successors.append(builder.pad_of(builder.frame))
        return ref

    original = GraphBuilder.call
    monkeypatch.setattr(GraphBuilder, "call", call)


MUTANTS = (
    forget_exit_on_jumps,
    forget_finally_on_jumps,
    forget_finally_on_exceptions,
    forget_exit_on_exceptions,
    take_all_exceptions,
    take_no_exception_for_sure,
    always_match,
    never_always_match,
    land_with_the_state_at_the_end,
)


@pytest.mark.parametrize("mutate", MUTANTS)
def test_mutant_is_found(mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    assert any(map(is_wrong, range(PROGRAMS)))


def is_wrong(seed: int) -> bool:
    try:
        _, unsound, imprecise = compare(seed)
    except AssertionError:
        return True
    return (unsound, imprecise) != (0, 0)
