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
    *("func.grad", "jacrev(", "jacfwd(", "jvp(", "jit.trace("),
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
    # A function that makes a loss, which something detached enters.
    re.compile(r"def[ \t]+(?:training_step|_*(?:compute|calc(?:ulate)?|get)_(?:\w+_)?loss\w*)[ \t]*\("),
    re.compile(r"target\w*\([^\n]*\)\.detach\(\)"),
    # A module that nobody trains by backward, inside of one that is.
    re.compile(r"self\.\w+\([^\n()]*\)\.detach\(\)"),
    re.compile(r"self\.\w*(?:teacher|target|momentum|ema)_?(?:model|net|network|encoder|backbone|head|module)?\("),
    # An iterator over parameters, and references to them, under a name.
    re.compile(r"=\s*[\w.]+\.(?:(?:named_)?parameters|state_dict)\(\)[ \t]*(?=[#\n])"),
    re.compile(r"\.grad(?:\.\w|\s*=\s*[0-9]|[ \t]*[-+*/]=)"),
    # Two parameters that share their memory, or are made equal.
    re.compile(r"\.weight\.data[ \t]*=[ \t]*[\w.]+\.weight\b"),
    re.compile(r"\.weight\.data\.copy_\([\w.]+\.weight\b"),
    # An optimizer of what is no parameter.
    re.compile(r"optim\.\w+\(\[[^\n]*(?:\.data\b|\.detach\(\))"),
    # A layer, or what is made like one, in a container that is an attribute.
    re.compile(
        r"self\.\w+(?:\.append\(\s*|\[[^\]\n]+\]\s*=\s*|\s*=\s*[\[({]\s*(?:[\"']\w+[\"']:\s*)?)(?:\w+\.)*[A-Z]\w*\("
    ),
    re.compile(
        r"self\.\w+(?:\.append\(\s*|\s*=\s*[\[({]\s*)(?:self\.)?"
        r"(?=\w*(?:layer|conv|block|linear|network|module|encoder|decoder|head|fc|mlp|make|build))_*[a-z]\w*\("
    ),
    re.compile(r"self\.\w+\.append\((?=\w*(?:layer|conv|block|linear|network|module|encoder|decoder|head|fc)\w*\))"),
    # What is detached may become an array.
    re.compile(
        r"\.numpy\(\)(?<!detach\(\)\.numpy\(\))(?<!detach\(\)\.cpu\(\)\.numpy\(\))"
        r"(?<!\.data\.numpy\(\))(?<!\.data\.cpu\(\)\.numpy\(\))"
    ),
    re.compile(r"checkpoint\((?<!\wcheckpoint\()"),
    # A result that is written into a tensor.
    re.compile(r"(?<=[(, \n])out=(?!None\b)[A-Za-z_]"),
    # The methods of a custom function, also as they were written before they were static.
    re.compile(r"ctx(?<!\wctx)(?=[.,)])"),
    re.compile(r"def (?:forward|backward|vjp)\((?!self\b)"),
    re.compile(r"self\.save(?:_for_backward|d_tensors|d_variables)\b"),
    # State that is computed from itself.
    re.compile(
        r"self\.(?=\w*(?:ema|avg|average|running|moving|cent(?:er|re|roid)|best|stat|proto))"
        r"(\w+)[ \t]*=[^=\n][^\n]*self\.\1\b"
    ),
    re.compile(r"(?:ema|avg|average|shadow)\w*\[[^\]\n]+\][ \t]*=[^=\n]"),
    re.compile(r"m(?:ax|in)(?:imum)?\(\s*self\.\w+\s*,"),
    # An optimizer of one's own.
    re.compile(r"in self\.param_groups\b(?<!\win self\.param_groups)"),
    # A recurrent state that is an attribute, and what is computed once.
    re.compile(r"self\.\w*cached?_?\w*[ \t]*=[ \t]*(?!None\b|cached?\b|\w*_?cache\b|[\[{\d])"),
    re.compile(r"self\.(\w+)\)?[ \t]*=[ \t]*self\.\w+\([^\n]*\bself\.\1\b"),
    re.compile(r"if not hasattr\(self, [\"'](\w+)[\"']\):\n\s*self\.\1 *="),
    re.compile(r"if [\"'](\w+)[\"'] not in self\.__dict__:\n\s*self\.\1 *="),
    re.compile(r"if self\.(\w+) is None:\n\s*self\.\1 *=(?! *(?:None|torch\.(?:zeros|ones|arange|tril)|\[|\{))"),
    # A loss that an object keeps.
    re.compile(
        r"self\.(?=[^\n#]*loss)\w+(?:\[[^\]\n]+\])?(?:\.append\(|[ \t]*\+=)(?![^\n]*(?:item|detach|float|len)\()"
    ),
    # A parameter of integers, or one that is moved or changed as soon as it is made.
    re.compile(
        r"Parameter\((?:torch\.(?:tensor|arange|randint|randperm|\w+Tensor)\("
        r"|[^\n]*\)(?:\.(?:to|cuda|double|half|bfloat16|view|reshape|clone|t|unsqueeze|mul|div)\(|[ ][*/][ ]))"
    ),
    # A method that is not called, and the attribute that another one sets.
    re.compile(r"\.eval[ \t]*(?:$|[#=])", re.MULTILINE),
    re.compile(r"\.backward[ \t]*(?:$|#)", re.MULTILINE),
    re.compile(r"\.training\s*=\s*(?:True|False)"),
    # A constant among the parameters, and a method in the place of the module.
    re.compile(r"Parameter\([^\n]*(?:_window\(|from_numpy|arange\(|linspace\(|eye\(|tensor\(\[)"),
    re.compile(r"Parameter\(\s*\w*(?:window|sobel|laplac|gauss|filter|mel|freqs?|grid|anchor|dct|mean|std)"),
    re.compile(r"\.forward\((?<!super\(\)\.forward\()(?<!self\.forward\()"),
    # A hook that may edit what it is given, or return it.
    re.compile(r"\.register_(?:full_backward_(?:pre_)?|backward_|post_accumulate_grad_|forward_)?hook\("),
    # A sum of something detached and something that is not: a straight-through estimate.
    re.compile(r"(?:\.detach\(\)|\.data)[ \t]*[-+][ \t]*\((?=[^\n]*-)"),
    re.compile(r"\+[ \t]*\((?=[^\n]*-[^\n]*\)(?:\.detach\(\)|\.data\b))"),
    re.compile(r"-[ \t]*[\w.]+[ \t]*\+(?=[ \t]*[\w.]+(?:\.detach\(\)|\.data\b))"),
    # The head of a class: its `__call__` infers.
    re.compile(r"Pipeline(?=[\w\s,.]{0,200}\):)"),
]
_BUFFER = re.compile(r"register_buffer\(\s*[\"'](\w+)[\"']")
_UPDATES = r"\b\w*(?:ema|updat|lerp|averag|moving|running|mix|accumul|decay|momentum|blend)\w*"
_STORED_BY_NAME = re.compile(r"self\.register_buffer\((?!\s*[\"'])|setattr\(self,[^\n]*[*+]")
"""The updates of a buffer whose name is a variable."""
_ALIAS = re.compile(r"\s+as\s+(\w+)")
_ALIASED = re.compile(r"(\w+)[ \t]*=[ \t]*(?:\w+\.)*\Z")

_IN_PLACE = [re.compile(r"inplace\s*=\s*True"), re.compile(r"\(True\)(?<=U\(True\))")]
_SAVES_OUTPUT = re.compile(
    r"[sS]igmoid|[tT]anh|[sS]oftmax|(?<!math)\.(?:exp|r?sqrt)\(|requires_grad|[dD]ropout\w*\([^\n)]*inplace|F\.relu\(|ReLU6?\(\)"
)
"""What an in-place layer could spoil: a result that was saved, or a leaf."""
_SECOND_NAME = re.compile(r"\b(?:identity|residual|shortcut|skip\w*|res|x0|x_in|orig\w*)[ \t]*=[ \t]*\w+[ \t]*\n")
"""An input under a second name, which an in-place layer would overwrite as well."""

_SINGULAR = re.compile(
    r"\b(?:log|log2|log10|log1p|r?sqrt|pow|reciprocal|a(?:rc)?(?:cos|sin)|atanh|div)\(| /|\*\* ?-?0?\."
)
"""What has no finite derivative somewhere."""
_TAKES_OUT = [
    re.compile(r"torch\.(?<!\wtorch\.)(?:where|nan_to_num)\((?!.{0,24}\)[\[ \n])"),
    re.compile(r"\.nan_to_num\("),
]
"""What takes out the elements for which that matters."""
_FILLED = re.compile(r"(?:\blog\w*\(|sqrt\(|reciprocal\(|/)[^\n]*\.masked_fill\(")
"""The same, in the line that computes it."""
_TO_ITSELF = re.compile(r"\.sqrt\((?:\)|(?<=torch\.sqrt\())")

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

_TRANSFORM = re.compile(r"(?<![.\w])(?:grad|grad_and_value|vjp|vhp|hvp|hessian|jacobian)\(")
_TWICE = ("create_graph", "hessian(", "hvp(", "vhp(", "gradgradcheck(")
_SETS_TO_VARIABLE = re.compile(r"set_grad_enabled\((?:mode=)?(?!True|False|None)[a-z_]\w*\)")
_DEFINED = re.compile(r"def[ \t]+(\w+)")
_FILLED_ONCE = re.compile(r"if (?:not hasattr\(self, ?[\"'])?(?:self\.)?(\w+)(?: is None|[\"']\)):\s+self\.\1[ \t]*=")
"""What is computed where an attribute is still empty: the first call decides in which mode."""
_CUSTOM_FUNCTION = re.compile(r"class (\w+)\([\w.]*\bFunction\)")

_FORWARD = re.compile(r"\n[ \t]+def forward\(")
_MAKES_ITEM = re.compile(r"def (?:__getitems?__|\w*collate\w*)\(")
_CALLS_MODEL = re.compile(r"\b\w*(?:model|net|enc|encoder|extractor|backbone|vae|clip|embedder|bert)\(")
_NEXT_FUNCTION = re.compile(r"\n[ \t]*(?:def |class |@)")
_CONSTRUCTOR = re.compile(r"\n[ \t]+def __init__\(")
_PLAIN_TENSOR = re.compile(r"self\.(\w+)\s*=\s*(?:\w+\.)?(?:empty|zeros|ones|randn?|(?:Float)?Tensor)\(")
_FILLED = re.compile(r"\w_\(\s*self\.(\w+)")
_OWN_PARAMETER = re.compile(r"self\.(\w+)\s*=\s*(?:torch\.)?(?:nn\.)?Parameter\(")
_RUNS_MODEL = re.compile(
    r"\.(?:posterior|encode_(?:image|text|audio|video)s?|get_\w*features)\("
    r"|=\s*(?:\w+\.)*(?:\w+_)?(?:model|net|network|encoder|decoder|backbone|extractor|generator|teacher|student|bert|vae)\("
)
_MAKES_LAYER = re.compile(
    r"\b(?:nn\.)?(?:Parameter|Linear|Conv[123]d|ConvTranspose[123]d|Embedding|LSTM|GRU|\w+Norm\w*)\("
)

_CONSTANT_LOSS = re.compile(
    r"(?:\breturn|loss\w*[ \t]*=)[ \t]*(?:torch\.(?:tensor|zeros)\(|\w+\.new_(?:zeros|tensor)\(|0(?:\.0*)?(?![\w.]))"
)
"""A loss that is a constant where there is nothing to learn from."""

FRAMEWORKS = (
    b"torch",
    b"register_forward_hook",
    b".zero_grad(",
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
    yield from _handing_in(text)
    yield from _edits(text)
    yield from _made_in_forward(text)
    yield from _run_by_constructor(text)
    yield from _computed_once(text)
    yield from _past_apply(text)
    if "torch.func" in text or "functorch" in text or "autograd.functional" in text:
        yield from (match.start() for match in _TRANSFORM.finditer(text))
    if "inference_mode" in text:
        yield from (match.start() for match in _FILLED_ONCE.finditer(text))
    yield from _taken_out(text)
    if ".backward(" in text:
        yield from (match.start() for match in _CONSTANT_LOSS.finditer(text))
    if "register_buffer" in text:
        yield from _buffers(text)
    yield from _items(text)
    yield from _drawn(text)
    layers = [match.start() for word in _IN_PLACE for match in word.finditer(text)]
    if layers and (_SAVES_OUTPUT.search(text) or _SECOND_NAME.search(text)):
        yield from layers


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


def _handing_in(text: str) -> Iterator[int]:
    """The calls of functions that set the mode to a variable, which may be what they are handed."""
    heads = (text.rfind("def ", 0, match.start()) for match in _SETS_TO_VARIABLE.finditer(text))
    names = {found.group(1) for start in heads if start >= 0 and (found := _DEFINED.match(text, start)) is not None}
    for name in sorted(names - {"__init__"}):
        for match in re.finditer(rf"(?<!def ){name}\(", text):
            yield match.start()


def _buffers(text: str) -> Iterator[int]:
    """The updates of buffers: by a helper, through a variable, or by name."""
    names = "|".join(sorted({match.group(1) for match in _BUFFER.finditer(text)}))
    if names:
        stored = rf"self\.({names})[ \t]*=[ \t]*(?:\w+[ \t]*(?:#|$)|[^\n]*self\.\1\b)"
        for match in re.finditer(rf"{stored}|{_UPDATES}\(\s*self\.(?:{names})\b", text, re.MULTILINE):
            yield match.start()
        for match in _STORED_BY_NAME.finditer(text):
            yield match.start()


def _drawn(text: str) -> Iterator[int]:
    """The plain tensors that become attributes and are filled by a function."""
    filled = {match.group(1) for match in _FILLED.finditer(text)}
    yield from (match.start() for match in _PLAIN_TENSOR.finditer(text) if match.group(1) in filled)


def _taken_out(text: str) -> Iterator[int]:
    """What takes elements out of what may have no finite derivative there, and the roots of sums."""
    found = [match.start() for word in _TAKES_OUT for match in word.finditer(text)]
    if found and _SINGULAR.search(text):
        yield from found
    if ".masked_fill(" in text:
        yield from (match.start() for match in _FILLED.finditer(text))
    for match in _TO_ITSELF.finditer(text):
        if ".sum(" in text[max(0, match.start() - 200) : match.end() + 200]:
            yield match.start()


def _past_apply(text: str) -> Iterator[int]:
    """The uses of the text's own custom functions that go past ``apply``, or give it a container.

    In a text that differentiates twice all of their uses: a gradient may go through ``apply``.
    """
    names = {head.group(1) for head in _CUSTOM_FUNCTION.finditer(text)}
    use = r"\b" if any(word in text for word in _TWICE) else r"(?:(?:\.forward)?\(|\.apply\(\s*[\[({])"
    for name in names:
        for match in re.finditer(rf"\b(?<!class ){name}{use}", text):
            yield match.start()


def _made_in_forward(text: str) -> Iterator[int]:
    """The layers and parameters that a ``forward`` makes."""
    for head in _FORWARD.finditer(text):
        following = _NEXT_FUNCTION.search(text, head.end())
        for match in _MAKES_LAYER.finditer(text, head.end(), following.start() if following else len(text)):
            yield match.start()


def _run_by_constructor(text: str) -> Iterator[int]:
    """The forwards of models that a constructor runs."""
    for head in _CONSTRUCTOR.finditer(text):
        following = _NEXT_FUNCTION.search(text, head.end())
        for match in _RUNS_MODEL.finditer(text, head.end(), following.start() if following else len(text)):
            yield match.start()


def _computed_once(text: str) -> Iterator[int]:
    """Where constructors compute something from their parameters, and where else the text mentions that."""
    names = "|".join(sorted({match.group(1) for match in _OWN_PARAMETER.finditer(text)}))
    if not names:
        return
    made = re.compile(
        rf"self\.(?!(?:{names})\b)(\w+)[ \t]*=[ \t]*(?!nn\.)"
        rf"[^\n#]*self\.(?:{names})\b(?!\.(?:data|shape|size|numel|device|dtype|detach))"
    )
    found: set[str] = set()
    for head in _CONSTRUCTOR.finditer(text):
        following = _NEXT_FUNCTION.search(text, head.end())
        for match in made.finditer(text, head.end(), following.start() if following else len(text)):
            found.add(match.group(1))
    for name in sorted(found):
        for match in re.finditer(rf"self\.{name}\b", text):
            yield match.start()


def _items(text: str) -> Iterator[int]:
    """The functions that make the items and batches of a dataset, if they call a model or the file makes leaves."""
    for head in _MAKES_ITEM.finditer(text):
        following = _NEXT_FUNCTION.search(text, head.end())
        end = following.start() if following else len(text)
        if "requires_grad" in text or _CALLS_MODEL.search(text, head.end(), end):
            yield head.start()


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
