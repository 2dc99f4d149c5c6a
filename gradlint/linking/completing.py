"""What a file tells when only a part of it is told anew."""

from __future__ import annotations

import msgspec

from gradlint.linking.interface import Interface


def completed(told: Interface, before: Interface) -> Interface:
    """Return what an analysis of a file told, with the rest as it was told ``before``.

    Of the functions those count that were solved, for what else is there was not looked at.
    """
    functions = before.functions | {name: one for name, one in told.functions.items() if one.solved}
    classes = dict(before.classes)
    for name, cls in told.classes.items():
        known = classes.get(name, cls)
        classes[name] = msgspec.structs.replace(cls, methods=known.methods | cls.methods)
    names = {name: things for name, things in before.names.items() if name in functions}
    return msgspec.structs.replace(told, names=names | told.names, functions=functions, classes=classes)
