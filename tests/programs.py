"""Random programs that switch the grad mode in every way.

`write` gives the text of a module with one function ``program(c, maybe_raise, reveal_grad_mode)``; what it does is
decided by chance when it runs (``observed.py``). Every call of ``reveal_grad_mode`` stands on a line of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

CALLERS = {
    "OFF": "with torch.no_grad():",
    "INFERENCE": "with torch.inference_mode():",
}
"""How a function of the module calls the program in another mode."""
HEADERS = (
    "import contextlib\nimport torch\n",
    "import contextlib\nimport torch\nfrom torch import no_grad as ng, inference_mode as im\n",
    "import contextlib\nimport torch\n\nng = torch.no_grad\nim = torch.inference_mode\n",
    "import contextlib\nimport torch, torch as th\nfrom torch.autograd import no_grad as ng\nim = th.inference_mode\n",
)
CONTEXTS = (
    "torch.no_grad()",
    "torch.no_grad()",
    "torch.enable_grad()",
    "torch.inference_mode()",
    "torch.inference_mode(False)",
    "torch.inference_mode(mode=True)",
    "torch.inference_mode(c())",
    "torch.set_grad_enabled(False)",
    "torch.set_grad_enabled(True)",
    "torch.set_grad_enabled(mode=False)",
    "torch.set_grad_enabled(c())",
    "torch.autograd.no_grad()",
    "contextlib.nullcontext()",
    "torch.no_grad() if c() else contextlib.nullcontext()",
    "torch.enable_grad() if c() else torch.no_grad()",
)
DECORATORS = (
    "@torch.no_grad()",
    "@torch.no_grad",
    "@torch.enable_grad()",
    "@torch.inference_mode()",
    "@torch.inference_mode",
    "@torch.inference_mode(False)",
    "@torch.set_grad_enabled(False)",
    "@torch.set_grad_enabled(True)",
)
SWITCHES = (
    "torch.set_grad_enabled(False)",
    "torch.set_grad_enabled(True)",
    "torch.set_grad_enabled(c())",
    "torch._C._set_grad_enabled(False)",
)
MANAGERS = (
    "with torch.no_grad():\n    yield",
    "with torch.enable_grad():\n    reveal_grad_mode()\n    yield 1",
    "yield",
    "before = torch.is_grad_enabled()\ntorch.set_grad_enabled(False)\ntry:\n    yield\nfinally:\n"
    "    torch.set_grad_enabled(before)\n    reveal_grad_mode()",
    "if c():\n    with torch.inference_mode():\n        yield\nelse:\n    yield",
    "with torch.set_grad_enabled(c()):\n    maybe_raise()\n    yield",
)
CLASSES = (
    (
        "self.before = torch.is_grad_enabled()\ntorch.set_grad_enabled(False)",
        "torch.set_grad_enabled(self.before)",
    ),
    ("torch.set_grad_enabled(False)\nreveal_grad_mode()", "pass"),
    ("reveal_grad_mode()", "torch.set_grad_enabled(True)"),
)
"""What ``__enter__`` and ``__exit__`` of a context manager do."""
HANDLERS = (
    "no handler",
    "except ValueError:",
    "except ValueError:|except RuntimeError as error:",
    "except (RuntimeError, ValueError):",
    "except Exception:",
    "except:",
    "except KeyError:|except Exception as error:",
    "except ValueError:|except:",
)
"""The handlers of a ``try``; none takes everything that a later one could."""


@dataclass
class Scope:
    """What a statement may use where it stands."""

    indent: int
    depth: int
    in_loop: bool = False
    in_function: bool = False
    stack: str = ""
    """The `ExitStack` of the innermost ``with``, if it is one."""

    def inner(self, **changes: Any) -> Scope:
        """One level further in."""
        fields = {"in_loop": self.in_loop, "in_function": self.in_function, "stack": self.stack, **changes}
        return Scope(self.indent + 1, self.depth - 1, **fields)


class Writer:
    """Writes one random program; equal seeds write equal programs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.budget = self.random.randint(6, 18)
        self.names = 0
        self.header = self.random.choice(HEADERS)
        self.contexts = list(CONTEXTS)
        if "ng" in self.header:
            self.contexts += ["ng()", "im()"] * 2
        self.callables: list[str] = []
        self.managers: list[str] = []
        self.called: set[str] = set()
        self.lines: list[str] = []

    def write(self) -> str:
        """The text of the module."""
        self.add(0, "def program(c, maybe_raise, reveal_grad_mode):")
        self.suite(Scope(1, 5))
        return f"{self.header}\n\n" + "\n".join(self.lines) + "\n"

    def add(self, indent: int, text: str) -> None:
        self.lines += ["    " * indent + line for line in text.split("\n")]

    def probe(self, scope: Scope) -> None:
        self.add(scope.indent, "reveal_grad_mode()")

    def name(self, kind: str) -> str:
        self.names += 1
        return f"{kind}{self.names}"

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def suite(self, scope: Scope, least: int = 1) -> None:
        """Some statements, with a probe behind; what they define is called at least once and then forgotten."""
        known = len(self.callables), len(self.managers)
        for _ in range(self.random.randint(least, 3)):
            self.statement(scope)
            if self.chance(0.4):
                self.probe(scope)
        for name in self.callables[known[0] :]:
            if name not in self.called:
                self.call(scope, name)
        self.probe(scope)
        del self.callables[known[0] :], self.managers[known[1] :]

    def statement(self, scope: Scope) -> None:
        self.budget -= 1
        kinds = ["simple"] * 3 + ["jump"]
        if self.callables:
            kinds += ["call"] * 4
        if scope.in_loop:
            kinds += ["jump"] * 3
        if scope.stack:
            kinds += ["push"] * 4
        if scope.depth > 0 and self.budget > 0:
            kinds += ["with"] * 7 + ["attempt"] * 5 + ["branch"] * 2 + ["loop"] * 4 + ["function"] * 4
            kinds += ["stack", "stack", "suppress", "suppress", "stored", "manager", "manager", "klass", "captured"]
        getattr(self, f"write_{self.random.choice(kinds)}")(scope)

    # -- one line ------------------------------------------------------------------------------------------

    def write_simple(self, scope: Scope) -> None:
        self.add(scope.indent, self.random.choice([*SWITCHES, "maybe_raise()", "maybe_raise()", "x = c()"]))

    def write_jump(self, scope: Scope) -> None:
        jumps = ["return", "raise c.error()", "raise c.error()"]
        if scope.in_loop:
            jumps += ["break", "continue"] * 4
        self.add(scope.indent, f"if {self.test()}:")
        if self.chance(0.5):
            self.statement(Scope(scope.indent + 1, 0, scope.in_loop, scope.in_function, scope.stack))
        self.add(scope.indent + 1, self.random.choice(jumps))

    def write_call(self, scope: Scope) -> None:
        self.call(scope, self.random.choice(self.callables))

    def call(self, scope: Scope, name: str) -> None:
        self.called.add(name)
        self.add(scope.indent, f"{name}()")

    def write_push(self, scope: Scope) -> None:
        self.add(scope.indent, f"{scope.stack}.enter_context({self.context()})")

    def test(self) -> str:
        return self.random.choice(["c()", "not c()", "c() and c()", "c() or c()"])

    def context(self) -> str:
        if self.managers and self.chance(0.3):
            return f"{self.random.choice(self.managers)}()"
        return self.random.choice(self.contexts)

    # -- contexts ------------------------------------------------------------------------------------------

    def write_with(self, scope: Scope) -> None:
        items = ", ".join(self.context() for _ in range(self.random.choice([1, 1, 1, 2])))
        self.add(scope.indent, f"with {items}:")
        self.suite(scope.inner(stack=""))

    def write_stored(self, scope: Scope) -> None:
        name = self.name("ctx")
        self.add(scope.indent, f"{name} = {self.random.choice(self.contexts)}")
        if self.chance(0.5):
            self.probe(scope)
        for _ in range(self.random.randint(1, 2)):
            self.add(scope.indent, f"with {name}:")
            self.suite(scope.inner(stack=""))
            self.probe(scope)

    def write_stack(self, scope: Scope) -> None:
        name = self.name("stack")
        self.add(scope.indent, f"with contextlib.ExitStack() as {name}:")
        self.suite(scope.inner(stack=name), 2)

    def write_suppress(self, scope: Scope) -> None:
        kind = self.random.choice(["Exception", "Exception", "Exception", "ValueError"])
        self.add(scope.indent, f"with contextlib.suppress({kind}):")
        self.suite(scope.inner(stack=""))

    def write_manager(self, scope: Scope) -> None:
        name = self.name("manager")
        if self.chance(0.3):
            enter, leave = self.random.choice(CLASSES)
            self.add(scope.indent, f"class {name}:\n    def __enter__(self):")
            self.add(scope.indent + 2, enter)
            self.add(scope.indent, "    def __exit__(self, *error):")
            self.add(scope.indent + 2, leave)
        else:
            self.add(scope.indent, f"@contextlib.contextmanager\ndef {name}():")
            self.add(scope.indent + 1, self.random.choice(MANAGERS))
        self.managers.append(name)

    # -- control flow --------------------------------------------------------------------------------------

    def write_branch(self, scope: Scope) -> None:
        self.add(scope.indent, f"if {self.test()}:")
        self.suite(scope.inner())
        if self.chance(0.3):
            self.add(scope.indent, f"elif {self.test()}:")
            self.suite(scope.inner())
        if self.chance(0.5):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())

    def write_loop(self, scope: Scope) -> None:
        head = self.random.choice(["for i in range(c.count()):", "while c():", "while True:"])
        self.add(scope.indent, head)
        if head == "while True:":
            self.add(scope.indent + 1, "if not c():\n    break")
        self.suite(scope.inner(in_loop=True))
        if head != "while True:" and self.chance(0.4):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())

    def write_attempt(self, scope: Scope) -> None:
        final = self.chance(0.5)
        handlers = self.random.choice(HANDLERS[0 if final else 1 :]).split("|")
        handlers = [] if handlers == ["no handler"] else handlers
        self.add(scope.indent, "try:")
        self.suite(scope.inner())
        for handler in handlers:
            self.add(scope.indent, handler)
            self.suite(scope.inner())
            if self.chance(0.3):
                self.add(scope.indent + 1, "raise")
        if handlers and self.chance(0.3):
            self.add(scope.indent, "else:")
            self.suite(scope.inner())
        if final:
            self.add(scope.indent, "finally:")
            self.suite(scope.inner(in_loop=False))

    # -- definitions ---------------------------------------------------------------------------------------

    def write_function(self, scope: Scope) -> None:
        name = self.name("f")
        if self.chance(0.15):
            self.add(scope.indent, f"{name} = lambda: reveal_grad_mode()")
        else:
            for decorator in self.random.sample(DECORATORS, self.random.choice([0, 0, 1, 1, 2])):
                self.add(scope.indent, decorator)
            self.add(scope.indent, f"def {name}():")
            inner = scope.inner(in_loop=False, in_function=True, stack="")
            if self.chance(0.1):
                self.add(inner.indent, f"if c():\n    {name}()")
            self.suite(inner)
        if self.chance(0.15):
            decorated, name = name, self.name("f")
            self.add(scope.indent, f"{name} = {self.random.choice(DECORATORS)[1:]}({decorated})")
        self.callables.append(name)
        if self.chance(0.5):
            self.write_call(scope)

    def write_captured(self, scope: Scope) -> None:
        name, function = self.name("switch"), self.name("f")
        self.add(scope.indent, f"{name} = torch.no_grad\ndef {function}():\n    with {name}():")
        self.suite(scope.inner(in_loop=False, in_function=True, stack="").inner())
        self.call(scope, function)
        self.add(scope.indent, f"{name} = {self.random.choice(['torch.enable_grad', 'torch.inference_mode'])}")
        self.call(scope, function)

    def write_klass(self, scope: Scope) -> None:
        name = self.name("Class")
        self.add(scope.indent, f"class {name}:")
        methods: list[str] = []
        outside, self.callables = self.callables, [name for name in self.callables if not name.startswith("self.")]
        inner = scope.inner(in_loop=False, in_function=True, stack="")
        if self.chance(0.3):
            self.add(inner.indent, "def __init__(self):")
            self.suite(inner.inner())
        for _ in range(self.random.randint(1, 3)):
            method = self.name("method")
            kind = self.random.choice(["self", "self", "cls", ""])
            if kind != "self":
                self.add(inner.indent, "@classmethod" if kind else "@staticmethod")
            if self.chance(0.5):
                self.add(inner.indent, self.random.choice(DECORATORS))
            self.add(inner.indent, f"def {method}({kind}):")
            known = len(self.callables)
            if kind == "self":
                self.callables += [f"self.{other}" for other in methods] * 2
            self.suite(inner.inner())
            del self.callables[known:]
            methods.append(method)
        self.callables = outside
        instance = self.name("object")
        self.add(scope.indent, f"{instance} = {name}()")
        self.callables += [f"{instance}.{method}" for method in methods]


def write(seed: int) -> str:
    """The text of program ``seed``."""
    return Writer(seed).write()


def with_caller(text: str, entry: str) -> str:
    """The module with a function ``caller`` that calls the program in mode ``entry``."""
    signature = "(c, maybe_raise, reveal_grad_mode)"
    return f"{text}\n\ndef caller{signature}:\n    {CALLERS[entry]}\n        program{signature}\n"
