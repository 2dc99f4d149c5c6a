"""Recordings of several processes are added up, by laws."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlint.finding import Location
from gradlint.runtime import recording as vocabulary
from gradlint.runtime.merging import ADDED, LARGEST, UNITED, merge
from gradlint.runtime.place import Place
from gradlint.runtime.recording import (
    Backward,
    Call,
    Cut,
    Forward,
    Mode,
    Parameter,
    Raised,
    Recording,
    Row,
    Saved,
    Step,
    Switch,
    Way,
)

ROWS = [kind for kind in vars(vocabulary).values() if isinstance(kind, type) and issubclass(kind, Row) and kind != Row]
LISTS = [each.name for each in fields(Recording) if "tuple" in str(each.type) and each.name not in ("devices", "notes")]

PLACES = [Place("/p/train.py", Location(line, 5, line, 20), "step") for line in (3, 4)]
places = st.sampled_from(PLACES)
modes = st.sampled_from(Mode)
few = st.integers(0, 5)
errors = st.lists(st.sampled_from(["A: a", "B: b"]), unique=True).map(tuple)

rows: dict[str, st.SearchStrategy[Any]] = {
    "switches": st.builds(Switch, places, few, modes, st.just(vocabulary.Form.WITH), st.just("no_grad")),
    "forwards": st.builds(
        Forward, places, few, st.just(()), st.sampled_from("MN"), st.booleans(), modes, st.none(), few, few, few, few
    ),
    "calls": st.builds(Call, places, few, st.sampled_from("ab"), modes, st.booleans(), few, few, errors),
    "backwards": st.builds(
        Backward, places, few, callers=st.just(()), name=st.just("backward"), leaf_roots=few, errors=errors,
    ),
    "cuts": st.builds(Cut, places, few, st.sampled_from(Way), st.just("d"), st.just(("w",)), partial=st.booleans()),
    "saved": st.builds(Saved, places, few, few, few, few),
    "steps": st.builds(Step, places, few, st.sampled_from(["SGD", "Adam"]), few),
    "parameters": st.builds(
        Parameter, st.sampled_from("vw"), st.just("M"), st.just((2,)), few, few, few, few,
        st.floats(0, 9), st.booleans(),
    ),
}  # fmt: skip
recordings = st.builds(
    Recording,
    level=st.just(1),
    devices=st.lists(st.sampled_from(["cpu", "cuda:0", "cuda:1"]), unique=True).map(tuple),
    seconds=st.floats(0, 9),
    mode_before=modes,
    mode_after=modes,
    notes=st.lists(st.sampled_from(["one", "two"]), unique=True).map(tuple),
    # As from one process: rows that differ in their counts only stand there once.
    **{name: st.lists(each, max_size=4).map(lambda found: merged(tuple(found))) for name, each in rows.items()},
)


def merged(found: tuple[Any, ...]) -> tuple[Any, ...]:
    from gradlint.runtime.merging import _rows

    return _rows(found)


def unordered(recording: Recording) -> dict[str, object]:
    values = {each.name: getattr(recording, each.name) for each in fields(Recording)}
    for name, value in values.items():
        if isinstance(value, tuple):
            if value and name in ("calls", "backwards"):
                value = tuple(replace(row, errors=tuple(sorted(row.errors))) for row in value)
            values[name] = Counter(value)
    return values


@given(recordings)
def test_one_recording_stays_as_it_is(one: Recording) -> None:
    assert merge([one]) == one


@settings(max_examples=50)
@given(recordings, recordings, recordings)
def test_it_does_not_matter_how_recordings_are_grouped(a: Recording, b: Recording, c: Recording) -> None:
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([a, b, c])


@settings(max_examples=50)
@given(recordings, recordings)
def test_the_order_of_recordings_orders_rows_only(a: Recording, b: Recording) -> None:
    assert unordered(merge([a, b])) == unordered(merge([b, a]))


@settings(max_examples=50)
@given(recordings, recordings)
def test_nothing_is_lost_or_made(a: Recording, b: Recording) -> None:
    joined = merge([a, b])
    assert joined.ranks == 2
    for name in rows:
        for count in ADDED[type_of(name)]:
            values = [getattr(row, count) for each in (a, b) for row in getattr(each, name)]
            if None not in values:
                assert sum(getattr(row, count) for row in getattr(joined, name)) == sum(values)
        for peak in LARGEST.get(type_of(name), ()):
            assert max((getattr(row, peak) for row in getattr(joined, name)), default=0) == max(
                (getattr(row, peak) for each in (a, b) for row in getattr(each, name)), default=0
            )


def type_of(name: str) -> type:
    return {"switches": Switch, "forwards": Forward, "calls": Call, "backwards": Backward, "cuts": Cut, "saved": Saved,
            "steps": Step, "parameters": Parameter}[name]  # fmt: skip


@pytest.mark.parametrize("kind", [*ROWS, Parameter], ids=lambda kind: str(kind.__name__))
def test_every_count_is_added_or_compared(kind: type) -> None:
    hints = get_type_hints(kind)
    counts = {name for name, hint in hints.items() if hint in (int, float, int | None, float | None)}
    joined = {*ADDED[kind], *LARGEST.get(kind, ())}
    assert counts <= joined
    assert {*joined, *UNITED.get(kind, ())} <= set(hints)


def test_every_list_is_joined() -> None:
    from gradlint.runtime.merging import _LISTS

    assert sorted(_LISTS) == sorted(LISTS)


def test_ranks_of_a_step_become_one_row() -> None:
    row = Forward(PLACES[0], 4, (), "Net", False, Mode.ON, None, 4, 0, 4, 4, 400, 400)
    a = Recording(level=3, seconds=1.0, forwards=(row,), devices=("cuda:0",))
    b = replace(a, seconds=2.0, forwards=(replace(row, count=3, tracked=3, alive=3, peak=3, peak_bytes=300),))
    joined = merge([a, replace(b, devices=("cuda:1",))])
    assert joined.forwards == (replace(row, count=7, tracked=7, alive=4, peak=4, unused_bytes=800, peak_bytes=400),)
    assert (joined.ranks, joined.seconds, joined.devices) == (2, 2.0, ("cuda:0", "cuda:1"))


def test_the_rank_that_raised_on_its_own_account_counts() -> None:
    own, other = Raised("ValueError", "no data", ()), Raised("KeyError", "'x'", ())
    lost = [
        Raised("RuntimeError", "[/third_party/gloo/transport/tcp/pair.cc:553] Connection closed by peer", ()),
        Raised("DistBackendError", "NCCL error", ()),
    ]
    both = [Recording(raised=each) for each in (lost[0], own, other)]
    assert merge([Recording(), *both]).raised == own
    assert merge([merge(both[:2]), both[2]]).raised == own
    assert merge([Recording(raised=each) for each in reversed(lost)]).raised == lost[1]
    assert merge([Recording(), Recording()]).raised is None


def test_no_recordings_are_an_error() -> None:
    with pytest.raises(ValueError, match="no recordings"):
        merge([])


@given(recordings)
@settings(max_examples=20)
def test_recordings_travel_as_json(one: Recording) -> None:
    assert msgspec.json.decode(msgspec.json.encode(one), type=Recording) == one
