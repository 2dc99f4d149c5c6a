"""Finds the rules, checks that each is complete, and resolves what people write to name them."""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import ModuleType

from gradlint import plug_ins
from gradlint.finding import Certainty, Severity
from gradlint.rule import Rule

_CODE = re.compile(r"[A-Z]{2,8}\d{3}")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = re.compile(r"[A-Z]{2,8}\d{0,3}")
_OURS = "GRD"
_METADATA: dict[str, type] = {
    "code": str,
    "name": str,
    "since": str,
    "severity": Severity,
    "certainty": Certainty,
    "message": str,
    "help": str,
}


class RegistryError(Exception):
    """A rule module that breaks the rules for rules, ours or one of a plug-in."""


class UnknownRule(Exception):
    """Nothing is called ``selector``; ``nearest`` is what may have been meant, or empty."""

    def __init__(self, selector: str, nearest: str) -> None:
        hint = f"; did you mean `{nearest}`?" if nearest else ""
        super().__init__(f"unknown rule `{selector}`{hint}")
        self.selector = selector
        self.nearest = nearest


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule, ours and those of plug-ins, by code.

    Raises `RegistryError` naming the module that is not as it should be, and the package that it comes from.
    """
    package = import_module("gradlint.rules")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    ours = [import_module(f"gradlint.rules.{name}") for name in names]
    try:
        return collect(ours, plug_ins.modules())
    except plug_ins.PlugInError as error:
        raise RegistryError(str(error)) from error


def collect(ours: Iterable[ModuleType], others: Iterable[tuple[str, ModuleType]] = ()) -> tuple[Rule, ...]:
    """Return the rules in modules of ``ours`` and of ``others``, each of these with its package, by code.

    Raises `RegistryError` if one is incomplete, or if a code or name is taken.
    """
    rules: dict[str, Rule] = {}
    for owner, module in (*(("", module) for module in ours), *others):
        try:
            rule = _rule_in(module)
            _require_free(rule, module.__name__, owner, rules.values())
        except RegistryError as error:
            raise RegistryError(f"{owner}: {error}" if owner else str(error)) from error
        rules[rule.code] = rule
    return tuple(rules[code] for code in sorted(rules))


def _require_free(rule: Rule, where: str, owner: str, before: Iterable[Rule]) -> None:
    if rule.code.startswith(_OURS) == bool(owner):
        raise RegistryError(f"{where}: {rule.code}: codes that begin with {_OURS} are those of gradlint's own rules")
    for other in before:
        if rule.code == other.code:
            raise RegistryError(f"{where}: {rule.code} is taken by {type(other).__module__}")
        if rule.name == other.name:
            raise RegistryError(f"{where}: the name {rule.name} is taken by {other.code}")


def _rule_in(module: ModuleType) -> Rule:
    where = module.__name__
    classes = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, Rule) and thing.__module__ == where
    ]
    if len(classes) != 1:
        raise RegistryError(f"{where}: expected one class derived from Rule, found {len(classes)}")
    found = classes[0]
    for key, kind in _METADATA.items():
        if not isinstance(getattr(found, key, None), kind):
            raise RegistryError(f"{where}: `{key}` is missing or is no {kind.__name__}")
    if not _CODE.fullmatch(found.code) or not _NAME.fullmatch(found.name):
        raise RegistryError(f"{where}: `{found.code}` or `{found.name}` is not spelled as codes and names are")
    expected = f"{found.code}_{found.name}".lower().replace("-", "_")
    if where.rpartition(".")[2] != expected:
        raise RegistryError(f"{where}: a rule {found.code} {found.name} belongs in {expected}.py")
    if inspect.isabstract(found):
        raise RegistryError(f"{where}: `check` is missing")
    return found()


def rule(selector: str) -> Rule:
    """Return the rule with this code or name, in any case. Raises `UnknownRule`."""
    wanted = selector.strip()
    for candidate in all_rules():
        if wanted.upper() == candidate.code or wanted.lower() == candidate.name:
            return candidate
    raise UnknownRule(wanted, nearest(wanted, [name for each in all_rules() for name in (each.code, each.name)]))


def resolve(selector: str) -> frozenset[str]:
    """Return the codes that a code, the beginning of codes (``GRD1``), a name or ``ALL`` stands for.

    Raises `UnknownRule` if it stands for none.
    """
    wanted = selector.strip().upper()
    if wanted == "ALL":
        return frozenset(each.code for each in all_rules())
    if _PREFIX.fullmatch(wanted):
        codes = frozenset(each.code for each in all_rules() if each.code.startswith(wanted))
        if codes:
            return codes
    return frozenset({rule(selector).code})


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` that looks most like ``word``, or nothing if none does."""
    spelled = {each.lower(): each for each in known}
    matches = get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return spelled[matches[0]] if matches else ""


def page(of: Rule) -> str:
    """Return the rule's page: the docstring of its module, in Markdown."""
    return inspect.cleandoc(sys.modules[type(of).__module__].__doc__ or "")


def summary(of: Rule) -> str:
    """Return the first sentence of the rule's page."""
    return page(of).partition("\n\n")[0].replace("\n", " ")
