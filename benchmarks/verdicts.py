"""What people said about findings in real packages, and the precision that follows from it.

``judged.jsonl`` holds one row per place: package, version, path, line, code, verdict (``true`` for a real mistake,
``false`` for a false alarm, ``unsure``) and ``why``. Two findings of one rule on one line share their verdict. ``text``
is the line itself, by which it is found again in another version; rows without it hold for their version only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

from corpus import HERE, Package
from linting import Site

JUDGED = HERE / "judged.jsonl"
VERDICTS = ("true", "false", "unsure")
CODE = re.compile(r"GRD[0-9]{3}")
# Codes of the engine itself (a syntax error, an unused suppression) claim nothing about gradients.
ENGINE_CODE = "GRD0"


class VerdictError(Exception):
    """A row is not a verdict; the message says which row and why."""


@dataclass(frozen=True)
class Verdict:
    """One judgement: is the finding at ``site`` right, and why. ``text`` is the line there, or empty."""

    site: Site
    verdict: str
    why: str
    text: str = ""

    def line(self) -> str:
        """The row of ``judged.jsonl``."""
        row = {**asdict(self.site), "verdict": self.verdict, "why": self.why}
        return json.dumps({**row, "text": self.text} if self.text else row, ensure_ascii=False)


@dataclass(frozen=True)
class Tally:
    """How the places that one rule reports were judged."""

    true: int
    false: int
    unsure: int
    unjudged: int

    @property
    def sites(self) -> int:
        """How many places the rule reports."""
        return self.true + self.false + self.unsure + self.unjudged

    @property
    def precision(self) -> float | None:
        """Share of real mistakes among the places with a clear verdict; None without one."""
        return self.true / (self.true + self.false) if self.true + self.false else None


def read(text: str, source: str) -> list[Verdict]:
    """Parse rows of JSON lines. Raises `VerdictError` naming ``source`` and the row."""
    verdicts = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                verdicts.append(verdict_of(json.loads(line)))
            except (ValueError, VerdictError) as error:
                raise VerdictError(f"{source}:{number}: {error}") from None
    return verdicts


def load(path: Path = JUDGED) -> dict[Site, Verdict]:
    """The verdicts in ``path`` by place; none when there is no such file.

    Raises `VerdictError` for a row that is no verdict and for a place that is judged twice.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    judged: dict[Site, Verdict] = {}
    for verdict in read(text, path.name):
        if verdict.site in judged:
            raise VerdictError(f"{path.name}: judged twice: {describe(verdict.site)}")
        judged[verdict.site] = verdict
    return judged


def verdict_of(row: object) -> Verdict:
    """Check one decoded row. Raises `VerdictError` saying what is wrong with it."""
    names = [field.name for field in fields(Site)] + ["verdict", "why"]
    if not isinstance(row, dict) or sorted(row.keys() - {"text"}) != sorted(names):
        raise VerdictError(f"a row has exactly the keys {', '.join(names)}, and may have text")
    text = row.get("text", "")
    if not isinstance(text, str) or set(text) & {"\n", "\r"}:
        raise VerdictError("text must be a line of the source")
    texts = {name: row[name] for name in names if name != "line"}
    for name, value in texts.items():
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise VerdictError(f"{name} must be one line of text")
    if type(row["line"]) is not int or row["line"] < 1:
        raise VerdictError("line must be a number from 1")
    if row["verdict"] not in VERDICTS:
        raise VerdictError(f"verdict must be one of {', '.join(VERDICTS)}")
    if not CODE.fullmatch(row["code"]) or row["code"].startswith(ENGINE_CODE):
        raise VerdictError(f"{row['code']} is no code of a rule about gradients")
    if PurePosixPath(row["path"]).is_absolute() or ".." in PurePosixPath(row["path"]).parts:
        raise VerdictError("path must be relative to the unpacked package")
    site = Site(row["package"], row["version"], row["path"], row["line"], row["code"])
    return Verdict(site, row["verdict"], row["why"], text)


def save(judged: Mapping[Site, Verdict], path: Path = JUDGED) -> None:
    """Write all verdicts to ``path``, sorted by place."""
    scratch = path.with_suffix(".new")
    scratch.write_text("".join(judged[site].line() + "\n" for site in sorted(judged)), encoding="utf-8")
    scratch.replace(path)


def tally(sites: Iterable[Site], judged: Mapping[Site, Verdict]) -> dict[str, Tally]:
    """Count verdicts per code over the places that are reported now; sorted by code."""
    names: dict[str, list[str]] = {}
    for site in sorted(set(sites)):
        if not site.code.startswith(ENGINE_CODE):
            names.setdefault(site.code, []).append(judged[site].verdict if site in judged else "unjudged")
    return {
        code: Tally(*(said.count(word) for word in (*VERDICTS, "unjudged"))) for code, said in sorted(names.items())
    }


def gone(sites: Iterable[Site], judged: Mapping[Site, Verdict], linted: Iterable[Package]) -> list[Verdict]:
    """Verdicts about the packages that were linted whose place is not reported any more, sorted."""
    versions = {(package.name, package.version) for package in linted}
    missing = judged.keys() - set(sites)
    return [judged[site] for site in sorted(missing) if (site.package, site.version) in versions]


def describe(site: Site) -> str:
    """``timm 1.0.31 timm/layers/a.py:12 GRD101``."""
    return f"{site.package} {site.version} {site.path}:{site.line} {site.code}"
