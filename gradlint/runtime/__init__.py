"""The runtime companion: watch code on real torch, compare it, and prove or refute what the linter says.

The only package that imports torch, and only when one of the names below is asked for: what reads recordings does
without. Where torch is missing, asking raises `ModuleNotFoundError` with the command that installs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlint.runtime.asserts import (
        assert_frozen,
        assert_grad_mode_restored,
        assert_gradients_reach,
        assert_no_graph,
        assert_no_graph_retained,
        assert_no_saved_edit,
        assert_same_gradients,
    )
    from gradlint.runtime.comparison.compare import compare
    from gradlint.runtime.comparison.result import Aspect, Comparison, ComparisonError, Outcome
    from gradlint.runtime.guard import inference_guard
    from gradlint.runtime.observations import observe
    from gradlint.runtime.recorder import record
    from gradlint.runtime.recording import Recording
    from gradlint.runtime.verdict import Verdict, Verified

_HOMES = {
    "Aspect": "comparison.result",
    "Comparison": "comparison.result",
    "ComparisonError": "comparison.result",
    "Outcome": "comparison.result",
    "Recording": "recording",
    "Verdict": "verdict",
    "Verified": "verdict",
    "assert_frozen": "asserts",
    "assert_grad_mode_restored": "asserts",
    "assert_gradients_reach": "asserts",
    "assert_no_graph": "asserts",
    "assert_no_graph_retained": "asserts",
    "assert_no_saved_edit": "asserts",
    "assert_same_gradients": "asserts",
    "compare": "comparison.compare",
    "inference_guard": "guard",
    "observe": "observations",
    "record": "recorder",
}

__all__ = [
    "Aspect",
    "Comparison",
    "ComparisonError",
    "Outcome",
    "Recording",
    "Verdict",
    "Verified",
    "assert_frozen",
    "assert_grad_mode_restored",
    "assert_gradients_reach",
    "assert_no_graph",
    "assert_no_graph_retained",
    "assert_no_saved_edit",
    "assert_same_gradients",
    "compare",
    "inference_guard",
    "observe",
    "record",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        needed = "gradlint.runtime needs PyTorch: pip install 'torch-gradlint[runtime]'"
        raise ModuleNotFoundError(needed, name="torch") from None
