"""Which file of the run a dotted name of an import stands for.

Nobody tells where Python would look, so this is read off the layout. An absolute name is looked for in the folder of
the file that says it, as for a script, and in the folders above, nearest first. Folders that are packages come after
those that are not: code in a package imports from where the package lies, and not its neighbours, unless it is run as
a script. Whatever is in none of them may lie below another root (``src/`` as seen from ``tests/``), if it does so
only once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

OUTSIDE = sys.stdlib_module_names | frozenset(
    "PIL cv2 flax jax matplotlib numpy pandas pytest scipy sklearn tensorflow torch tqdm triton yaml".split()
)
"""First names that are never of the project, though files are called so: ``layers/torch.py``."""
FRAMEWORKS = frozenset(
    """accelerate apex captum deepspeed fastai gym gymnasium ignite keras lightning lightning_fabric mlflow optuna peft
    pytorch_lightning ray skorch stable_baselines3 tensorboard tensorboardX timm torch_geometric torchaudio torchmetrics
    torchvision transformers trl wandb""".split()
)
"""First names that are of the project only if it holds the package itself, below a folder that is none: a module or
an inner package that is called so (``integrations/wandb.py``) is about the framework.
"""
PACKAGE = "__init__.py"


class Modules:
    """The files of the run as modules. ``paths`` are spelt as in `Interface.path`, and so are all answers."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._spelt: dict[str, str] = {}
        self._folders: set[str] = set()
        self._absolute: dict[str, str] = {}
        self._found: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._near: dict[tuple[str, str], tuple[str, ...]] = {}
        for path in sorted(set(paths)):
            if path.endswith(".py"):
                self._spelt.setdefault(self._place(path), path)
        for file in self._spelt:
            self._folders.update(_above(file))
        self._roots: dict[str, set[str]] = {}
        for place in [*self._spelt, *self._folders]:
            folder, _, name = place.rpartition("/")
            if not self._is_package(folder):
                self._roots.setdefault(name.removesuffix(".py"), set()).add(folder)

    def find(self, importer: str, dotted: str) -> tuple[str, str] | None:
        """Return the file that ``dotted`` stands for in the file ``importer``, and the rest of the name inside it.

        The longest part that is a module counts; the rest is empty for the module itself. A package is its
        ``__init__.py``. Leading dots are those of relative imports. None if it is no name of the project, or if it
        may be one of several.
        """
        key = (importer, dotted)
        if key not in self._found:
            self._found[key] = self._find(self._place(importer), dotted)
        return self._found[key]

    def parent(self, path: str) -> tuple[str, str] | None:
        """Return the ``__init__.py`` of the package that a module lies in, and the module's name there."""
        folder, _, name = self._place(path).rpartition("/")
        if name == PACKAGE:
            folder, _, name = folder.rpartition("/")
        package = self._spelt.get(f"{folder}/{PACKAGE}")
        return None if package is None else (package, name.removesuffix(".py"))

    def child(self, path: str, name: str) -> str | None:
        """Return the module ``name`` of the package whose ``__init__.py`` is ``path``."""
        found = self.find(path, f".{name}") if self._place(path).endswith(f"/{PACKAGE}") else None
        return found[0] if found is not None and not found[1] else None

    def is_inside(self, path: str, package: str) -> bool:
        """Return whether a file is one of those of the package whose ``__init__.py`` is ``package``."""
        return self._place(path).startswith(self._place(package).removesuffix(PACKAGE))

    def _place(self, path: str) -> str:
        """Return the one spelling of a path by which files compare."""
        if path not in self._absolute:
            self._absolute[path] = os.path.abspath(path).replace(os.sep, "/")
        return self._absolute[path]

    def _is_package(self, folder: str) -> bool:
        return f"{folder}/{PACKAGE}" in self._spelt

    def _find(self, importer: str, dotted: str) -> tuple[str, str] | None:
        name = dotted.lstrip(".")
        parts = name.split(".") if name else []
        if not all(map(str.isidentifier, parts)):
            return None
        if name != dotted:
            above = _above(importer)
            level = len(dotted) - len(name)
            return self._descend(above[level - 1], parts, in_package=True) if level <= len(above) else None
        if not parts or parts[0] in OUTSIDE:
            return None
        for folder in self._nearest(importer, parts[0]):
            found = self._descend(folder, parts)
            if found is not None:
                return found
        return self._elsewhere(importer, parts)

    def _descend(self, folder: str, parts: list[str], in_package: bool = False) -> tuple[str, str] | None:
        """Find the deepest module that the parts lead to from a folder, which may itself be the package that is meant.

        A package goes before a module, and that before a folder that is no package
        (https://peps.python.org/pep-0420/#specification).
        """
        found, used = self._spelt.get(f"{folder}/{PACKAGE}") if in_package else None, 0
        for count, part in enumerate(parts, start=1):
            folder = f"{folder}/{part}"
            inner = self._spelt.get(f"{folder}/{PACKAGE}")
            file = inner or self._spelt.get(f"{folder}.py")
            if file is not None:
                found, used = file, count
            if inner is None and (file is not None or folder not in self._folders):
                break
        return None if found is None else (found, ".".join(parts[used:]))

    def _nearest(self, importer: str, first: str) -> tuple[str, ...]:
        """Return the folders around a file where a name may be looked for, in this order."""
        folders = _above(importer)
        key = (folders[0], first)
        if key not in self._near:
            holding = [folder for folder in folders if self._holds(folder, first)]
            roots = [folder for folder in holding if not self._is_package(folder)]
            inner = [folder for folder in holding if self._is_package(folder) and first not in FRAMEWORKS]
            self._near[key] = (*roots, *inner)
        near = self._near[key]
        if importer == f"{folders[0]}/{first}.py" and not self._is_package(f"{folders[0]}/{first}"):
            return tuple(folder for folder in near if folder != folders[0])  # a file does not import itself
        return near

    def _holds(self, folder: str, first: str) -> bool:
        inside = f"{folder}/{first}"
        if first in FRAMEWORKS:
            return self._is_package(inside)
        return inside in self._folders or f"{inside}.py" in self._spelt

    def _elsewhere(self, importer: str, parts: list[str]) -> tuple[str, str] | None:
        """Find a name below the only root that has it; packages and modules go before other folders."""
        first = parts[0]
        roots = self._roots.get(first, set()).difference(_above(importer))
        holding = [folder for folder in roots if self._holds(folder, first)]
        proper = [folder for folder in holding if self._descend(folder, [first])]
        found = [place for folder in proper or holding if (place := self._descend(folder, parts))]
        return found[0] if len(found) == 1 else None


def _above(place: str) -> list[str]:
    """Return the folders around a file, nearest first; the last is the root, whose name is empty."""
    folders = []
    while "/" in place:
        place = place.rpartition("/")[0]
        folders.append(place)
    return folders
