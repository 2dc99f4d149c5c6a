"""Fixes: what they write, that it is right, and where there is none."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gradlint import Config, Edit, Finding, Fix, Location, Safety, check_source, report
from gradlint.engine import check_bytes
from gradlint.fix import FixError, Source, apply, select
from gradlint.registry import all_rules, page
from gradlint.rule import EngineRule, Rule
from gradlint.testing import Page, parse_claims, parse_page
from gradlint.testing.fixtures import first_line, functions, lint
from gradlint.testing.pages import EXAMPLES, INSTEAD

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = sorted((ROOT / "fixtures").glob("GRD[1-9]*/*.py"))
MENDING = [rule for rule in all_rules() if type(rule).fix is not Rule.fix]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def code(rule: Rule) -> str:
    return rule.code


@cache
def linted(text: str, of: str = "") -> list[Finding]:
    return lint(text, "example.py", of)


def words(text: str) -> Counter[tuple[str, str]]:
    return Counter((finding.code, finding.message) for finding in linted(text))


def only(text: str, of: str) -> Finding:
    (found,) = (finding for finding in linted(text) if finding.code == of)
    return found


def mended(text: str, of: str) -> str:
    """Return ``text`` with the fix of its only finding of this rule; nothing if there is none."""
    fixes = only(text, of).fixes
    return apply(text, fixes[0].edits) if fixes else ""


def edit(line: int, column: int, end: int, text: str) -> Edit:
    return Edit(Location(line, column, line, end), text)


def fix(*edits: Edit) -> Fix:
    return Fix(Safety.SAFE, "do it", edits)


# -- applying ----------------------------------------------------------------------------------------------


def test_edits_are_made_by_line_and_character() -> None:
    assert apply("é = 1\nb = 2\n", [edit(2, 5, 6, "3"), edit(1, 1, 2, "ü")]) == "ü = 1\nb = 3\n"


def test_insertions_at_one_place_keep_their_order() -> None:
    assert apply("a\n", [edit(1, 2, 2, " + b"), edit(1, 2, 2, " + c")]) == "a + b + c\n"


def test_equal_edits_are_made_once() -> None:
    assert apply("a\n", [edit(1, 1, 1, "b + "), edit(1, 1, 1, "b + ")]) == "b + a\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_are_those_of_the_file(end: str) -> None:
    text = f"\ufeffa = 1{end}b = 2{end}"
    assert apply(text, [edit(2, 1, 1, "if a:\n    ")]) == f"\ufeffa = 1{end}if a:{end}    b = 2{end}"


@pytest.mark.parametrize(
    "edits",
    [
        (edit(1, 1, 4, "x"), edit(1, 3, 5, "y")),
        (edit(1, 1, 4, "x"), edit(1, 2, 2, "y")),
        (edit(3, 1, 1, "x"),),
        (edit(1, 7, 7, "x"),),
        (edit(1, 3, 2, "x"),),
        (edit(1, 1, 1, "("),),
    ],
    ids=["overlap", "inside", "no line", "no column", "backwards", "no Python"],
)
def test_edits_that_cannot_be_made_are_refused(edits: tuple[Edit, ...]) -> None:
    with pytest.raises(FixError):
        apply("a = b\n", edits)


def test_of_fixes_that_overlap_the_first_is_made() -> None:
    first, second, third = fix(edit(1, 1, 2, "x")), fix(edit(1, 1, 3, "y"), edit(2, 1, 2, "z")), fix(edit(2, 1, 2, "w"))
    assert select("a = 1\nb = 2\n", [first, second, third]) == ("x = 1\nw = 2\n", [first, third])


def test_two_insertions_at_one_place_do_not_go_together() -> None:
    first, second = fix(edit(1, 1, 1, "b, ")), fix(edit(1, 1, 1, "c, "))
    assert select("a = 1\n", [first, second]) == ("b, a = 1\n", [first])


def test_an_import_that_two_fixes_need_is_made_once() -> None:
    imported = Edit(Location(1, 1, 1, 1), "import a\n")
    first, second = fix(imported, edit(1, 1, 2, "x")), fix(imported, edit(2, 1, 2, "y"))
    assert select("b\nc\n", [first, second]) == ("import a\nx\ny\n", [first, second])


def test_a_fix_that_breaks_the_syntax_is_left_out() -> None:
    broken, good = fix(edit(1, 1, 1, "(")), fix(edit(1, 1, 2, "b"))
    assert select("a = 1\n", [broken, good]) == ("b = 1\n", [good])


# -- every fixture -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCENARIOS, ids=name)
def test_fixes_silence_their_findings_and_no_other_appears(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    mended = [finding for finding in linted(text) if finding.fixes]
    together, made = select(text, [finding.fixes[0] for finding in mended])
    assert len(made) >= 0.8 * len(mended)
    for changed, finding in [
        (together if finding.fixes[0] in made else apply(text, finding.fixes[0].edits), finding) for finding in mended
    ]:
        key = (finding.code, finding.message)
        assert words(changed)[key] < words(text)[key], f"line {finding.location.line}"
        more = words(changed) - words(text)
        # A freeze that reaches its parameters now may be one that another line undoes, and an edit of what the context
        # held without torch's knowledge is one that torch refuses.
        if finding.code == "GRD601":
            more = Counter({each: n for each, n in more.items() if each[0] != "GRD302"})
        assert [each for each in more if "a later statement" not in each[1]] == []


BEYOND_EDITS = {"GRD601/lent": "what another library holds of an output is kept by no other call"}
"""Scenarios of which no finding can be mended by an edit."""


def test_many_findings_have_a_fix() -> None:
    found: Counter[str] = Counter()
    fixed: Counter[str] = Counter()
    for path in SCENARIOS:
        if name(path) in BEYOND_EDITS:
            assert not any(finding.fixes for finding in linted(path.read_text(encoding="utf-8")))
            continue
        for finding in linted(path.read_text(encoding="utf-8")):
            found[finding.code] += 1
            fixed[finding.code] += bool(finding.fixes)
    few = {
        of: f"{fixed[of]} of {found[of]}" for of in found if of in map(code, MENDING) and fixed[of] < 0.45 * found[of]
    }
    assert few == {}


@pytest.mark.torch
@pytest.mark.parametrize("path", SCENARIOS, ids=name)
def test_fixed_code_raises_no_more(path: Path) -> None:
    """Of the functions that hold a finding with a fix none shows the error any more, and good ones do as before."""
    from gradlint.runtime.truth import check_claim

    text = path.read_text(encoding="utf-8")
    changed, made = select(text, [each for finding in linted(text) for each in finding.fixes[:1]])
    mended = {finding.location.line for finding in linted(text) if set(finding.fixes) & set(made)}
    for function in functions(text):
        claim = parse_claims(text).get(function.name)
        if claim is None or claim.kind == "not run":
            continue
        holds = check_claim(changed, str(path), function.name, claim)
        inside = range(first_line(function), (function.end_lineno or 0) + 1)
        if function.name.endswith("_ok"):
            assert holds is None
        elif claim.kind == "raises" and claim.subject != "ValueError" and mended & set(inside):
            assert holds is not None and "raised nothing" in holds, function.name


# -- every page --------------------------------------------------------------------------------------------


def fixed_page(rule: Rule) -> Page:
    """Return the rule's page with the first fix of its first example in the place of the good code."""
    read = parse_page(page(rule))
    example = read.python(EXAMPLES)[0].code
    fixes = [each for finding in linted(example, rule.code) if finding.code == rule.code for each in finding.fixes[:1]]
    good = read.python(INSTEAD)[0]
    changed, made = select(example, fixes)
    assert made, "the first example has no fix"
    return replace(read, blocks=tuple(replace(b, code=changed) if b is good else b for b in read.blocks))


def test_a_page_tells_of_its_fix() -> None:
    telling = {rule.code for rule in all_rules() if "Fix safety" in parse_page(page(rule)).sections}
    assert telling == {rule.code for rule in MENDING} | {"GRD001"}


@pytest.mark.parametrize("rule", MENDING, ids=code)
def test_the_fixed_example_is_silent(rule: Rule) -> None:
    assert [finding.message for finding in linted(fixed_page(rule).python(INSTEAD)[0].code, rule.code)] == []


@pytest.mark.torch
@pytest.mark.parametrize("rule", MENDING, ids=code)
def test_the_fixed_example_behaves_as_the_good_one(rule: Rule) -> None:
    from gradlint.runtime.truth import contrast

    assert "\n".join(contrast(fixed_page(rule), rule.code).problems()) == ""


def test_engine_rules_write_no_fix_of_their_own() -> None:
    assert [rule.code for rule in MENDING if isinstance(rule, EngineRule)] == []


# -- what torch has ----------------------------------------------------------------------------------------


@pytest.mark.torch
def test_what_works_in_place_has_a_counterpart() -> None:
    import torch
    from torch.nn import functional

    from gradlint.fix.inplace import has_counterpart
    from gradlint.torch_model.tensors import in_place_functions, in_place_methods

    edits = [each for each, kind in in_place_methods().items() if kind == "edit" and has_counterpart(each)]
    assert len(edits) > 100
    assert [each for each in edits if not hasattr(torch.Tensor, each.removesuffix("_"))] == []
    names = {each.rpartition(".")[2] for each in in_place_functions()}
    for each in filter(has_counterpart, names):
        assert hasattr(torch, each.removesuffix("_")) or hasattr(functional, each.removesuffix("_"))


# -- how it is written -------------------------------------------------------------------------------------

EVALUATION = """\
{imports}

def predict(model, x, y, criterion, student, outs):
    model.eval()
    {statement}
"""


def guarded(statement: str, imports: str = "import torch\n") -> str:
    """Return the statement with its fix; nothing if there is none."""
    text = EVALUATION.format(imports=imports, statement=statement)
    found = [finding for finding in linted(text) if finding.code in ("GRD102", "GRD402")]
    assert found, "nothing is found"
    fixes = found[0].fixes
    return apply(text, fixes[0].edits).removeprefix(text[: text.index("    model.eval()")]) if fixes else ""


@pytest.mark.parametrize(
    "statement",
    [
        "return model(x).argmax(dim=-1)",
        "return criterion(model(x), y).item()",
        "return ((model(x) > 0) == (y > 0)).sum().item()",
        "return [model(each).argmax() for each in x]",
        "return sum(model(each).sum().item() for each in x)",
        "out = model(x.to(y.device)).detach()",
        "outs.append(model(x).argmax(dim=1))",
        "return {'logits': model(x).detach()}",
    ],
)
def test_a_statement_that_only_evaluates_is_guarded(statement: str) -> None:
    assert guarded(statement) == f"    model.eval()\n    with torch.no_grad():\n        {statement}\n"


@pytest.mark.parametrize(
    "statement",
    [
        "return criterion(student(x), model(x).detach())",
        "return criterion(y, model(x).detach())",
        "return student(x), model(x).argmax(dim=-1)",
        "return y * model(x).detach()",
        "y *= model(x).detach().mean()",
        "if model(x).sum().item() > 0: print('yes')",
        "outs = (model(each).argmax().item() for each in x)",
        "print(model(x).argmax().item()); return None",
        "return lambda: model(x).argmax().item()",
    ],
)
def test_a_statement_that_may_train_something_else_is_left_alone(statement: str) -> None:
    text = EVALUATION.format(imports="import torch\n", statement=statement)
    assert [each for finding in linted(text) if finding.code == "GRD102" for each in finding.fixes] == []


@pytest.mark.parametrize(
    ("imports", "spelt"),
    [
        ("import torch as th\n", "th.no_grad"),
        ("from torch import no_grad as ng\n", "ng"),
        ("import torch.nn.functional\n", "torch.no_grad"),
        ("try:\n    import torch\nexcept ImportError:\n    raise\n", "torch.no_grad"),
    ],
)
def test_torch_is_called_what_the_file_calls_it(imports: str, spelt: str) -> None:
    assert f"    with {spelt}():\n        return model(x)\n" in guarded("return model(x)", imports)


def test_torch_is_imported_where_only_parts_of_it_are() -> None:
    text = EVALUATION.format(imports="import os\nfrom torch import nn\n", statement="return model(x)")
    assert mended(text, "GRD102").startswith("import os\nimport torch\nfrom torch import nn\n")


@pytest.mark.parametrize(
    "imports", ["from torch import nn\nimport tensorflow as torch\n", "import torch\n\nfor torch in ():\n    pass\n"]
)
def test_a_name_that_means_something_else_is_not_used(imports: str) -> None:
    text = EVALUATION.format(imports=imports, statement="return model(x)")
    assert all(not finding.fixes for finding in linted(text))


def test_blocks_are_indented_as_the_file_does_it() -> None:
    text = "import torch\n\n\ndef predict(model, x):\n\tmodel.eval()\n\treturn model(x)\n"
    assert mended(text, "GRD102").endswith("\twith torch.no_grad():\n\t\treturn model(x)\n")
    text = "import torch\n\n\ndef predict(model, x):\n  model.eval()\n  return model(x)\n"
    assert mended(text, "GRD102").endswith("  with torch.no_grad():\n    return model(x)\n")


LEAKING = '''\
import torch


def f(model, x):
    torch.set_grad_enabled(False)  # é

    # a comment
    text = """one
two"""
    out = model(
        x,
    )
    return out, \\
        text, f"""{x}
        """
'''


def test_strings_keep_their_lines() -> None:
    assert mended(LEAKING, "GRD105") == (
        LEAKING.replace("torch.set_grad_enabled(False)", "with torch.set_grad_enabled(False):")
        .replace("    # a", "        # a")
        .replace("    text = ", "        text = ")
        .replace("    out = ", "        out = ")
        .replace("        x,\n    )", "            x,\n        )")
        .replace("    return", "        return")
        .replace("\n        text,", "\n            text,")
    )


def test_line_ends_and_a_mark_survive() -> None:
    text = "\ufeff" + LEAKING.replace("\n", "\r\n")
    fixed = apply(text, only(text, "GRD105").fixes[0].edits)
    assert fixed == "\ufeff" + mended(LEAKING, "GRD105").replace("\n", "\r\n")


FROZEN = "from torch import nn\n\nlayer, other = nn.Linear(1, 1), nn.Linear(1, 1)\n"


@pytest.mark.parametrize(
    ("statement", "fixed"),
    [
        ("layer.requires_grad = False", "layer.requires_grad_(False)"),
        ("layer.requires_grad = not other.training  # no", "layer.requires_grad_(not other.training)  # no"),
        ("'é'; layer.requires_grad =   True", "'é'; layer.requires_grad_(True)"),
        ("layer.requires_grad = (\n    False\n)", "layer.requires_grad_((\n    False\n))"),
        ("layer.requires_grad = other.requires_grad = False", ""),
        ("layer.weight.data.requires_grad = False", "layer.weight.requires_grad = False"),
    ],
)
def test_how_a_freeze_is_mended(statement: str, fixed: str) -> None:
    text = f"{FROZEN}{statement}\n"
    fixes = [each for finding in linted(text) if finding.code == "GRD201" for each in finding.fixes]
    assert [apply(text, each.edits) for each in fixes] == ([f"{FROZEN}{fixed}\n"] if fixed else [])


def test_modules_inside_of_the_one_that_is_meant_are_not_frozen() -> None:
    text = "def f(model):\n    for name, module in model.named_modules():\n        if 'head' not in name:\n"
    assert mended(f"import torch\n\n\n{text}            module.requires_grad = False\n", "GRD201") == ""


@pytest.mark.parametrize(
    ("made", "safety"),
    [("torch.zeros(2)", Safety.SAFE), ("w.detach() * 2", Safety.SAFE), ("w * 2", Safety.UNSAFE)],
)
def test_a_flag_that_torch_may_refuse_is_no_safe_fix(made: str, safety: Safety) -> None:
    text = f"import torch\n\n\ndef f(w):\n    w.requires_grad_()\n    p = {made}\n    p.requires_gard = False\n"
    assert [each.safety for each in only(text, "GRD202").fixes] == [safety]


EDITED = "import torch\n\n\ndef f(w, v):\n    h = torch.exp(w)\n    {}\n    h.sum().backward()\n"


@pytest.mark.parametrize(
    ("statement", "fixed"),
    [
        ("h *= v - 1", "h = h * (v - 1)"),
        ("h *= (v - 1)", "h = h * (v - 1)"),
        ("h /= v if v is not None else 1", "h = h / (v if v is not None else 1)"),
        ("h.mul_(2).add_(1)", "h = h.mul(2).add(1)"),
        ("h = h.mul_(2)", "h = h.mul(2)"),
        ("torch.relu_(h)", "h = torch.relu(h)"),
        ("h = torch.nn.functional.relu(h, inplace=True)", "h = torch.nn.functional.relu(h)"),
        ("h[0] = 1.0", "h = h.clone()\n    h[0] = 1.0"),
        ("other = h.mul_(2)", ""),
        ("h.zero_()", ""),
        ("if v is not None: h += 1", "if v is not None: h = h + 1"),
        ("print(h.mul_(2))", ""),
    ],
)
def test_how_an_edit_is_written_out_of_place(statement: str, fixed: str) -> None:
    text = EDITED.replace("torch.exp(w)", "torch.exp(w.requires_grad_())").format(statement)
    expected = EDITED.replace("torch.exp(w)", "torch.exp(w.requires_grad_())").format(fixed) if fixed else ""
    fixes = [each for finding in linted(text) if finding.code == "GRD302" for each in finding.fixes]
    assert {apply(text, each.edits) for each in fixes} == ({expected} if fixed else set())


def test_what_others_have_to_see_is_edited_in_place() -> None:
    text = (
        "import torch\n\n\ndef f(w):\n    h = torch.exp(w.requires_grad_())\n    first = h[0]\n    first += 1\n"
        "    h.sum().backward()\n"
    )
    assert mended(text, "GRD302") == ""


TWO_LOSSES = """\
import torch


def train(model, loader, criterion, optimizer):
    for x, y in loader:
        criterion(model(x), y).backward()
        model(x).abs().mean().backward()
        optimizer.step()
"""


def test_gradients_of_another_loss_are_not_cleared() -> None:
    assert mended(TWO_LOSSES, "GRD501") == ""
    one = TWO_LOSSES.replace("        model(x).abs().mean().backward()\n", "")
    assert "        optimizer.zero_grad()\n        criterion(" in mended(one, "GRD501")


def test_a_string_is_no_flag() -> None:
    text = "import torch\n\n\ndef f(model, x):\n    with torch.set_grad_enabled('train'):\n        return model(x)\n"
    assert mended(text, "GRD104") == ""


IDLE = "import torch\n\nx = torch.no_grad()  # gradlint: ignore[GRD101{}] -- old\n"


def test_idle_suppressions_are_removed() -> None:
    assert mended(IDLE.format(""), "GRD001") == "import torch\n\nx = torch.no_grad()\n"
    alone = "import torch\n\n# gradlint: ignore[GRD101] -- old\nx = torch.no_grad()\n"
    assert mended(alone, "GRD001") == "import torch\n\nx = torch.no_grad()\n"
    shared = "import torch\n\nx = torch.no_grad()  # noqa: GRD101, E501\n"
    assert mended(shared, "GRD001") == ""


def test_idle_suppressions_are_removed_beside_other_findings() -> None:
    text = IDLE.format("") + "\n\nwith torch.no_grad:\n    pass\n"
    assert {finding.code: len(finding.fixes) for finding in linted(text)} == {"GRD001": 1, "GRD104": 1}


def test_of_a_suppression_only_the_idle_rule_is_removed() -> None:
    text = "import torch\n\nwith torch.no_grad:  # gradlint: ignore[GRD101, GRD104] -- why\n    pass\n"
    assert mended(text, "GRD001") == text.replace("GRD101, ", "")


# -- reports and failures ----------------------------------------------------------------------------------

UNCALLED = "import torch\n\nwith torch.no_grad:\n    pass\n"


def reported(form: str) -> Any:
    stream = io.StringIO()
    report.write(check_bytes(UNCALLED.encode(), "x.py"), form, stream)
    return json.loads(stream.getvalue())


def test_json_has_the_edits() -> None:
    (found,) = reported("json")["findings"]
    place = {"line": 3, "column": 19, "end_line": 3, "end_column": 19}
    assert found["fixes"] == [{"safety": "safe", "title": "call it", "edits": [{**place, "text": "()"}]}]


def test_sarif_has_the_edits() -> None:
    log = reported("sarif")
    schema = json.loads((ROOT / "tests" / "data" / "sarif-2.1.0-subset.json").read_text(encoding="utf-8"))
    jsonschema.validate(log, schema)
    (fixed,) = log["runs"][0]["results"][0]["fixes"]
    (change,) = fixed["artifactChanges"]
    region = {"startLine": 3, "startColumn": 19, "endLine": 3, "endColumn": 19}
    assert fixed["description"] == {"text": "call it (safe)"}
    assert change["replacements"] == [{"deletedRegion": region, "insertedContent": {"text": "()"}}]


def test_a_crash_in_a_fix_leaves_the_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: Rule, fact: object, source: Source) -> Fix:
        raise ZeroDivisionError("oh")

    (rule,) = (rule for rule in all_rules() if rule.code == "GRD104")
    monkeypatch.setattr(type(rule), "fix", crash)
    found = {finding.code: finding for finding in check_source(UNCALLED, "x.py")}
    assert found["GRD104"].fixes == ()
    assert "GRD104 failed to write a fix (ZeroDivisionError: oh)" in found["GRD002"].message


def test_what_is_not_reported_is_not_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: Rule, fact: object, source: Source) -> Fix:
        raise ZeroDivisionError("oh")

    (rule,) = (rule for rule in all_rules() if rule.code == "GRD104")
    monkeypatch.setattr(type(rule), "fix", crash)
    silenced = UNCALLED.replace("no_grad:", "no_grad:  # gradlint: ignore[GRD104]")
    assert check_source(silenced, "x.py") == []
    assert check_source(UNCALLED, "x.py", Config(ignore=("GRD104",))) == []
