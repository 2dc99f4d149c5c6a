"""The command line. Whatever a command does not need is not imported before it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gradlint import streams
from gradlint.options import configuration, file_options, rule_options
from gradlint.runtime.verify.command import verify

if TYPE_CHECKING:
    from gradlint.config import Config
    from gradlint.engine import Result

FOUND = 1
FAILED = 2
INTERRUPTED = 130
TERMINATED = 143

_RAISE = "GRADLINT_RAISE_INTERNAL_ERRORS"
_FORMATS = ("full", "concise", "json", "sarif", "github")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 clean, 1 findings, 2 misuse or something not analysed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    streams.prepare()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = commands.main(given, prog_name="gradlint", standalone_mode=False)
        streams.flush()
    except click.ClickException as error:
        return _complain(error)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        streams.drop_output()
        return 0
    except OSError as error:
        return _complain(click.ClickException(f"{error.filename or 'the output'}: {error.strerror}"))
    except Exception as error:
        from gradlint.registry import RegistryError

        if not isinstance(error, RegistryError):
            raise
        return _complain(click.ClickException(str(error)))
    finally:
        signal.signal(signal.SIGTERM, previous)
    return code if isinstance(code, int) else 0


class _Commands(click.Group):
    """`gradlint PATH` is `gradlint check PATH`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help", "--version"):
            args = ["check", *args]
        return super().parse_args(ctx, args)


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        import gradlint

        click.echo(f"gradlint {gradlint.__version__}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Find mistakes with PyTorch's autograd, without running the code; `verify` runs it to see which are real.

    `gradlint PATH…` is short for `gradlint check PATH…`.
    """


@commands.command()
@click.argument("paths", nargs=-1)
@rule_options
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out files and folders, written as in .gitignore.")
@click.option("--force-exclude", is_flag=True, help="Leave them out even if they are named on the command line.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="full", show_default=True, help="How to report.")
@click.option("--output-file", "-o", metavar="FILE", help="Write the report to FILE.")
@click.option("--statistics", is_flag=True, help="Show how often each rule was broken instead of where.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if there are findings.")
@click.option(
    "--link/--no-link",
    default=None,
    help="Follow calls from file to file, or take each file for itself.  [default: link]",
)
@file_options
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 256),
    metavar="N",
    help="The number of processes.  [default: one per processor]",
)
@click.option("--no-cache", is_flag=True, help="Accepted for scripts; there is no cache yet.")
@click.option("--stdin-filename", metavar="NAME", help="What to call the text that `-` reads from standard input.")
@click.option("--quiet", "-q", is_flag=True, help="Print findings and nothing else.")
def check(paths: tuple[str, ...], **options: Any) -> int:
    """Check files, and the Python files under folders (default: the current one); `-` is standard input.

    Exits with 0 if nothing was found, 1 if something was, and 2 for misuse and for files that could not be
    analysed.
    """
    from gradlint.config import ConfigError

    try:
        return _check(paths or (".",), options)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def _check(paths: tuple[str, ...], options: dict[str, Any]) -> int:
    if options["statistics"] and options["form"] not in ("full", "concise"):
        raise click.UsageError(f"--statistics has no {options['form']} form; json counts in its summary")
    config = _config(paths, options)
    result = _stdin(paths, config, options) if "-" in paths else _run(paths, config, options)
    _report(result, options)
    if result.failed:
        return FAILED
    return FOUND if result.findings and not options["exit_zero"] else 0


def _config(paths: tuple[str, ...], options: dict[str, Any]) -> Config:
    """Return the configuration of the first path's project."""
    first = (options["stdin_filename"] or ".") if paths[0] == "-" else paths[0]
    return configuration(first if os.path.isdir(first) else os.path.dirname(first) or ".", options)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Keep the current folder out of the imports of workers: those that are not forked start as ``python -c``."""
    given = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = given or "1"
    try:
        yield
    finally:
        if given is None:
            del os.environ["PYTHONSAFEPATH"]


def _run(paths: tuple[str, ...], config: Config, options: dict[str, Any]) -> Result:
    from gradlint.engine import check_paths
    from gradlint.report.progress import progress

    with _safe_path(), progress(sys.stderr, quiet=options["quiet"]) as on_progress:
        result = check_paths(
            paths,
            config,
            jobs=options["jobs"],
            on_progress=on_progress,
            exclude=options["exclude"],
            force_exclude=options["force_exclude"],
            raise_internal_errors=bool(os.environ.get(_RAISE)),
        )
    if not result.files and not options["quiet"]:
        click.echo("warning: no Python files found", err=True)
    return result


def _stdin(paths: tuple[str, ...], config: Config, options: dict[str, Any]) -> Result:
    from gradlint.engine import Result, check_bytes, excludes
    from gradlint.source.discovery import is_excluded
    from gradlint.source.reading import MAX_BYTES

    if len(paths) > 1:
        raise click.UsageError("`-` cannot be checked together with files")
    name = options["stdin_filename"] or "<stdin>"
    if options["force_exclude"] and is_excluded(name, excludes(config, options["exclude"], True)):
        return Result((), 0)
    data = sys.stdin.buffer.read(MAX_BYTES + 1) if sys.stdin is not None else b""
    return check_bytes(data, name, config, raise_internal_errors=bool(os.environ.get(_RAISE)))


def _report(result: Result, options: dict[str, Any]) -> None:
    from gradlint import report

    if not options["output_file"]:
        try:
            report.write(result, options["form"], sys.stdout, options["statistics"], options["quiet"])
            sys.stdout.flush()
        except BrokenPipeError:
            streams.drop_output()
        return
    try:
        with open(options["output_file"], "w", encoding="utf-8", errors="backslashreplace") as stream:
            report.write(result, options["form"], stream, options["statistics"], options["quiet"])
    except OSError as error:
        raise click.ClickException(f"cannot write {options['output_file']}: {error.strerror}") from None


@commands.command()
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to list them."
)
def rules(form: str) -> None:
    """List the rules."""
    from gradlint.report import rule_pages

    rule_pages.write_list(sys.stdout, form)


@commands.command()
@click.argument("rule")
def rule(rule: str) -> None:
    """Explain a rule, given its code or name."""
    from gradlint import registry
    from gradlint.report import rule_pages

    try:
        found = registry.rule(rule)
    except registry.UnknownRule as error:
        raise click.UsageError(str(error)) from None
    rule_pages.write_page(sys.stdout, found)


commands.add_command(verify)


def _complain(error: click.ClickException) -> int:
    from gradlint.report.sanitise import visible

    lines = [f"error: {visible(error.format_message())}"]
    if isinstance(error, click.UsageError) and error.ctx is not None and error.ctx.command is not commands:
        lines.append(f"Try `{error.ctx.command_path} -h` for help.")
    click.echo("\n".join(lines), err=True)
    return FAILED


def _terminate(*_: object) -> NoReturn:
    """Leave through the clean-ups, so that no worker stays behind."""
    sys.exit(TERMINATED)
