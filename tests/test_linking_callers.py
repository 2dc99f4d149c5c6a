"""In which modes, by which calls and what for functions are called from other files."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interfaces import at, call, decorator, file, function, project

from gradlint.domains import grad_mode
from gradlint.domains.grad_mode import INFERENCE, INHERITED, OFF, ON
from gradlint.linking.call_graph import CallGraph, Edge, inside
from gradlint.linking.callers import MOST_CALLERS, callers, told
from gradlint.linking.chains import LONGEST, Chains
from gradlint.linking.interface import Call, Caller, Function, Interface, Place
from gradlint.linking.names import Names
from gradlint.linking.results import Results, Words
from gradlint.torch_model import grad_contexts
from gradlint.transfer import switching

LIB = file("lib.py", function("evaluate"))


def callers_of(name: str, *files: Interface) -> tuple[Caller, ...]:
    interfaces = project(*files)
    return callers(Names(interfaces), interfaces).get(name, ())


def steps(caller: Caller) -> list[str]:
    return [f"{path}:{place.line} {name}" for path, place, name in caller.path]


# -- modes and paths ---------------------------------------------------------------------------------------------


def test_a_function_that_is_called_nowhere_has_no_callers() -> None:
    assert callers_of("lib.py:evaluate", LIB, file("main.py", function("main"))) == ()


def test_all_callers_guard() -> None:
    one = file("one.py", function("main", call("lib.evaluate", 3, modes=OFF)))
    two = file("two.py", function("main", call("lib.evaluate", 4, modes=INFERENCE)))
    found = callers_of("lib.py:evaluate", LIB, one, two)
    assert [(caller.modes, steps(caller)) for caller in found] == [
        (OFF, ["one.py:3 main"]),
        (INFERENCE, ["two.py:4 main"]),
    ]


def test_the_caller_that_does_not_guard_comes_first() -> None:
    one = file("one.py", function("main", call("lib.evaluate", 3, modes=OFF)))
    two = file("two.py", function("train", call("lib.evaluate", 4)))
    found = callers_of("lib.py:evaluate", LIB, one, two)
    assert [(caller.modes, steps(caller)) for caller in found] == [
        (INHERITED, ["two.py:4 train"]),
        (OFF, ["one.py:3 main"]),
    ]


def test_a_chain_over_three_files() -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5)))
    main = file("main.py", function("main", call("middle.validate", 7, modes=OFF)))
    (caller,) = callers_of("lib.py:evaluate", LIB, middle, main)
    assert (caller.modes, steps(caller)) == (OFF, ["middle.py:5 validate", "main.py:7 main"])


def test_the_path_leads_to_where_nothing_guards() -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5)))
    main = file("main.py", function("main", call("middle.validate", 7, modes=OFF), call("middle.validate", 9)))
    plain, guarded = callers_of("lib.py:evaluate", LIB, middle, main)
    assert (plain.modes, steps(plain)) == (INHERITED, ["middle.py:5 validate", "main.py:9 main"])
    assert (guarded.modes, steps(guarded)) == (OFF, ["middle.py:5 validate", "main.py:7 main"])


def test_the_shortest_of_several_paths_is_told() -> None:
    near = function("near", call("lib.evaluate", 2))
    far = function("far", call("near.near", 3))
    main = function("main", call("far.far", 4), call("near.near", 5))
    files = LIB, file("near.py", near), file("far.py", far), file("main.py", main)
    (caller,) = callers_of("lib.py:evaluate", *files)
    assert steps(caller) == ["near.py:2 near", "main.py:5 main"]


def test_of_paths_of_one_length_the_first_by_file_and_place() -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5)))
    b = file("b.py", function("a", call("middle.validate", 1)))
    a = file("a.py", function("z", call("middle.validate", 8)), function("y", call("middle.validate", 9)))
    (caller,) = callers_of("lib.py:evaluate", LIB, middle, b, a)
    assert steps(caller) == ["middle.py:5 validate", "a.py:8 z"]


def test_a_path_is_cut_off() -> None:
    links = [function(f"f{index}", call(f"f{index - 1}.f{index - 1}", index)) for index in range(1, 9)]
    files = [file("f0.py", function("f0")), *(file(f"{one.qualname}.py", one) for one in links)]
    (caller,) = callers_of("f0.py:f0", *files)
    assert steps(caller) == [f"f{index}.py:{index} f{index}" for index in range(1, LONGEST + 1)]


def test_calls_of_the_same_file_count_but_are_not_told() -> None:
    lib = file("lib.py", function("evaluate"), function("run", call("lib.py:evaluate", 2, modes=OFF)))
    middle = file("middle.py", function("f", call("lib.evaluate", 3)), function("g", call("middle.py:f", 4, modes=OFF)))
    (caller,) = callers_of("lib.py:evaluate", lib, middle)
    assert (caller.modes, steps(caller)) == (OFF, ["middle.py:3 f", "middle.py:4 g"])


def test_a_module_calls_too() -> None:
    (caller,) = callers_of("lib.py:evaluate", LIB, file("main.py", function("", call("lib.evaluate", 3))))
    assert (caller.modes, steps(caller)) == (INHERITED, ["main.py:3 "])


def test_a_call_that_is_never_reached_does_not_count() -> None:
    assert callers_of("lib.py:evaluate", LIB, file("main.py", function("main", call("lib.evaluate", modes=0)))) == ()


# -- decorators --------------------------------------------------------------------------------------------------


def test_the_code_of_a_decorated_caller_runs_in_the_mode_of_the_decorator() -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5), wrappers=decorator("torch.no_grad")))
    main = file("main.py", function("main", call("middle.validate", 7)))
    (caller,) = callers_of("lib.py:evaluate", LIB, middle, main)
    assert (caller.modes, steps(caller)) == (OFF, ["middle.py:5 validate"])
    (caller,) = callers_of("middle.py:validate", LIB, middle, main)
    assert (caller.modes, steps(caller)) == (INHERITED, ["main.py:7 main"])


def test_a_decorator_does_not_leave_inference_mode() -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5), wrappers=decorator("torch.enable_grad")))
    main = file("main.py", function("main", call("middle.validate", 7, modes=INFERENCE)))
    (caller,) = callers_of("lib.py:evaluate", LIB, middle, main)
    assert (caller.modes, steps(caller)) == (INFERENCE, ["middle.py:5 validate", "main.py:7 main"])


def test_a_decorator_does_not_cover_a_coroutine() -> None:
    wrappers = decorator("torch.no_grad")
    middle = file("middle.py", function("validate", call("lib.evaluate"), wrappers=wrappers, is_async=True))
    (caller,) = callers_of("lib.py:evaluate", LIB, middle)
    assert caller.modes == INHERITED


def test_the_outermost_decorator_comes_last() -> None:
    wrappers = (*decorator("torch.no_grad"), *decorator("torch.enable_grad"))
    assert inside(function("f", wrappers=wrappers), INHERITED) == OFF


CONTEXTS = [
    (name, flag)
    for name, context in grad_contexts().items()
    for flag in (True, False, None, msgspec.UNSET)
    if context.context and context.modes(flag)
]


@pytest.mark.parametrize(("name", "flag"), CONTEXTS)
def test_decorators_do_what_the_analysis_of_one_file_takes_them_to_do(name: str, flag: object) -> None:
    argument = flag if isinstance(flag, bool) else None
    wrapped = function("f", wrappers=decorator(name, argument, absent=flag is msgspec.UNSET))
    for modes in range(16):
        assert inside(wrapped, modes) == switching.effect(name, flag, modes)


# -- recursion ---------------------------------------------------------------------------------------------------


def test_recursion_alone_adds_nothing() -> None:
    lib = file("lib.py", function("walk", call("other.walk", 2)))
    other = file("other.py", function("walk", call("lib.walk", 3)))
    main = file("main.py", function("main", call("lib.walk", 4, modes=OFF)))
    found = callers_of("lib.py:walk", lib, other, main)
    assert [(caller.modes, steps(caller)) for caller in found] == [
        (OFF, ["main.py:4 main"]),
    ]
    (caller,) = callers_of("other.py:walk", lib, other, main)
    assert (caller.modes, steps(caller)) == (OFF, ["lib.py:2 walk", "main.py:4 main"])


def test_a_cycle_that_nobody_enters_is_entered_by_somebody_unknown() -> None:
    lib = file("lib.py", function("walk", call("other.walk", 2, modes=OFF)))
    other = file("other.py", function("walk", call("lib.walk", 3), call("leaf.leaf", 5)))
    leaf = file("leaf.py", function("leaf", call("leaf.leaf", 1)))
    plain, guarded = callers_of("lib.py:walk", lib, other, leaf)
    assert (plain.modes, steps(plain)) == (INHERITED, ["other.py:3 walk"])
    assert (guarded.modes, steps(guarded)) == (OFF, ["other.py:3 walk", "lib.py:2 walk"])
    (caller,) = callers_of("other.py:walk", lib, other, leaf)
    assert (caller.modes, steps(caller)) == (OFF, ["lib.py:2 walk"])


def test_what_lies_behind_a_cycle_is_entered_by_the_cycle_alone() -> None:
    first = file("first.py", function("f", call("second.f")))
    second = file("second.py", function("f", call("first.f"), call("third.f", modes=OFF)))
    third = file("third.py", function("f", call("fourth.f")))
    fourth = file("fourth.py", function("f", call("third.f"), call("lib.evaluate")))
    assert [caller.modes for caller in callers_of("lib.py:evaluate", LIB, first, second, third, fourth)] == [OFF]


# -- calls that only a name tells of -----------------------------------------------------------------------------


def by_name(*edges: tuple[str, str, int, bool], **known: object) -> dict[str, tuple[Caller, ...]]:
    names = sorted({name for caller, callee, _, _ in edges for name in (caller, callee)})
    functions = {f"{name}.py:{name}": function(name) for name in names}
    graph = CallGraph(
        functions,
        [
            Edge(f"{caller}.py:{caller}", f"{callee}.py:{callee}", call("", line, modes=modes), sure)
            for line, (caller, callee, modes, sure) in enumerate(edges, 1)
        ],
    )
    return {name.partition(".")[0]: found for name, found in told(graph, functions).items()}


def test_a_guess_is_told_as_one() -> None:
    found = by_name(("main", "evaluate", OFF, False), ("train", "evaluate", INHERITED, True))
    assert [(caller.modes, caller.sure) for caller in found["evaluate"]] == [(INHERITED, True), (OFF, False)]


def test_what_only_a_guess_guards_may_be_guarded() -> None:
    found = by_name(("main", "validate", OFF, False), ("validate", "evaluate", INHERITED, True))
    assert [(caller.modes, caller.sure, steps(caller)) for caller in found["evaluate"]] == [
        (OFF, False, ["validate.py:2 validate", "main.py:1 main"])
    ]


def test_a_guess_that_guards_nothing_is_no_more_than_an_unknown_caller() -> None:
    found = by_name(("main", "validate", ON, False), ("validate", "evaluate", INHERITED, True))
    assert [(caller.modes, caller.sure, steps(caller)) for caller in found["evaluate"]] == [
        (INHERITED, True, ["validate.py:2 validate"])
    ]


def test_a_guess_does_not_change_what_sure_calls_say() -> None:
    edges = [("main", "validate", OFF, True), ("validate", "evaluate", INHERITED, True)]
    assert by_name(*edges, ("train", "validate", INHERITED, False))["evaluate"] == by_name(*edges)["evaluate"]


@pytest.mark.parametrize("modes", [INHERITED | OFF, ON | OFF, ON | INFERENCE])
def test_a_call_that_may_be_guarded_does_not_accuse(modes: int) -> None:
    middle = file("middle.py", function("validate", call("lib.evaluate", 5)))
    main = file("main.py", function("main", call("middle.validate", 7, modes=modes)))
    (caller,) = callers_of("middle.py:validate", LIB, middle, main)
    assert (caller.modes, caller.sure) == (modes & (OFF | INFERENCE), False)
    (caller,) = callers_of("lib.py:evaluate", LIB, middle, main)
    assert (caller.modes, caller.sure) == (modes & (OFF | INFERENCE), False)
    assert steps(caller) == ["middle.py:5 validate", "main.py:7 main"]


@pytest.mark.parametrize(
    ("path", "name", "test"),
    [
        ("tests/helpers.py", "run", True),
        ("pkg/tests/conftest.py", "", True),
        ("test/test_lib.py", "run", True),
        ("test_lib.py", "TestLib.run", True),
        ("lib_test.py", "test_it", True),
        ("test/lib.py", "test_it", False),
        ("test_lib.py", "run", False),
        ("train.py", "test_epoch", False),
    ],
)
def test_what_a_test_calls_is_a_guess(path: str, name: str, test: bool) -> None:
    lib = file("lib.py", function("evaluate"))
    (caller,) = callers_of("lib.py:evaluate", lib, file(path, function(name, call("lib.evaluate"))))
    assert caller.sure is not test


# -- uses --------------------------------------------------------------------------------------------------------


def uses_of(name: str, *files: Interface) -> list[tuple[str, bool]]:
    return [(" ".join(sorted(caller.uses)), caller.sure) for caller in callers_of(name, *files)]


def test_what_becomes_of_a_result_behind_a_caller_that_returns_it() -> None:
    middle = file("middle.py", function("loss", call("lib.evaluate", uses="returned stored")))
    main = file("main.py", function("main", call("middle.loss", uses="walked")))
    assert uses_of("lib.py:evaluate", LIB, middle, main) == [("stored walked", True)]


def test_a_result_that_is_returned_to_somebody_unknown() -> None:
    middle = file("middle.py", function("loss", call("lib.evaluate", uses="yielded off")))
    assert uses_of("lib.py:evaluate", LIB, middle) == [("off yielded", True)]


def test_a_result_that_the_callers_of_the_caller_drop() -> None:
    middle = file("middle.py", function("loss", call("lib.evaluate", uses="returned")))
    main = file("main.py", function("main", call("middle.loss")))
    assert uses_of("lib.py:evaluate", LIB, middle, main) == [("", True)]


def test_a_result_that_comes_back_to_itself() -> None:
    lib = file("lib.py", function("walk", call("other.walk", uses="returned")))
    other = file("other.py", function("walk", call("lib.walk", uses="returned off")))
    assert uses_of("lib.py:walk", lib, other) == [("off returned", True)]
    assert uses_of("other.py:walk", lib, other) == [("off returned", True)]
    main = file("main.py", function("main", call("lib.walk", uses="walked")))
    assert uses_of("other.py:walk", lib, other, main) == [("off walked", True)]


def test_uses_that_a_guess_adds_are_not_sure() -> None:
    functions = {f"{name}.py:{name}": function(name) for name in ("lib", "loss", "main", "maybe")}
    graph = CallGraph(
        functions,
        [
            Edge("loss.py:loss", "lib.py:lib", call("", uses="returned")),
            Edge("main.py:main", "loss.py:loss", call("", uses="off")),
            Edge("maybe.py:maybe", "loss.py:loss", call("", uses="walked"), sure=False),
        ],
    )
    found = told(graph, functions)["lib.py:lib"]
    assert [(sorted(caller.uses), caller.sure) for caller in found] == [(["off"], True), (["off", "walked"], False)]


# -- how many ----------------------------------------------------------------------------------------------------


def test_callers_that_say_the_same_are_told_once() -> None:
    main = file("main.py", *(function(f"f{line}", call("lib.evaluate", line)) for line in range(1, 30)))
    assert [steps(caller) for caller in callers_of("lib.py:evaluate", LIB, main)] == [["main.py:1 f1"]]


def test_callers_that_say_too_many_things_are_told_together() -> None:
    kinds = ["walked", "off", "stored", "kept", "passed", "walked off", "stored off", "kept off", "passed off"]
    calls = [
        call("lib.evaluate", line, uses=uses, modes=modes)
        for line, (uses, modes) in enumerate((uses, modes) for uses in kinds for modes in (OFF, INHERITED))
    ]
    found = callers_of("lib.py:evaluate", LIB, file("main.py", function("main", *calls)))
    assert len(calls) > MOST_CALLERS
    every = frozenset(["walked", "off", "stored", "kept", "passed"])
    assert [(caller.modes, caller.uses, steps(caller)) for caller in found] == [
        (INHERITED, every, ["main.py:1 main"]),
        (OFF, every, ["main.py:0 main"]),
    ]


# -- any graph ---------------------------------------------------------------------------------------------------

MODES = st.integers(1, 15)
NAMES = [f"f{index % 3}.py:g{index}" for index in range(7)]
USES = st.frozensets(st.sampled_from(["returned", "yielded", "walked", "off"]))
WRAPPERS = st.sampled_from([(), (), (), decorator("torch.no_grad"), decorator("torch.inference_mode", False)])
EDGES = st.lists(
    st.builds(
        Edge,
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.builds(Call, st.just(""), st.builds(at, st.integers(1, 99)), MODES, USES),
        st.booleans(),
    ),
    max_size=14,
    unique_by=lambda edge: edge.call.place,
)


def functions_with(wrappers: list[tuple[object, ...]]) -> dict[str, Function]:
    return {name: function(name.partition(":")[2], wrappers=one) for name, one in zip(NAMES, wrappers, strict=True)}


FUNCTIONS = st.lists(WRAPPERS, min_size=len(NAMES), max_size=len(NAMES)).map(functions_with)


@given(FUNCTIONS, EDGES, st.randoms(use_true_random=False))
def test_no_order_makes_a_difference(functions: dict[str, Function], edges: list[Edge], random: Random) -> None:
    known = told(CallGraph(functions, edges), functions)
    names, shuffled = list(functions), list(edges)
    random.shuffle(names)
    random.shuffle(shuffled)
    assert told(CallGraph({name: functions[name] for name in names}, shuffled), functions) == known


@given(FUNCTIONS, EDGES)
def test_modes_are_a_fixpoint_and_the_smallest(functions: dict[str, Function], edges: list[Edge]) -> None:
    sure = [edge._replace(sure=True) for edge in edges if edge.call.modes in (INHERITED, ON, OFF, INFERENCE)]
    graph = CallGraph(functions, sure)
    found = {name: INHERITED if name in graph.origins else 0 for name in functions}
    for _ in range(4 * len(functions)):
        for edge in sure:
            found[edge.callee] |= grad_mode.resolve(edge.call.modes, inside(functions[edge.caller], found[edge.caller]))
    assert graph.entered == found
    assert graph.certain == functions.keys()


@given(EDGES)
def test_origins_lead_to_everything_and_no_other_enters_them(edges: list[Edge]) -> None:
    functions = functions_with([()] * len(NAMES))
    origins = CallGraph(functions, edges).origins
    ahead = {name: reachable(edges, name) for name in functions}
    assert all(name in origins or any(name in ahead[origin] for origin in origins) for name in functions)
    assert all(name in ahead[origin] for origin in origins for name in functions if origin in ahead[name])


def reachable(edges: list[Edge], start: str) -> set[str]:
    found, pending = set[str](), deque([start])
    while pending:
        name = pending.popleft()
        new = {edge.callee for edge in edges if edge.caller == name} - found
        found |= new
        pending += new
    return found


@given(FUNCTIONS, EDGES)
def test_every_mode_has_a_chain_of_calls(functions: dict[str, Function], edges: list[Edge]) -> None:
    graph = CallGraph(functions, edges)
    chains = Chains(graph)
    for edge in graph.edges:
        for mode in grad_mode.each(graph.modes(edge)):
            chain = chains.to(edge, mode)
            assert len(chain) == min(LONGEST, chains.length(edge, mode))
            assert all(graph.modes(one) & mode for one in chain)
            assert all(near.caller == far.callee for near, far in pairwise(chain))


@given(EDGES)
def test_uses_are_those_of_all_callers_of_callers(edges: list[Edge]) -> None:
    functions = functions_with([()] * len(NAMES))
    graph = CallGraph(functions, edges)
    words = Words()
    results = Results(graph, words, sure=False)
    for edge in graph.edges:
        wanted, pending, seen = set[str](), [edge], [edge]
        while pending:
            one = pending.pop()
            handed = one.call.uses & {"returned", "yielded"}
            wanted |= one.call.uses if one.caller in graph.origins else one.call.uses - handed
            further = [other for other in graph.incoming[one.caller] if handed and other not in seen]
            seen += further
            pending += further
        assert words.of(results.uses(edge)) == wanted


def test_thousands_of_functions_that_call_each_other_finish() -> None:
    functions = {f"f{index % 300}.py:g{index}": function(f"g{index}") for index in range(2000)}
    names, place = list(functions), Place(1, 1, 1, 1)
    edges = [
        Edge(caller, names[(index * step + 1) % len(names)], Call("", place, (INHERITED, OFF)[step % 2]))
        for index, caller in enumerate(names)
        for step in range(1, 21)
    ]
    graph = CallGraph(functions, edges)
    assert graph.origins == functions.keys()
    assert set(graph.entered.values()) == {INHERITED | OFF}
    assert told(graph, functions).keys() == functions.keys()


def test_a_long_chain_of_calls_is_followed_to_its_end() -> None:
    functions = {f"f{index}.py:g": function("g") for index in range(20_000)}
    names = list(functions)
    edges = [Edge(one, two, call("", modes=INHERITED)) for one, two in pairwise(names)]
    edges[0] = edges[0]._replace(call=call("", modes=OFF))
    assert CallGraph(functions, edges).entered[names[-1]] == OFF
