"""Modules that are known by two names only: that of what makes them, in code out of sight, and that of the variable.

``model = build_model(config)``, ``net = zoo.ResNet(18).to(device)``: the variable says that it is a module, and the
call says that something was made, rather than computed by a module of that name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradlint.domains.values import RESULT, Obj
from gradlint.torch_model import roles

if TYPE_CHECKING:
    from gradlint.domains.values import Value
    from gradlint.ir import events as ir
    from gradlint.transfer.interpreter import Interpreter

_MADE = (
    r"[A-Z]\w*[a-z]\w*|(?:build|make|create|get|load|init|initiali[sz]e|construct|define|setup|prepare|instantiate|from"
    r"|trace|script)(?:_\w+)?|__dict__\[\.\.\.\]|[A-Z][A-Z_]+\[\.\.\.\]|getattr\(\.\.\.\)"
)
_MOVED = r"\.(?:to|cuda|cpu|half|float|double|bfloat16|train|eval|requires_grad_)\((?:\.\.\.)?\)"
MAKES = re.compile(rf"^(?:[A-Za-z_][\w.]*\.)?(?:{_MADE})\((?:\.\.\.)?\)(?:{_MOVED})*$")
"""The source of a call of a class, or of a function that makes something, and of where the made is moved to at once."""

ELSEWHERE = re.compile(
    r"^(?:tf|tensorflow|keras|jax|flax|hk|eqx|mx|mxnet|gluon|paddle|np|numpy|cv2|sk\w*|xgb|lgb|ort|onnx\w*|spacy|gensim"
    r"|ultralytics|ctranslate2|vllm)\.|(?:^|\.)transforms?\.|torchaudio\."
    r"|(?:^|\.)(?:YOLO\w*|LLM|Llama|Compose|\w*(?:Pipeline|Tokenizer|Session|Config|Args|Client|Scaler|Transform|Spectrogram))\("
)
"""What is made of something other than torch's modules, has no parameters, or turns gradients off itself."""


def stored(ip: Interpreter, e: ir.Store | ir.SetAttr, value: Value) -> None:
    """Take what a call has made for a module if the variable or attribute that it is stored in is called like one."""
    label = ip.labels[e.src] if e.src >= 0 else ""
    if not label.endswith(")") or not roles.is_module(e.name):
        return
    # What was loaded is a whole object that was saved, rather than a part of one.
    if label == "torch.load(...)" or (MAKES.search(label) and not ELSEWHERE.search(label)):
        made = {atom for atom in value if isinstance(atom, Obj) and atom.type == RESULT}
        ip.program.made_outside |= made - ip.program.seen_as_module
        ip.program.seen_as_module |= made
