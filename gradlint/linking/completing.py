"""What a file tells when only a part of it is told anew."""

from __future__ import annotations

import msgspec

from gradlint.linking.interface import DECIDING, Interface


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
