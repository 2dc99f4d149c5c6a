"""The command ``gradlint verify``. Torch is imported when it runs, and not before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TextIO

import click

from gradlint import streams
from gradlint.options import configuration, file_options, rule_options

if TYPE_CHECKING:
    from gradlint.config import Config
    from gradlint.runtime.verify.program import Program
    from gradlint.runtime.verify.verification import Verification

FOUND = 1

_FORMS = ("full", "json", "sarif", "html")


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="(SCRIPT | -m MODULE | FILE::FUNCTION) [ARGS]...")
@click.option("--module", "-m", "is_module", is_flag=True, help="Run a module, as `python -m MODULE` does.")
@click.option("--rule", metavar="RULES", help="Run the examples on the pages of these rules instead of a program.")
@click.option(
    "--fix",
    is_flag=True,
    help="Run it again without and with the fix of each finding, made in memory, and compare the gradients.",
)
@click.option(
    "--level",
    type=click.IntRange(0, 3),
    default=3,
    show_default=True,
    help="How closely to watch: 0 gradient modes and graphs, 1 calls that matter, 2 every call, 3 saved tensors.",
)
@click.option("--format", "form", type=click.Choice(_FORMS), default="full", show_default=True, help="How to report.")
@click.option("--output-file", "-o", metavar="FILE", help="Write the report to FILE.")
@rule_options
@click.option("--include", multiple=True, metavar="PACKAGE", help="Lint this installed package, too.")
@click.option(
    "--device", multiple=True, metavar="DEVICE", help="Where FILE::FUNCTION and --rule make their tensors: cpu, cuda."
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 even if findings are confirmed.")
@file_options
@click.option("--quiet", "-q", is_flag=True, help="Print verdicts and nothing else.")
def verify(program: tuple[str, ...], **options: Any) -> int:
    """Run a program, and say of each finding in the code that ran whether the run shows the mistake.

    Options stand before the program; all that follows it is the program's own.

    The report comes behind what the program prints. With json, sarif and html and no --output-file, what the program
    prints goes to standard error, so that standard output holds the report alone.

    Exits with the program's own code if that is not 0; else with 1 if a finding was confirmed, and 2 for misuse.
    """
    from gradlint.config import ConfigError

    try:
        return _rule(program, options) if options["rule"] else _verify(program, options)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def _rule(program: tuple[str, ...], options: dict[str, Any]) -> int:
    if program or options["fix"]:
        raise click.UsageError("--rule runs the examples of a rule's page, and no program or fix")
    _require_torch()
    from gradlint.runtime.verify import rule_check

    with _report(options, divert=False) as stream:
        return rule_check.run(options["rule"], options["form"], options["device"] or None, stream)


def _verify(words: tuple[str, ...], options: dict[str, Any]) -> int:
    from gradlint.runtime.verify.program import NotRunnable

    try:
        program = _program(words, options)
        config = configuration(program.folder, options)
        _require_torch()
        _require_device(program.device)
        with _report(options, divert=options["form"] != "full") as stream:
            streams.put_back()
            environment = dict(os.environ)  # the program may change it
            code, found = _run(program, config, options)
            if found is None:
                return code
            streams.flush()
            if options["fix"]:
                code, found = _proved(program, code, found, options, environment)
            from gradlint.report import verdicts

            verdicts.write(found, options["form"], stream, options["quiet"])
    except NotRunnable as error:
        raise click.UsageError(str(error)) from None
    return code or (FOUND if found.is_confirmed and not options["exit_zero"] else 0)


def _program(words: tuple[str, ...], options: dict[str, Any]) -> Program:
    """Return the program that the words behind the options name. Raises `NotRunnable` if there is no such file."""
    from gradlint.runtime.verify.program import parse

    if not words:
        raise click.UsageError("name a script, a module with -m, or FILE::FUNCTION")
    program = parse(words, options["is_module"])
    program.require()
    if not options["device"]:
        return program
    if not program.function:
        raise click.UsageError("--device is for FILE::FUNCTION and --rule; a program chooses its devices itself")
    if len(options["device"]) > 1:
        raise click.UsageError("a function runs on one device; name one")
    return replace(program, device=options["device"][0])


def _run(program: Program, config: Config, options: dict[str, Any]) -> tuple[int, Verification | None]:
    from gradlint.runtime.verify.distributed import RendezvousError
    from gradlint.runtime.verify.verification import verify_program

    say = None if options["quiet"] else _say
    try:
        return verify_program(program, config, level=options["level"], include=options["include"], say=say)
    except RendezvousError as error:
        raise click.ClickException(str(error)) from None


def _proved(
    program: Program, code: int, found: Verification, options: dict[str, Any], environment: dict[str, str]
) -> tuple[int, Verification]:
    """Try the fixes, unless the program was stopped; whoever stops this gets the report without them."""
    from gradlint.runtime.verify.differential import prove
    from gradlint.runtime.verify.run import STOPPED, exit_code

    if code in STOPPED:
        return code, found
    try:
        say = None if options["quiet"] else _say
        verified = prove(program, found.verified, include=options["include"], environment=environment, say=say)
    except (KeyboardInterrupt, SystemExit) as stop:
        return exit_code(stop), found
    return code, replace(found, verified=tuple(verified))


def _say(words: str) -> None:
    with suppress(ValueError):  # the program has closed the stream
        click.echo(f"gradlint: {words}", err=True)


def _require_torch() -> None:
    if find_spec("torch") is None:
        raise click.ClickException("verify needs PyTorch: pip install 'torch-gradlint[runtime]'")
    try:
        import_module("torch")
    except Exception as error:
        raise click.ClickException(f"PyTorch cannot be imported: {error}") from None


def _require_device(name: str) -> None:
    from gradlint.runtime.devices import NoSuchDevice, chosen

    try:
        chosen([name])
    except NoSuchDevice as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def _report(options: dict[str, Any], divert: bool) -> Iterator[TextIO]:
    """Yield where the report goes, opened before the program runs: it may move, close or replace what is there now.

    With ``divert`` and no file for the report, what the program prints goes to standard error.
    """
    from gradlint.runtime.verify.distributed import ranks

    path, own = options["output_file"], ranks()
    try:
        if path and (own is None or own.rank == 0):
            stream: TextIO = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        else:
            stream = streams.second_output(divert and not path)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        streams.drop_output(stream)
    finally:
        stream.close()
