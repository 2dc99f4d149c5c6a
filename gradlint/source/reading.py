"""Bytes from the disk, and the text in them.

Nothing here trusts the file: it may be a device, gigabytes long, change while it is read, claim a codec that
is none, or hold bytes that are no text.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from dataclasses import dataclass

MAX_BYTES = 10_000_000

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"^[ \t\f]*(?:#.*)?$")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_WIDE_BOMS = ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"))
# Text codecs in name, but quadratic in time (idna, punycode) or no encodings of a whole file (the rest).
_SAVE = "save the file as UTF-8, or exclude it"
_REFUSED = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem"})
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a directory"),
)


class NotReadable(Exception):
    """A file that is not analysed. ``line`` and ``column`` count from 1; ``fault`` is False if it breaks no law."""

    def __init__(
        self, problem: str, line: int = 1, column: int = 1, *, fault: bool = True, remedy: str = "exclude the file"
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column
        self.fault = fault
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file's name as shown, its bytes, and its text with every line end made a line feed, as Python reads it."""

    path: str
    data: bytes
    text: str
    encoding: str


def read(path: str) -> bytes:
    """Return the bytes of the regular file ``path``.

    Raises `NotReadable` if it is anything else, larger than `MAX_BYTES`, or cannot be opened.
    """
    try:
        _require_regular(os.stat(path))
        # O_NONBLOCK: somebody may have put a named pipe in the file's place since.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(path, flags)
        with open(descriptor, "rb", buffering=0) as stream:
            _require_regular(os.fstat(stream.fileno()))
            data = _read_at_most(stream.fileno(), MAX_BYTES + 1)
    except OSError as error:
        raise NotReadable(f"cannot be read: {_reason(error)}", remedy="check the path and its permissions") from None
    except ValueError:
        raise NotReadable("cannot be read: the name holds a NUL character") from None
    require_size(len(data))
    return data


def require_size(size: int) -> None:
    """Raise `NotReadable` if a file of ``size`` bytes is too large to analyse."""
    if size > MAX_BYTES:
        raise NotReadable("not analysed: larger than 10 MB", fault=False)


def decode(path: str, data: bytes) -> SourceFile:
    """Return the text of ``data``, decoded as PEP 263 says. Raises `NotReadable` at the first byte that is no text."""
    for bom, name in _WIDE_BOMS:
        if data.startswith(bom):
            raise NotReadable(f"is encoded in {name}, which Python does not read", remedy=_SAVE)
    nul = data.find(b"\0")
    if nul >= 0:
        raise NotReadable("contains a NUL byte", *_position(data, nul), remedy=_SAVE)
    encoding = _encoding(data)
    body = data[3:] if data.startswith(codecs.BOM_UTF8) else data
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start + len(data) - len(body)
        found = f"byte 0x{data[start]:02x}" if start < len(data) else "the end of the file"
        raise NotReadable(
            f"is not valid {encoding}: unexpected {found}", *_position(data, start), remedy=_SAVE
        ) from None
    except (LookupError, ValueError) as error:
        raise NotReadable(f"cannot be decoded as {encoding}: {error}", remedy=_SAVE) from None
    return SourceFile(path, data, plain(text), encoding)


def plain(text: str) -> str:
    """Return ``text`` with every line end made a line feed; raise `NotReadable` if it holds half a character."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        column = error.start - text.rfind("\n", 0, error.start)
        raise NotReadable(
            f"contains half a character: lone surrogate U+{ord(text[error.start]):04X}", line, column, remedy=_SAVE
        ) from None
    return text


def _encoding(data: bytes) -> str:
    """Return the codec's name as Python spells it."""
    named = _cookie(data)
    if data.startswith(codecs.BOM_UTF8):
        if named is not None and _codec(*named) != "utf-8":
            raise NotReadable(
                f"starts with a UTF-8 mark but declares the encoding `{named[0]}`", named[1], remedy=_SAVE
            )
        return "utf-8"
    return _codec(*named) if named is not None else "utf-8"


def _cookie(data: bytes) -> tuple[str, int] | None:
    """Return the encoding that a comment in the first two lines declares, and the line."""
    start = 3 if data.startswith(codecs.BOM_UTF8) else 0
    for line in (1, 2):
        end = _LINE_END.search(data, start)
        # A cookie further out than this is no cookie; the bound keeps one endless line cheap.
        text = data[start : min(end.start() if end else len(data), start + 4096)]
        match = _COOKIE.match(text)
        if match:
            return match.group(1).decode("ascii", "replace"), line
        if end is None or not _BLANK.match(text):
            return None
        start = end.end()
    return None


def _codec(name: str, line: int) -> str:
    try:
        found = codecs.lookup(name).name
        # Only this tells a codec of text from one of bytes (`hex`) or of strings (`rot13`).
        b"x".decode(found)
    except UnicodeError:
        pass
    except (LookupError, ValueError):
        raise NotReadable(f"declares the unknown text encoding `{name}`", line, remedy=_SAVE) from None
    if found.replace("_", "-") in _REFUSED:
        raise NotReadable(f"declares the encoding `{name}`, which is not read", line, remedy=_SAVE)
    return found


def _position(data: bytes, offset: int) -> tuple[int, int]:
    """Return line and column, from 1, of the byte at ``offset``."""
    before = data[:offset]
    line = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
    start = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
    column = len(before[start:].removeprefix(codecs.BOM_UTF8 if start == 0 else b"").decode("utf-8", "replace")) + 1
    return line, column


def _require_regular(status: os.stat_result) -> None:
    for test, kind in _KINDS:
        if test(status.st_mode):
            raise NotReadable(f"cannot be read: it is {kind}, not a file")
    if stat.S_ISREG(status.st_mode):
        require_size(status.st_size)


def _read_at_most(descriptor: int, limit: int) -> bytes:
    parts: list[bytes] = []
    while limit > 0 and (part := os.read(descriptor, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a symbolic link that points to itself"
    return (error.strerror or "unknown error").lower()
