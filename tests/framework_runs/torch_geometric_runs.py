"""PyG: message passing, an explainer, inference layer by layer and a knowledge graph."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.loader import NeighborLoader
from torch_geometric.nn import GCN, MessagePassing, TransE

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])
NODES = torch.eye(3)


class Convolution(MessagePassing):
    """Learned messages along edges, and in one go where the edges are a matrix."""

    def __init__(self) -> None:
        super().__init__(aggr="sum")
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, edge_index: Any) -> torch.Tensor:
        result: torch.Tensor = self.propagate(edge_index, x=self.layer(x))
        return result if edge_index.layout != torch.strided else result + self.edge_updater(edge_index, x=self.layer(x))

    def message(self, x_j: torch.Tensor) -> torch.Tensor:
        return x_j * 2

    def message_and_aggregate(self, edge_index: Any, x: torch.Tensor) -> torch.Tensor:
        return edge_index @ x

    def update(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * 2

    def edge_update(self, x_j: torch.Tensor) -> torch.Tensor:
        return x_j * 2


def message_passing(watch: Watch) -> object:
    """Train a convolution on edges and on a matrix."""
    net = watch.module(watch.watched(Convolution)())
    matrix = torch.sparse_coo_tensor(EDGES, torch.ones(3), (3, 3)).coalesce().to_sparse_csr()
    with watch.caller():
        for edges in (EDGES, matrix):
            net(NODES, edges).sum().backward()
    return None


def explainer(model: torch.nn.Module, algorithm: Any) -> Explainer:
    """Return what explains a model of graphs."""
    return Explainer(
        model,
        algorithm,
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"},
    )


def complains(grad: bool) -> AbstractContextManager[None]:
    """Return a context for the algorithm, which runs the model and complains where there are no gradients then."""
    return nullcontext() if grad else suppress(ValueError)


def explain(watch: Watch) -> object:
    """Explain all nodes of a graph."""
    net = watch.module(GCN(3, 2, num_layers=1))
    with watch.caller(), complains(watch.grad):
        return explainer(net, watch.watched(GNNExplainer)(epochs=1))(NODES, EDGES)
    return None


SCENARIOS = (message_passing, explain)

# -- calls ---------------------------------------------------------------------------------------------------------


def explain_model(trial: Trial) -> None:
    made = trial.call(explainer, trial.module("model", GCN(3, 2, num_layers=1)), GNNExplainer(epochs=1))
    with complains(trial.grad):
        trial.use(made, NODES, EDGES)


def get_prediction(trial: Trial) -> None:
    made = explainer(trial.module("self.model", GCN(3, 2, num_layers=1)), GNNExplainer(epochs=1))
    trial.call(made.get_prediction, NODES, EDGES)


class Whole(NeighborLoader):
    """The whole graph as one batch; the real loader samples with an extension."""

    def __init__(self) -> None:
        self.data = Data(x=NODES, edge_index=EDGES, n_id=torch.arange(3), batch_size=3)
        self.node_sampler = SimpleNamespace(num_neighbors=[-1])
        self.dataset = range(3)

    def __iter__(self) -> Iterator[Data]:
        yield self.data


def inference(trial: Trial) -> None:
    net = trial.module("self", GCN(3, 2, num_layers=2))
    trial.call(net.eval().inference, Whole())


def knowledge_graph(trial: Trial) -> None:
    net = trial.module("self", TransE(num_nodes=3, num_relations=1, hidden_channels=2))
    trial.call(functools.partial(net.test, log=False), EDGES[0], torch.zeros(3, dtype=torch.long), EDGES[1], 3)


CALLS: Probes = {
    "torch_geometric.explain.Explainer": (explain_model,),
    "torch_geometric.explain.Explainer.get_prediction": (get_prediction,),
    "torch_geometric.nn.models.basic_gnn.BasicGNN.inference": (inference,),
    "torch_geometric.nn.kge.KGEModel.test": (knowledge_graph,),
}
