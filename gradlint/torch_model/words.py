"""The words that make a text worth analysing.

They decide what is never looked at, so they err on the side of looking: code without any of them cannot contain
what a rule reports. Most files that use torch are models, which build layers and call them; what a finding needs
besides is a grad mode, a backward, a flag, an evaluation, or an in-place edit of what may be a tensor.

A text is searched once per word, for a pattern that begins with a plain string is found a hundred times faster than
one branch of a large alternation.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from gradlint.torch_model import roles

_SWITCHES = ("no_grad", "enable_grad", "set_grad_enabled", "inference_mode")
_PLAIN = (
    *_SWITCHES,
    *("grad_enabled", "GradMode", "zero_grad", "autograd", "retain_graph", "create_graph"),
    *(".eval(", ".step(", "autocast("),
)
_EVALUATIONS = "|".join(
    pattern.pattern.replace("^", "").replace("$", "")
    for pattern in (roles.EVALUATION, roles.ACTS, roles.INFERS, roles.DECODES)
)
_WORDS = [
    *map(re.compile, map(re.escape, _PLAIN)),
    re.compile(r"requ?i?re?s?d?_?grads?"),
    re.compile(r"\.train\((?!\)|mode|self\.|True)"),
    # Not the word in prose.
    re.compile(r"backward(?:_\w+)?(?=\s*[(),])"),
    # A method that edits in place. Those of `nn.init` run with gradients off, those of `.data` are not recorded.
    re.compile(r"\.(?<!init\.)(?<!\.data\.)[a-z_]\w*[a-z]_\("),
    re.compile(r"for [^\n:]+? in [^\n:]*(?:loader|dataset|batch|batches|data_iter|_dl|_iter|_set|_data)s?\b"),
    re.compile(rf"def[ \t]+(?:{_EVALUATIONS})[ \t]*\("),
    # The head of a class: its `__call__` infers.
    re.compile(r"Pipeline(?=[\w\s,.]{0,200}\):)"),
]
_ALIAS = re.compile(r"\s+as\s+(\w+)")
_ALIASED = re.compile(r"(\w+)[ \t]*=[ \t]*(?:\w+\.)*\Z")

_IN_PLACE = [re.compile(r"inplace\s*=\s*True"), re.compile(r"\(True\)(?<=U\(True\))")]
_SAVES_OUTPUT = re.compile(
    r"[sS]igmoid|[tT]anh|[sS]oftmax|(?<!math)\.(?:exp|r?sqrt)\(|requires_grad|[dD]ropout\w*\([^\n)]*inplace|F\.relu\(|ReLU6?\(\)"
)
"""What an in-place layer could spoil: a result that was saved, or a leaf."""

_AUGMENTED = re.compile(r"=(?<=[-+*/@%&|^]=)(?!=)")
_ITEM = re.compile(r"\](?=[ \t]*=[^=])")
_NUMBER = re.compile(
    r"""(?:idx|index|count|stride|dilation|offset|dim|dims|size|depth|blocks|stages|layers|modules|info|text|string|str
    |names?|path|ch|chs|channels|width|height|msg|params|features|cur|keys|lines|steps?|epochs?|num_\w+|n_\w+|_num
    |\b[ijkn]|["']\])[ \t]*[-+*/@%&|^]{1,2}\Z""",
    re.VERBOSE,
)
"""The end of the left side of an augmented assignment to what is plainly a number, a string or a list."""
_TEXT_OR_LIST = re.compile(r"[ \t]*(?:[\[\"']|[rf][\"']|len\(|list\(|tuple\(|dict\(|str\(|range\()")
_ENTRY = re.compile(
    r"""^[ \t]*(?!else\b|try\b|finally\b)[\w.]+[ \t]*: | ^[ \t]*(?:async[ \t]+)?def[ \t]
    | (?:dict|cfgs?|kwargs|map|cache|meta|config|state|group|groups|sizes?|shape|args|options)\[[^\n]*\Z
    |\[[^\n]*["'][^\n]*\Z | \[(?:k|key|name|\w+_(?:k|key|name|id))\Z""",
    re.VERBOSE,
)
"""The left side of an assignment to an entry of what is plainly a dict or a list, and an annotation."""
_NO_TENSOR = re.compile(r"\][ \t]*=[ \t]*(?:[\[\"'{]|[rf][\"']|None\b|nn\.|len\(|list\(|tuple\(|dict\(|str\()")

FRAMEWORKS = (
    b"torch",
    b"lightning",
    b"accelerate",
    b"transformers",
    b"timm",
    b"fabric",
    b"deepspeed",
    b"ignite",
    b"fastai",
    b"skorch",
    b"captum",
    b"stable_baselines3",
    b"mmengine",
    b"fairseq",
)
"""Every file that uses torch mentions one of these."""


class Places:
    """Where a text says something about gradients."""

    def __init__(self, text: str) -> None:
        self._starts = sorted(_places(text))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def within(self, start: int, end: int) -> list[int]:
        """The places from ``start`` up to ``end``, which is left out."""
        return self._starts[bisect_left(self._starts, start) : bisect_left(self._starts, end)]


def mentions_torch(data: bytes) -> bool:
    """Whether the file ``data`` mentions torch, or a framework on top of it."""
    return any(name in data for name in FRAMEWORKS)


def _places(text: str) -> Iterator[int]:
    for word in _WORDS:
        for match in word.finditer(text):
            yield match.start()
    yield from _aliases(text)
    yield from _edits(text)
    if any(word.search(text) for word in _IN_PLACE) and _SAVES_OUTPUT.search(text):
        for word in _IN_PLACE:
            for match in word.finditer(text):
                yield match.start()


def _aliases(text: str) -> Iterator[int]:
    """The uses of the text's own names for what switches the mode."""
    names: set[str] = set()
    for switch in map(re.compile, _SWITCHES):
        for used in switch.finditer(text):
            imported = _ALIAS.match(text, used.end())
            assigned = _ALIASED.match(text, text.rfind("\n", 0, used.start()) + 1, used.start())
            names.update(found.group(1) for found in (imported, assigned) if found)
    for name in sorted(names):
        for match in re.finditer(rf"{name}\b", text):
            yield match.start()


def _edits(text: str) -> Iterator[int]:
    """The augmented assignments and assignments to items that may edit a tensor."""
    for match in _AUGMENTED.finditer(text):
        start = match.start()
        line = text.rfind("\n", 0, start) + 1
        if not _NUMBER.search(text[line:start]) and not _TEXT_OR_LIST.match(text, match.end()):
            yield start
    for match in _ITEM.finditer(text):
        start = match.start()
        line = text.rfind("\n", 0, start) + 1
        if not _ENTRY.search(text[line:start]) and not _NO_TENSOR.match(text, start):
            yield start
