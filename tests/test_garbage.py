"""When garbage is collected."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from gradlint import garbage
from gradlint.engine import check_paths


def test_collection_is_off_meanwhile_and_then_as_before() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), garbage.put_off():
        with garbage.put_off():
            assert not gc.isenabled()
        assert not gc.isenabled(), "whoever is around still wants it off"
        raise KeyError
    assert gc.isenabled()


def test_much_of_it_is_collected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []
    monkeypatch.setattr(garbage._Waiting, "of_bytes", 0)
    monkeypatch.setattr(gc, "collect", lambda: collected.append(garbage._Waiting.of_bytes))
    for _ in range(5):
        garbage.analysed(1_500_000)
    assert collected == [3_000_000, 3_000_000] and garbage._Waiting.of_bytes == 1_500_000


def test_a_run_leaves_collection_as_it_was(tmp_path: Path) -> None:
    assert check_paths([str(tmp_path)], jobs=1).findings == ()
    assert gc.isenabled()
