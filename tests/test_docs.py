"""What the hand-written pages say is true of the program."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import pytest

from gradlint import Config, check_paths, check_source
from gradlint.config import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_contents_of_the_guide_are_its_headings() -> None:
    headings = re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)
    listed = re.findall(r"^- \[(.+)\]\(#(.+)\)$", GUIDE, re.MULTILINE)
    assert [(title, title.lower().replace(" ", "-")) for title in headings] == listed


def test_settings_in_the_guide_are_settings(tmp_path: Path) -> None:
    (settings,) = blocks(GUIDE, "toml")
    path = tmp_path / "pyproject.toml"
    path.write_text(settings, encoding="utf-8")
    config = load(str(path))
    assert config is not None
    assert config.ignore == ("GRD501",) and config.require_reason
    unlike = {name for name in Config.__dataclass_fields__ if f"{name.replace('_', '-')}" not in settings}
    assert unlike <= {"root", "source"}, "a setting is not described"


def test_suppressions_in_the_guide_are_understood() -> None:
    (text,) = [block for block in blocks(GUIDE, "python") if "ignore-file" in block]
    assert [found for found in check_source("import torch\n" + text) if found.code == "GRD003"] == []


def test_the_public_interface_works_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = [block for block in blocks(GUIDE, "python") if "check_source" in block]
    assert "check_paths([" in text
    exec(text.partition("result =")[0], {})
    assert capsys.readouterr().out.startswith("3 GRD104 ")
    assert check_paths([ROOT / "fixtures" / "demo"]).files == 3


def test_formats_and_options_in_the_guide_exist() -> None:
    from gradlint.cli import commands

    check = commands.commands["check"]
    options = {name for parameter in check.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", GUIDE)) <= options
    (form,) = [parameter for parameter in check.params if "--format" in parameter.opts]
    formats = set(re.findall(r"^\| `(\w+)` \|", GUIDE.partition("## Output formats")[2], re.MULTILINE))
    assert isinstance(form.type, click.Choice)
    assert formats == set(form.type.choices)


def test_make_knows_every_target_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"^(?:\| `|\$ )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named and named <= targets


def test_the_oldest_python_is_the_same_everywhere() -> None:
    assert sys.version_info >= (3, 10)
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Python 3.10 or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
