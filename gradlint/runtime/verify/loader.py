"""Loading the user's modules: linted, with probes where findings are, and with edits if there are any.

A finder at the head of ``sys.meta_path`` asks the others where a module is. If the answer is a plain Python file of
the user's, it is loaded by a loader of our own; whatever else somebody has hooked in (the assertion rewriting of
pytest, say) is left alone. The modules keep their real ``__file__`` and positions, and nothing instrumented is cached
on the disk.
"""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

import gradlint
from gradlint import engine, filecheck
from gradlint.codes import ABOUT_LINTING
from gradlint.config import Config
from gradlint.engine import Result
from gradlint.finding import Edit, Finding, Location
from gradlint.fix import apply
from gradlint.runtime.verify import probes
from gradlint.source import discovery, reading
from gradlint.source.positions import Lines

Edits = Mapping[str, Sequence[Edit]]
"""The edits to make in each file, by absolute path."""

_FOREIGN = tuple(
    os.path.abspath(folder) + os.sep
    for folder in {
        os.path.dirname(gradlint.__file__),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
)


@dataclass(frozen=True, slots=True)
class LintedFile:
    """A file of the user's that was loaded: its absolute path, what the linter says, and the probes by where they are.

    ``probes`` is None if the file ran without them: it was loaded before, or by somebody else.
    """

    path: str
    result: Result
    probes: Mapping[Location, int] | None = None

    @property
    def findings(self) -> list[Finding]:
        """What a run can tell something about: findings of rules, not of the linter about itself."""
        return [finding for finding in self.result.findings if finding.code not in ABOUT_LINTING]


@dataclass(slots=True)
class _Plan:
    """What a file is loaded as: its tree or text in place of its bytes, or neither."""

    data: bytes
    source: ast.Module | str | None = None


class SourceHook(MetaPathFinder):
    """Lints and instruments what is imported while it is installed: ``with SourceHook(config) as hook: ...``.

    The user's files are those below ``folders`` (default: the current one) that are not installed packages and that
    ``config`` does not exclude, and those of the packages named by ``include``. ``edits`` are applied to the text as it
    is loaded, which raises `gradlint.fix.FixError` if they cannot be made; an edited file is neither linted nor
    instrumented. With ``lints`` False no file is.
    """

    def __init__(
        self,
        config: Config,
        folders: Iterable[str] = (),
        include: Iterable[str] = (),
        edits: Edits | None = None,
        *,
        lints: bool = True,
    ) -> None:
        self._config = config
        self._excludes = engine.excludes(config, (), False)
        self._here = os.getcwd()
        self._folders = tuple(os.path.join(os.path.abspath(folder), "") for folder in (self._here, *folders))
        self._include = tuple(include)
        self._edits = dict(edits or {})
        self._lints = lints
        self._named: set[str] = set()
        self._plans: dict[str, _Plan] = {}
        self._files: dict[str, LintedFile] = {}

    def __enter__(self) -> SourceHook:
        filecheck.load()
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(ValueError):
            sys.meta_path.remove(self)

    @property
    def files(self) -> list[LintedFile]:
        """The files that were linted, by path."""
        return [self._files[path] for path in sorted(self._files)]

    @property
    def edited(self) -> frozenset[str]:
        """The absolute paths of the files that were loaded with their edits."""
        return frozenset(path for path, plan in self._plans.items() if path in self._edits and plan.source is not None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as the finders behind this one do, and have it loaded by us if it is the user's."""
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(fullname, path, target) if find is not None else None
            if spec is not None:
                return self.adopt(spec)
        return None

    def adopt(self, spec: ModuleSpec) -> ModuleSpec:
        """Have the module of ``spec`` loaded by us if its loader is Python's own and its file the user's."""
        loader = spec.loader
        # A subclass does something of its own to the code.
        if type(loader) is SourceFileLoader and self.watches(loader.path, spec.name):
            spec.loader = _Loader(loader.name, loader.path, self)
        return spec

    def watches(self, path: str, module: str = "") -> bool:
        """Tell whether the file ``path``, loaded as ``module``, is the user's."""
        path = os.path.abspath(path)
        if any(module == name or module.startswith(f"{name}.") for name in self._include):
            return True
        if path in self._named:
            return True
        if not path.startswith(self._folders) or path.startswith(_FOREIGN) or module.startswith("gradlint."):
            return False
        return not discovery.is_excluded(path, self._excludes)

    def own(self, path: str) -> None:
        """Count the file ``path`` as the user's wherever it lies."""
        self._named.add(os.path.abspath(path))

    def compiled(self, path: str) -> CodeType:
        """Return the code of the file ``path``, which is the user's wherever it lies; raise what compiling raises."""
        self.own(path)
        with open(path, "rb") as stream:
            data = stream.read()
        source = self.prepared(path, data)
        code: CodeType = compile(data if source is None else source, path, "exec", dont_inherit=True)
        return code

    def prepared(self, path: str, data: bytes) -> ast.Module | str | None:
        """Return what to compile in place of the bytes of the file ``path``; None if they may stay."""
        key = os.path.abspath(path)
        plan = self._plans.get(key)
        if plan is None:
            plan = _Plan(data)
            if key in self._edits:
                plan.source = apply(reading.decode(path, data).text, self._edits[key])
            elif self._lints:
                plan.source = self._linted(key, path, data)
            self._plans[key] = plan
        # A file that was rewritten since it was linted: the positions are not those of this text.
        return plan.source if plan.data == data else None

    def lint_loaded(self, paths: Iterable[str] = ()) -> None:
        """Lint what was loaded without us: modules that were there before or that others load, and ``paths``."""
        loaded = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
        for name, path in [*loaded, *(("", path) for path in paths)]:
            if not isinstance(path, str) or not path.endswith((".py", ".pyw")):
                continue
            key = os.path.abspath(os.path.join(self._here, path))
            if key in self._plans or not self.watches(key, name):
                continue
            try:
                data = reading.read(key)
            except reading.NotReadable:
                continue
            self._plans[key] = _Plan(data)
            self._files[key] = LintedFile(key, self._check(key, data))

    def hits(self, path: str, location: Location) -> int | None:
        """Return how often the code at ``location`` of the file ``path`` ran; None if nothing counted that."""
        linted = self._files.get(os.path.abspath(path))
        if linted is None or linted.probes is None or location not in linted.probes:
            return None
        return probes.hits(linted.probes[location])

    def text(self, path: str) -> str | None:
        """Return the text of a linted file; None if it is none of them, or no text."""
        plan = self._plans.get(os.path.abspath(path))
        try:
            return reading.decode(path, plan.data).text if plan is not None else None
        except reading.NotReadable:
            return None

    def _linted(self, key: str, path: str, data: bytes) -> ast.Module | None:
        """Lint a file; return its tree with probes if there is something to probe for."""
        result = self._check(key, data)
        linted = LintedFile(key, result)
        self._files[key] = linted
        places = [place for finding in linted.findings for place in _places(finding)]
        if not places:
            self._files[key] = LintedFile(key, result, {})
            return None
        try:
            tree = ast.parse(data, path)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None  # Python says it when it compiles the bytes
        lines = Lines(reading.decode(path, data).text)
        points = {place: lines.point(place) for place in places}
        numbers = probes.insert(tree, points.values())
        found = {place: numbers[point] for place, point in points.items() if point in numbers}
        self._files[key] = LintedFile(key, result, found)
        return tree

    def _check(self, key: str, data: bytes) -> Result:
        return engine.check_bytes(data, self._shown(key), self._config)

    def _shown(self, key: str) -> str:
        """Return the path as the linter shows it: relative to where we started, if it lies below."""
        return os.path.relpath(key, self._here) if key.startswith(os.path.join(self._here, "")) else key


class _Loader(SourceFileLoader):
    """Loads a file of the user's as the hook has prepared it."""

    def __init__(self, fullname: str, path: str, hook: SourceHook) -> None:
        super().__init__(fullname, path)
        self._hook = hook

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile what the hook has prepared; what it leaves as it is comes from Python's cache if it can."""
        path = self.get_filename(fullname)
        source = self._hook.prepared(path, self.get_data(path))
        if source is None:
            return super().get_code(fullname)
        code: CodeType = self.source_to_code(source, path)
        return code


def _places(finding: Finding) -> Iterator[Location]:
    yield finding.location
    yield from (step.location for step in finding.evidence if step.path == finding.path)
