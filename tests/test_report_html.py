"""HTML reports: whole pages, harmless whatever the names are, that load nothing; and what the pictures show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest

from gradlint.finding import Certainty, Evidence, Finding, Location, Severity
from gradlint.report import html, pictures
from gradlint.report.comparison import gradient, lines, text
from gradlint.report.page import rich
from gradlint.runtime.comparison.result import (
    Aspect,
    Comparison,
    ComparisonError,
    DeviceComparison,
    Difference,
    Gradient,
    Kept,
    Outcome,
    ParameterChange,
    State,
    Variant,
)
from gradlint.runtime.place import Place
from gradlint.runtime.recording import Mode, Raised, Recording, Saved
from gradlint.runtime.verdict import Verdict, Verified
from gradlint.source.positions import Excerpt

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>`&amp;\x1b\u202e\udcff"
VOID = {"meta", "br", "img", "link", "input"}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "title", "role", "aria-label", "aria-hidden", "dir"),
    *("height", "width", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "dx", "dy", "font-size"),
    "text-anchor",
}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[str]:
        return self.attributes.get("class", "").split()


@dataclass
class Page(HTMLParser):
    """Every element of a page with its own text; fails where tags do not match."""

    source: str
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kinds = tuple(kind for element in self.open for kind in element.kinds)
        element = Element(tag, {name: value or "" for name, value in attrs}, "", kinds)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def find(self, tag: str, *kinds: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag and set(kinds) <= set(one.kinds)]


def change(name: str, before: Gradient, after: Gradient, outcome: Outcome = Outcome.CHANGED) -> ParameterChange:
    return ParameterChange(name, (64, 32), before, after, 0.25, 0.0, 1e-7, outcome)


NONE, ZERO = Gradient(State.NONE), Gradient(State.ZERO)


def value(norm: float, broken: int = 0) -> Gradient:
    return Gradient(State.VALUE, norm, broken)


def variant(name: str = "step", error: str = "", kept: tuple[Kept, ...] = (Kept(0, 0),)) -> Variant:
    return Variant(name, error, Mode.ON, 0.5, bool(kept), 4096, 1024, kept)


def comparison(
    *changes: ParameterChange,
    name: str = "step",
    before: tuple[Kept, ...] = (Kept(0, 0),),
    after: tuple[Kept, ...] = (Kept(0, 0),),
    texts: tuple[str, ...] = (),
) -> Comparison:
    differences = tuple(Difference(Aspect.GRADIENTS, Outcome.CHANGED, words) for words in texts)
    verdict = Outcome.CHANGED if differences else Outcome.SAME
    first, second = variant(name, name if texts else "", before), variant(name, kept=after)
    part = DeviceComparison("cpu", "x86_64", verdict, first, second, changes, differences, texts)
    return Comparison(verdict, (part,), "2.13.0", "3.11.7", 3, 2, 0, texts)


def finding(words: str = "`model(...)` builds a graph", path: str = "train.py") -> Finding:
    where = Location(3, 5, 3, 13)
    evidence = (Evidence(path, Location(1, 1, 1, 6), words),)
    return Finding(
        "GRD102", "missing-no-grad", Severity.WARNING, Certainty.LIKELY, path, where, words, f"do {words}", evidence
    )


def verified(verdict: Verdict = Verdict.CONFIRMED, **options: str) -> Verified:
    return Verified(finding(**options), verdict, ("14 forwards kept 341 MiB",), 14)


def excerpts(path: str = "train.py", line: str = "out = model(x)") -> dict[tuple[str, Location], Excerpt]:
    return {(path, Location(3, 5, 3, 13)): Excerpt(3, line), (path, Location(1, 1, 1, 6)): Excerpt(1, line)}


def pages() -> dict[str, str]:
    saved = tuple(Saved(Place(f"/x/{HOSTILE}.py", Location(line, 1, line, 4)), 2, 100 * line, 10, 0) for line in (1, 2))
    raised = Raised("ValueError", HOSTILE, ())
    hostile = Recording(3, HOSTILE, HOSTILE, (HOSTILE,), 2, 1.5, saved=saved, raised=raised, notes=(HOSTILE,))
    odd = verified(words=HOSTILE, path=HOSTILE)
    return {
        "comparison": html.comparison(comparison(change("fc.weight", NONE, value(0.5)), texts=("1 of 1 differ",))),
        "nothing": html.comparison(comparison()),
        "hostile comparison": html.comparison(
            comparison(change(HOSTILE, NONE, ZERO), name=HOSTILE, texts=(HOSTILE,), before=(Kept(1, 2),))
        ),
        "verification": html.verification([verified(each) for each in Verdict], Recording(level=1), excerpts()),
        "empty verification": html.verification([], Recording(), {}),
        "hostile verification": html.verification([odd], hostile, excerpts(HOSTILE, HOSTILE)),
    }


@pytest.mark.parametrize("name", pages())
def test_pages_are_whole_and_load_nothing(name: str) -> None:
    source = pages()[name]
    page = Page(source)
    assert source.startswith("<!doctype html>\n") and source.encode("utf-8")
    tags = {element.tag for element in page.elements}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "object", "a", "form", "base"})
    assert {attribute for element in page.elements for attribute in element.attributes} <= ATTRIBUTES
    assert not re.search(r"https?:|url\(|@import|//[a-z]", source)
    policies = [one.attributes["content"] for one in page.find("meta") if "http-equiv" in one.attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "prefers-color-scheme: dark" in page.find("style")[0].text
    assert any(one.attributes.get("name") == "viewport" for one in page.find("meta"))
    assert len(page.find("h1")) == len(page.find("title")) == 1


@pytest.mark.parametrize("name", ["hostile comparison", "hostile verification"])
def test_hostile_names_are_shown_and_not_obeyed(name: str) -> None:
    page = Page(pages()[name])
    shown = page.find("main")[0].text if page.find("main") else ""
    assert "<script>alert(1)</script>" in shown
    assert "\\x1b" in shown and "\\u202e" in shown and "\\xff" in shown
    assert not set("\x1b\u202e\udcff") & set(pages()[name])


def test_a_comparison_says_what_differs() -> None:
    found = comparison(change("fc.weight", NONE, value(0.5)), texts=("`fc.weight` differs",))
    page = Page(html.comparison(found))
    assert [badge.text for badge in page.find("span", "badge", "red")][:2] == ["CHANGED", "CHANGED"]
    assert "gradients fc.weight differs" in page.find("ul", "plain")[1].text
    assert [code.text for code in page.find("code")].count("fc.weight") >= 2
    cells = [cell.text for cell in page.find("td")]
    assert cells[-8:] == ["fc.weight", "64x32", "None", "0.5", "0.25", "0", "1e-07", "CHANGED"]
    assert "4.0 KiB, 1.0 KiB at once" in cells


def test_every_device_is_shown() -> None:
    found = comparison(change("w", value(1.0), value(1.0), Outcome.SAME))
    gpu = replace(found.devices[0], device="cuda", hardware="NVIDIA H200", verdict=Outcome.INCONCLUSIVE)
    page = Page(html.comparison(replace(found, devices=(*found.devices, gpu))))
    assert [one.text for one in page.find("h2")] == ["On cpu x86_64 SAME", "On cuda NVIDIA H200 INCONCLUSIVE"]
    assert "amber" in page.find("span", "badge")[-2].kinds


def test_none_and_zero_cannot_be_taken_for_values() -> None:
    changes = [change("a", NONE, ZERO), change("b", value(1e-3), value(1.0)), change("c", value(1e-6), value(2e-6, 3))]
    page = Page(pictures.gradients(changes, gradient))
    none, zero = page.find("rect", "none"), page.find("circle", "zero")
    assert [one.kinds for one in none] == [["none", "before"]] and [one.kinds for one in zero] == [["zero", "after"]]
    bars = [one for one in page.find("rect") if "none" not in one.kinds]
    widths = [float(one.attributes["width"].rstrip("%")) for one in bars]
    assert widths[1] > widths[0] > widths[3] > widths[2] > 0
    assert widths[1] - widths[0] == pytest.approx(widths[0] - widths[2], abs=0.1)
    labels = [one.text for one in page.find("text") if "dim" not in one.kinds]
    assert labels == ["None", "zero", "0.001", "1", "1e-06", "2e-06, 3 not finite"]
    stories = [one.attributes.get("aria-label") for one in page.find("svg")]
    assert stories[0] == "a: before None, after zero"
    assert page.find("text", "dim")[0].text == "1"


@pytest.mark.parametrize("norms", [(0.0, 0.0), (1e-300, 1e300), (float("inf"), 1.0), (5e-324, 5e-324)])
def test_extreme_norms_stay_inside_the_picture(norms: tuple[float, float]) -> None:
    page = Page(pictures.gradients([change("w", value(norms[0]), value(norms[1]))], gradient))
    for one in page.find("rect"):
        end = float(one.attributes["x"].rstrip("%")) + float(one.attributes["width"].rstrip("%"))
        assert 0 < end <= 86
    assert len([one for one in page.find("text", "dim") if one.text]) <= 7


def test_the_line_of_what_is_kept_rises() -> None:
    picture = pictures.line_chart([10, 20, 40], [0, 0], str)
    page = Page(picture)
    heights = [float(one.attributes["cy"]) for one in page.find("circle", "before")]
    assert heights == sorted(heights, reverse=True) and heights[0] - heights[1] == pytest.approx(29)
    assert len({one.attributes["cy"] for one in page.find("circle", "after")}) == 1
    assert [one.text for one in page.find("text")] == ["0", "20", "40", "1", "2", "3"]
    assert "before 10, 20, 40; after 0, 0" in page.find("svg")[0].attributes["aria-label"]


def test_charts_are_left_out_where_nothing_is_kept() -> None:
    assert "No graph is alive after any iteration." in html.comparison(comparison())
    kept = comparison(before=(Kept(3, 2048), Kept(6, 4096)), after=(Kept(0, 0),))
    page = Page(html.comparison(kept))
    assert len(page.find("div", "charts")) == 1
    assert "4.0 KiB" in [one.text for one in page.find("text", "dim")]
    unmeasured = Page(html.comparison(comparison(before=(), after=())))
    assert not unmeasured.find("div", "charts") and "alive" not in unmeasured.find("table")[0].text


def test_a_picture_of_many_parameters_shows_what_differs() -> None:
    same = [change(f"same{index}", value(1.0), value(1.0), Outcome.SAME) for index in range(80)]
    page = Page(html.comparison(comparison(*same, change("changed", NONE, value(1.0)))))
    names = [one.text for one in page.find("span", "name")]
    assert len(names) == 60 and names[0] == "changed"
    assert "21 more parameters are in the table below." in page.find("main")[0].text
    assert "same79" in [one.text for one in page.find("code")]


def test_a_verification_counts_and_sorts() -> None:
    given = [Verdict.NOT_REACHED, Verdict.REFUTED, Verdict.CONFIRMED, Verdict.CONFIRMED]
    page = Page(html.verification([verified(each) for each in given], Recording(level=1), excerpts()))
    tiles = {one.text for one in page.find("div", "tile")}
    assert tiles == {"2CONFIRMED", "0OBSERVED", "0INCONCLUSIVE", "1REFUTED", "1NOT REACHED"}
    badges = [one.text for one in page.find("span", "badge") if "finding" in one.inside]
    assert badges[::2] == ["CONFIRMED", "CONFIRMED", "REFUTED", "NOT REACHED"] and set(badges[1::2]) == {"GRD102"}
    assert [one.text for one in page.find("th")] == ["rule", "", "confirmed", "refuted", "not reached"]
    assert [one.text for one in page.find("td")] == ["GRD102", "missing-no-grad", "2", "1", "1"]


def test_a_finding_is_shown_with_its_source_and_figures() -> None:
    page = Page(html.verification([verified()], Recording(level=1), excerpts()))
    article = page.find("article")[0].text
    assert "train.py:3:5" in article and "ran 14 times" in article and "14 forwards kept 341 MiB" in article
    assert "model(...) builds a graph (likely)" in article
    frame = page.find("pre")[0].text
    assert " 3 | out = model(x)" in frame and "    ^^^^^^^^" in frame
    assert [one.text for one in page.find("span", "evidence")] == ["----- `model(...)` builds a graph"]
    assert page.find("p", "help")[0].text == "do model(...) builds a graph"


def test_a_finding_without_source_has_no_frame() -> None:
    page = Page(html.verification([verified()], Recording(), {}))
    assert page.find("article") and not page.find("pre")


def test_the_recording_is_described() -> None:
    recording = Recording(2, "2.13.0", "3.11.7", ("cpu", "cuda"), 2, 12.34, raised=Raised("ValueError", "no", ()))
    shown = Page(html.verification([], recording, {})).find("main")[0].text
    assert "recorded at level 2 · 12.3 s · on cpu, cuda · 2 ranks · torch 2.13.0 · Python 3.11.7" in shown
    assert "the program ended with ValueError: no" in shown


def test_saved_bytes_are_drawn_by_line() -> None:
    rows = tuple(
        Saved(Place("/elsewhere/x.py", Location(line, column, line, column + 2)), 1, size, 0, 0)
        for line, column, size in [(5, 1, 1024), (5, 9, 1024), (6, 1, 1024)]
    ) + tuple(Saved(Place("/elsewhere/y.py", Location(line, 1, line, 2)), 1, 64, 0, 0) for line in range(1, 17))
    page = Page(html.verification([], Recording(level=3, saved=rows), {}))
    names = [one.text for one in page.find("span", "name")]
    assert names[:2] == ["/elsewhere/x.py:5", "/elsewhere/x.py:6"] and len(names) == 15
    widths = [float(one.attributes["width"].rstrip("%")) for one in page.find("rect", "after")]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert [one.text for one in page.find("text")][:2] == ["2.0 KiB, 50%", "1.0 KiB, 25%"]
    assert "and 3 more lines" in page.find("main")[0].text


def test_unmatched_backticks_stay() -> None:
    assert rich("`a` and `b") == "`a` and `b" and rich("`<a>`") == "<code>&lt;a&gt;</code>"


def test_a_table_in_a_terminal_has_roles_and_shows_only_harmless_text() -> None:
    found = comparison(change(HOSTILE, NONE, value(0.5)), name=HOSTILE, texts=(HOSTILE,))
    assert not set("\x1b\u202e\udcff") & set(text(found))
    roles = {words.strip(): role for line in lines(found) for words, role in line if words.strip()}
    assert roles["CHANGED"] == "error" and roles["gradients:"] == "error" and roles["note:"] == "gutter"
    assert not any("\n" in words for line in lines(found) for words, _ in line)


def test_an_unknown_ending_is_refused(tmp_path: object) -> None:
    with pytest.raises(ComparisonError, match=r"cannot tell the form of 'x.pdf': end it in .html, .json, .txt"):
        comparison().save("x.pdf")
    path = f"{tmp_path}/x.HTML"
    comparison().save(path)
    with open(path, encoding="utf-8") as stream:
        assert stream.read().endswith("</html>\n")
