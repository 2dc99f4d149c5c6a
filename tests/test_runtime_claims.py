from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.registry import all_rules
from gradlint.runtime.claims import CLAIMS, UNRECORDED, verify
from gradlint.runtime.place import Place
from gradlint.runtime.recording import (
    Assigned,
    Backward,
    Call,
    Compiled,
    Discarded,
    Edit,
    Form,
    Forward,
    Left,
    Made,
    Mode,
    Raised,
    Recording,
    Stale,
    Step,
    Switch,
)
from gradlint.runtime.verdict import Verdict, Verified

PATH = "/project/train.py"
NO_GRAPH = "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"
CONFIRMED, REFUTED = Verdict.CONFIRMED, Verdict.REFUTED
INCONCLUSIVE, NOT_REACHED = Verdict.INCONCLUSIVE, Verdict.NOT_REACHED


def span(line: int, column: int = 5, end_column: int = 25) -> Location:
    return Location(line, column, line, end_column)


def place(line: int, column: int = 5, end_column: int = 25, path: str = PATH, function: str = "train") -> Place:
    return Place(path, span(line, column, end_column), function)


HERE = place(10)


def finding(code: str, message: str = "", *evidence: tuple[int, str], path: str = PATH, line: int = 10) -> Finding:
    steps = tuple(Evidence(path, span(at), text) for at, text in evidence)
    return Finding(code, "a-rule", Severity.ERROR, Certainty.CERTAIN, path, span(line), message, "", steps)


def forward(at: Place = HERE, mode: Mode = Mode.ON, callers: tuple[Place, ...] = (), **figures: int) -> Forward:
    row = Forward(at, 3, callers, "Net", False, mode, None, tracked=0, used=0, alive=0, peak=0)
    return replace(row, **figures)  # type: ignore[arg-type]


def backward(at: Place = HERE, count: int = 3, leaf_roots: int = 0, **more: object) -> Backward:
    row = Backward(at, count, (), "backward", leaf_roots)
    return replace(row, **more)  # type: ignore[arg-type]


def call(
    name: str = "mul", at: Place = HERE, mode: Mode = Mode.ON, errors: tuple[str, ...] = (), count: int = 2
) -> Call:
    return Call(at, count, name, mode, True, errors=errors)


def raised(message: str, *frames: Place, kind: str = "RuntimeError") -> Raised:
    return Raised(kind, message, frames or (HERE,))


def judge(found: Finding, hits: int | None = 3, level: int = 3, **rows: object) -> Verified:
    """Verify one finding; rules that the answer must keep are checked for every test."""
    recording = Recording(level=level, **rows)  # type: ignore[arg-type]
    verified = verify([found], recording, lambda other: hits if other.location == found.location else None)[0]
    assert verified.finding is found
    assert verified.figures or verified.verdict is NOT_REACHED
    return verified


def test_every_rule_about_torch_has_a_claim() -> None:
    """Or a reason why it can have none."""
    assert set(CLAIMS) | set(UNRECORDED) == {rule.code for rule in all_rules() if rule.executable}
    assert set(CLAIMS).isdisjoint(UNRECORDED)


@pytest.mark.parametrize("code", sorted(CLAIMS))
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_nothing_is_decided_from_nothing(code: str, level: int) -> None:
    assert judge(finding(code), hits=0, level=level).verdict is NOT_REACHED
    unknown = judge(finding(code), hits=None, level=level)
    assert unknown.verdict is INCONCLUSIVE
    assert unknown.hits == 0


@pytest.mark.parametrize("code", sorted(CLAIMS))
def test_compiled_code_decides_nothing(code: str) -> None:
    inside = Compiled(place(90), 3, "step", Place(PATH, Location(8, 0, 12, 0), "step"))
    called = Compiled(HERE, 3, "OptimizedModule")
    for row in (inside, called):
        verified = judge(finding(code), hits=0, compiled=(row,))
        assert verified.verdict is INCONCLUSIVE
        assert "compiled" in verified.figures[0]
    elsewhere = Compiled(place(90), 3, "step", Place(PATH, Location(80, 0, 88, 0), "step"))
    assert judge(finding(code), hits=0, compiled=(elsewhere,)).verdict is NOT_REACHED


def test_compiled_code_does_not_hide_a_confirmation() -> None:
    row = backward(errors=(NO_GRAPH,))
    assert judge(finding("GRD101"), backwards=(row,), compiled=(Compiled(HERE, 3, "step"),)).verdict is CONFIRMED


def test_a_rule_without_a_claim_is_inconclusive_where_it_was_reached() -> None:
    verified = judge(finding("ABC123"), hits=4)
    assert (verified.verdict, verified.figures) == (
        INCONCLUSIVE,
        ("ran 4 times; there is no runtime claim for this rule",),
    )
    assert judge(finding("ABC123"), hits=0).verdict is NOT_REACHED


def test_paths_may_be_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = backward(replace(HERE, path=str(tmp_path / "train.py")), errors=(NO_GRAPH,))
    assert judge(finding("GRD101", path="train.py"), backwards=(row,)).verdict is CONFIRMED
    assert judge(finding("GRD101", path="other.py"), backwards=(row,)).verdict is INCONCLUSIVE


def test_hits_come_from_the_rows_where_nobody_counted() -> None:
    assert judge(finding("GRD101"), hits=None, backwards=(backward(count=7, errors=(NO_GRAPH,)),)).hits == 7


# GRD101


def test_backward_without_graph() -> None:
    error = judge(finding("GRD101"), backwards=(backward(errors=(NO_GRAPH,)),))
    assert error.verdict is CONFIRMED
    assert NO_GRAPH in error.figures[0]
    ended = judge(finding("GRD101"), raised=raised(NO_GRAPH.partition(": ")[2]))
    assert ended.verdict is CONFIRMED
    assert judge(finding("GRD101"), raised=raised("something else")).verdict is INCONCLUSIVE
    through = judge(finding("GRD101"), backwards=(backward(),))
    assert (through.verdict, through.figures) == (REFUTED, ("3 backwards went through",))
    assert judge(finding("GRD101"), backwards=(backward(leaf_roots=3),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD101"), level=0).verdict is INCONCLUSIVE
    assert judge(finding("GRD101"), backwards=(backward(place(50)),)).verdict is INCONCLUSIVE


def test_backward_in_a_helper_belongs_to_the_line_that_calls_it() -> None:
    helper = backward(place(3, path="/site/accelerate.py"), errors=(NO_GRAPH,), callers=(HERE, place(99)))
    assert judge(finding("GRD101"), backwards=(helper,)).verdict is CONFIRMED


# GRD102


def test_missing_no_grad() -> None:
    idle = judge(finding("GRD102"), forwards=(forward(tracked=3, unused_bytes=341 * 2**20),))
    assert (idle.verdict, idle.figures) == (CONFIRMED, ("3 forwards kept 341 MiB that no backward used",))
    without_bytes = judge(finding("GRD102"), level=0, forwards=(forward(tracked=3),))
    assert without_bytes.figures == ("3 forwards built a graph that no backward used",)
    used = judge(finding("GRD102"), forwards=(forward(tracked=3, used=3),))
    assert (used.verdict, used.figures) == (REFUTED, ("a backward went through 3 of 3 forwards",))
    off = judge(finding("GRD102"), forwards=(forward(mode=Mode.OFF),))
    assert off.verdict is REFUTED
    assert "gradients were off in all of them" in off.figures[0]
    frozen = judge(finding("GRD102"), forwards=(forward(),))
    assert frozen.verdict is REFUTED
    assert "nothing in them required grad" in frozen.figures[0]
    assert judge(finding("GRD102"), forwards=(forward(tracked=3, used=1),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD102")).verdict is INCONCLUSIVE


def test_the_outermost_call_of_an_expression_counts() -> None:
    inner = forward(place(10, 12, 24), tracked=3, used=3)
    outer = forward(tracked=3)
    assert judge(finding("GRD102"), forwards=(inner, outer)).verdict is CONFIRMED
    assert judge(finding("GRD102"), forwards=(inner,)).verdict is REFUTED


def test_a_module_called_by_a_helper_counts_for_the_line_that_calls_it() -> None:
    inside = forward(place(70), callers=(HERE,), tracked=3)
    assert judge(finding("GRD102"), forwards=(inside,)).verdict is CONFIRMED
    both = (inside, forward(mode=Mode.OFF))
    assert judge(finding("GRD102"), forwards=both).verdict is REFUTED


# GRD103


def test_grad_mode_not_entered() -> None:
    message = "`torch.no_grad()` has no effect: the context is made and dropped"
    made = judge(finding("GRD103", message), made=(Made(HERE, 3, "no_grad", 0),))
    assert (made.verdict, made.figures) == (CONFIRMED, ("made 3 objects of `no_grad`, and none was entered",))
    assert judge(finding("GRD103", message), made=(Made(HERE, 3, "no_grad", 3),)).verdict is REFUTED
    switched = Switch(HERE, 1, Mode.OFF, Form.CALL, "set_grad_enabled")
    assert judge(finding("GRD103", message), switches=(switched,)).verdict is REFUTED
    assert judge(finding("GRD103", message), level=1).verdict is CONFIRMED
    assert judge(finding("GRD103", message), level=0).verdict is INCONCLUSIVE
    replaced = "`torch.is_grad_enabled` has no effect: this replaces torch's function and switches nothing"
    assert judge(finding("GRD103", replaced), level=0).verdict is CONFIRMED
    assert judge(finding("GRD103", "`torch.autocast()` has no effect")).verdict is INCONCLUSIVE


# GRD104


def test_grad_mode_misused() -> None:
    message = "set_grad_enabled(): argument 'enabled' (position 1) must be bool, not int"
    assert judge(finding("GRD104"), raised=raised(message, kind="TypeError")).verdict is CONFIRMED
    caught = judge(finding("GRD104"), calls=(call(errors=("TypeError: must be bool",)),))
    assert caught.figures == ("raised `TypeError: must be bool`",)
    silent = judge(finding("GRD104"), hits=2)
    assert (silent.verdict, silent.figures) == (CONFIRMED, ("ran 2 times and set no gradient mode",))
    switched = Switch(HERE, 2, Mode.OFF, Form.WITH, "set_grad_enabled")
    assert judge(finding("GRD104"), switches=(switched,)).verdict is REFUTED
    assert judge(finding("GRD104"), hits=None).verdict is INCONCLUSIVE


def test_an_error_of_a_with_statement_belongs_to_its_context() -> None:
    statement = Place(PATH, Location(10, 1, 14, 20), "train")
    error = raised("'type' object does not support the context manager protocol", statement, kind="TypeError")
    assert "raised" in judge(finding("GRD104"), raised=error).figures[0]
    earlier = replace(statement, location=Location(9, 1, 14, 20))
    assert "raised" not in judge(finding("GRD104"), raised=replace(error, frames=(earlier,))).figures[0]


# GRD105, GRD106, GRD107


def left(suspended: bool, victim: Place | None = None, at: Place = HERE) -> Left:
    return Left(at, 1, Mode.OFF, Form.CALL, "set_grad_enabled", victim, suspended)


def test_grad_mode_leak() -> None:
    found = finding("GRD105", "", (10, "set here"), (12, "still off here"))
    hurt = judge(found, left=(left(False, place(40)),))
    assert hurt.verdict is CONFIRMED
    assert "/project/train.py:40:5" in hurt.figures[0]
    at_end = judge(found, left=(left(False),))
    assert at_end.verdict is CONFIRMED
    assert "at the end" in at_end.figures[0]
    switch = Switch(HERE, 3, Mode.OFF, Form.CALL, "set_grad_enabled")
    assert judge(found, switches=(switch,)).verdict is INCONCLUSIVE
    assert judge(found).verdict is INCONCLUSIVE
    assert judge(found, left=(left(True, place(40)),)).verdict is INCONCLUSIVE
    on_every_path = finding("GRD105", "", (10, "still off here"))
    assert judge(on_every_path, switches=(switch,)).verdict is REFUTED


@pytest.mark.parametrize("code", ["GRD106", "GRD107"])
def test_suspended_in_a_mode(code: str) -> None:
    found = finding(code, "", (8, "mode set here"), (10, "suspended here"))
    statement = Place(PATH, Location(8, 1, 10, 25), "stream")
    context = place(8)
    for entered in (statement, context):
        hurt = judge(found, left=(left(True, place(40), entered),))
        assert hurt.verdict is CONFIRMED
        assert "was suspended" in hurt.figures[0]
        assert judge(found, left=(left(True, None, entered),)).verdict is INCONCLUSIVE
        assert judge(found, left=(left(False, place(40), entered),)).verdict is INCONCLUSIVE
        switch = Switch(entered, 2, Mode.OFF, Form.WITH, "no_grad")
        seen = judge(found, switches=(switch,))
        assert (seen.verdict, seen.figures[0][:11]) == (INCONCLUSIVE, "set 2 times")
    assert judge(found).verdict is INCONCLUSIVE


# GRD108

SOURCE = """
import contextlib
import torch


@torch.no_grad()
async def answer(model, x):
    return model(x)


@torch.no_grad()
@contextlib.contextmanager
def evaluating(model):
    yield model


def use(model, x):
    with evaluating(model):
        y = model(x)
    return model(y)


@torch.no_grad()
def lazy(model, batches):
    first = model(batches)
    return (model(batch) for batch in batches)


@torch.enable_grad()
async def force(x):
    return x * 2


class Encoder:
    @torch.no_grad()
    @staticmethod
    def norm(x):
        return x * 2


def broken(x):
    return Encoder().norm(x)
"""


def decorated(tmp_path: Path, line: int, message: str) -> tuple[Finding, str]:
    path = tmp_path / "decorated.py"
    path.write_text(SOURCE, encoding="utf-8")
    found = finding("GRD108", message, path=str(path))
    return replace(found, location=Location(line, 2, line, 17)), str(path)


COROUTINE = "`@torch.no_grad` does not cover the coroutine `answer`: its body runs when it is awaited"
MANAGER = "`@torch.no_grad` does not cover the block of `with evaluating()`"
LAZY = "`@torch.no_grad` does not cover what `lazy` returns: that code runs later"
FORCE = "`@torch.enable_grad` does not cover the coroutine `force`: its body runs when it is awaited"
DESCRIPTOR = "`@torch.no_grad` does not cover `norm`: it wraps the descriptor, not the function"


@pytest.mark.parametrize(
    ("line", "message", "at", "mode", "verdict"),
    [
        (6, COROUTINE, (8, "answer"), Mode.ON, CONFIRMED),
        (6, COROUTINE, (8, "answer"), Mode.OFF, REFUTED),
        (6, COROUTINE, (19, "use"), Mode.ON, NOT_REACHED),
        (11, MANAGER, (19, "use"), Mode.ON, CONFIRMED),
        (11, MANAGER, (19, "use"), Mode.OFF, REFUTED),
        (11, MANAGER, (20, "use"), Mode.ON, NOT_REACHED),
        (23, LAZY, (26, "lazy.<locals>.<genexpr>"), Mode.ON, CONFIRMED),
        (23, LAZY, (26, "lazy.<locals>.<genexpr>"), Mode.OFF, REFUTED),
        (23, LAZY, (25, "lazy"), Mode.ON, NOT_REACHED),
        (29, FORCE, (31, "force"), Mode.OFF, CONFIRMED),
        (29, FORCE, (31, "force"), Mode.ON, REFUTED),
        (35, DESCRIPTOR, (38, "Encoder.norm"), Mode.ON, CONFIRMED),
        (35, DESCRIPTOR, (38, "Encoder.norm"), Mode.INFERENCE, REFUTED),
    ],
)
def test_ineffective_decorator(
    tmp_path: Path, line: int, message: str, at: tuple[int, str], mode: Mode, verdict: Verdict
) -> None:
    found, path = decorated(tmp_path, line, message)
    row = call(at=place(at[0], 12, 20, path, at[1]), mode=mode)
    assert judge(found, calls=(row,)).verdict is verdict
    assert judge(found, forwards=(forward(row.place, mode),)).verdict is verdict


def test_a_broken_descriptor_shows_when_it_is_called(tmp_path: Path) -> None:
    found, path = decorated(tmp_path, 35, DESCRIPTOR)
    message = "Encoder.norm() takes 1 positional argument but 2 were given"
    error = raised(message, place(42, 12, 29, path, "broken"), kind="TypeError")
    verified = judge(found, raised=error)
    assert verified.verdict is CONFIRMED
    assert message in verified.figures[0]
    assert judge(found, raised=replace(error, type="ValueError")).verdict is NOT_REACHED
    assert judge(found, level=1).verdict is INCONCLUSIVE


def test_a_decorator_whose_definition_is_gone_is_inconclusive(tmp_path: Path) -> None:
    found, _ = decorated(tmp_path, 1, COROUTINE)
    assert "changed" in judge(found).figures[0]


# GRD114


def test_training_in_inference_mode() -> None:
    found = finding("GRD114", "", (9, "inference mode since here"), (10, "used here"))
    assert judge(found, calls=(call(mode=Mode.INFERENCE),)).verdict is CONFIRMED
    assert judge(found, backwards=(backward(mode=Mode.INFERENCE),)).verdict is CONFIRMED
    assert judge(found, steps=(Step(HERE, 2, "Adam", 0, Mode.INFERENCE),)).verdict is CONFIRMED
    assert judge(found, calls=(call(mode=Mode.ON),)).verdict is REFUTED
    assert judge(found, calls=(call(mode=Mode.OFF),)).verdict is INCONCLUSIVE
    assert judge(found, backwards=(backward(),)).verdict is INCONCLUSIVE
    entered = Switch(Place(PATH, Location(9, 1, 12, 25)), 2, Mode.INFERENCE, Form.WITH, "inference_mode")
    assert judge(found, switches=(entered,)).verdict is CONFIRMED
    assert judge(found, switches=(entered,), hits=0).verdict is NOT_REACHED


def test_a_decorated_function_runs_in_inference_mode(tmp_path: Path) -> None:
    path = tmp_path / "build.py"
    path.write_text("@torch.inference_mode()\ndef build():\n    return Net()\n", encoding="utf-8")
    found = replace(finding("GRD114", path=str(path)), location=Location(3, 12, 3, 17))
    entered = Switch(place(50), 2, Mode.INFERENCE, Form.DECORATOR, "inference_mode")
    assert judge(found, switches=(entered,)).verdict is CONFIRMED
    assert judge(found, switches=(replace(entered, to=Mode.OFF),)).verdict is INCONCLUSIVE


def test_the_harm_of_inference_tensors_is_quoted() -> None:
    message = "Inplace update to inference tensor outside InferenceMode is not allowed."
    verified = judge(finding("GRD114"), calls=(call(mode=Mode.INFERENCE),), raised=raised(message, place(60)))
    assert verified.figures[1] == f"later: `RuntimeError: {message}`"


# GRD201, GRD202


@pytest.mark.parametrize("code", ["GRD201", "GRD202"])
def test_assignments_that_freeze_nothing(code: str) -> None:
    frozen_not = Assigned(HERE, 1, "encoder", "requires_grad", "False", 12)
    told = judge(finding(code), assigned=(frozen_not,))
    assert (told.verdict, told.figures) == (CONFIRMED, ("`encoder`: 12 of its parameters still require grad",))
    one = judge(finding(code), assigned=(replace(frozen_not, trainable=1),))
    assert one.figures == ("`encoder`: 1 of its parameters still requires grad",)
    assert judge(finding(code), assigned=(replace(frozen_not, trainable=0),)).verdict is INCONCLUSIVE
    unfrozen_not = Assigned(HERE, 1, "x", "requires_gard", "True", 0)
    assert judge(finding(code), assigned=(unfrozen_not,)).figures == ("`x`: nothing behind it requires grad",)
    assert judge(finding(code), assigned=(replace(unfrozen_not, trainable=1),)).verdict is INCONCLUSIVE
    assert judge(finding(code), level=0).verdict is INCONCLUSIVE
    without_any_flag = judge(finding(code), level=1)
    assert (without_any_flag.verdict, without_any_flag.figures) == (CONFIRMED, ("ran 3 times and set no flag",))


def flag(tracked_in: int, tracked_out: int, at: Place = HERE, name: str = "requires_grad.__set__") -> Call:
    return replace(call(name, at), count=4, tracked_in=tracked_in, tracked_out=tracked_out)


def test_flags_of_tensors_that_are_no_parameters() -> None:
    already_free = judge(finding("GRD201"), calls=(flag(0, 0),))
    assert (already_free.verdict, already_free.figures) == (
        CONFIRMED,
        ("4 flags set, and no tensor among them required grad before",),
    )
    alias = call("data.__get__", place(10, 5, 15))
    assert judge(finding("GRD201"), calls=(flag(0, 4), alias)).verdict is CONFIRMED
    assert judge(finding("GRD201"), calls=(flag(4, 0),)).verdict is REFUTED
    assert judge(finding("GRD201"), calls=(flag(4, 4),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD201"), calls=(flag(4, 0, place(70)),)).verdict is INCONCLUSIVE


def test_freezes_that_are_undone() -> None:
    found = finding("GRD201", "", (10, "frozen here"), (12, "made trainable again here"))
    undone = judge(found, calls=(flag(4, 0), flag(4, 8, place(12))))
    assert undone.figures == ("4 flags set here, and 8 tensors made trainable again afterwards",)
    assert judge(found, calls=(flag(4, 0),)).verdict is INCONCLUSIVE


def test_flags_that_are_compared_or_refused() -> None:
    assert judge(finding("GRD202"), level=1, calls=(flag(1, 0),)).verdict is INCONCLUSIVE
    refused = "RuntimeError: requires_grad must be a bool"
    assert judge(finding("GRD202"), calls=(call(errors=(refused,)),)).verdict is CONFIRMED
    missing = raised("'Linear' object has no attribute 'require_grad_'", kind="AttributeError")
    assert judge(finding("GRD202"), raised=missing).verdict is CONFIRMED


# GRD208


def test_resurrected_loss() -> None:
    found = finding("GRD208", "", (10, "made a new leaf here"), (12, "backward here"))
    end = place(12)
    leaf = judge(found, backwards=(backward(end, leaf_roots=2),))
    assert (leaf.verdict, leaf.figures) == (
        CONFIRMED,
        ("2 of 3 backwards began at a leaf: there was no graph behind it",),
    )
    made_here = backward(place(70), leaf_roots=3, made=(HERE,))
    assert judge(found, backwards=(made_here,)).verdict is CONFIRMED
    assert judge(found, backwards=(backward(end),)).verdict is INCONCLUSIVE
    for made in (flag(0, 4, name="requires_grad_"), call("tensor", count=4)):
        verified = judge(found, backwards=(backward(end),), calls=(made,))
        assert verified.figures == ("4 values without a graph made a leaf here, and backward ended there",)
    assert judge(found, backwards=(backward(end),), calls=(flag(4, 4, name="requires_grad_"),)).verdict is REFUTED
    assert judge(found).verdict is INCONCLUSIVE
    assert judge(found, level=0).verdict is INCONCLUSIVE


# GRD301


def test_in_place_on_a_leaf() -> None:
    words = "a leaf Variable that requires grad is being used in an in-place operation."
    assert judge(finding("GRD301"), raised=raised(words)).verdict is CONFIRMED
    caught = judge(finding("GRD301"), calls=(call("add_", errors=(f"RuntimeError: {words}",)),))
    assert caught.figures == (f"raised `RuntimeError: {words}`",)
    statement = call("__iadd__", place(10, 5, 30), errors=(f"RuntimeError: {words}",))
    assert judge(finding("GRD301"), calls=(call(), statement)).verdict is CONFIRMED
    assert judge(finding("GRD301"), calls=(call("add_"),)).verdict is REFUTED
    assert judge(finding("GRD301"), level=1, calls=(call("detach"),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD301"), raised=raised("out of memory")).verdict is INCONCLUSIVE


# GRD302


def test_in_place_on_what_is_saved() -> None:
    edit = Edit(HERE, 2, "add_", place(9), False, 2)
    told = judge(finding("GRD302"), edits=(edit,))
    assert (told.verdict, told.figures) == (
        CONFIRMED,
        ("`add_` edited 2 tensors saved at /project/train.py:9:5, and 2 backwards used the edited values",),
    )
    in_helper = replace(edit, place=place(70), callers=(HERE,))
    assert judge(finding("GRD302"), edits=(in_helper,)).verdict is CONFIRMED
    assert judge(finding("GRD302"), edits=(replace(edit, used=0),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD302")).verdict is REFUTED
    assert judge(finding("GRD302"), level=2).verdict is INCONCLUSIVE
    error = (
        "RuntimeError: one of the variables needed for gradient computation has been modified by an inplace operation"
    )
    unseen = judge(finding("GRD302"), backwards=(backward(place(12), errors=(error,)),))
    assert unseen.verdict is INCONCLUSIVE
    assert judge(finding("GRD302"), raised=raised(error, place(12))).verdict is INCONCLUSIVE
    refused = judge(finding("GRD302"), calls=(call("__setitem__", errors=("RuntimeError: a leaf Variable",)),))
    assert (refused.verdict, refused.figures) == (
        INCONCLUSIVE,
        ("another error came first: `RuntimeError: a leaf Variable`",),
    )


# GRD402


def test_graph_kept_without_backward() -> None:
    found = finding("GRD402", "", (9, "the graph is recorded here"), (10, "and stored here"))
    source = place(9)
    kept = judge(found, forwards=(forward(source, tracked=3, peak=3, peak_bytes=2048),))
    assert (kept.verdict, kept.figures) == (
        CONFIRMED,
        ("3 graphs of 3 forwards were alive at once, 2.0 KiB; no backward used them",),
    )
    assert judge(found, forwards=(forward(source, tracked=3, peak=1),)).verdict is REFUTED
    assert judge(found, forwards=(forward(source, tracked=3, used=3, peak=1),)).verdict is REFUTED
    assert judge(found, forwards=(forward(source, mode=Mode.OFF),)).verdict is REFUTED
    assert judge(found, forwards=(forward(source, count=1, tracked=1, peak=1),)).verdict is INCONCLUSIVE
    assert judge(found).verdict is INCONCLUSIVE


# GRD501, GRD502


def test_missing_zero_grad() -> None:
    found = finding("GRD501", "", (12, "applied here"))
    stale = Stale(HERE, 2, place(12), 6)
    told = judge(found, stale=(stale,))
    assert told.verdict is CONFIRMED
    assert told.figures[0].startswith("2 backwards at /project/train.py:10:5 added to gradients of 6 parameters")
    in_helper = replace(stale, place=place(70), callers=(HERE,))
    assert judge(found, stale=(in_helper,)).verdict is CONFIRMED
    step = Step(place(12), 3, "SGD", 0)
    by_another = replace(stale, place=place(15))
    assert judge(found, stale=(by_another,), steps=(step,)).verdict is CONFIRMED
    healthy = judge(found, backwards=(backward(),), steps=(step,))
    assert healthy.verdict is REFUTED
    assert judge(found, backwards=(backward(count=1),), steps=(step,)).verdict is INCONCLUSIVE
    assert judge(found, backwards=(backward(),), steps=(replace(step, count=1),)).verdict is INCONCLUSIVE
    assert judge(found, level=0).verdict is INCONCLUSIVE
    mixed = finding("GRD501", "", (11, "`g_loss.backward()` leaves gradients here"), (12, "applied here"))
    assert judge(mixed, backwards=(backward(),), steps=(step,)).verdict is INCONCLUSIVE


def test_zero_grad_misplaced() -> None:
    step = Step(place(12), 3, "SGD", 3)
    lost = Discarded(HERE, 3, 6, 3)
    told = judge(finding("GRD502"), discarded=(lost,), steps=(step,))
    assert (told.verdict, told.figures) == (
        CONFIRMED,
        (
            "cleared the gradients of 6 parameters 3 times before any step had used them; "
            "3 steps then found none at all",
        ),
    )
    in_helper = replace(lost, place=place(70), callers=(HERE,))
    assert judge(finding("GRD502"), discarded=(in_helper,), steps=(step,)).verdict is CONFIRMED
    assert judge(finding("GRD502"), steps=(step,)).verdict is REFUTED
    assert judge(finding("GRD502"), steps=(step,), discarded=(replace(lost, place=place(70)),)).verdict is INCONCLUSIVE
    assert judge(finding("GRD502"), hits=1, steps=(step,)).verdict is INCONCLUSIVE
    assert judge(finding("GRD502"), level=0).verdict is INCONCLUSIVE
    closure = finding("GRD502", "`opt.zero_grad()` clears once, but `step` runs its closure many times and adds up")
    assert judge(closure, steps=(step,)).verdict is INCONCLUSIVE


def test_without_columns_the_lines_decide() -> None:
    by_line = Place(PATH, Location(10, 0, 10, 0), "train")
    assert judge(finding("GRD101"), backwards=(backward(by_line, errors=(NO_GRAPH,)),)).verdict is CONFIRMED
    assert judge(finding("GRD102"), forwards=(forward(by_line, tracked=3),)).verdict is CONFIRMED
    assert judge(finding("GRD101"), raised=raised(NO_GRAPH, by_line)).verdict is CONFIRMED
