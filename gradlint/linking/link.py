"""The link phase as the engine drives it: files tell, and are told in return what has changed."""

from __future__ import annotations

from gradlint.linking import turns
from gradlint.linking.interface import EMPTY, Interface, View, encode
from gradlint.linking.names import Names
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
        self._told: dict[str, View] = {}
        self._now: dict[str, View] = {}
        self._leads: dict[str, set[str]] = {}
        self._news = False
        self._turns = 0

    def tell(self, interface: Interface) -> None:
        """A file tells what others may want to know; what it told before no longer counts."""
        if interface != self._interfaces.get(interface.path):
            self._interfaces[interface.path] = interface
            self._news = True

    def views(self) -> dict[str, bytes]:
        """Return by path, encoded, what files are to be told that differs from what they were told before.

        Nothing is returned for a file that there is nothing to tell, unless it was told something before. A file waits
        for those of which it is told, if they are to be told something themselves.
        """
        if self._news:
            self._news = False
            self._now, self._leads = views_and_leads(self._interfaces, Names(self._interfaces), self._told)
        changed = {path for path, view in self._now.items() if view != self._told.get(path, EMPTY)}
        self._turns += 1
        if self._turns <= MOST_TURNS:
            changed = turns.first(changed, self._leads)
        self._told |= {path: self._now[path] for path in changed}
        return {path: encode(self._now[path]) for path in sorted(changed)}
