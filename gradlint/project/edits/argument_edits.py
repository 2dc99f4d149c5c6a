"""Edits in place of the tensors that callers have handed in, in functions that return something."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gradlint.domains.values import PARAMETER, Obj
from gradlint.facts.edits import ArgumentEdit
from gradlint.ir import events as ir
from gradlint.project.values.aliases import MAKES, Alias, Aliases, alias_of, is_tensor
from gradlint.project.values.definitions import ENTERED, Definitions
from gradlint.torch_model import roles
from gradlint.torch_model.attributes import tensor_methods, tensor_queries

if TYPE_CHECKING:
    from gradlint.facts import Edit
    from gradlint.ir.cfg import Body
    from gradlint.project.summaries import Run

LONGEST = 4
"""How many names between a parameter and what is edited are looked through."""
EDITS = re.compile(
    r"_$|in_?place|^__\w+__$|(?:^|_)(?:init|initiali[sz]e|reset|update|fill|copy|apply|zero|set|add|mask|scatter|swap|step"
    r"|hook|clip|backward|write|store|load|accumulate|reorder|assign|merge|insert|append|put)(?:_|$)"
)
"""Names of functions that are there to edit what they are given."""
RESULT = re.compile(
    r"(?:^|_)(?:outs?|outputs?|results?|res|buf|buffers?|cache|states?|grads?|params?|p|weights?|accumulator|acc|total|ctx"
    r"|dest|dst|memory|mem|ema|average|self)$"
)
"""Names of parameters that are handed in to be written to."""


TAKES_TENSORS = frozenset(
    "scatter_add scatter_add_ index_add index_add_ index_copy_ masked_scatter_ bmm matmul mm baddbmm addmm".split()
)
"""Methods of tensors that are given tensors and integers only."""


def argument_edits(
    definitions_of: Callable[[Body], Definitions], run: Run, edits: list[Edit]
) -> Iterator[ArgumentEdit]:
    """The edits, with gradients on, of a caller's tensor, one for each parameter."""
    body = run.body
    own = [edit for edit in edits if edit.inside is None and edit.called is None and edit.modes.records]
    if not own or body.kind != "function" or EDITS.search(body.name):
        return
    definitions = definitions_of(body)
    if not any(event.src is not None for event in definitions.events(ir.Return)) or may_be_asked(definitions):
        return
    aliases, known = Aliases(definitions, run), set[str]()
    for edit in own:
        event = aliases.events.get(edit.span)
        ref = aliases.edited(event)
        alias = alias_of(definitions, ref) if ref is not None else None
        parameter = parameter_of(definitions, alias) if alias is not None else ""
        if (
            alias is None
            or event is None
            or edit.op.endswith("(out=...)")
            or parameter not in aliases.parameters - known
            or RESULT.search(parameter)
        ):
            continue
        direct = parameter == alias.variable and alias.kind == "same" and is_tensor(run, edit, event)
        if not is_parameter(edit) and (direct or is_used_as_tensor(definitions, parameter)):
            known.add(parameter)
            yield ArgumentEdit(edit, parameter, alias.variable if alias.kind == "same" else "")


def may_be_asked(definitions: Definitions) -> bool:
    """Whether a flag called ``inplace`` tells the function to edit what it is given."""
    loads, attributes = definitions.events(ir.Load), definitions.events(ir.Attr)
    return any(load.name == "inplace" for load in loads) or any(each.name == "inplace" for each in attributes)


def parameter_of(definitions: Definitions, alias: Alias) -> str:
    """The parameter that a variable is a name for on some path; empty if it is none."""
    for _ in range(LONGEST):
        if alias.kind not in ("same", "view"):
            return ""
        seen = definitions.seen.get(alias.load, frozenset())
        if ENTERED & seen:
            return alias.variable
        refs = [ref for store in seen if store is not None for ref in alternatives(definitions, store.src)]
        sources = [found for ref in sorted(refs) if (found := alias_of(definitions, ref)) is not None]
        if not sources:
            return ""
        alias = sources[0]
    return ""


def alternatives(definitions: Definitions, ref: ir.Ref) -> list[ir.Ref]:
    """What a temporary may be, which ``a if flag else b`` gives one of two."""
    copies = [event.src for event in definitions.events(ir.Copy) if event.dst == ref]
    return copies or [ref]


def is_parameter(edit: Edit) -> bool:
    """Whether a weight may be edited, by hand and on purpose."""
    return edit.writes_leaf or any(isinstance(atom, Obj) and atom.type == PARAMETER for atom in edit.target.atoms)


def is_used_as_tensor(definitions: Definitions, parameter: str) -> bool:
    """Whether an annotation, or what is done with a parameter, tells that it is a tensor."""
    (annotation,) = (each.annotation or "" for each in definitions.body.parameters if each.name == parameter)
    if annotation:
        return roles.ONE_TENSOR.fullmatch(annotation) is not None
    shared = {"add", "copy", "index", "items", "keys", "sort", "split", "update", "values"}
    methods = tensor_methods() - tensor_queries() - MAKES - shared
    return any(
        (isinstance(reader, ir.Attr) and reader.name in methods) or is_given(definitions, reader)
        for load in definitions.entering(parameter)
        for reader in definitions.readers.get(load.dst, ())
    )


def is_given(definitions: Definitions, reader: ir.Event) -> bool:
    """Whether something is given to a method of a tensor that takes tensors only."""
    method = definitions.makers.get(reader.func) if isinstance(reader, ir.Call) else None
    return isinstance(method, ir.Attr) and method.name in TAKES_TENSORS
