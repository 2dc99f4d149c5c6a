"""What names stand for across the bodies of a file: captured variables, globals, builtins."""

from __future__ import annotations

import builtins

from gradlint.domains.values import (
    INSTANCE,
    TOP,
    Api,
    Atom,
    Cls,
    Context,
    Fn,
    Literal,
    Obj,
    Value,
    World,
    union,
)
from gradlint.ir.cfg import Body
from gradlint.project import classes

BUILTINS = frozenset(dir(builtins))
CONVENTIONAL = {
    "torch": "torch",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "optim": "torch.optim",
    "Variable": "torch.autograd.Variable",
    "np": "numpy",
}
"""What a name stands for that only an ``import *`` of a module out of sight can have bound."""


def tells_more(known: Value | None, joined: Value) -> bool:
    """Whether a variable stands for something that can change the grad mode and was not known to."""
    return any(isinstance(atom, (Api, Cls, Context, Fn, Literal)) for atom in joined - (known or frozenset()))


class Scopes:
    """The variables of all bodies, whatever path stored them. One of the bases of `Program`."""

    def __init__(self, module: Body) -> None:
        self.module = module
        self.world = World()
        self.functions: dict[Body, Fn] = {}
        self.classes: dict[Body, Cls] = {}
        self.heirs: dict[Cls, dict[Cls, None]] = {}
        """By class, those that inherit from it, however far."""
        self.stores: dict[tuple[Body, str], Value] = {}
        self.captured: set[tuple[Body, str]] = set()
        self.shared: set[tuple[Body, str]] = set()
        self.outdated = False
        self.stars: set[str] = set()
        """The modules that the file imports everything of."""

    def free(self, body: Body, name: str) -> Value:
        """What a name stands for that has no value yet in ``body``."""
        scope: Body | None = body
        while scope is not None:
            if scope.kind != "class" or scope is body:
                if scope is not body and name in scope.locals:
                    self.captured.add((scope, name))
                if scope is not body and (known := self.stores.get((scope, name))) is not None:
                    return known
                if any(parameter.name == name for parameter in scope.parameters):
                    receiver = self.receiver(scope)
                    if receiver is not None and scope.parameters[0].name == name:
                        return frozenset((receiver,))
                    return frozenset((self.world.sym(scope, name),))
                if name in scope.locals and name not in body.global_names and scope is not body:
                    return frozenset((self.world.sym(scope, name),))
                if name in scope.locals and scope is body and scope.kind == "function":
                    return TOP
            scope = scope.parent
        if known := self.stores.get((self.module, name)):
            return known
        if name in BUILTINS:
            return frozenset((self.world.api(f"builtins.{name}"),))
        return self.starred(name)

    def starred(self, name: str) -> Value:
        """What a name is that only an ``import *`` may have bound."""
        if name in CONVENTIONAL and self.stars:
            return frozenset((self.world.api(CONVENTIONAL[name]),))
        return frozenset((self.world.sym(self.module, name),))

    def bound(self, name: str, value: Value) -> Value:
        """What a name stands for that ``value`` is assigned to: ``torch`` is torch where nothing is known of the value.

        So it is for what imports lazily: ``torch = LazyImport("torch")``, ``torch, _ = try_import_torch()``.
        """
        if name == "torch" and not any(isinstance(atom, (Api, Cls, Context, Fn, Literal)) for atom in value):
            return frozenset((self.world.api("torch"),))
        return value

    def stored(self, body: Body, name: str, value: Value) -> None:
        """A variable of ``body`` got a value; nested functions may read it, and may have done so before."""
        owner = self.owner(body, name)
        known = self.stores.get((owner, name))
        joined = self.stores[(owner, name)] = value if known is None else union([known, value])
        if owner is not body and (owner, name) not in self.shared:
            self.shared.add((owner, name))
            self.outdated = True
        elif (owner, name) in self.captured and tells_more(known, joined):
            self.outdated = True

    def owner(self, body: Body, name: str) -> Body:
        """The body whose variable ``name`` is in ``body``."""
        if name in body.global_names:
            return self.module
        while name in body.nonlocal_names and body.parent is not None:
            body = body.parent
        return body

    def loaded(self, body: Body, name: str, known: Value | None) -> Value:
        """What a name stands for that has the value ``known`` in ``body`` as far as that itself tells."""
        if known is None:
            return self.free(body, name)
        return union([known, self.stores[(body, name)]]) if (body, name) in self.shared else known

    def receiver(self, body: Body) -> Atom | None:
        """What the first parameter of a method stands for: the instance, or the class."""
        parent = body.parent
        if parent is None or parent.kind != "class" or body.kind != "function":
            return None
        fn = self.functions.get(body)
        marks = fn.marks if fn is not None else ()
        if "builtins.staticmethod" in marks or classes.takes_no_self(body):
            return None
        cls = self.class_of(parent)
        if "builtins.classmethod" in marks:
            return cls
        return self.instance(cls)

    def class_of(self, body: Body) -> Cls:
        """The class with the block ``body``."""
        if body not in self.classes:
            self.classes[body] = self.world.cls(body, ())
        return self.classes[body]

    def inherits(self, cls: Cls) -> None:
        """The bases of a class are known."""
        for base in classes.lineage(cls)[1:]:
            if isinstance(base, Cls):
                self.heirs.setdefault(base, {})[cls] = None

    def instance(self, cls: Cls) -> Obj:
        """``self`` in the methods of ``cls``."""
        return self.world.obj(cls.body, INSTANCE, cls=cls, name="self")  # type: ignore[arg-type]
