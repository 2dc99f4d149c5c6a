"""The contracts of frameworks: their rows, how they are looked up, and what the analysis makes of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import pytest

from gradlint import check_paths, check_source, config
from gradlint.config import Config, ConfigError
from gradlint.testing import check_fixture, check_project, parse_claims, project_snapshot, snapshot
from gradlint.torch_model import canonical, frameworks
from gradlint.torch_model.contracts import Contracts, contracts
from gradlint.torch_model.frameworks import Call, Framework, Hook, Runs

FIXTURES = sorted((Path(__file__).resolve().parent.parent / "fixtures" / "contracts").glob("*.py"))
PROJECTS = sorted(path.parent for path in FIXTURES[0].parent.glob("*/base.py"))
FILES = sorted(Path(frameworks.__file__).with_suffix("").glob("*.toml"))
PARTS = {"fabric": "lightning", "torch_func": "torch", "checkpoint": "torch", "parallel": "torch"}
"""The contracts that several fixtures are about."""


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_findings_are_those_expected(path: Path) -> None:
    assert "\n".join(check_fixture(path)) == ""


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_output_is_the_snapshot(path: Path, bless: Callable[[Path, str], None]) -> None:
    bless(path.with_suffix(".out"), snapshot(path.read_text(encoding="utf-8"), path.name))


@pytest.mark.parametrize("root", PROJECTS, ids=lambda root: root.name)
def test_findings_across_files_are_those_expected(root: Path, bless: Callable[[Path, str], None]) -> None:
    assert "\n".join(check_project(root)) == ""
    bless(root.with_suffix(".out"), project_snapshot(root))


@pytest.mark.torch
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_torch_does_what_the_fixture_says(path: Path) -> None:
    from gradlint.runtime.truth import check_claim

    text = path.read_text(encoding="utf-8")
    outcomes = [check_claim(text, str(path), function, claim) for function, claim in parse_claims(text).items()]
    assert "\n".join(outcome for outcome in outcomes if outcome) == ""


def test_every_framework_has_a_fixture() -> None:
    assert {PARTS.get(path.stem, path.stem) for path in FIXTURES} == {path.stem for path in FILES}


# -- rows --------------------------------------------------------------------------------------------------------------


def test_every_row_has_a_source() -> None:
    sources = [row.source for row in frameworks.hooks()] + [row.source for row in frameworks.calls()]
    sources += [row.source for row in frameworks.layers()]
    assert len(sources) > 100 and all(len(source) > 20 for source in sources)
    assert all(framework.name and framework.version for framework in frameworks.frameworks())


def test_rows_use_canonical_names_of_known_packages() -> None:
    for framework in frameworks.frameworks():
        classes = {name for hook in framework.hook for name in hook.classes}
        names = classes | {name for call in framework.call for name in call.names}
        names |= {name for row in framework.layers for name in row.names}
        assert {name for name in names if canonical(name) != name} == set()
        assert {name.partition(".")[0] for name in names} <= {*framework.packages} or framework.name == "torch"


def test_no_method_has_two_rows() -> None:
    seen: set[str] = set()
    for hook in frameworks.hooks():
        for name in (f"{cls}.{method}" for cls in hook.classes for method in hook.methods):
            assert name not in seen
            seen.add(name)
    called = [name for call in frameworks.calls() for name in call.names]
    assert len(called) == len(set(called))


# -- looking up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base",
    [
        "lightning.pytorch.LightningModule",
        "lightning.LightningModule",
        "pytorch_lightning.core.module.LightningModule",
        "lightning.pytorch.core.LightningModule",
    ],
)
def test_a_class_is_known_by_package_and_last_name(base: str) -> None:
    found = contracts().hook(["project.Base", base], "validation_step")
    assert found is not None and found.caller == "Lightning" and "on" not in found.hook.grad
    assert contracts().hook([base.replace("Module", "Modul")], "validation_step") is None
    assert contracts().hook([base], "validate_step") is None


def test_torch_is_known_by_whole_names() -> None:
    assert contracts().call("torch.func.grad") is not None
    assert contracts().call("torch.autograd.grad") is None


def test_the_class_of_a_receiver_decides() -> None:
    by_class = contracts().method(["accelerate.Accelerator"], "runner", "backward")
    assert by_class is not None and by_class.backward == "loss"
    assert contracts().method([], "self_accelerator", "backward") is by_class
    assert contracts().method(["tensor"], "accelerator", "backward") is None
    assert contracts().method([], "loss", "backward") is None


def test_rows_of_the_project_come_first_and_may_be_relative() -> None:
    step = Hook(classes=("app.loops.Task",), methods=("step",), grad=("off",), source="app/loops.py")
    other = Hook(classes=("lightning.LightningModule",), methods=("training_step",), grad=("caller",), source="ours")
    call = Call(names=("app.ops.descend",), parameters=("loss",), backward="loss", source="app/ops.py")
    known = Contracts((Framework(hook=(step, other), call=(call,)), *frameworks.frameworks()))
    for name in ("app.loops.Task", ".loops.Task", "..app.loops.Task", "src.app.loops.Task"):
        found = known.hook([name], "step")
        assert found is not None and found.hook is step and found.caller == "Task"
    assert known.hook(["other.loops.Task"], "step") is None
    found = known.hook(["lightning.LightningModule"], "training_step")
    assert found is not None and found.hook is other
    assert known.call("app.ops.descend") is call and known.call(".ops.descend") is call


# -- the schema --------------------------------------------------------------------------------------------------------

HOOK: dict[str, object] = {"classes": ["a.B"], "methods": ["c"], "grad": ["off"], "source": "here"}
CALL: dict[str, object] = {"names": ["a.b"], "parameters": ["loss"], "source": "here"}
WRONG: dict[str, dict[str, object]] = {
    "unknown field `hoks`": {"hoks": []},
    "missing required field `source`": {"hook": [{key: HOOK[key] for key in ("classes", "methods", "grad")}]},
    "$.hook[0].grad[0]": {"hook": [HOOK | {"grad": ["of"]}]},
    "unknown field `mode`": {"hook": [HOOK | {"mode": "eval"}]},
    "must not be empty": {"hook": [HOOK | {"methods": []}]},
    "`names` must not be empty": {"call": [CALL | {"names": []}]},
    "`backward` must be `self` or one of `parameters`, not `los`": {"call": [CALL | {"backward": "los"}]},
    "`returns` must hold": {"call": [CALL | {"returns": ["nothing"]}]},
    "$.call[0].runs[0]": {"call": [CALL | {"runs": [{"argument": "loss"}]}]},
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_means_nothing_is_refused(problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        frameworks.read(WRONG[problem])
    assert problem in str(caught.value)


# -- a project's own ---------------------------------------------------------------------------------------------------

OWN = """
[[{}hook]]
classes = ["loops.Task"]
methods = ["check"]
grad = ["inference"]
source = "loops.py: Loop.check"

[[{}call]]
names = ["loops.descend"]
parameters = ["optimizer", "loss"]
backward = "loss"
steps = "optimizer"
source = "loops.py"
"""
CODE = """
import torch
from loops import Task, descend

class Mine(Task):
    def check(self, batch):
        loss = self.net(batch).sum()
        loss.backward()

def train(model, loader):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in loader:
        descend(optimizer, model(batch).mean())
"""


def own(folder: Path, text: str, name: str = "gradlint.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["table", "pyproject", "file", "files"])
def test_a_project_adds_its_own(tmp_path: Path, form: str) -> None:
    if form == "table":
        own(tmp_path, "[contracts]\n" + OWN.format("contracts.", "contracts."))
    elif form == "pyproject":
        table = "tool.gradlint.contracts."
        own(tmp_path, "[tool.gradlint.contracts]\nname = 'our loop'\n" + OWN.format(table, table), "pyproject.toml")
    else:
        own(tmp_path, OWN.format("", ""), "loops.toml")
        own(tmp_path, "contracts = " + ("'loops.toml'" if form == "file" else "['loops.toml']"))
    own(tmp_path, CODE, "code.py")
    settings = config.find(str(tmp_path))
    assert [finding.code for finding in check_source(CODE, config=settings)] == ["GRD101", "GRD501"]
    assert check_source(CODE, config=Config()) == []
    (first, _) = check_source(CODE, config=settings)
    caller = "our loop" if form == "pyproject" else "Task"
    assert first.evidence[0].text == f"{caller} calls `check` in inference mode"
    with ProcessPoolExecutor(1) as executor:
        apart = check_paths([tmp_path / "code.py"], settings, executor=executor)
    assert [finding.code for finding in apart.findings] == ["GRD101", "GRD501"]


BROKEN = {
    "contracts = 3": "`contracts` must be a table, or the name of a file or of several, not 3",
    "contracts = [3]": "`contracts` must be a list of strings",
    "contracts = 'nosuch.toml'": "nosuch.toml: cannot be read",
    "[[contracts.hook]]\nclases = ['a.B']": "`contracts`, `hook[0]`: object contains unknown field `clases`",
    "[[contracts.call]]\nnames = 'a'": "`contracts`, `call[0].names`: expected `array`",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_cannot_be_followed_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(str(own(tmp_path, text)))
    assert BROKEN[text] in str(caught.value)


def test_a_class_of_the_project_is_known_by_its_file(tmp_path: Path) -> None:
    package = tmp_path / "engine"
    package.mkdir()
    own(package, "", "__init__.py")
    own(
        package,
        "import torch\n\nclass Task:\n    def check(self, batch):\n        raise NotImplementedError\n",
        "base.py",
    )
    code = CODE.replace("from loops import Task, descend", "from engine.base import Task\nfrom loops import descend")
    own(tmp_path, code, "mine.py")
    own(tmp_path, OWN.format("contracts.", "contracts.").replace("loops.Task", "engine.base.Task"))
    found = check_paths([tmp_path], config.find(str(tmp_path))).findings
    assert [finding.code for finding in found] == ["GRD101", "GRD501"]


def test_layers_of_the_project_are_known(tmp_path: Path) -> None:
    code = """\
from torch import nn

from nets import Block, Plain


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain = [Plain(4)]
        self.blocks = [Block(4)]

    def forward(self, x):
        return self.blocks[0](self.plain[0](x))
"""
    own(tmp_path, code, "mine.py")
    own(tmp_path, '[[contracts.layers]]\nnames = ["nets.Block"]\nsource = "nets.py"\n')
    found = check_paths([tmp_path], config.find(str(tmp_path))).findings
    assert [(finding.code, finding.location.line) for finding in found] == [("GRD220", 10)]


# -- the page ----------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "contracts.md").read_text(encoding="utf-8")


def test_the_page_names_every_framework_and_every_key() -> None:
    assert [framework.name for framework in frameworks.frameworks() if framework.name not in PAGE] == []
    keys = {*Hook.__struct_fields__, *Call.__struct_fields__, *Runs.__struct_fields__, *Framework.__struct_fields__}
    assert {key for key in keys - {"hook", "call", "version"} if f"`{key}`" not in PAGE} == set()


def test_the_settings_on_the_page_are_followed(tmp_path: Path) -> None:
    (settings,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (shown,) = (config.load(str(own(tmp_path, settings, "pyproject.toml"))) or Config()).contracts
    assert shown.name == "our loop" and len(shown.hook) == len(shown.call) == 1


def test_the_code_on_the_page_is_reported_as_it_says() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (finding,) = check_source(code)
    comment = code.partition("# GRD101: ")[2].strip()
    assert finding.code == "GRD101" and finding.evidence[0].text == comment
