"""Under ``torchrun`` there is one report, of all ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "fixtures/verify/ddp_train.py"


def verified(tmp_path: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Run the fixture on two ranks; return exit code, output and the report. Ranks meet below ``tmp_path``."""
    report = tmp_path / "report.json"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    verify = ["-m", "gradlint", "verify", "--format", "json", "-o", str(report), SCRIPT, *arguments]
    done = subprocess.run(
        [sys.executable, *launch, *verify],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert report.exists(), done.stderr
    return done.returncode, done.stdout, json.loads(report.read_text())


def verdicts(report: dict[str, Any]) -> dict[str, tuple[str, int]]:
    assert {finding["path"] for finding in report["findings"]} == {SCRIPT}
    return {finding["code"]: (finding["verdict"], finding["hits"]) for finding in report["findings"]}


def test_rank_0_reports_what_both_ranks_did(tmp_path: Path) -> None:
    code, stdout, report = verified(tmp_path)
    # In each of two epochs rank 0 evaluates four batches, rank 1 five.
    assert verdicts(report) == {"GRD102": ("CONFIRMED", 18), "GRD402": ("CONFIRMED", 18)}
    assert (stdout.count("rank 0: loss"), stdout.count("rank 1: loss")) == (2, 2)
    assert code == 1
    assert not list(tmp_path.glob("gradlint-*"))


def test_a_rank_that_dies_is_named(tmp_path: Path) -> None:
    code, stdout, report = verified(tmp_path, "--die")
    # Rank 0 evaluated once before it lost rank 1.
    assert verdicts(report) == {"GRD102": ("CONFIRMED", 4), "GRD402": ("CONFIRMED", 4)}
    assert "rank 1 of 2 ended before it could report" in json.dumps(report)
    assert stdout.startswith("rank 0: loss ")
    assert code == 1
    assert not list(tmp_path.glob("gradlint-*"))
