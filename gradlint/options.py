"""What several commands share: the options that choose rules and settings, and the configuration they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from gradlint.config import Config
    from gradlint.finding import Certainty

_Command = TypeVar("_Command", bound=Callable[..., Any])


def rule_options(command: _Command) -> _Command:
    """Add ``--select``, ``--ignore`` and ``--min-certainty``."""
    return _with(
        command,
        click.option(
            "--select",
            "-s",
            multiple=True,
            metavar="RULES",
            help="Report only these: codes, beginnings (GRD1) or names, separated by commas.",
        ),
        click.option("--ignore", "-i", multiple=True, metavar="RULES", help="Do not report these."),
        click.option(
            "--min-certainty",
            type=click.Choice(["certain", "likely", "possible"]),
            help="How sure a finding must be.  [default: likely]",
        ),
    )


def file_options(command: _Command) -> _Command:
    """Add ``--config`` and ``--isolated``."""
    return _with(
        command,
        click.option(
            "--config",
            "config_file",
            metavar="FILE",
            help="Take the settings from this pyproject.toml or gradlint.toml.",
        ),
        click.option("--isolated", is_flag=True, help="Use no configuration file."),
    )


def _with(command: _Command, *options: Callable[[_Command], _Command]) -> _Command:
    # Decorators apply from the last to the first, and the help lists options in the order of the source.
    for option in reversed(options):
        command = option(command)
    return command


def configuration(folder: str, options: dict[str, Any]) -> Config:
    """Return the configuration in force in ``folder``, with the command line's choices in place of its own.

    Raises `gradlint.config.ConfigError` for settings that cannot be followed.
    """
    from gradlint import config
    from gradlint.finding import Certainty

    if options["isolated"] and options["config_file"]:
        raise click.UsageError("--isolated and --config contradict each other")
    if options["isolated"]:
        found = config.Config()
    elif options["config_file"]:
        loaded = config.load(options["config_file"])
        if loaded is None:
            raise config.ConfigError(f"{options['config_file']}: has no [tool.gradlint]")
        found = loaded
    else:
        found = config.find(folder)
    changes: dict[str, object] = {}
    for key in ("select", "ignore"):
        chosen = tuple(rule.strip() for each in options[key] for rule in each.split(",") if rule.strip())
        if chosen:
            config.expand(chosen, f"--{key}")
            changes[key] = chosen if key == "select" else (*found.ignore, *chosen)
    if options.get("link") is not None:
        changes["link"] = options["link"]
    certainty: Certainty | None = options["min_certainty"] and Certainty(options["min_certainty"])
    if certainty is not None:
        changes["min_certainty"] = certainty
    return replace(found, **changes)  # type: ignore[arg-type]
