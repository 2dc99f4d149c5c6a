"""What a rule is: metadata, words, and one generator over facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from gradlint.finding import Certainty, Fix, Severity

if TYPE_CHECKING:
    from gradlint.facts import Elsewhere, Facts
    from gradlint.fix import Source
    from gradlint.ir.events import Span

Because = Sequence["tuple[Span | Elsewhere, str]"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A finding before the engine has turned byte spans into locations and applied the configuration.

    What ``because`` points at may stand in another file.
    ``fact`` is what the rule's `Rule.fix` is given, if the finding is reported at all.
    """

    rule: Rule
    span: Span
    message: str
    help: str
    certainty: Certainty
    because: tuple[tuple[Span | Elsewhere, str], ...]
    fact: object = None

    @property
    def places(self) -> list[Span]:
        """Where the finding lies, and the evidence for it in the same file."""
        return [self.span, *(where for where, _ in self.because if len(where) == 4)]


class Rule(ABC):
    """Base of every rule. The module's docstring is the rule's page; see ``CONTRIBUTING.md`` for its headings.

    ``message`` and ``help`` are templates for `str.format`: lower case, no full stop at the end. ``certainty``
    is the most that a finding of this rule may claim.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    since: ClassVar[str]
    severity: ClassVar[Severity]
    certainty: ClassVar[Certainty]
    message: ClassVar[str]
    help: ClassVar[str]
    executable: ClassVar[bool] = True
    """Whether the examples on the page show what torch does, and can be executed."""
    until: ClassVar[str] = ""
    """The torch in which it is right; the rule runs where the setting ``torch-version`` names an older one."""

    @abstractmethod
    def check(self, facts: Facts) -> Iterator[Draft]:
        """Yield what is wrong in one body, given all that is known about it."""

    def fix(self, fact: Any, source: Source) -> Fix | None:
        """Return how to mend what the finding made from ``fact`` is about.

        None, or `gradlint.fix.NoFix` raised, says that there is no correct edit here. ``source`` is the whole file.
        """
        return None

    def finding(
        self,
        span: Span,
        because: Because = (),
        *,
        fact: object = None,
        certainty: Certainty | None = None,
        message: str | None = None,
        help: str | None = None,  # noqa: A002 - the field's name in every output format
        **words: object,
    ) -> Draft:
        """Make the draft of a finding at ``span``; ``words`` fill the templates, ``because`` is the evidence.

        With ``fact`` the rule is asked for a fix.
        """
        return Draft(
            rule=self,
            span=span,
            message=(message or self.message).format(**words),
            help=(help or self.help).format(**words),
            certainty=max(certainty or self.certainty, self.certainty, key=lambda c: c.rank),
            because=tuple(because),
            fact=fact,
        )


class EngineRule(Rule):
    """What the engine reports about a file or about itself; ``check`` finds nothing.

    It makes no claim about autograd, so the examples on its page are not executed.
    """

    executable: ClassVar[bool] = False

    @final
    def check(self, facts: Facts) -> Iterator[Draft]:
        """Yield nothing: the engine makes these findings where it meets their cause."""
        yield from ()
