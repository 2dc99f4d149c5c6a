"""What names usually mean in PyTorch code. A name is weak evidence: it decides only where nothing better is known."""

from __future__ import annotations

import re

MODULE = re.compile(
    r"(?:^|[._])(?:model|net|network|module|encoder|decoder|generator|discriminator|critic|actor|policy|backbone"
    r"|classifier|unet|vae|transformer|teacher|student|q_?net(?:work)?|target_net|value_net|policy_net|netG|netD|net_?[gd]"
    r"|ema_model|[A-Za-z]*Net|[A-Za-z]*Model)$",
)
"""The last part of a path that names a module."""

_VERB = re.compile(r"^(?:set|get|make|build|create|load|init|prepare|update|save|is|has|wrap|unwrap|compute|check|use|run)_")


def is_module(path: str) -> bool:
    """Whether the last part of ``path`` names a module rather than a function that deals with one."""
    return MODULE.search(path) is not None and _VERB.match(path.rpartition(".")[2]) is None


OPTIMIZER = re.compile(r"(?:^|[._])(?:\w*optim(?:izer)?s?(?:_?\w{1,12})?|opt|opt_?\w{1,3}|\w+_opt|\w+Opt)$", re.IGNORECASE)
"""The last part of a path that names an optimizer."""

CLEARS = re.compile(r"(?:zero|clear|reset|null)\w*grad", re.IGNORECASE)
"""Names of functions that clear gradients."""

KEEPS_GRADIENTS = re.compile(
    r"unscale|clip|sched|warm_?up|adjust|learning_rate|(?:^|_)lr(?:_|$)|save|load|log|print|check|^get|param_group|state_dict|register",
    re.IGNORECASE,
)
"""Names of functions that get an optimizer and leave its gradients alone."""

SCHEDULER = re.compile(r"sched", re.IGNORECASE)

LOSS = re.compile(r"(?:^|[._])\w*(?:loss|criterion|objective)\w*$", re.IGNORECASE)

EVALUATION = re.compile(
    r"^_*(?:eval(?:uate|uation)?|valid(?:ate|ation)?|val|test|predict|infer(?:ence)?)(?:_(?:epoch|step|loop|model|net|network"
    r"|batch|one_epoch|dataset|loader|data|accuracy|metrics|loss|set|once|all|fn|imgs?|images?|nets?|proba|classes|labels?))?$"
    r"|^(?:compute|calc(?:ulate)?|get|measure|check)_(?:val_|test_|valid_)?(?:accuracy|acc|metrics?|fid|bleu|perplexity|map|auc)$"
)
"""Names of functions that evaluate or predict."""

EVALUATION_DATA = re.compile(r"(?:^|[._])(?:\w*_)?(?:val|valid|validation|test|eval|dev)_?(?:data)?_?(?:loader|iter|dl|set|dataset|batches)\w*$")
"""Names of what an evaluation loops over."""
