"""Following every piece of autograd's graph that user code builds: where it was made, and whether it is still alive."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from gradlint.runtime.frames import Frames, Spot

_NESTED = 3


class Node:
    """Stands for a node of the graph, and dies with it: the node's ``metadata`` is all that keeps it."""

    __slots__ = ("__weakref__", "consumers", "iteration", "name", "spot")

    def __init__(self, name: str, spot: Spot | None, iteration: int) -> None:
        self.name = name
        self.spot = spot
        self.iteration = iteration
        self.consumers: WeakSet[Node] = WeakSet()


class GraphWatch(TorchFunctionMode):
    """Sees the results of torch's functions in this thread; only results with a graph that is new count.

    ``made`` counts them by name and spot. ``iteration`` is what new nodes are marked with.
    """

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        self.iteration = 0
        self.made: Counter[tuple[str, Spot | None]] = Counter()
        self._frames = frames
        self._alive: WeakSet[Node] = WeakSet()

    def alive(self) -> list[Node]:
        """Return the nodes that are alive."""
        return list(self._alive)

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return what stands for the graph node behind ``tensor``; None if there is none or it was not seen."""
        graph = tensor.grad_fn
        found = graph.metadata.get(self) if graph is not None else None
        return found if isinstance(found, Node) else None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [tensor.grad_fn for tensor in tensors_in((args, kwargs)) if tensor.grad_fn is not None]
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            graph = tensor.grad_fn
            if graph is not None and not any(graph is known for known in given) and self not in graph.metadata:
                self._add(graph, func, given)
        return result

    def _add(self, graph: Any, func: Any, given: Iterable[Any]) -> None:
        name = (resolve_name(func) or getattr(func, "__name__", "?")).rpartition(".")[2]
        spot = self._frames.spot(sys._getframe(2))[0]
        self.made[name, spot] += 1
        node = Node(name, spot, self.iteration)
        graph.metadata[self] = node
        self._alive.add(node)
        for known in given:
            before = known.metadata.get(self)
            if before is not None:
                before.consumers.add(node)


def roots(nodes: Iterable[Node]) -> list[Node]:
    """Return those of the living ``nodes`` that no living node was computed from: what keeps the rest alive."""
    return [node for node in nodes if not len(node.consumers)]


def tensors_in(value: object, depth: int = _NESTED) -> Iterator[Tensor]:
    """Yield the tensors in a value: in lists, tuples and dictionaries up to ``depth`` deep."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors_in(each, depth - 1)
    elif depth and isinstance(value, Mapping):
        for each in value.values():
            yield from tensors_in(each, depth - 1)
