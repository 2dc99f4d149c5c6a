"""The front end for Python: from the standard library's syntax tree to bodies with control-flow graphs."""

from __future__ import annotations

import ast

from gradlint.ir.cfg import Body
from gradlint.lower.python import branches, comprehensions, expressions, patterns, statements
from gradlint.lower.python.bodies import Source
from gradlint.torch_model.words import Places

LOWERINGS = (branches, comprehensions, expressions, patterns, statements)
"""The modules that fill the tables in ``dispatch`` when they are imported."""

__all__ = ["LOWERINGS", "lower"]


def lower(text: str, tree: ast.Module, places: Places | None = None, outline: str | None = None) -> Body:
    """Lowers a module.

    ``tree`` is what `ast.parse` makes of ``text`` or of its ``outline``; ``places`` are those of ``text``, if they are
    known already. Returns the body of the module; those of its functions and
    classes are its ``children``, and so on. Graphs are built when first asked for; lambdas and generator
    expressions become children of their body together with its graph, and the variables of its comprehensions, under
    their unique names (``x@12:8``), become locals. Raises nothing for any syntax tree of
    bounded depth: unknown syntax becomes `Opaque`, and the graph of a body too large says so.
    """
    source = Source(text, Places(text) if places is None else places, text if outline is None else outline)
    return source.module_body(tree)
