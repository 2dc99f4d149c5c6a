"""The tools gradlint is compared with, in virtual environments of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

from corpus import HERE

REQUIREMENTS = HERE / "peers.txt"
RUNTIME_REQUIREMENTS = HERE / "peers_runtime.txt"


class PeersError(Exception):
    """The environment cannot be made; the message says why."""


def provide_peers(cache: Path) -> Path:
    """Return the folder of the linters' commands; makes the environment when it is missing or not as pinned.

    Raises `PeersError` when pip cannot install them.
    """
    folder = cache / "peers"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    if not _is_made(folder, wanted):
        venv.create(folder, clear=True, with_pip=True)
        said = _install(folder, "-r", str(REQUIREMENTS))
        if said:
            raise PeersError(f"the peers cannot be installed:\n{said}")
        _note(folder, wanted)
    return _commands(folder)


def provide_runtime_peers(cache: Path) -> tuple[Path, dict[str, str]]:
    """Return the interpreter of the runtime checkers, and for each that could not be installed pip's reason.

    Their environment sees the packages beside the torch of this interpreter, so that torch is not downloaded again.
    Nothing that they require is installed: torcheck asks for torch below 2.0, but works with later ones, and what the
    others ask for is there. Raises `PeersError` when this interpreter has no torch.
    """
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise PeersError("torch is not installed for this interpreter, and the runtime checkers need it")
    folder = cache / "peers-runtime"
    beside = Path(torch.origin).parent.parent
    wanted = f"{sys.version}\n{beside}\n{RUNTIME_REQUIREMENTS.read_text(encoding='utf-8')}"
    missing: dict[str, str] = {}
    if not _is_made(folder, wanted):
        venv.create(folder, clear=True, with_pip=True)
        for pin in RUNTIME_REQUIREMENTS.read_text(encoding="utf-8").split():
            said = _install(folder, "--no-deps", "--only-binary=:all:", pin)
            if said:
                missing[pin.partition("==")[0]] = said.splitlines()[-1]
        asked = [str(_python(folder)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        Path(packages, "torch_in_use.pth").write_text(f"{beside}\n", encoding="utf-8")
        if not missing:
            _note(folder, wanted)
    return _python(folder), missing


def _is_made(folder: Path, wanted: str) -> bool:
    installed = folder / "installed.txt"
    return installed.is_file() and installed.read_text(encoding="utf-8") == wanted


def _note(folder: Path, wanted: str) -> None:
    (folder / "installed.txt").write_text(wanted, encoding="utf-8")


def _install(folder: Path, *what: str) -> str:
    """Install with the environment's pip; returns what it said if it failed, else nothing."""
    command = [str(_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"exit status {done.returncode}") if done.returncode else ""


def _commands(folder: Path) -> Path:
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def _python(folder: Path) -> Path:
    return _commands(folder) / "python"
