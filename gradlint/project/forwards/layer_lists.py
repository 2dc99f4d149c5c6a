"""Whether the layers in a list of modules keep what they are given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import Atom, Obj
from gradlint.torch_model import PARAMETERS, saved

if TYPE_CHECKING:
    from gradlint.project.program import Program

LAYERS = re.compile(r"(?:^|_)(?:blocks|layers|stages|convs|linears|lins|fcs)$")
"""Lists by these names hold layers that train, and such a layer keeps its input."""


def keep(program: Program, holder: Obj) -> bool:
    """Whether each layer in a list keeps its input: by what the list was made of, else by what it is called."""
    layers = [atom for atom in program.made_from.get(holder, ()) if program.is_module(atom)]
    if layers:
        return all(keeps(program, layer) for layer in layers)
    names = (name for held in program.attributes.values() for name, value in held.items() if holder in value)
    return any(LAYERS.search(name) and "up" not in name.split("_") for name in names)


def keeps(program: Program, layer: Atom) -> bool:
    """Whether one layer of a list does."""
    if not isinstance(layer, Obj) or layer.cls is not None:
        return program.keeps(layer)
    row = saved(layer.type, "t")
    return row is not None and 0 in row.saved_inputs((0, PARAMETERS))
