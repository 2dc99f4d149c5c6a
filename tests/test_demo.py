"""The demo shows one mistake of every family, and torch agrees that they are mistakes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gradlint.testing.fixtures import lint

DEMO = Path(__file__).resolve().parent.parent / "fixtures" / "demo"
FAMILIES = [{"GRD101"}, {"GRD102", "GRD402"}, {"GRD201"}, {"GRD301", "GRD302"}]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo's training script, imported the way it is run."""
    monkeypatch.syspath_prepend(str(DEMO))
    yield import_module("train")
    for path in DEMO.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_every_family_is_found() -> None:
    codes = {found.code for path in DEMO.glob("*.py") for found in lint(path.read_text(encoding="utf-8"), path.name)}
    assert [family for family in FAMILIES if not family & codes] == []
    assert codes <= set().union(*FAMILIES)


@pytest.mark.torch
def test_the_freeze_has_no_effect(demo: Any) -> None:
    model = demo.Classifier()
    model.freeze_backbone()
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())


@pytest.mark.torch
def test_training_and_calibration_raise(demo: Any) -> None:
    import torch

    model = demo.Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        demo.train_epoch(model, demo.load(8), optimizer)
    with pytest.raises(RuntimeError, match="does not require grad"):
        demo.calibrate(model, demo.load(8))


@pytest.mark.torch
def test_the_evaluation_builds_graphs(demo: Any) -> None:
    import torch

    saved: list[Any] = []

    def pack(tensor: Any) -> Any:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        demo.evaluate(demo.Classifier(), demo.load(8))
    assert saved, "nothing was saved for a backward pass"
