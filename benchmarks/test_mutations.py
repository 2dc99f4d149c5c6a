"""The mutations: what each kind breaks, what it leaves alone, and what the command says of the mutants."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import mutations
import pytest
from mutants import KINDS, File, Kind

from gradlint import check_source, registry

BROKEN = {
    "item-of-kept-loss": (
        "for x in loader:\n    total += loss.item() * 2\n",
        "for x in loader:\n    total += loss * 2\n",
    ),
    "detach-of-generated": (
        "fake = netG(z)\nloss = netD(fake.detach())\nloss.backward()\n",
        "fake = netG(z)\nloss = netD(fake)\nloss.backward()\n",
    ),
    "detach-before-numpy": (
        "out = model(x)\na = out.detach().cpu().numpy()\n",
        "out = model(x)\na = out.cpu().numpy()\n",
    ),
    "create-graph": (
        "g = torch.autograd.grad(y, x, create_graph=True)\n",
        "g = torch.autograd.grad(y, x)\n",
    ),
    "retain-graph": (
        "a.backward(retain_graph=True)\nb.backward()\n",
        "a.backward(retain_graph=False)\nb.backward()\n",
    ),
    "requires-grad": (
        "x.requires_grad_()\nloss(x).backward()\nstep(x.grad)\n",
        "x\nloss(x).backward()\nstep(x.grad)\n",
    ),
    "clone-before-edit": (
        "y = x.clone()\ny[0] = 1\nprint(x)\n",
        "y = x\ny[0] = 1\nprint(x)\n",
    ),
    "copy-of-state-dict": (
        "for x in loader:\n    best = copy.deepcopy(model.state_dict())\n",
        "for x in loader:\n    best = model.state_dict()\n",
    ),
    "sum-in-place": (
        "x = torch.sigmoid(x)\nx = x + y * 2\n",
        "x = torch.sigmoid(x)\nx += y * 2\n",
    ),
    "detach-of-target": (
        "target = (r + q(x)).detach()\nloss(q, target).backward()\n",
        "target = (r + q(x))\nloss(q, target).backward()\n",
    ),
    "detach-of-hidden-state": (
        "for x in loader:\n    h, c = h.detach(), c.detach()\n    y, h, c = net(x, h, c)\n    y.backward()\n",
        "for x in loader:\n    h, c = h, c\n    y, h, c = net(x, h, c)\n    y.backward()\n",
    ),
    "no-grad-block-of-evaluation": (
        "def evaluate():\n    with torch.no_grad():\n        y = model(x)\n",
        "def evaluate():\n    if True:\n        y = model(x)\n",
    ),
    "no-grad-block-of-training": (
        "with torch.no_grad():\n    t = teacher(x)\nloss(t).backward()\n",
        "if True:\n    t = teacher(x)\nloss(t).backward()\n",
    ),
    "no-grad-decorator": (
        "@torch.no_grad()\ndef evaluate():\n    return model(x)\n",
        "\ndef evaluate():\n    return model(x)\n",
    ),
    "no-grad-block-of-edits": (
        "with torch.no_grad():\n    for p in m.parameters():\n        p -= p.grad\n",
        "if True:\n    for p in m.parameters():\n        p -= p.grad\n",
    ),
    "data-of-edited-leaf": (
        "for p in m.parameters():\n    p.data.add_(p.grad)\n",
        "for p in m.parameters():\n    p.add_(p.grad)\n",
    ),
    "train-after-eval": (
        "for x in loader:\n    m.train()\n    loss.backward()\n    m.eval()\n",
        "for x in loader:\n    pass\n    loss.backward()\n    m.eval()\n",
    ),
    "zero-grad-in-loop": (
        "for x in loader:\n    o.zero_grad()\n    loss.backward()\n    o.step()\n",
        "for x in loader:\n    pass\n    loss.backward()\n    o.step()\n",
    ),
    "zero-grad-in-function": (
        "def train():\n    o.zero_grad()\n    loss.backward()\n    o.step()\n",
        "def train():\n    pass\n    loss.backward()\n    o.step()\n",
    ),
    "unscale": (
        "scaler.unscale_(o)\nclip_grad_norm_(m.parameters(), 1)\n",
        "pass\nclip_grad_norm_(m.parameters(), 1)\n",
    ),
    "step-before-backward": (
        "for x in loader:\n    loss.backward()\n    opt.step()\n",
        "for x in loader:\n    opt.step(); loss.backward()\n    pass\n",
    ),
    "clip-after-step": (
        "clip_grad_norm_(m.parameters(), 1)\nopt.step()\n",
        "pass\nopt.step(); clip_grad_norm_(m.parameters(), 1)\n",
    ),
    "backward": (
        "loss.backward()\nopt.step()\n",
        "pass\nopt.step()\n",
    ),
    "module-list": (
        "self.layers = nn.ModuleList([Linear(n) for n in ns])\n",
        "self.layers = [Linear(n) for n in ns]\n",
    ),
    "parameter-list": (
        "self.ws = nn.ParameterList()\n",
        "self.ws = []\n",
    ),
    "parameter": (
        "self.w = nn.Parameter(torch.empty(2))\nnn.init.normal_(self.w)\n",
        "self.w = torch.empty(2)\nnn.init.normal_(self.w)\n",
    ),
}
LEFT = {
    "item-of-kept-loss": """
        with torch.no_grad():
            for x in loader:
                total += loss.item()
        total += loss.item()
        for x in loader:
            total = 0
            total += loss.item()
        """,
    "detach-of-generated": """
        with torch.no_grad():
            fake = netG(z)
        netD(fake.detach()).backward()
        """,
    "detach-before-numpy": """
        with torch.no_grad():
            out = model(x)
        a, b = out.detach().numpy(), labels.detach().numpy()
        """,
    "create-graph": "loss.backward(create_graph=True)",
    "retain-graph": "a.backward(); b.backward(retain_graph=True)",
    "requires-grad": "for p in m.parameters():\n    p.requires_grad_()\nm(x).backward()",
    "clone-before-edit": "y = x.clone()\ny[0] = 1\nx = 2\nz = x.clone()\nprint(x)",
    "copy-of-state-dict": "best = copy.deepcopy(model.state_dict())",
    "sum-in-place": "x = linear(x)\nx = x + y",
    "detach-of-target": "target = (r + q(x)).detach()",
    "detach-of-hidden-state": "for x in loader:\n    loss = net(x)\n    loss.backward()\n    loss = loss.detach()",
    "no-grad-block-of-evaluation": """
        @torch.no_grad()
        def evaluate():
            with torch.no_grad():
                y = model(x)
        def evaluate_loader():
            with torch.no_grad():
                count(x)
        """,
    "no-grad-block-of-training": "with torch.no_grad():\n    t = teacher(x)",
    "no-grad-decorator": "@torch.no_grad()\ndef update():\n    return model(x)",
    "no-grad-block-of-edits": "with torch.no_grad():\n    x += 1",
    "data-of-edited-leaf": "x.data.add_(1)\nm.weight.data = y",
    "train-after-eval": "for x in loader:\n    m.train()\n    m.eval()\n    m.train()\n    loss.backward()",
    "zero-grad-in-loop": "for x in loader:\n    o.zero_grad()\n    loss.backward()\n    o.step()\n    m.zero_grad()",
    "zero-grad-in-function": "def train():\n    o.zero_grad()\n    p.grad = None\n    loss.backward()\n    o.step()",
    "unscale": "scaler.unscale_(o)\nclip_grad_value(x)",
    "step-before-backward": "for x in loader:\n    loss.backward()\n    sched.step()\nloss.backward()\nopt.step()",
    "clip-after-step": "clip_grad_norm_(m.parameters(), 1)\nsched.step()",
    "backward": "a.backward()\nb.backward()\nopt.step()",
    "module-list": "self.layers = nn.ModuleList([self.a, self.b])\nlayers = nn.ModuleList([Linear(2)])",
    "parameter-list": "ws = nn.ParameterList()",
    "parameter": "self.w = nn.Parameter(torch.empty(2))\nself.v = nn.Parameter(x)\nnn.init.normal_(self.v)",
}
LOOP = """import torch


def train(model, loader, optimizer):
    for x, y in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
"""


def texts(kind: str, text: str) -> list[str]:
    """The mutants of one kind that a text has."""
    file = File(text)
    return [file.broken(site) for site in KINDS[kind].sites(file)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_breaks_right_code(kind: str) -> None:
    right, broken = BROKEN[kind]
    assert all(word in right for word in KINDS[kind].words)
    assert texts(kind, right) == [broken]


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_matter_is_left_alone(kind: str) -> None:
    assert texts(kind, dedent(LEFT[kind])) == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_names_rules_and_says_what_it_does(kind: Kind) -> None:
    assert kind.codes <= {rule.code for rule in registry.all_rules()}
    assert kind.rows and kind.does.endswith(".")


def test_odd_forms_are_broken_as_well() -> None:
    right = "for x in loader:\n    über = 'ß'; total += (\n        loss_ß\n        .item()\n    )\n"
    assert texts("item-of-kept-loss", right) == [right.replace(".item()", "")]
    right = "for x in loader:\n    h = repackage(h)  # detach\n    y, h = net(x, h)\n    y.backward()\n"
    assert texts("detach-of-hidden-state", right) == [right.replace("repackage(h)", "h")]
    right = "g = grad(\n    (ü), (x),\n    create_graph=True, allow_unused=True)\n"
    assert texts("create-graph", right) == ["g = grad(\n    (ü), (x)\n, allow_unused=True)\n"]
    right = "for x in loader:\n    total += (loss).item()\n"
    assert texts("item-of-kept-loss", right) == [right.replace(".item()", "")]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with code that is found, code that is not, and files that give no mutants."""
    folder = tmp_path / "corpus"
    (folder / "tests").mkdir(parents=True)
    written = {
        "a.py": LOOP,
        "b.py": LOOP.replace("import torch\n", "import torch\nfrom mine import own\n").replace("loss.back", "own.back"),
        "broken.py": "zero_grad .backward( .step(",
        "tests/test_a.py": LOOP,
        "test_b.py": LOOP,
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin.py").write_bytes(b"# \xff zero_grad .backward( .step(")
    return folder


def test_the_command_says_what_is_found_and_missed(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", str(corpus), "--only", "zero-grad-in-loop", "unscale", "--list"]
    assert mutations.main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr()
    assert (
        shown.out
        == """2 mutants of 4 files read, seed 0, at most 50 of a kind

                   mutants  found  other  none  %
zero-grad-in-loop        2      1      0     1  50%
unscale                  0      0      0     0  -
all                      2      1      0     1  50%

zero-grad-in-loop, missed: 1
  b.py:7  optimizer.zero_grad()
"""
    )
    saved = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert mutations.report(saved, every=True) + "\n" == shown.out
    assert len(shown.err.splitlines()) == 2


def test_a_seed_and_a_maximum_choose_the_same_places_again(corpus: Path) -> None:
    both = [KINDS["zero-grad-in-loop"], KINDS["step-before-backward"]]
    one = mutations.measure(corpus, both[:1], 3, 1)["mutants"]
    assert len(one) == 1
    again = mutations.measure(corpus, both, 3, 1)["mutants"]
    assert [each for each in again if each["kind"] == "zero-grad-in-loop"] == one


def test_what_was_reported_before_does_not_count() -> None:
    stale = LOOP.replace("        optimizer.zero_grad()\n", "")
    before = check_source(stale)
    assert before and not mutations.new(before, check_source(stale.replace("y = x", "y = 1")))
    assert not mutations.new(before, check_source(f"import os\n{stale}"))
    assert mutations.new([], before) == before
    assert mutations.new(before, check_source(stale + stale.replace("train", "again")))


def test_input_that_is_not_usable_is_said(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mutations.main(["--corpus", str(corpus / "none")]) == 2
    assert capsys.readouterr().err == f"{corpus / 'none'} is no folder\n"
    assert mutations.main(["--corpus", str(corpus), "--only", "unscale", "other"]) == 2
    assert capsys.readouterr().err.startswith("no kinds: other (there are: item-of-kept-loss, ")


def test_an_internal_error_fails_the_command(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutations, "INTERNAL_ERROR", "GRD501")
    assert mutations.main(["--corpus", str(corpus), "--only", "zero-grad-in-loop"]) == 1
    assert "internal errors: 1\n  a.py: " in capsys.readouterr().out
