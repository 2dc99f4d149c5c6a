"""Small projects analysed and linked in this process, without files: what tests of linking share."""

from __future__ import annotations

import ast

from gradlint.facts import Facts
from gradlint.ir.events import Span
from gradlint.linking.completing import completed
from gradlint.linking.interface import EMPTY, Interface, Place, View
from gradlint.linking.link import Link
from gradlint.linking.reads import Reads
from gradlint.lower.python import lower
from gradlint.lower.python.outline import outline
from gradlint.project.analysis import analyse
from gradlint.project.linked.sketch import sketch
from gradlint.source.positions import Lines
from gradlint.torch_model.words import Places

MOST_ROUNDS = 8


def place(span: Span) -> Place:
    """The place of a span in a text without wide characters."""
    return Place(span[0], span[1] + 1, span[2], span[3] + 1)


def told(text: str, name: str = "a.py", view: View = EMPTY) -> tuple[Interface, list[Facts]]:
    """What a file with ``text`` tells the others, and its facts, if it is told ``view``."""
    interface, facts, _ = told_and_read(text, name, view)
    return interface, facts


def told_and_read(text: str, name: str, view: View) -> tuple[Interface, list[Facts], Reads]:
    """What a file tells, its facts, and what it looked at of ``view``."""
    answers: list[tuple[Interface, Reads]] = []
    places = Places(text)
    short = outline(text, places, view.asked)
    module = lower(text, ast.parse(short), places, short)
    facts = list(analyse(module, name, view=view, name=name, tell=lambda *answer: answers.append(answer), locate=place))
    interface, reads = answers[0]
    solved = {function.qualname for function in interface.functions.values() if function.solved}
    return completed(interface, sketch(ast.parse(text), name, Lines(text), solved)), facts, reads


def linked(files: dict[str, str]) -> dict[str, list[Facts]]:
    """The facts of the files of a project, by path, once nothing changes any more."""
    link, facts = Link(), {}
    pending = dict.fromkeys(files, EMPTY)
    for _ in range(MOST_ROUNDS):
        for path, view in pending.items():
            interface, facts[path], reads = told_and_read(files[path], path, view)
            link.tell(interface, reads)
        pending = link.views()
        if not pending:
            return facts
    raise AssertionError("the views go on changing")
