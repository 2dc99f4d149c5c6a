"""What a file tells when only a part of it is told anew."""

from __future__ import annotations

import msgspec

from gradlint.linking.interface import DECIDING, Class, Interface, Named, Thing


def completed(told: Interface, before: Interface) -> Interface:
    """Return what an analysis of a file told, with the rest as it was told ``before``.

    Of the functions those count that were solved, for what else is there was not looked at. That a class adds no
    parameters is known only if nothing was left out that might. What was asked about once is wanted still: that
    nobody asks any more comes of the answer, which would come and go for ever.
    """
    functions = before.functions | {name: one for name, one in told.functions.items() if one.solved}
    classes = dict(before.classes)
    for name, cls in told.classes.items():
        known = classes.get(name, cls)
        methods = known.methods | cls.methods
        seen = all(functions[methods[one]].solved for one in DECIDING if methods.get(one) in functions)
        classes[name] = msgspec.structs.replace(cls, methods=methods, parameterless=cls.parameterless and seen)
    names = {name: things for name, things in before.names.items() if name in functions}
    wants = told.wants | before.wants
    return msgspec.structs.replace(told, names=names | told.names, functions=functions, classes=classes, wants=wants)


def retold(told: Interface, before: Interface) -> Interface:
    """Return what a file tells, as `completed`, that was told of others since ``before``.

    What it has from others it says as before: what imports stand for is found out from all files together, and in the
    file's own words that is found out once.
    """
    found = completed(told, before)
    names = {name: _in_its_words(things, before.names.get(name, ())) for name, things in found.names.items()}
    classes = {name: _with_its_bases(cls, before.classes.get(name)) for name, cls in found.classes.items()}
    return msgspec.structs.replace(found, names=names, classes=classes)


def _with_its_bases(now: Class, before: Class | None) -> Class:
    if before is None or len(before.bases) != len(now.bases):
        return now
    return msgspec.structs.replace(now, bases=tuple(map(_in_its_words, now.bases, before.bases)))


def _in_its_words(now: tuple[Thing, ...], before: tuple[Thing, ...]) -> tuple[Thing, ...]:
    imported = bool(before) and all(isinstance(thing, Named) and ":" not in thing.name for thing in before)
    return before if imported else now
