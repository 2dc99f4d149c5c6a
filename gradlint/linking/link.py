"""The link phase as the engine drives it: files tell, and are told in return what has changed."""

from __future__ import annotations

from gradlint.linking import turns
from gradlint.linking.interface import EMPTY, Interface, View
from gradlint.linking.lookup import outline
from gradlint.linking.names import Names
from gradlint.linking.reads import Reads, is_news
from gradlint.linking.views import views_and_leads

MOST_TURNS = 3
"""How often files wait for others that they are told of; then all are told whatever has changed."""


class Link:
    """What all files have told so far, and what each was told.

    All files of a round see what the others told in the round before, so neither their order nor the number of
    processes makes a difference.
    """

    def __init__(self) -> None:
        self._interfaces: dict[str, Interface] = {}
        self._names: Names | None = None
        self._reads: dict[str, Reads | None] = {}
        self._told: dict[str, View] = {}
        self._now: dict[str, View] = {}
        self._leads: dict[str, set[str]] = {}
        self._news = False
        self._turns = 0

    def tell(self, interface: Interface, reads: Reads | None = None) -> None:
        """A file tells what others may want to know; what it told before no longer counts.

        ``reads`` is what it looked at of what it was told; None if that is not known.
        """
        self._reads[interface.path] = reads
        known = self._interfaces.get(interface.path)
        if interface == known:
            return
        self._interfaces[interface.path] = interface
        self._news = True
        if known is None or outline(known) != outline(interface):
            self._names = None
        elif self._names is not None:
            self._names.retell(interface)

    def views(self) -> dict[str, View]:
        """Return by path what files are to be told that differs from what they were told before, and looked at.

        Nothing is returned for a file that there is nothing to tell, unless it was told something before. A file waits
        for those of which it is told, if they are to be told something themselves.
        """
        if self._news:
            self._news = False
            self._names = self._names or Names(self._interfaces)
            self._now, self._leads = views_and_leads(self._interfaces, self._names, self._told)
        changed = {path for path, view in self._now.items() if view != self._told.get(path, EMPTY)}
        self._turns += 1
        matters = {path for path in changed if self._is_news(path)}
        waiting = matters - turns.first(matters, self._leads) if self._turns <= MOST_TURNS else set()
        self._told |= {path: self._now[path] for path in changed - waiting}
        return {path: self._now[path] for path in sorted(matters - waiting)}

    def _is_news(self, path: str) -> bool:
        reads = self._reads.get(path)
        return reads is None or is_news(self._told.get(path, EMPTY), self._now[path], reads)
