"""The programs that runtime tools are measured on: bugs with their guilty line, healthy loops, meant stop-gradients.

Nothing here imports torch or gradlint: the peers' environment has no gradlint.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
BUGS = HERE / "runtime_bugs"
HEALTHY = HERE / "healthy"
STOP_GRADIENTS = HERE / "stop_gradients"
CONTROL = "control"
GUILTY = "# guilty"


@dataclass(frozen=True)
class Case:
    """One program. ``guilty`` are the lines of which one is to be repaired; ``summary`` says what is wrong."""

    name: str
    path: Path
    guilty: tuple[int, ...]
    summary: str

    def load(self) -> ModuleType:
        """Return the program as a new module.

        Every module has ``make()``, which gives the model, and ``run(model)``, the whole program. Bugs also have
        ``make_optimizer(model)``, ``make_batches()`` and ``loss_fn(outputs, labels)``, because peers drive the model
        themselves. ``FROZEN`` names the submodules that are meant not to learn; all others are meant to.
        """
        spec = importlib.util.spec_from_file_location(f"{self.path.parent.name}_{self.name}", self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def cases(folder: Path) -> list[Case]:
    """Return the programs of ``folder``, sorted by name, the control first.

    Raises `ValueError` for a bug without a guilty line, and for a healthy program with one.
    """
    found = [_case(path) for path in folder.glob("*.py")]
    return sorted(found, key=lambda case: (case.name != CONTROL, case.name))


def frozen(module: ModuleType) -> tuple[str, ...]:
    """Return the names of the submodules that ``module`` declares to be frozen."""
    return tuple(getattr(module, "FROZEN", ()))


def _case(path: Path) -> Case:
    lines = path.read_text(encoding="utf-8").split("\n")
    guilty = tuple(number for number, line in enumerate(lines, start=1) if line.endswith(GUILTY))
    if bool(guilty) != (path.parent == BUGS and path.stem != CONTROL):
        raise ValueError(f"{path}: {len(guilty)} lines end in `{GUILTY}`")
    return Case(path.stem, path, guilty, lines[0].strip('"'))
