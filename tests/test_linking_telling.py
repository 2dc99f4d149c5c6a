"""What a file tells the others, and what the analysis makes of what it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from linked import linked, told

from gradlint.domains import grad_mode, tensor
from gradlint.facts import Elsewhere, Facts
from gradlint.linking.interface import (
    Anything,
    Constant,
    Ends,
    Function,
    Given,
    Made,
    Named,
    Place,
    Several,
    fingerprint,
)

HEAD = "import torch\nfrom torch import nn\n"


def function(text: str, name: str = "f") -> Function:
    interface, _ = told(HEAD + text)
    found: Function = interface.functions[name]
    return found


def facts_of(found: list[Facts], name: str) -> Facts:
    return next(facts for facts in found if facts.body.qualname == name)


# -- telling -----------------------------------------------------------------------------------------------


def test_values_are_told_in_terms_of_the_parameters() -> None:
    text = "def f(model, x, *rest):\n    loss = model(x).backward()\n    return x, model.head, True, 3, [x], Net\n"
    returned = function("class Net(nn.Module):\n    pass\n" + text).returns
    assert returned == (
        (
            Several(
                (
                    (Given("x"),),
                    (Given("model.head"),),
                    (Constant(True),),
                    (Made("scalar", tensor.PLAIN),),
                    (Made("container", tensor.PLAIN, holds=(Given("x"),)),),
                    (Named("a.py:Net"),),
                )
            ),
        ),
    )


def test_a_method_tells_of_what_self_holds() -> None:
    text = """
class Trainer:
    def __init__(self, model):
        self.model = model
        self.opt = torch.optim.SGD(model.parameters(), lr=0.1)
    def step(self, x):
        self.opt.zero_grad()
        self.model(x).sum().backward()
        self.opt.step()
"""
    effects = function(text, "Trainer.step").effects
    assert [(effect.kind, effect.what[0]) for effect in effects if effect.kind != "backward"] == [
        ("clear", Given("self.opt")),
        ("step", Given("self.opt")),
    ]


def test_a_function_that_switches_the_mode_tells_how_it_ends() -> None:
    ends = dict(function("def f():\n    torch.set_grad_enabled(False)\n").ends)
    assert ends[grad_mode.INHERITED] == Ends(grad_mode.OFF, 0)
    assert ends[grad_mode.INFERENCE].exits == grad_mode.INFERENCE


def test_a_context_manager_tells_the_mode_inside_and_behind() -> None:
    text = """
from contextlib import contextmanager
@contextmanager
def f():
    with torch.no_grad():
        yield
"""
    on = dict(function(text).ends)[grad_mode.ON]
    assert on.yields == grad_mode.OFF
    assert dict(on.resumed)[grad_mode.OFF] == grad_mode.ON


def test_what_nobody_can_name_is_anything() -> None:
    text = "def f(x):\n    def inner():\n        return x.backward()\n    return inner\n"
    assert function(text).returns == ((Anything(),),)


def test_functions_that_say_nothing_of_gradients_are_known_by_name_only() -> None:
    interface, _ = told(HEAD + "def f(a, b=1):\n    return a\ndef g(loss):\n    f(loss)\n    loss.backward()\n")
    assert interface.functions["g"].solved and not interface.functions["f"].asks
    interface, _ = told(HEAD + "def f(a, b=1):\n    return a\ndef g(loss):\n    loss.backward()\n")
    assert "f" not in interface.functions or not interface.functions["f"].solved


def test_an_abstract_method_is_told_as_such() -> None:
    text = """
class Base:
    def evaluate(self, x):
        with torch.no_grad():
            return self.run(x)
    def run(self, x):
        raise NotImplementedError
"""
    assert function(text, "Base.run").abstract
    assert not function(text, "Base.evaluate").abstract


def test_the_same_text_tells_the_same_in_every_process(tmp_path: Path) -> None:
    text = """
def f(flag, x):
    made = torch.stack([x, x]).sum(-1)
    if flag:
        made = torch.nn.functional.pad(made, [1, 0])
        made[0, 0] = 1
    return made.contiguous()
"""
    script = tmp_path / "tell.py"
    script.write_text(
        "from linked import told\nfrom gradlint.linking.interface import fingerprint\n"
        f"print(fingerprint(told({HEAD + text!r})[0]))\n",
        encoding="utf-8",
    )
    expected = fingerprint(told(HEAD + text)[0])
    for seed in ("1", "2", "3", "4"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)}
        run = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
        assert run.stdout.strip() == expected


# -- being told --------------------------------------------------------------------------------------------


def test_a_loss_computed_without_gradients_elsewhere() -> None:
    found = linked(
        {
            "losses.py": HEAD + "def loss_of(model, x):\n    with torch.no_grad():\n        return model(x).sum()\n",
            "train.py": HEAD + "from losses import loss_of\ndef step(model, x):\n    loss_of(model, x).backward()\n",
        }
    )
    (backward,) = facts_of(found["train.py"], "step").backwards
    assert backward.target.off_graph


def test_the_mode_of_callers_elsewhere() -> None:
    helper = HEAD + "def step(model, x):\n    loss = model(x).sum()\n    loss.backward()\n"
    guarded = HEAD + "from helper import step\ndef main(model, x):\n    with torch.no_grad():\n        step(model, x)\n"
    found = linked({"helper.py": helper, "main.py": guarded})
    (backward,) = facts_of(found["helper.py"], "step").backwards
    assert backward.target.off_graph
    assert next(where for where, _ in backward.target.because()) == Elsewhere("main.py", Place(6, 9, 6, 23))
    other = guarded + "def train(model, x):\n    step(model, x)\n"
    (backward,) = facts_of(linked({"helper.py": helper, "main.py": other})["helper.py"], "step").backwards
    assert not backward.target.off_graph


@pytest.mark.parametrize("imported", ["from models import Net", "from models import *", "import models as m"])
def test_a_class_of_another_file_is_a_module(imported: str) -> None:
    name = "m.Net" if imported.endswith("m") else "Net"
    models = HEAD + "class Net(nn.Module):\n    def forward(self, x):\n        return x\n"
    use = f"{HEAD}{imported}\ndef run(x):\n    part = {name}()\n    part.eval()\n    return part(x)\n"
    (forward,) = facts_of(linked({"models.py": models, "use.py": use})["use.py"], "run").forwards
    assert forward.module.name == "part"


def test_a_method_without_code_stands_for_those_of_subclasses_elsewhere() -> None:
    base = (
        HEAD
        + """
class Agent:
    def act(self, x):
        with torch.no_grad():
            out = self.run(x)
        out.backward()
    def run(self, x):
        raise NotImplementedError
"""
    )
    agent = (
        HEAD + "from base import Agent\nclass Mine(Agent):\n    def run(self, x):\n        return self.model(x).sum()\n"
    )
    (backward,) = facts_of(linked({"base.py": base, "mine.py": agent})["base.py"], "Agent.act").backwards
    assert backward.target.off_graph


def test_files_that_call_each_other_settle() -> None:
    one = HEAD + "from two import g\ndef f(n, loss):\n    g(n, loss)\n    loss.backward()\n"
    two = HEAD + "from one import f\ndef g(n, loss):\n    f(n - 1, loss)\n    loss.backward()\n"
    found = linked({"one.py": one, "two.py": two})
    assert facts_of(found["one.py"], "f").backwards


def test_what_gives_weights_their_first_values_without_gradients_wants_nothing() -> None:
    text = """
from .base import Base
from .initial import normal_
class Net(Base):
    @torch.no_grad()
    def NAME(self, module):
        normal_(module.weight)
"""
    assert not told(HEAD + text.replace("NAME", "_init_weights"))[0].wants
    assert told(HEAD + text.replace("NAME", "scale"))[0].wants
