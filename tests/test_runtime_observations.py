from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.registry import all_rules
from gradlint.runtime.observations import observe, unforeseen
from gradlint.runtime.observations.catalogue import CATALOGUE
from gradlint.runtime.observations.parameters import BLAME
from gradlint.runtime.place import NOWHERE, Place
from gradlint.runtime.recording import (
    Assigned,
    Backward,
    Cut,
    Discarded,
    Edit,
    Form,
    Forward,
    Left,
    Mode,
    Parameter,
    Raised,
    Recording,
    Stale,
    Step,
    Way,
)
from gradlint.runtime.verdict import Verdict, Verified

PATH = "/project/train.py"


def place(line: int, path: str = PATH) -> Place:
    return Place(path, Location(line, 5, line, 25), "train")


def forward(line: int, **figures: object) -> Forward:
    row = Forward(place(line), 6, (), "Net", False, Mode.ON, None, 0, 0, 0, 0)
    return replace(row, **figures)  # type: ignore[arg-type]


def backward(line: int, leaf_roots: int = 0, count: int = 6) -> Backward:
    return Backward(place(line), count, (), "backward", leaf_roots)


def parameter(
    name: str, none: int = 0, zero: int = 0, filled: int = 0, steps: int = 6, module: str = "Net"
) -> Parameter:
    return Parameter(name, module, (4, 4), steps, none, zero, filled, 0.25 if filled else 0.0, True)


def missing(name: str) -> Parameter:
    return parameter(name, none=6)


def filled(name: str, module: str = "Net") -> Parameter:
    return parameter(name, filled=3, module=module)


def cut(line: int, way: Way, *parameters: str, **more: object) -> Cut:
    return replace(Cut(place(line), 6, way, way.value, parameters), **more)  # type: ignore[arg-type]


def left(line: int, victim: int | None, suspended: bool = False, path: str = PATH) -> Left:
    met = None if victim is None else place(victim, path)
    return Left(place(line, path), 2, Mode.OFF, Form.CALL, "set_grad_enabled", met, suspended)


def seen(possible: bool = False, frozen: tuple[str, ...] = (), **rows: object) -> list[Verified]:
    """Observe a recording at level 3; what every observation must have is checked for every test."""
    found = observe(Recording(level=3, **rows), frozen=frozen, possible=possible)  # type: ignore[arg-type]
    for each in found:
        assert each.verdict is Verdict.OBSERVED
        assert each.figures
        assert each.finding.message and each.finding.help
        assert not each.finding.message.endswith(".")
    return found


def where(found: list[Verified]) -> list[tuple[str, int, str]]:
    return [(each.finding.code, each.finding.location.line, each.finding.certainty.value) for each in found]


def test_codes_are_called_and_graded_as_the_linters_rules() -> None:
    rules = {rule.code: rule for rule in all_rules()}
    for code, entry in CATALOGUE.items():
        if code in rules:
            assert (entry.name, entry.severity) == (rules[code].name, rules[code].severity)
            assert entry.certainty is rules[code].certainty


def test_every_way_to_lose_a_gradient_has_somebody_to_blame() -> None:
    assert set(BLAME) == set(Way)
    assert {blame.code for blame in BLAME.values()} <= set(CATALOGUE)


def test_an_empty_recording_shows_nothing() -> None:
    assert seen() == []
    assert seen(possible=True, frozen=("encoder",)) == []


# modes

SOURCE = """
import torch


def validate(model, x):
    torch.set_grad_enabled(False)
    return model(x)


def stream(model):
    with torch.no_grad():
        yield model


async def serve(model, queue):
    with torch.no_grad():
        await queue.get()


def pause():
    torch.set_grad_enabled(False)


def hook(model):
    '''Switch.'''
    model.eval()
    torch.set_grad_enabled(False)
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "modes.py"
    path.write_text(SOURCE, encoding="utf-8")
    return str(path)


def test_modes_that_reach_other_code(source: str) -> None:
    rows = (left(6, 40, path=source), left(11, 40, True, source), left(16, 40, True, source))
    found = seen(left=rows)
    assert where(found) == [("GRD105", 6, "certain"), ("GRD106", 11, "certain"), ("GRD107", 16, "certain")]
    assert "`validate` has returned" in found[0].finding.message
    assert [step.text for step in found[0].finding.evidence] == ["set here", "still in force here"]
    assert f"{source}:40:5" in found[0].figures[0]


def test_modes_that_are_the_callers_business_are_only_possible(source: str) -> None:
    rows = (left(21, 40, path=source), left(27, 40, path=source), left(6, None, path=source))
    assert seen(left=rows) == []
    assert where(seen(left=rows, possible=True)) == [
        ("GRD105", 6, "possible"),
        ("GRD105", 21, "possible"),
        ("GRD105", 27, "possible"),
    ]


def test_a_with_statement_is_shown_by_its_context(source: str) -> None:
    statement = Place(source, Location(11, 5, 12, 20), "stream")
    row = replace(left(11, 40, True, source), place=statement)
    assert seen(left=(row,))[0].finding.location == Location(11, 10, 11, 25)
    by_line = replace(row, place=Place(source, Location(11, 0, 11, 0), "stream"))
    assert seen(left=(by_line,))[0].finding.location == Location(11, 5, 11, 26)


def test_a_run_that_ended_for_want_of_a_graph() -> None:
    message = "element 0 of tensors does not require grad and does not have a grad_fn"
    off = forward(9, mode=Mode.OFF, switched=place(8))
    found = seen(raised=Raised("RuntimeError", message, (place(10), place(50))), forwards=(off,))
    assert where(found) == [("GRD101", 10, "certain")]
    assert found[0].finding.evidence == (Evidence(PATH, place(8).location, "gradients were turned off here"),)
    leak = left(7, None)
    told = seen(raised=Raised("RuntimeError", message, (place(10),)), left=(leak,), forwards=(off,))
    assert [step.location.line for step in told[0].finding.evidence] == [7]
    assert seen(raised=Raised("RuntimeError", "out of memory", (place(10),)), forwards=(off,)) == []
    assert seen(raised=Raised("RuntimeError", message, ()), forwards=(off,)) == []


# edits


def test_edits_of_what_was_saved() -> None:
    silent = Edit(place(10), 6, "add_", place(9), True, 6)
    noisy = Edit(place(20), 1, "mul_", place(19), False, 1)
    harmless = Edit(place(30), 6, "zero_", place(29), False, 0)
    found = seen(edits=(silent, noisy, harmless))
    assert where(found) == [("GRD303", 10, "likely"), ("GRD302", 20, "certain")]
    assert [step.location.line for step in found[0].finding.evidence] == [9, 10]
    assert found[0].figures == ("6 edits; 6 backwards used the edited values",)


def test_an_edit_that_was_not_seen_is_told_of_where_its_tensor_was_saved() -> None:
    unseen = Edit(NOWHERE, 1, "<unseen>", place(9), False, 1)
    found = seen(edits=(unseen,))
    assert where(found) == [("GRD302", 9, "certain")]
    assert [step.location.line for step in found[0].finding.evidence] == [9]


# graphs


def test_graphs_that_are_kept() -> None:
    found = seen(forwards=(forward(10, tracked=6, peak=6, peak_bytes=4096),))
    assert where(found) == [("GRD102", 10, "likely"), ("GRD402", 10, "likely")]
    assert found[1].figures == ("6 of 6 graphs were alive at once, 4.0 KiB saved for backward; no backward used them",)


def test_only_the_outermost_forward_is_blamed() -> None:
    outer = forward(10, tracked=6, peak=6, training=True)
    inner = forward(70, tracked=6, peak=6, training=True, callers=(place(10), place(90)))
    assert where(seen(forwards=(inner, outer), backwards=(backward(50),))) == [("GRD402", 10, "likely")]
    trained = forward(30, tracked=6, used=6, peak=1, training=True)
    assert where(seen(forwards=(inner, outer, trained))) == [("GRD402", 10, "likely")]


def test_evaluation_with_gradients_on() -> None:
    idle = forward(10, tracked=6, peak=1)
    found = seen(forwards=(idle,))
    assert where(found) == [("GRD102", 10, "likely")]
    assert "eval mode" in found[0].finding.message


@pytest.mark.parametrize(
    "row",
    [
        forward(10, tracked=6, used=6, peak=1),
        forward(10, tracked=0),
        forward(10, tracked=1, peak=1, count=1),
        forward(10, tracked=6, peak=1, training=True),
        forward(10, mode=Mode.OFF, tracked=0),
        forward(50, tracked=6, peak=1),
        forward(10, tracked=6, peak=6, training=True, used=2),
    ],
    ids=[
        "used",
        "frozen",
        "metric once",
        "metric in train mode",
        "no_grad",
        "recomputed by a checkpoint",
        "partly used",
    ],
)
def test_graphs_that_are_in_order(row: Forward) -> None:
    assert seen(forwards=(row,), backwards=(backward(50),)) == []


def test_graphs_that_nobody_uses_yet_are_only_possible() -> None:
    once = forward(10, tracked=1, peak=1, count=1)
    training = forward(20, tracked=6, peak=6, training=True)
    assert seen(forwards=(once, training)) == []
    found = seen(forwards=(once, training), possible=True)
    assert where(found) == [("GRD102", 10, "possible"), ("GRD102", 20, "possible")]


def test_a_place_that_serves_training_and_evaluation_is_not_blamed() -> None:
    both = (forward(10, tracked=6, peak=1), forward(10, tracked=6, used=6, peak=1, training=True))
    assert seen(forwards=both) == []


# attributes


def test_attributes_that_freeze_nothing() -> None:
    module = Assigned(place(10), 1, "Encoder", "requires_grad", "False", 12)
    typo = Assigned(place(20), 4, "fc.weight", "require_grad", "False", 4)
    on = Assigned(place(30), 1, "image", "requires_gard", "True", 0)
    found = seen(assigned=(module, typo, on))
    assert where(found) == [("GRD201", 10, "certain"), ("GRD202", 20, "certain"), ("GRD202", 30, "certain")]
    assert found[0].figures == ("`Encoder`: 12 parameters behind it required grad at the end",)


def test_attributes_without_an_effect_to_miss(tmp_path: Path) -> None:
    frozen_elsewhere = Assigned(place(10), 1, "Encoder", "requires_grad", "False", 0)
    trainable_anyway = Assigned(place(20), 1, "Encoder", "requires_grad", "True", 12)
    assert seen(assigned=(frozen_elsewhere, trainable_anyway)) == []
    path = tmp_path / "adapter.py"
    path.write_text("self.requires_grad = False\nadapter.requires_grad = False\n", encoding="utf-8")
    own = Assigned(Place(str(path), Location(1, 1, 1, 19)), 1, "Adapter", "requires_grad", "False", 2)
    later = replace(own, place=Place(str(path), Location(2, 1, 2, 22)))
    assert seen(assigned=(own, later)) == []
    assert where(seen(assigned=(later,))) == [("GRD201", 2, "certain")]


# the optimizer's protocol


def test_gradients_used_twice_or_thrown_away() -> None:
    stale = Stale(place(10), 5, place(11), 6)
    lost = Discarded(place(20), 6, 6, 6)
    found = seen(stale=(stale,), discarded=(lost,))
    assert where(found) == [("GRD501", 10, "likely"), ("GRD502", 20, "likely")]
    assert found[0].finding.evidence == (Evidence(PATH, place(11).location, "the step that had used them"),)
    assert seen(discarded=(replace(lost, emptied=0),)) == []


# parameters without a gradient


@pytest.mark.parametrize(
    ("way", "code"),
    [
        (Way.MODE, "GRD112"),
        (Way.DETACH, "GRD212"),
        (Way.DATA, "GRD211"),
        (Way.ITEM, "GRD209"),
        (Way.NUMPY, "GRD210"),
        (Way.COPY, "GRD207"),
    ],
)
def test_the_cut_in_front_of_a_parameter_is_blamed(way: Way, code: str) -> None:
    guilty = cut(10, way, "enc.weight", "enc.bias", switched=place(8) if way is Way.MODE else None)
    found = seen(
        parameters=(missing("enc.weight"), missing("enc.bias"), filled("head.weight")),
        cuts=(guilty,),
        backwards=(backward(30),),
    )
    assert where(found) == [(code, 8 if way is Way.MODE else 10, "likely")]
    assert found[0].finding.message.startswith("`enc.weight` and `enc.bias` never got a gradient")
    assert found[0].figures == ("`enc.weight`: None in 6 steps", "`enc.bias`: None in 6 steps")
    assert found[0].hits == 6


def test_many_parameters_are_shortened() -> None:
    names = [f"enc.{number}.weight" for number in range(6)]
    found = seen(parameters=tuple(map(missing, names)), cuts=(cut(10, Way.DETACH, *names),))
    assert found[0].finding.message.startswith("`enc.0.weight`, `enc.1.weight` and 4 more never got a gradient")
    assert len(found[0].figures) == 3


def test_one_observation_per_place_where_gradients_were_turned_off() -> None:
    off = place(8)
    cuts = (cut(9, Way.MODE, "a.weight", switched=off), cut(10, Way.MODE, "b.weight", switched=off))
    found = seen(parameters=(missing("a.weight"), missing("b.weight")), cuts=cuts)
    assert where(found) == [("GRD112", 8, "likely")]
    assert [step.location.line for step in found[0].finding.evidence] == [8, 9, 10]


def test_zero_gradients_are_the_fault_of_operations_that_have_none() -> None:
    flat = parameter("enc.weight", zero=3)
    rounding, printing = cut(10, Way.ZERO, "enc.weight"), cut(20, Way.ITEM, "enc.weight", "head.weight")
    found = seen(parameters=(flat, filled("head.weight")), cuts=(rounding, printing))
    assert where(found) == [("GRD214", 10, "likely")]
    assert found[0].figures == ("`enc.weight`: zero in 3 of 3 steps that were looked at",)
    assert seen(parameters=(missing("enc.weight"),), cuts=(rounding,)) == []


def test_a_freeze_in_the_middle_of_training() -> None:
    frozen = replace(missing("enc.weight"), requires_grad=False)
    assert where(seen(parameters=(frozen,), cuts=(cut(10, Way.FREEZE, "enc.weight"),))) == [("GRD231", 10, "likely")]


def test_the_cut_that_entered_the_loss_is_blamed_before_others() -> None:
    rows = (missing("enc.weight"), filled("head.weight"))
    entered = cut(20, Way.DETACH, "enc.weight", entered=3)
    assert where(seen(parameters=rows, cuts=(cut(10, Way.MODE, "enc.weight", entered=0), entered))) == [
        ("GRD212", 20, "likely")
    ]


def test_what_cuts_off_everything_is_rather_an_evaluation() -> None:
    rows = (missing("enc.weight"), filled("head.weight"))
    evaluation = cut(10, Way.MODE, "enc.weight", "head.weight", switched=place(9))
    assert where(seen(parameters=rows, cuts=(evaluation, cut(20, Way.DETACH, "enc.weight")))) == [
        ("GRD212", 20, "likely")
    ]
    assert where(seen(parameters=rows, cuts=(evaluation,))) == [("GRD112", 9, "likely")]


def test_partial_gradients_are_shown_on_demand() -> None:
    partly = cut(10, Way.DETACH, "enc.weight", partial=True, entered=3)
    rows = (filled("enc.weight"),)
    assert seen(parameters=rows, cuts=(partly,)) == []
    found = seen(parameters=rows, cuts=(partly, cut(20, Way.ITEM, "enc.weight")), possible=True)
    assert where(found) == [("GRD212", 10, "possible")]
    off = cut(30, Way.MODE, "enc.weight", partial=True, switched=place(29))
    assert where(seen(parameters=rows, cuts=(off,), possible=True)) == [("GRD112", 29, "possible")]
    in_a_function = replace(off, switched=None)
    assert seen(parameters=rows, cuts=(in_a_function,), possible=True) == []


def test_a_backward_that_begins_at_a_leaf() -> None:
    lost = (missing("fc.weight"),)
    found = seen(backwards=(backward(12, leaf_roots=6),), parameters=lost, cuts=(cut(10, Way.ITEM, "fc.weight"),))
    assert where(found) == [("GRD208", 12, "certain")]
    assert found[0].finding.evidence == (Evidence(PATH, place(10).location, "`item` took it out of the graph here"),)
    assert where(seen(backwards=(backward(12, leaf_roots=6),))) == [("GRD208", 12, "certain")]
    made = replace(backward(12, leaf_roots=6), made=(place(11),))
    found = seen(backwards=(made,), parameters=lost)
    assert where(found) == [("GRD208", 11, "certain")]
    assert [step.location.line for step in found[0].finding.evidence] == [12]
    assert seen(backwards=(backward(12, leaf_roots=1),), parameters=(filled("fc.weight"),)) == []


def test_a_new_leaf_is_blamed_where_it_was_made() -> None:
    made = replace(backward(12, leaf_roots=6), made=(place(11),))
    found = seen(backwards=(made,), parameters=(missing("fc.weight"),), cuts=(cut(10, Way.ITEM, "fc.weight"),))
    assert where(found) == [("GRD208", 11, "certain")]
    assert [step.location.line for step in found[0].finding.evidence] == [10, 12]


def test_an_evaluation_does_not_explain_what_a_conversion_in_training_does() -> None:
    evaluation = cut(10, Way.MODE, "enc.weight", switched=place(9))
    found = seen(parameters=(missing("enc.weight"),), cuts=(evaluation, cut(20, Way.NUMPY, "enc.weight")))
    assert where(found) == [("GRD210", 20, "likely")]


# frozen by declaration


def test_declared_frozen_and_trained_because_of_a_typo() -> None:
    typo = Assigned(place(5), 2, "enc.weight", "require_grad", "False", 2)
    found = seen(frozen=("enc",), parameters=(filled("enc.weight"), filled("head.weight")), assigned=(typo,))
    assert where(found) == [("GRD202", 5, "certain")]
    several = replace(typo, owner="Parameter")
    found = seen(frozen=("enc",), parameters=(filled("enc.weight"), filled("head.weight")), assigned=(several,))
    assert where(found) == [("GRD202", 5, "certain")]


def test_declared_frozen_and_trained_through_a_forward() -> None:
    used = forward(10, tracked=6, used=6, peak=1, training=True)
    both = (filled("enc.weight"), filled("head.weight"))
    part = seen(frozen=("enc",), parameters=both, forwards=(used,))
    assert where(part) == [("GRD201", 10, "certain")]
    assert "`enc` was to be frozen, and `enc.weight` got gradients" in part[0].finding.message
    own = forward(11, tracked=6, used=6, peak=1, training=True, name="enc")
    assert where(seen(frozen=("enc",), parameters=both, forwards=(used, own))) == [("GRD201", 11, "certain")]
    idle = forward(12, training=True, name="enc.0")
    assert where(seen(frozen=("enc",), parameters=both, forwards=(used, idle))) == [("GRD201", 12, "certain")]
    teacher = seen(frozen=("Net",), parameters=both, forwards=(used,))
    assert where(teacher) == [("GRD410", 10, "likely")]
    step = Step(place(40), 6, "SGD", 0)
    assert where(seen(frozen=("enc",), parameters=both, steps=(step,))) == [("GRD201", 40, "certain")]
    assert seen(frozen=("enc",), parameters=both)[0].finding.path == NOWHERE.path


def test_declared_frozen_and_frozen() -> None:
    kept = replace(missing("enc.weight"), requires_grad=False)
    assert seen(frozen=("enc", "enc.weight", "head"), parameters=(kept, filled("header.weight"))) == []


# healthy training loops, as rows

G, D = "Generator", "Discriminator"
HEALTHY: dict[str, Recording] = {
    "plain loop with printed loss": Recording(
        level=3,
        forwards=(forward(10, tracked=6, used=6, peak=1, training=True),),
        backwards=(backward(12),),
        cuts=(cut(14, Way.ITEM, "fc.weight", "fc.bias", entered=0),),
        parameters=(filled("fc.weight"), filled("fc.bias")),
        steps=(Step(place(13), 6, "SGD", 0),),
    ),
    "GAN: the generator's pass leaves gradients in the discriminator, which are cleared unused": Recording(
        level=3,
        forwards=(forward(10, tracked=6, used=6, peak=1, module=G, training=True),),
        backwards=(backward(12), backward(18)),
        cuts=(cut(11, Way.DETACH, "g.weight", entered=6),),
        discarded=(Discarded(place(9), 5, 2, 0),),
        parameters=(filled("g.weight", G), filled("d.weight", D)),
        steps=(Step(place(13), 6, "Adam", 0), Step(place(19), 6, "Adam", 0)),
    ),
    "evaluation without gradients between epochs": Recording(
        level=3,
        forwards=(
            forward(10, tracked=6, used=6, peak=1, training=True),
            forward(30, mode=Mode.OFF, switched=place(29)),
        ),
        backwards=(backward(12),),
        cuts=(cut(30, Way.MODE, "fc.weight", switched=place(29), entered=0),),
        parameters=(filled("fc.weight"),),
    ),
    "moving average of the weights": Recording(
        level=3,
        cuts=(cut(20, Way.DETACH, "fc.weight"), cut(21, Way.DATA, "fc.weight")),
        parameters=(filled("fc.weight"),),
    ),
    "recurrent state that is detached": Recording(
        level=3,
        cuts=(cut(20, Way.DETACH, "rnn.weight", partial=True, entered=3),),
        parameters=(filled("rnn.weight"),),
    ),
    "reinforcement learning with a target net": Recording(
        level=3,
        forwards=(
            forward(10, tracked=6, used=6, peak=1, training=True),
            forward(15, mode=Mode.OFF, switched=place(14)),
        ),
        cuts=(cut(15, Way.MODE, "q.weight", switched=place(14), entered=3),),
        parameters=(filled("q.weight"),),
    ),
    "frozen backbone in the optimizer": Recording(
        level=3,
        forwards=(forward(10, tracked=6, used=6, peak=1, training=True), forward(60, count=6)),
        parameters=(replace(missing("backbone.weight"), requires_grad=False), filled("head.weight")),
        cuts=(cut(60, Way.MODE, "backbone.weight", switched=place(59)),),
    ),
    "parameters that are not used on purpose": Recording(
        level=3,
        parameters=(missing("spare.weight"), filled("fc.weight")),
        cuts=(cut(20, Way.ITEM, "fc.weight"),),
    ),
    "inner loop of meta-learning, gradient penalty": Recording(
        level=3,
        backwards=(Backward(place(11), 6, (), "grad", 0), backward(14)),
        forwards=(
            forward(10, tracked=6, used=6, peak=2, training=True),
            forward(13, tracked=6, used=6, peak=2, training=True),
        ),
        parameters=(filled("fc.weight"),),
    ),
    "checkpointed blocks: a pass without gradients, and again inside of the backward": Recording(
        level=3,
        forwards=(
            forward(10, tracked=6, used=6, peak=1, training=True),
            forward(12, tracked=6, peak=3, training=True),
        ),
        backwards=(backward(12),),
        cuts=(cut(70, Way.MODE, "block.weight", entered=0),),
        parameters=(filled("block.weight"),),
    ),
    "mixed precision: steps that are skipped": Recording(
        level=3,
        cuts=(cut(15, Way.ITEM, "fc.weight"),),
        parameters=(parameter("fc.weight", none=1, filled=2, steps=6),),
        discarded=(Discarded(place(9), 1, 2, 0),),
    ),
    "gradients that were never looked at": Recording(
        level=3,
        parameters=(parameter("fc.weight", none=2, steps=6),),
        cuts=(cut(15, Way.DETACH, "fc.weight"),),
    ),
    "a layer frozen for good before the training": Recording(
        level=3,
        parameters=(replace(missing("enc.weight"), requires_grad=False),),
        cuts=(cut(15, Way.DETACH, "enc.weight"),),
    ),
}


@pytest.mark.parametrize("loop", sorted(HEALTHY))
def test_healthy_loops_show_nothing(loop: str) -> None:
    assert observe(HEALTHY[loop]) == []


# missed alarms


def found_by_linter(code: str, line: int, *evidence: int) -> Finding:
    steps = tuple(Evidence(PATH, place(at).location, "") for at in evidence)
    location = place(line).location
    return Finding(code, "", Severity.ERROR, Certainty.CERTAIN, PATH, location, "", "", steps)


def test_what_the_linter_foresaw_is_no_missed_alarm() -> None:
    observed = seen(stale=(Stale(place(10), 5, place(11), 6),))
    assert unforeseen(observed, []) == observed
    assert unforeseen(observed, [found_by_linter("GRD501", 10)]) == []
    assert unforeseen(observed, [found_by_linter("GRD501", 40, 11)]) == []
    assert unforeseen(observed, [found_by_linter("GRD502", 10)]) == observed
    assert unforeseen(observed, [found_by_linter("GRD501", 40)]) == observed


def test_observations_come_in_the_order_of_their_places_and_once() -> None:
    rows = (Stale(place(20), 5, place(21), 6), Stale(place(10), 5, place(11), 6), Stale(place(10), 5, place(12), 6))
    found = seen(stale=rows)
    assert where(found) == [("GRD501", 10, "likely"), ("GRD501", 20, "likely")]
