"""The linters gradlint is compared with, in a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from corpus import HERE

REQUIREMENTS = HERE / "peers.txt"


class PeersError(Exception):
    """The environment cannot be made; the message says why."""


def provide_peers(cache: Path) -> Path:
    """Return the folder of the peers' commands; makes the environment when it is missing or not as pinned.

    Raises `PeersError` when pip cannot install them.
    """
    folder = cache / "peers"
    commands = folder / ("Scripts" if sys.platform == "win32" else "bin")
    installed = folder / "installed.txt"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    if not installed.is_file() or installed.read_text(encoding="utf-8") != wanted:
        venv.create(folder, clear=True, with_pip=True)
        command = [str(commands / "python"), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PeersError(f"the peers cannot be installed:\n{done.stderr.strip()}")
        installed.write_text(wanted, encoding="utf-8")
    return commands
