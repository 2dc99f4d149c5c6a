"""The words that make a text worth analysing.

They decide what is never looked at, so they err on the side of looking: code without any of them cannot
contain what a rule reports.
"""

from __future__ import annotations

import re

_WORDS = r"""
  no_grad | enable_grad | set_grad_enabled | inference_mode | is_grad_enabled | GradMode
| requ?i?re?s?d?_?grads?
| zero_grad | backward | autograd | detach | retain_graph | create_graph | optim | inplace
| \.(?:grad\b | data\b | eval\( | train\( | step\()
| Parameter\( | append\( | \n\s*(?:[\w.]+\.)?autocast\(
| _\((?<=[^\W_]_\()
| =(?:(?<=[^-+*/@|&^%=<>!][-+*/@|&^%]=) | (?<=\*\*=) | (?<=//=))(?!=)
| \](?=\s*=[^=])
"""

GRADIENT_WORDS: re.Pattern[str] = re.compile(_WORDS, re.VERBOSE)
"""A text that this does not find anything in says nothing about gradients."""

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
)
"""Every file that uses torch mentions one of these."""

_WORDS_IN_BYTES = re.compile(_WORDS.encode("ascii"), re.VERBOSE)


class Prefilter:
    """Tells from the bytes of a file whether it is worth parsing."""

    def search(self, data: bytes) -> bool:
        """Whether ``data`` mentions torch, or a framework on top of it, and says something about gradients."""
        return any(name in data for name in FRAMEWORKS) and _WORDS_IN_BYTES.search(data) is not None


PREFILTER = Prefilter()
