"""The frame of an HTML report: one file, no network, no scripts, light and dark, also on a phone."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from gradlint.report.sanitise import visible

# Nothing may be loaded, even if something that should have been escaped was not.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1c2330; --soft: #5b6577; --line: #dde1e8;
  --code: #f3f4f7; --red: #b4232c; --redbg: #fdecec; --green: #17693f; --greenbg: #e5f4ea; --amber: #8a5300;
  --amberbg: #fdf1dc; --blue: #1d58c9; --bluebg: #e7effd; --before: #8a96aa; --after: #2563eb; --grid: #e8ebf0; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151b; --card: #1a1f28; --ink: #e6e9ef; --soft: #99a3b5;
  --line: #2d3442; --code: #141820; --red: #ff8f8f; --redbg: #42191d; --green: #77d6a0; --greenbg: #14351f;
  --amber: #f2bd62; --amberbg: #3c2c10; --blue: #8fb6ff; --bluebg: #172b50; --before: #8490a5; --after: #5b93ff;
  --grid: #262d39; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.35rem; margin: 0; line-height: 1.3; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 0 0 .5rem; font-weight: 600; }
p { margin: .3rem 0; }
code, pre, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .86em; }
.soft { color: var(--soft); }
.top { display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; }
.badge { display: inline-block; padding: .1rem .55rem; border-radius: 99px; font-size: .74rem; font-weight: 700;
  letter-spacing: .03em; white-space: nowrap; background: var(--code); color: var(--soft); }
.badge.red { background: var(--redbg); color: var(--red); }
.badge.green { background: var(--greenbg); color: var(--green); }
.badge.amber { background: var(--amberbg); color: var(--amber); }
.badge.blue { background: var(--bluebg); color: var(--blue); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1rem;
  margin: 0 0 .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile .red { color: var(--red); } .tile .green { color: var(--green); } .tile .amber { color: var(--amber); }
.tile .blue { color: var(--blue); }
ul.plain { list-style: none; margin: 0; padding: 0; }
ul.plain li { padding: .3rem 0; overflow-wrap: anywhere; }
ul.plain li + li { border-top: 1px solid var(--line); }
ul.figures { margin: .5rem 0 0; padding-left: 1.1rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top; }
tr:last-child td, tr:last-child th { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; border-bottom: 1px solid var(--line) !important; }
tbody th { font-weight: 500; }
table.wrap td, table.wrap th { white-space: normal; overflow-wrap: anywhere; }
td.num, th.num { text-align: right; }
pre { margin: .6rem 0; padding: .6rem .8rem; background: var(--code); border-radius: 7px; overflow-x: auto;
  line-height: 1.45; tab-size: 4; }
.gutter { color: var(--soft); } .primary { color: var(--red); font-weight: 600; } .evidence { color: var(--blue); }
.path { font-weight: 600; }
.finding h3 { margin: .5rem 0 .1rem; font-size: 1rem; overflow-wrap: anywhere; }
.where { overflow-wrap: anywhere; }
.help::before { content: "help: "; color: var(--green); font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .82rem; color: var(--soft); margin: 0 0 .6rem; }
.key { display: inline-block; width: .8rem; height: .6rem; border-radius: 2px; margin-right: .35rem; }
.key.before { background: var(--before); } .key.after { background: var(--after); }
.key.none { border: 1.5px dashed var(--soft); background: none; }
.key.zero { width: .6rem; border-radius: 50%; border: 2px solid var(--soft); background: none; }
.bars { display: grid; grid-template-columns: minmax(6rem, 17.5rem) 1fr; gap: 0 .8rem; align-items: center; }
.bars .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; direction: rtl; text-align: left; }
.bars .same { color: var(--soft); }
svg { display: block; width: 100%; overflow: visible; }
svg text { fill: var(--ink); font-size: 11px; }
svg .dim { fill: var(--soft); }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--line); }
svg .before { fill: var(--before); } svg .after { fill: var(--after); }
svg .none { fill: none; stroke-width: 1.5; stroke-dasharray: 3 2.5; }
svg .zero { fill: var(--card); stroke-width: 2; }
svg .none.before, svg .zero.before, svg line.before { stroke: var(--before); }
svg .none.after, svg .zero.after, svg line.after { stroke: var(--after); }
svg line.before { stroke-width: 5; stroke-linecap: round; opacity: .75; }
svg line.after { stroke-width: 2; stroke-linecap: round; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .9rem; }
.pair .card { margin: 0; }
.charts { margin-bottom: .9rem; }
details summary { cursor: pointer; color: var(--soft); }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 34rem) { main { padding: 1rem .7rem 2rem; } .bars { grid-template-columns: 1fr; gap: 0; }
  .bars .name { margin-top: .35rem; } .card { padding: .75rem .8rem; } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page; ``title`` is text, ``parts`` are HTML."""
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{words(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>"""


def words(text: object) -> str:
    """Return ``text`` as HTML: harmless in an element and in a quoted attribute, and nothing in it invisible."""
    return escape(visible(str(text)))


def badge(text: str, colour: str) -> str:
    """Return a verdict in ``colour``: ``red``, ``green``, ``amber``, ``blue`` or empty."""
    return f'<span class="badge {colour}">{words(text)}</span>'


def rich(text: object) -> str:
    """Return ``text`` as HTML in which what stands between backticks is shown as code."""
    pieces = words(text).split("`")
    if len(pieces) % 2 == 0:
        return "`".join(pieces)
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))


def table(
    heading: Iterable[str], rows: Iterable[Iterable[str]], numbers: frozenset[int] = frozenset(), kind: str = ""
) -> str:
    """Return a table whose cells are HTML already; the columns ``numbers`` are aligned to the right.

    A ``kind`` of ``wrap`` breaks long cells, where they would be scrolled.
    """

    def cells(row: Iterable[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=num' if column in numbers else ''}>{cell}</{tag}>" for column, cell in enumerate(row)
        )

    head = cells(heading, "th")
    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    inner = f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{inner}</table></div>'
