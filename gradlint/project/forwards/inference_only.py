"""Methods of modules that are for inference only: nobody trains through them, although they record a graph.

A module is trained through its ``forward``. A method beside it that is called ``inference`` is for later; unless some
code in sight differentiates what it returns, or it belongs to a part whose guard is that of the whole. Of several
methods that a constructor may put in the place of ``forward`` one trains, and any of the others may be for inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradlint.domains.values import Api, Cls, Fn
from gradlint.project import classes, members
from gradlint.project.values.uses import class_around
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.ir.cfg import Body
    from gradlint.project.program import Program

TRAINED_THROUGH = ("reparameterize", "reparametrize", "elbo", "generative", "guide", "kl_divergence")
"""Methods of modules whose inference is that of a posterior."""


def is_inference_only(program: Program, body: Body) -> bool:
    """Whether ``body`` is a method that a module has for inference, beside the ``forward`` it is trained through."""
    around = class_around(body)
    if around is None or around[0] is not body or not roles.INFERS.search(body.name):
        return False
    cls = program.class_of(around[1])
    if is_of_part(program, body) or is_variational(program, cls):
        return False
    return is_trained_through_forward(program, cls)


def is_chosen_forward(program: Program, body: Body) -> bool:
    """Whether ``self.forward`` becomes ``body`` or another method of the class: not all of them have to train."""
    around = class_around(body)
    if around is None:
        return False
    chosen = members.held(program, program.class_of(around[1])).get("forward", frozenset())
    bodies = {atom.body for atom in chosen if isinstance(atom, Fn)}
    return around[0] in bodies and len(bodies) > 1


def is_of_part(program: Program, body: Body) -> bool:
    """Whether a method belongs to a part of a model: whoever calls that of the whole turns gradients off."""
    around = class_around(body)
    return around is not None and roles.PART.search(program.class_of(around[1]).label) is not None


def is_trained_through_forward(program: Program, cls: Cls) -> bool:
    """Whether a class of the file is a module with a ``forward`` of its own, or has that of a base that is one.

    A base out of sight is a module if the class has a ``forward``, or if the base is called like a model.
    """
    if classes.is_function(cls):
        return False
    outside = [base for base in classes.lineage(cls) if isinstance(base, Api) and base.name != "builtins.object"]
    if classes.own_function(program, cls, "forward") is not None:
        return bool(outside)
    return any(roles.MODEL_CLASS.search(base.name) for base in outside)


def is_variational(program: Program, cls: Cls) -> bool:
    """Whether the inference of a class may be that of a posterior, which is part of its training."""
    named = any(roles.VARIATIONAL.search(base.label) for base in classes.lineage(cls))
    return named or any(classes.method(program, cls, name) is not None for name in TRAINED_THROUGH)
