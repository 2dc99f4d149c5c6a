"""The commands of the developer's bench."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from gradlint.dev import docs as pages
from gradlint.dev import dump as dumping
from gradlint.dev import scaffold
from gradlint.dev.checkout import NoCheckout, checkout


def _root() -> Path:
    try:
        return checkout()
    except NoCheckout as error:
        raise click.ClickException(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tools for people who work on gradlint."""


@main.command()
@click.argument("code")
@click.argument("slug")
def new_rule(code: str, slug: str) -> None:
    """Write the first version of a rule: `new-rule GRD104 grad-mode-misused`."""
    root = _root()
    try:
        written = scaffold.new_rule(root, code, slug)
    except scaffold.ScaffoldError as error:
        raise click.ClickException(str(error)) from error
    for path in written:
        click.echo(f"wrote {path.relative_to(root).as_posix()}")
    click.echo(scaffold.remaining_steps(code))


@main.command()
@click.argument("where", metavar="FILE[:QUALNAME]")
def dump(where: str) -> None:
    """Print the events of a file, or of one function in it, and what the analysis concludes."""
    path, _, qualname = where.rpartition(":") if ":" in Path(where).name else (where, "", "")
    try:
        click.echo(dumping.dump(Path(path), qualname), nl=False)
    except (OSError, SyntaxError, ValueError, LookupError) as error:
        raise click.ClickException(f"{where}: {error}") from error


@main.command()
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def reveal(path: Path, form: str) -> None:
    """Print the gradient modes in force at every call of a function named `reveal_grad_mode`."""
    from gradlint.project.reveal import reveal as probe

    try:
        rows = sorted((line, _ordered(modes)) for line, modes in probe(path.read_text(encoding="utf-8")))
    except (OSError, SyntaxError, ValueError) as error:
        raise click.ClickException(f"{path}: {error}") from error
    if form == "json":
        click.echo(json.dumps([{"line": line, "modes": modes} for line, modes in rows]))
        return
    for line, modes in rows:
        click.echo(f"{path}:{line}: {', '.join(modes) or 'never reached'}")


def _ordered(modes: list[str]) -> list[str]:
    return [mode for mode in ("INHERITED", "ON", "OFF", "INFERENCE") if mode in modes]


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is stale.")
def docs(check: bool) -> None:
    """Write the pages that are generated from the rules."""
    if _write_pages(check) and check:
        sys.exit(1)


def _write_pages(check: bool = False) -> bool:
    """Write the generated pages, or only say which are stale; return whether any was."""
    root = _root()
    try:
        stale = pages.stale(root)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for path, text in stale.items():
        deed = "stale" if check else "removed" if text is None else "wrote"
        click.echo(f"{deed} {path.relative_to(root).as_posix()}")
    if not check:
        pages.write(stale)
    return bool(stale)


@main.command()
def bless() -> None:
    """Rewrite the snapshots and the generated pages. Read the diff: a snapshot is a promise."""
    command = [sys.executable, "-m", "pytest", "-q", "--bless", "-m", "not torch"]
    done = subprocess.run(command, cwd=_root(), check=False)
    _write_pages()
    sys.exit(done.returncode)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def saved_tensors(arguments: tuple[str, ...]) -> None:
    """Write the table of what every operator saves for backward, as the installed torch does it."""
    from gradlint.dev.saved_tensors import main as generate

    sys.exit(generate(list(arguments)))


@main.command()
@click.option("--base", required=True, metavar="REV", help="The revision to compare the working tree with.")
@click.option(
    "--packages", is_flag=True, help="Lint the pinned packages, which is also what is done without --mirrors."
)
@click.option("--only", multiple=True, metavar="NAME", help="Of the packages, only this one (repeatable).")
@click.option(
    "--mirrors",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Lint the newest commits of the git repositories in this folder.",
)
@click.option("--repos", type=click.IntRange(1), metavar="N", help="At most N of them.")
@click.option("--cache", metavar="DIR", help="Where the packages are (else $GRADLINT_BENCHMARKS).")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Processes per run.")
@click.option("--timeout", type=float, default=900.0, show_default=True, metavar="S", help="Seconds per run.")
def ecosystem(
    base: str,
    packages: bool,
    only: tuple[str, ...],
    mirrors: Path | None,
    repos: int | None,
    cache: str | None,
    jobs: int,
    timeout: float,
) -> None:
    """Print what the working tree finds in real code and a revision does not, and the reverse, as Markdown.

    Exits with 1 if the working tree crashes anywhere, and with 0 whatever the differences are.
    """
    from gradlint.dev import ecosystem as comparing
    from gradlint.dev.revisions import RevisionError

    root = _root()

    def say(words: str) -> None:
        click.echo(words, err=True)

    def gather(scratch: Path) -> list[comparing.Tree]:
        trees = comparing.packages(root, only, cache) if packages or only or mirrors is None else []
        return trees + (comparing.repositories(mirrors, repos, scratch, say) if mirrors is not None else [])

    try:
        text, crashed = comparing.run(root, base, gather, jobs=jobs, timeout=timeout, say=say)
    except (comparing.EcosystemError, RevisionError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(text, nl=False)
    sys.exit(1 if crashed else 0)


if __name__ == "__main__":
    main(prog_name="python -m gradlint.dev")
