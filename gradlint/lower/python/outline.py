"""The text of a module without the functions that cannot matter.

Most functions of most files say nothing about gradients and are called by nothing that does. They are found by their
first lines and left out before the tree of the text is lowered, as are long tables that nothing of the rest names;
every line that stays keeps its number.

Only functions at the left margin, and methods four columns or a tab in, are left out. Nothing here understands
strings: a line in one that looks like a definition may hide the rest of the string, never code, for a stretch of text
with half a string in it stays.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from copy import copy
from dataclasses import dataclass, field

from gradlint.torch_model import roles
from gradlint.torch_model.words import Places

_HEAD = re.compile(
    r"\n(?:(?P<indent> {4}|\t)?(?:@|(?:async[ \t]+)?(?P<keyword>def|class)[ \t]+(?P<name>\w+))"
    r"|(?P<table>\w+)[ \t]*=[^\n]*[\[({]\n(?=(?:[ \t][^\n]*\n){12}))"
)
_END = {
    "": re.compile(r"\n[^\s#)\]}]"),
    "    ": re.compile(r"\n {0,4}[^\s#)\]}]"),
    "\t": re.compile(r"\n\t?[^\s#)\]}]"),
}
_NARROW = re.compile(r"\n {1,3}(?:def|class|return|self|if|for)\b")
_NAME = re.compile(r"\.[A-Za-z_]\w*|(?<![\w'\"])[A-Za-z_]\w*")
_COLLECTS = re.compile(r"\bself\.(\w+)(?:\.(?:append|extend)\(|(?:\[[^\]\n]*\])?[ \t]*\+=)")
_REMEMBERS = re.compile(
    r"if (?:not hasattr\(self, [\"'](\w+)[\"']\)|self\.(\w+) is None|[\"'](\w+)[\"'] not in self\.__dict__):\n\s*self\."
    r"|if self\.(\w+) is None:\n(?:[^\n]*\n){1,12}?[ \t]*self\.\4[ \t]*="
)
"""What is computed where there is none yet; by which methods it is set back matters."""
_WEIGHT = re.compile(r"\.(?:weight|bias)\s*[,)]")
_CALL = re.compile(r"(\w+)\((?:[^()]|\([^()]*\))*\Z")
_UNTRACKED = re.compile(r"\n[ \t]*@[\w.]*(?:no_grad|inference_mode)\b")
_EDIT = re.compile(r"[\w\])][ \t]*(?:[-+*/@]|\*\*)=(?![ \t]*\d+\n)|\w_\(|\][ \t]*=(?!=)")
_BUFFER = re.compile(r"register_buffer\(\s*[\"'](\w+)[\"']")
_LEFT_OUT = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign)
_DEEPEST = 2
"""The constructor of an attribute's attribute is looked into, and no further."""


@dataclass(slots=True, eq=False)
class _Part:
    """A function, a class or a long table at the margin, or a method (``owner`` is its class). ``kin`` are the classes
    that a class inherits from or that inherit from it.
    """

    name: str
    start: int
    end: int
    is_class: bool
    owner: _Part | None = None
    methods: list[_Part] = field(default_factory=list)
    kin: list[_Part] = field(default_factory=list)

    def all_methods(self) -> Iterator[_Part]:
        """The methods that an instance of a class has, or may have."""
        for cls in (self, *self.kin):
            yield from cls.methods


def outline(text: str, places: Places, asked: Collection[str] = ()) -> str:
    """Return ``text`` with blank lines for every function that has no place in it and that no such function needs.

    ``asked`` are the qualified names of functions that stay all the same.
    """
    if _NARROW.search(text):
        return text
    parts = _parts(text)
    needed = _needed(text, parts, places, asked)
    kept: list[str] = []
    position = 0
    passed: set[_Part] = set()
    for part in parts:
        if part.is_class or part in needed or part.start < position or _breaks_string(text, part):
            continue
        kept.append(text[position : part.start])
        lines = text.count("\n", part.start, part.end)
        if part.owner is not None and part.owner not in passed:
            passed.add(part.owner)
            kept.append("\n\tpass" if text[part.start + 1] == "\t" else "\n    pass")
            lines -= 1
        kept.append("\n" * lines)
        position = part.end
    return "".join(kept) + text[position:] if kept else text


def outlined(tree: ast.Module, outline: str) -> ast.Module:
    """Return ``tree`` without what is left out of the ``outline`` of its text. The tree itself stays as it is."""
    lines = outline.split("\n")

    def kept(suite: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in suite:
            if isinstance(node, ast.ClassDef):
                cls = copy(node)
                cls.body = list(kept(node.body))
                yield cls
            elif not isinstance(node, _LEFT_OUT) or lines[node.lineno - 1].strip() not in ("", "pass"):
                yield node

    return ast.Module(list(kept(tree.body)), tree.type_ignores)


def _parts(text: str) -> list[_Part]:
    """The definitions that might be left out, with their decorators, and the classes around them."""
    found: list[_Part] = []
    owner: _Part | None = None
    decorated: int | None = None
    for match in _HEAD.finditer(text):
        indent, keyword, name, table = match.group("indent") or "", *match.group("keyword", "name", "table")
        start = match.start() if decorated is None else decorated
        if keyword is None and table is None:
            decorated = start
            continue
        decorated = None
        if indent and (owner is None or start >= owner.end):
            continue
        end = _END[indent].search(text, match.end())
        part = _Part(name or table, start, end.start() if end else len(text), keyword == "class")
        if not indent:
            owner = part if part.is_class else None
            found.append(part)
        elif owner is not None and not part.is_class:
            part.owner = owner
            owner.methods.append(part)
            found.append(part)
    _relate(text, [part for part in found if part.is_class])
    return found


def _relate(text: str, classes: list[_Part]) -> None:
    """Enter which classes inherit from which, as far as their first lines tell."""
    named = {part.name: part for part in classes}
    bases = {
        part: [named[name] for name in _NAME.findall(text, part.start, _head(text, part)) if name in named]
        for part in classes
    }
    for part in classes:
        pending = bases[part]
        while pending := [base for base in dict.fromkeys(pending) if base is not part and base not in part.kin]:
            part.kin += pending
            pending = [base for one in pending for base in bases[one]]
    for part, above in [(part, list(part.kin)) for part in classes]:
        for base in above:
            base.kin.append(part)


def _head(text: str, part: _Part) -> int:
    """Where the first line of a class ends."""
    return text.find(":\n", part.start, part.end)


def _needed(text: str, parts: list[_Part], places: Places, asked: Collection[str]) -> set[_Part]:
    """The parts that say something about gradients, and what they name: functions, methods, constructors."""
    called: dict[str, list[_Part]] = {}
    for part in parts:
        called.setdefault(part.name if part.owner is None else f".{part.name}", []).append(part)
    depths: dict[_Part, int] = {}
    pending: list[_Part] = []

    def need(part: _Part, depth: int) -> None:
        if depth < depths.get(part, _DEEPEST + 1):
            depths[part] = depth
            pending.append(part)

    def need_named(start: int, end: int, depth: int) -> None:
        for name in set(_NAME.findall(text, start, end)):
            for part in called.get(name, ()):
                need(part, depth + 1 if part.is_class else depth)

    for part in (*_saying_something(parts, places), *_training(text, parts), *_handing_over(text, parts, places)):
        need(part, 0)
    for part in (*_inferring(text, parts), *_losing(text, parts), *_feeding(text, parts, places)):
        need(part, 0)
    for part in _giving(text, parts, places):
        need(part, 0)
    for part in parts if asked else ():
        if (f"{part.owner.name}.{part.name}" if part.owner is not None else part.name) in asked:
            need(part, 0)
    for start, end in _between(text, parts):
        lines = (text.rfind("\n", 0, place) + 1 for place in places.within(start, end))
        if any(not text.startswith(("import ", "from "), line) for line in lines):
            need_named(start, end, 0)
    while pending:
        part = pending.pop()
        depth = depths[part]
        if part.is_class:
            for base in part.kin:
                need(base, depth)
            for method in part.methods:
                if method.name.startswith("__") or method.name in ("setup", "build"):
                    need(method, depth)
        elif part.owner is not None:
            need(part.owner, depth)
            for method in _reading_what_it_collects(text, part, part.owner):
                need(method, depth)
        if depth < _DEEPEST:
            need_named(part.start, _head(text, part) if part.is_class else part.end, depth)
    return set(depths)


def _saying_something(parts: list[_Part], places: Places) -> Iterator[_Part]:
    """The functions with a place in them; of a constructor, which may make in-place layers, the ``forward`` too."""
    for part in parts:
        if not part.is_class and places.within(part.start, part.end):
            yield part
            if part.name == "__init__" and part.owner is not None:
                yield from (method for method in part.owner.all_methods() if method.name == "forward")


def _reading_what_it_collects(text: str, part: _Part, owner: _Part) -> Iterator[_Part]:
    """The methods that read an attribute to which the method ``part`` adds, or which it computes once: they tell what
    that is for, and how long it lasts.
    """
    remembered = {name for names in _REMEMBERS.findall(text, part.start, part.end) for name in names if name}
    for name in remembered | set(_COLLECTS.findall(text, part.start, part.end)):
        read = re.compile(rf"\.{name}\b")
        yield from (method for method in owner.all_methods() if read.search(text, method.start, method.end))


def _training(text: str, parts: list[_Part]) -> set[_Part]:
    """The functions that go backward, and those that call them: a loop around a training step says no more of it."""
    found = {part for part in parts if not part.is_class and text.find("backward", part.start, part.end) >= 0}
    names: set[str] = set()
    while new := {part.name for part in found if part.name not in ("forward", "backward")} - names:
        names |= new
        called = re.compile(rf"\b(?:{'|'.join(sorted(new))})[ \t]*\(")
        found |= {part for part in parts if not part.is_class and called.search(text, part.start, part.end)}
    return found


def _handing_over(text: str, parts: list[_Part], places: Places) -> Iterator[_Part]:
    """The functions that give a weight to one that says something about gradients, which may edit it in place."""
    names = {part.name for part in parts if not part.is_class and places.within(part.start, part.end)}
    for weight in _WEIGHT.finditer(text) if names else ():
        call = _CALL.search(text, max(weight.start() - 300, 0), weight.start())
        if call is not None and call.group(1) in names:
            yield from (part for part in parts if not part.is_class and part.start <= weight.start() < part.end)


def _inferring(text: str, parts: list[_Part]) -> Iterator[_Part]:
    """What tells whether somebody goes backward from a method for inference: the ``forward`` beside it, and callers."""
    found = [part for part in parts if part.owner is not None and roles.infers(part.name)]
    beside = (method for part in found if part.owner is not None for method in part.owner.all_methods())
    yield from (method for method in beside if method.name == "forward")
    names = "|".join(sorted({part.name for part in found}))
    called = re.compile(rf"\.(?:{names})[ \t]*\(")
    yield from (part for part in parts if names and not part.is_class and called.search(text, part.start, part.end))


def _losing(text: str, parts: list[_Part]) -> Iterator[_Part]:
    """What computes a loss by its name: it may go through a function that is decorated to run with gradients off."""
    for part in parts if _UNTRACKED.search(text) else ():
        named = part.owner if part.name in ("forward", "__call__") and part.owner is not None else part
        if not part.is_class and roles.LOSS.search(named.name):
            yield part


def _feeding(text: str, parts: list[_Part], places: Places) -> Iterator[_Part]:
    """The methods that call one that updates a buffer, or the module that does: they tell what it is updated with."""
    buffers = "|".join(sorted(set(_BUFFER.findall(text))))
    update = re.compile(rf"register_buffer\((?![\"'])|setattr\(|self\.(?:{buffers or '(?!)'})\b")
    for part in parts if "register_buffer" in text else ():
        if part.owner is None or part.name == "__init__" or not places.within(part.start, part.end):
            continue
        if update.search(text, part.start, part.end):
            yield from _callers(text, parts, part, part.owner)


def _giving(text: str, parts: list[_Part], places: Places) -> Iterator[_Part]:
    """The ``forward`` of the classes that stand in a function which edits something in place, or in the constructor
    beside it: what its instances return may be edited there.
    """
    forwards = {part.owner.name: part for part in parts if part.owner is not None and part.name == "forward"}
    for part in parts if forwards else ():
        if part.is_class or not places.within(part.start, part.end) or not _EDIT.search(text, part.start, part.end):
            continue
        beside = [method for method in part.owner.all_methods() if method.name == "__init__"] if part.owner else []
        for one in (part, *beside):
            names = set(_NAME.findall(text, one.start, one.end))
            yield from (forwards[name] for name in names & forwards.keys())


def _callers(text: str, parts: list[_Part], part: _Part, owner: _Part) -> Iterator[_Part]:
    """The methods that call another one; those that are run with an instance of its class if it is a ``forward``."""
    if part.name == "forward":
        names = "|".join(one.name for one in (owner, *owner.kin))
        made = re.compile(rf"\b(?:{names})\b")
        makers = {one.owner for one in parts if one.owner is not None and made.search(text, one.start, one.end)}
        for other in makers - {owner, *owner.kin}:
            yield from (one for one in other.all_methods() if one.name == "forward")
    else:
        called = re.compile(rf"\.{part.name}[ \t]*\(")
        yield from (one for one in owner.all_methods() if called.search(text, one.start, one.end))


def _between(text: str, parts: list[_Part]) -> Iterator[tuple[int, int]]:
    """The stretches of the text outside all functions."""
    position = 0
    for part in parts:
        if not part.is_class:
            if part.start > position:
                yield position, part.start
            position = max(position, part.end)
    yield position, len(text)


def _breaks_string(text: str, part: _Part) -> bool:
    """Whether a string begins or ends in a part that is not all of it."""
    return any(text.count(quotes, part.start, part.end) % 2 for quotes in ('"""', "'''"))
