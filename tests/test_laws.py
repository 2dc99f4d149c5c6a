"""The laws that the solver relies on: joins are joins, transfer functions are monotone, order does not matter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import write

from gradlint.domains import grad_mode, tensor
from gradlint.domains.state import State, join_marks, join_values
from gradlint.domains.tensor import Place, Saved, join_places, result_of
from gradlint.domains.values import EVERYTHING, MOST_ATOMS, TOP, Atom, Value, World, union
from gradlint.flow.lattice import join_maps, join_masks
from gradlint.flow.solver import solve
from gradlint.ir import events as ir
from gradlint.ir.cfg import Body, Graph
from gradlint.lower.python import bodies
from gradlint.project import reveal, solving
from gradlint.torch_model import grad_contexts
from gradlint.transfer import switching

settings.register_profile("laws", max_examples=150, derandomize=True)
settings.load_profile("laws")

T = TypeVar("T")

# -- elements ------------------------------------------------------------------------------------------------

WORLD = World()
SPAN = (1, 0, 1, 1)
SPANS = st.integers(1, 4).map(lambda line: (line, 0, line, 1))
ATOMS: list[Atom] = [WORLD.api(f"module.thing{number}") for number in range(MOST_ATOMS + 3)]
ATOMS += [WORLD.obj(ir.Event(SPAN), kind) for kind in ("tensor", "parameter", "container")]
FEW = ATOMS[:3] + ATOMS[-3:]
MODES = st.integers(0, 15)
KEYS = st.sampled_from(["a", "b", "c"])
SETS = st.frozensets(st.sampled_from([*TOP, *ATOMS]), min_size=1, max_size=MOST_ATOMS)
VALUES = st.one_of(st.just(TOP), st.just(EVERYTHING), SETS)
SAVED = st.frozensets(st.builds(Saved, st.sampled_from(["mul", "exp"]), st.just("self"), SPANS), max_size=2)
PLACES = st.builds(
    Place,
    graph=st.integers(1, 127),
    saved=SAVED,
    roots=st.frozensets(st.sampled_from(ATOMS[-3:]), max_size=2),
    flagged=st.frozensets(SPANS, max_size=2),
    made=st.none() | SPANS,
    off=st.none() | SPANS,
    via=st.sampled_from(["", "detach"]),
    behind=st.frozensets(st.sampled_from(ATOMS[-3:]), max_size=2),
)
ATOM = st.sampled_from(FEW)


@st.composite
def states(draw: st.DrawFn) -> State:
    state = State(draw(MODES))
    state.held = draw(st.dictionaries(st.integers(0, 2), st.integers(1, 15), max_size=2))
    state.kept = draw(st.dictionaries(st.integers(0, 2), st.integers(1, 15), max_size=2))
    state.env = draw(st.dictionaries(KEYS, VALUES, max_size=2))
    state.attributes = draw(st.dictionaries(st.tuples(ATOM, KEYS), VALUES, max_size=2))
    state.contents = draw(st.dictionaries(ATOM, VALUES, max_size=2))
    state.places = draw(st.dictionaries(ATOM, PLACES, max_size=2))
    state.marks = draw(st.dictionaries(ATOM, st.integers(1, 15), max_size=2))
    state.since = draw(st.dictionaries(st.sampled_from([2, 4, 8]), SPANS, max_size=2))
    return state


def essence_of_place(place: Place) -> object:
    return place.graph, place.saved, place.roots, place.flagged, place.behind


def essence(state: State) -> object:
    """A state without its evidence."""
    fields = {name: getattr(state, name) for name in State.__slots__ if name not in ("places", "since")}
    return fields, {atom: essence_of_place(place) for atom, place in state.places.items()}


# -- joins ---------------------------------------------------------------------------------------------------


@dataclass
class Semilattice:
    """A join as a pure function that also tells whether the first argument grew."""

    name: str
    elements: st.SearchStrategy[Any]
    join: Callable[[Any, Any], tuple[Any, bool]]
    essence: Callable[[Any], Any] = lambda element: element
    bottom: Any = None


def in_place(join: Callable[[Any, Any], bool]) -> Callable[[Any, Any], tuple[Any, bool]]:
    def pure(a: Any, b: Any) -> tuple[Any, bool]:
        joined = a.copy()
        changed = join(joined, b)
        return joined, changed

    return pure


def joined_places(a: Place, b: Place) -> tuple[Place, bool]:
    joined = join_places(a, b)
    return joined, joined is not a


JOINS = [
    Semilattice("modes", MODES, lambda a, b: (a | b, bool(b & ~a)), bottom=0),
    Semilattice("masks", st.dictionaries(KEYS, st.integers(1, 15)), in_place(join_masks), bottom={}),
    Semilattice(
        "maps", st.dictionaries(KEYS, st.frozensets(st.integers(0, 5), min_size=1)), in_place(join_maps), bottom={}
    ),
    Semilattice("values", st.dictionaries(KEYS, VALUES), in_place(join_values), bottom={}),
    Semilattice("marks", st.dictionaries(ATOM, st.integers(1, 15)), in_place(join_marks)),
    Semilattice("places", PLACES, joined_places, essence_of_place),
    Semilattice("states", states(), in_place(State.join), essence),
]
every_join = pytest.mark.parametrize("lattice", JOINS, ids=lambda lattice: lattice.name)


@every_join
@given(st.data())
def test_join_is_commutative(lattice: Semilattice, data: st.DataObject) -> None:
    a, b = data.draw(lattice.elements), data.draw(lattice.elements)
    assert lattice.essence(lattice.join(a, b)[0]) == lattice.essence(lattice.join(b, a)[0])


@every_join
@given(st.data())
def test_join_is_associative(lattice: Semilattice, data: st.DataObject) -> None:
    a, b, c = (data.draw(lattice.elements) for _ in range(3))
    left = lattice.join(lattice.join(a, b)[0], c)[0]
    right = lattice.join(a, lattice.join(b, c)[0])[0]
    assert lattice.essence(left) == lattice.essence(right)


@every_join
@given(st.data())
def test_join_is_idempotent_and_says_so(lattice: Semilattice, data: st.DataObject) -> None:
    a = data.draw(lattice.elements)
    joined, changed = lattice.join(a, a)
    assert lattice.essence(joined) == lattice.essence(a)
    assert not changed


@every_join
@given(st.data())
def test_join_tells_exactly_whether_it_changed_more_than_evidence(lattice: Semilattice, data: st.DataObject) -> None:
    a, b = data.draw(lattice.elements), data.draw(lattice.elements)
    joined, changed = lattice.join(a, b)
    assert changed == (lattice.essence(joined) != lattice.essence(a))
    assert not lattice.join(joined, b)[1], "an upper bound of both does not grow again"


@pytest.mark.parametrize("lattice", [one for one in JOINS if one.bottom is not None], ids=lambda lattice: lattice.name)
@given(st.data())
def test_join_with_nothing_changes_nothing(lattice: Semilattice, data: st.DataObject) -> None:
    a = data.draw(lattice.elements)
    assert lattice.join(a, lattice.bottom) == (a, False)
    assert lattice.join(lattice.bottom, a)[0] == a


@given(states(), states())
def test_evidence_is_not_part_of_the_join(a: State, b: State) -> None:
    other = b.copy()
    other.since = {2: (9, 9, 9, 9), 4: (9, 9, 9, 9), 8: (9, 9, 9, 9)}
    other.places = {atom: place._replace(made=(9, 9, 9, 9), via="other") for atom, place in b.places.items()}
    joined, with_other = a.copy(), a.copy()
    assert joined.join(b) == with_other.join(other)
    assert essence(joined) == essence(with_other)


@given(states(), states())
def test_copies_are_independent(a: State, b: State) -> None:
    before = essence(a.copy())
    a.copy().join(b)
    assert essence(a) == before


@given(st.lists(VALUES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_union_has_no_order(values: list[Value], shuffle: random.Random) -> None:
    mixed = values[:]
    shuffle.shuffle(mixed)
    assert union(values) == union(mixed) == union([union(values[:1]), union(values)])


@given(st.lists(states(), min_size=20, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_chains_stop_growing(elements: list[State], order: random.Random) -> None:
    state = State(0)
    for element in elements:
        state.join(element)
    for _ in range(3):
        order.shuffle(elements)
        assert not any([state.join(element) for element in elements])


# -- transfer functions --------------------------------------------------------------------------------------

FLAGS = (True, False, None, msgspec.UNSET)
EFFECTS: dict[str, Callable[[int], int]] = {
    f"{name}({flag})": lambda modes, name=name, flag=flag: switching.effect(name, flag, modes)  # type: ignore[misc]
    for name in grad_contexts()
    for flag in FLAGS
}
EFFECTS |= {
    "turn_off": grad_mode.turn_off,
    "turn_on": grad_mode.turn_on,
    "enter_inference": grad_mode.enter_inference,
    "leave_inference": grad_mode.leave_inference,
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effects_act_on_each_mode_alone(name: str) -> None:
    effect = EFFECTS[name]
    assert effect(0) == 0, "what is not reached stays so"
    for modes in range(1, 16):
        assert effect(modes), "a switch always leads somewhere"
        for more in range(16):
            assert effect(modes | more) == effect(modes) | effect(more)


@given(MODES, MODES, MODES, st.dictionaries(st.sampled_from([1, 2, 4, 8]), MODES))
def test_resolving_and_calling_act_on_each_mode_alone(a: int, b: int, inherited: int, ends: dict[int, int]) -> None:
    assert grad_mode.resolve(a | b, inherited) == grad_mode.resolve(a, inherited) | grad_mode.resolve(b, inherited)
    assert grad_mode.through(ends, a | b) == grad_mode.through(ends, a) | grad_mode.through(ends, b)
    assert grad_mode.resolve(a, grad_mode.INHERITED) == a


def below(a: int, b: int) -> bool:
    """Whether graph places ``a`` say at least as much as ``b``; that a value is plain is less than how it came off."""
    off = tensor.NO_GRAPH & ~tensor.PLAIN
    return bool(b & tensor.ANY) or not (a & ~tensor.PLAIN if b & off else a) & ~b


GRAPHS = st.integers(1, 127)


@given(st.lists(st.tuples(GRAPHS, GRAPHS), min_size=1, max_size=4))
def test_the_result_of_an_operation_is_monotone(operands: list[tuple[int, int]]) -> None:
    small = [graph for graph, _ in operands]
    large = [graph | more for graph, more in operands]
    assert below(result_of(small), result_of(large))


@given(st.lists(GRAPHS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_result_of_an_operation_has_no_order(operands: list[int], order: random.Random) -> None:
    mixed = operands[:]
    order.shuffle(mixed)
    assert result_of(operands) == result_of(mixed)


# -- the solver ----------------------------------------------------------------------------------------------


@dataclass
class Node:
    successors: list[int]
    pad: int | None


class Bits:
    """The simplest state: a bit set."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def copy(self) -> Bits:
        return Bits(self.bits)

    def join(self, other: Bits) -> bool:
        grown = other.bits & ~self.bits
        self.bits |= other.bits
        return bool(grown)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Node], list[tuple[int, int]]]:
    """A graph, and for each node the bits it keeps and the bits it adds."""
    size = draw(st.integers(1, 12))
    index = st.integers(0, size - 1)
    nodes = [Node(draw(st.lists(index, max_size=3)), draw(st.none() | index)) for _ in range(size)]
    return nodes, [(draw(st.integers(0, 255)), draw(st.integers(0, 255))) for _ in range(size)]


def before_states(nodes: list[Node], acts: list[tuple[int, int]]) -> list[int | None]:
    def transfer(index: int, state: Bits, raised: Callable[[Bits], None]) -> Bits | None:
        keeps, adds = acts[index]
        raised(Bits(state.bits & keeps))
        state.bits = (state.bits & keeps) | adds
        return None if adds & 128 else state

    solution = solve(nodes, Bits(1), transfer, budget=1 + 9 * len(nodes) ** 2)
    assert solution is not None, "at most one visit per bit that any predecessor can add"
    return [None if state is None else state.bits for state in solution.before]


@given(problems(), st.randoms(use_true_random=False))
def test_the_fixpoint_does_not_depend_on_the_numbering(
    problem: tuple[list[Node], list[tuple[int, int]]], shuffle: random.Random
) -> None:
    nodes, acts = problem
    number = [0, *shuffle.sample(range(1, len(nodes)), len(nodes) - 1)]
    renumbered, moved = nodes[:], acts[:]
    for old, new in enumerate(number):
        node = nodes[old]
        pad = None if node.pad is None else number[node.pad]
        renumbered[new], moved[new] = Node([number[target] for target in node.successors], pad), acts[old]
    states, again = before_states(nodes, acts), before_states(renumbered, moved)
    assert states == [again[new] for new in number]


@given(problems())
def test_the_fixpoint_is_one(problem: tuple[list[Node], list[tuple[int, int]]]) -> None:
    nodes, acts = problem
    states = before_states(nodes, acts)
    for index, state in enumerate(states):
        if state is None:
            continue
        keeps, adds = acts[index]
        pad = nodes[index].pad
        if pad is not None:
            assert not state & keeps & ~(states[pad] or 0)
        for target in [] if adds & 128 else nodes[index].successors:
            assert not ((state & keeps) | adds) & ~(states[target] or 0)


def test_a_budget_that_is_too_small_gives_up() -> None:
    nodes = [Node([1], None), Node([0], None)]
    assert solve(nodes, Bits(1), lambda index, state, raised: Bits(state.bits | 2), budget=1) is None


def renumber(graph: Graph, order: random.Random) -> None:
    """Number the blocks of a graph anew, all but the entry."""
    number = [0, *order.sample(range(1, len(graph.blocks)), len(graph.blocks) - 1)]
    blocks = graph.blocks[:]
    for block in blocks:
        block.index = number[block.index]
        block.successors = [number[target] for target in block.successors]
        block.pad = None if block.pad is None else number[block.pad]
        graph.blocks[block.index] = block
    for loop in graph.loops.values():
        loop.head = number[loop.head]
    graph.exit, graph.raised = number[graph.exit], number[graph.raised]


@pytest.mark.parametrize("seed", range(25))
def test_what_is_revealed_does_not_depend_on_the_numbering(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write(seed)
    expected = reveal.reveal(text)
    build = bodies.Source._build
    order = random.Random(seed)

    def shuffled(source: bodies.Source, body: Body, *args: Any) -> Graph:
        graph = build(source, body, *args)
        if not graph.too_large:
            renumber(graph, order)
        return graph

    monkeypatch.setattr(bodies.Source, "_build", shuffled)
    for _ in range(3):
        assert reveal.reveal(text) == expected


@pytest.mark.parametrize("seed", range(40))
def test_fixpoints_stay_far_below_the_budget(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []

    def counting(*args: Any, budget: int, **options: Any) -> Any:
        solution = solve(*args, budget=budget, **options)
        assert solution is not None
        spent.append(solution.visits / budget)
        return solution

    monkeypatch.setattr(solving, "solve", counting)
    reveal.reveal(write(seed))
    assert max(spent) < 0.25
