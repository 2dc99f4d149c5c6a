"""Walking over autograd's graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

MOST = 5000


def nodes_behind(roots: Iterable[torch.autograd.graph.Node], most: int = MOST) -> Iterator[torch.autograd.graph.Node]:
    """Yield ``roots`` and the nodes behind them, each once, until ``most`` were met."""
    nodes = list(roots)
    seen = set(nodes)
    while nodes and len(seen) < most:
        node = nodes.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)


def leaf_of(node: torch.autograd.graph.Node) -> int | None:
    """Return the identity of the leaf that ``node`` accumulates into, if it does."""
    leaf = getattr(node, "variable", None)
    return None if leaf is None else id(leaf)


def leaves_behind(tensor: torch.Tensor) -> set[int]:
    """Return the identities of the leaves that ``tensor`` was computed from."""
    if tensor.grad_fn is None:
        return {id(tensor)} if tensor.requires_grad else set()
    return {leaf for node in nodes_behind([tensor.grad_fn]) if (leaf := leaf_of(node)) is not None}
