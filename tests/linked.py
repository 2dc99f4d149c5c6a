"""Small projects analysed and linked in this process, without files: what tests of linking share."""

from __future__ import annotations

import ast

from gradlint.facts import Facts
from gradlint.ir.events import Span
from gradlint.linking.completing import completed
from gradlint.linking.interface import EMPTY, Interface, Place, View, decode_view
from gradlint.linking.link import Link
from gradlint.lower.python import lower
from gradlint.lower.python.outline import outline
from gradlint.project.analysis import analyse
from gradlint.project.sketch import sketch
from gradlint.source.positions import Lines
from gradlint.torch_model.words import Places

MOST_ROUNDS = 8


def place(span: Span) -> Place:
    """The place of a span in a text without wide characters."""
    return Place(span[0], span[1] + 1, span[2], span[3] + 1)


def told(text: str, name: str = "a.py", view: View = EMPTY) -> tuple[Interface, list[Facts]]:
    """What a file with ``text`` tells the others, and its facts, if it is told ``view``."""
    interfaces: list[Interface] = []
    places = Places(text)
    short = outline(text, places, view.asked)
    module = lower(text, ast.parse(short), places, short)
    facts = list(analyse(module, name, view=view, name=name, tell=interfaces.append, locate=place))
    solved = {function.qualname for function in interfaces[0].functions.values() if function.solved}
    return completed(interfaces[0], sketch(ast.parse(text), name, Lines(text), solved)), facts


def linked(files: dict[str, str]) -> dict[str, list[Facts]]:
    """The facts of the files of a project, by path, once nothing changes any more."""
    link, facts = Link(), {}
    pending = dict.fromkeys(files, EMPTY)
    for _ in range(MOST_ROUNDS):
        for path, view in pending.items():
            interface, facts[path] = told(files[path], path, view)
            link.tell(interface)
        pending = {path: decode_view(view) for path, view in link.views().items()}
        if not pending:
            return facts
    raise AssertionError("the views go on changing")
