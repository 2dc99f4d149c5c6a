"""The names that `gradlint.runtime` offers, and what it says where there is no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gradlint import runtime

NO_TORCH = "import sys; sys.modules['torch'] = None; import gradlint.runtime as runtime; "


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.torch
@pytest.mark.parametrize("name", runtime.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(runtime, name).__name__ == name


def test_all_is_what_can_be_had() -> None:
    assert runtime.__all__ == sorted(runtime._HOMES)
    with pytest.raises(AttributeError, match="has no attribute 'recorde'"):
        runtime.recorde  # noqa: B018


def test_data_needs_no_torch() -> None:
    done = run(NO_TORCH + "print(runtime.Recording().level, runtime.Verdict.REFUTED.value, runtime.observe)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 REFUTED <function observe")


@pytest.mark.parametrize("name", ["record", "compare", "inference_guard", "assert_frozen"])
def test_what_needs_torch_says_how_to_get_it(name: str) -> None:
    done = run(NO_TORCH + f"runtime.{name}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ModuleNotFoundError: gradlint.runtime needs PyTorch: pip install 'torch-gradlint[runtime]'"
