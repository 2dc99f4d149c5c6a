"""The link phase as the engine drives it: files tell, and are told in return what has changed."""

from __future__ import annotations

from gradlint.linking.interface import EMPTY, Interface, View, encode
from gradlint.linking.names import Names
from gradlint.linking.views import views


class Link:
    """What all files have told so far, and what each was told.

    All files of a round see what the others told in the round before, so neither their order nor the number of
    processes makes a difference.
    """

    def __init__(self) -> None:
        self._interfaces: dict[str, Interface] = {}
        self._told: dict[str, View] = {}
        self._news = False

    def tell(self, interface: Interface) -> None:
        """A file tells what others may want to know; what it told before no longer counts."""
        if interface != self._interfaces.get(interface.path):
            self._interfaces[interface.path] = interface
            self._news = True

    def views(self) -> dict[str, bytes]:
        """Return by path, encoded, what files are to be told that differs from what they were told before.

        Nothing is returned for a file that there is nothing to tell, unless it was told something before.
        """
        if not self._news:
            return {}
        self._news = False
        now = views(self._interfaces, Names(self._interfaces), self._told)
        changed = {path: view for path, view in now.items() if view != self._told.get(path, EMPTY)}
        self._told |= changed
        return {path: encode(view) for path, view in changed.items()}
