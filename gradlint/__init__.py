"""gradlint, a linter that knows PyTorch's autograd. The names in ``__all__`` are the public interface.

Nothing is imported before it is asked for: `import gradlint` loads no other module, not even of the standard
library, which matters when the first entry of `sys.path` is a folder nobody trusts (see ``__main__``).

PYTEST_DONT_REWRITE: pytest rewrites the asserts of packages that have plugins, and warns of those imported before it,
as this one is under `gradlint verify -m pytest`; projects that turn warnings into errors could not be run then.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradlint.config import Config, ConfigError
    from gradlint.engine import Result, check_paths, check_source
    from gradlint.facts import Facts
    from gradlint.finding import Certainty, Edit, Evidence, Finding, Fix, Location, Safety, Severity
    from gradlint.rule import Draft, Rule
    from gradlint.source.positions import Excerpt

    __version__: str

__all__ = [
    "Certainty",
    "Config",
    "ConfigError",
    "Draft",
    "Edit",
    "Evidence",
    "Excerpt",
    "Facts",
    "Finding",
    "Fix",
    "Location",
    "Result",
    "Rule",
    "Safety",
    "Severity",
    "check_paths",
    "check_source",
]

_HOMES = {
    "gradlint.config": ("Config", "ConfigError"),
    "gradlint.engine": ("Result", "check_paths", "check_source"),
    "gradlint.facts": ("Facts",),
    "gradlint.finding": ("Certainty", "Edit", "Evidence", "Finding", "Fix", "Location", "Safety", "Severity"),
    "gradlint.rule": ("Draft", "Rule"),
    "gradlint.source.positions": ("Excerpt",),
}


def __getattr__(name: str) -> object:
    """Import the module that defines a public name when the name is first used (PEP 562)."""
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("torch-gradlint")
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__, "__version__"})
