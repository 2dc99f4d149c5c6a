"""What things are: modules, optimizers, tensors; by their class where it is known, by their name where it is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import (
    GRAD,
    PARAMETER,
    TENSOR,
    Api,
    Atom,
    Cls,
    Obj,
    Sym,
)
from gradlint.project import classes
from gradlint.torch_model import names_module, optimizers, parameter_free_modules, roles, trainable_modules
from gradlint.transfer.interpreter import Interpreter

if TYPE_CHECKING:
    from gradlint.transfer.interpreter import Interpreter

MODULE_ANNOTATION = re.compile(r"(?:^|[.\s\[\"'])(?:Module|\w*Model|\w*Net|LightningModule)\b")
CLASS_ANNOTATION = re.compile(
    r"^[\"']?(?:(?:\w+\.)*(?:Optional|Union)\[)?\s*(?:\w+\.)*(?:Type|type|Callable|partial)\b"
)
"""An annotation of a class or of a function: what it makes may be a module, and itself is none."""
MODULE_FACTORY = re.compile(r"(?:Model|For[A-Z]\w*|Encoder|UNet\w*|Autoencoder\w*)\.from_pretrained$")

FOREIGN = frozenset("tensorflow keras tf_keras jax flax haiku equinox mindspore paddle mxnet tinygrad sympy".split())
"""Packages whose layers are not torch's, and what has a class of such a name besides."""


class Kinds:
    """Questions about what an atom is. One of the bases of `Program`."""

    def __init__(self) -> None:
        self.seen_as_module: set[Atom] = set()
        """Unknown things that were asked for their parameters."""
        self.made_outside: set[Atom] = set()
        """Modules that something out of sight has made: that they train is known, but not what they call a weight."""
        self.layers_outside: set[Atom] = set()
        """Those of them that surely have parameters, for a contract says so."""

    def class_behind(self, atom: Atom) -> Cls | Api | None:
        """The class that ``atom`` is an instance of, for certain or by its annotation."""
        raise NotImplementedError

    def is_module(self, atom: Atom) -> bool:
        """Whether an atom is a module, for certain or by its name."""
        if isinstance(atom, Obj):
            if atom.cls is not None:
                return classes.is_module(atom.cls)
            if not atom.type.startswith("torch."):
                return atom in self.seen_as_module
            return names_module(atom.type)
        if isinstance(atom, Sym) and not roles.is_class(atom.path.partition("[")[0]):
            if atom.annotation:
                cls = self.class_behind(atom)
                if CLASS_ANNOTATION.search(atom.annotation):
                    return False
                if MODULE_ANNOTATION.search(atom.annotation) or (isinstance(cls, Cls) and classes.is_module(cls)):
                    return True
            return roles.is_module(atom.path) or atom in self.seen_as_module
        return False

    def is_optimizer(self, atom: Atom) -> bool:
        """Whether an atom is an optimizer, for certain or by its name."""
        if isinstance(atom, Obj):
            if atom.cls is not None:
                return classes.is_optimizer(atom.cls)
            return atom.type in optimizers() or atom.type == "torch.optim.Optimizer"
        return (
            isinstance(atom, Sym)
            and roles.OPTIMIZER.search(atom.path) is not None
            and not roles.SCHEDULER.search(atom.path)
        )

    def is_tensor(self, ip: Interpreter, atom: Atom) -> bool:
        """Whether an atom is a tensor for certain."""
        if isinstance(atom, Sym):
            return atom in ip.state.places and not self.is_module(atom)
        return isinstance(atom, Obj) and atom.type in (TENSOR, PARAMETER, GRAD, "state_value")

    def trainable(self, ip: Interpreter, module: Atom) -> bool:
        """Whether a module's own parameters put its result on the graph."""
        if isinstance(module, Obj) and module.cls is None:
            return not self.is_free_of_parameters(module)
        return True

    def is_free_of_parameters(self, module: Atom) -> bool:
        """Whether a module has no parameters: activations, losses."""
        if isinstance(module, Obj) and module.cls is None:
            name = module.type.rpartition(".")[2]
            return name in parameter_free_modules()
        return isinstance(module, Sym) and roles.LOSS.search(module.path) is not None

    def makes_module(self, name: str) -> bool:
        """Whether the outside function ``name`` returns a module: by its own name, or that of a layer of torch."""
        home, _, last = name.rpartition(".")
        if last in trainable_modules():
            return bool(home) and home.partition(".")[0] not in FOREIGN
        if last == "from_pretrained":
            return MODULE_FACTORY.search(name) is not None and "Pipeline" not in name
        return name.startswith("torchvision.models.") or name in ("timm.create_model", "torch.hub.load")
