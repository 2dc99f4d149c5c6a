r"""Makes text from file names, source and messages harmless, by where it goes.

A file name may hold a line feed and a forged ``::error`` command, a comment escape sequences that repaint the
terminal or bidirectional marks that reorder what is read. All of these become visible as ``\x1b`` or ``\u202e``.
"""

from __future__ import annotations

import re

_INVISIBLE = re.compile(
    "["
    "\x00-\x08\x0a-\x1f\x7f-\x9f\xad"  # C0 without the tab, DEL, C1, soft hyphen
    "\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidirectional, zero-width, separators
    "\ud800-\udfff"  # halves of characters: bytes of file names that are no text
    "\U000e0000-\U000e007f"  # tags
    "]"
)


def visible(text: str) -> str:
    """Return ``text`` on one line, with every character that cannot be seen written as an escape. Tabs stay."""
    return _INVISIBLE.sub(_escape, text)


def github_data(text: str) -> str:
    """Return ``text`` as the message of a workflow command."""
    return visible(text).replace("%", "%25")


def github_property(text: str) -> str:
    """Return ``text`` as the value of a property of a workflow command."""
    return github_data(text).replace(":", "%3A").replace(",", "%2C")


def sarif_text(text: str) -> str:
    """Return ``text`` as a SARIF message, in which ``[words](target)`` would be a link."""
    return visible(text).replace("](", "] (")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:
        # How Python keeps a byte that it could not decode.
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
