"""Which program is to be run. Nothing here needs torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


class NotRunnable(Exception):
    """There is no such program; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: a ``script`` (or a folder with a ``__main__.py``), a ``module``, or a ``function`` of ``script``.

    ``function`` is a dotted path inside of the file. ``arguments`` are what the program finds behind its own name in
    ``sys.argv``; ``device`` is where the arguments of a function are made.
    """

    script: str = ""
    module: str = ""
    function: str = ""
    arguments: tuple[str, ...] = ()
    device: str = "cpu"

    @property
    def folder(self) -> str:
        """The folder that the program's own modules are imported from."""
        if self.module:
            return os.getcwd()
        path = os.path.join(os.getcwd(), self.script)
        if self.function:
            return package(path)[0]
        return path if os.path.isdir(path) else os.path.dirname(os.path.realpath(path))

    def __str__(self) -> str:
        """Write it as on the command line."""
        function = f"::{self.function.replace('.', '::')}" if self.function else ""
        return " ".join([f"-m {self.module}" if self.module else self.script + function, *self.arguments])

    def require(self) -> None:
        """Raise `NotRunnable` if there is no such script."""
        if self.module or os.path.isfile(self.script):
            return
        if self.function or not os.path.isdir(self.script):
            raise NotRunnable(f"there is no file {self.script}")
        if not os.path.isfile(os.path.join(self.script, "__main__.py")):
            raise NotRunnable(f"the folder {self.script} has no __main__.py")


def parse(words: tuple[str, ...], is_module: bool = False, device: str = "cpu") -> Program:
    """Return the program that ``words`` name, as they stand on the command line behind the options."""
    name, arguments = words[0], words[1:]
    if is_module:
        return Program(module=name, arguments=arguments, device=device)
    script, _, function = name.partition("::")
    if function and not os.path.exists(name):
        return Program(script, function=function.replace("::", "."), arguments=arguments, device=device)
    return Program(name, arguments=arguments, device=device)


def package(path: str) -> tuple[str, str]:
    """Return the folder from which the file ``path`` is imported, and the dotted name of its module.

    A file beside an ``__init__.py`` belongs to that package, and so on upwards.
    """
    folder, file = os.path.split(os.path.abspath(path))
    parts = [os.path.splitext(file)[0]]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        parts.insert(0, name)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return folder, ".".join(parts)
