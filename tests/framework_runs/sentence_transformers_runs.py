"""Sentence Transformers: embeddings and scores by a module that counts letters."""

from __future__ import annotations

import functools
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import InputModule

from framework_runs.trial import Probes, Trial

SCENARIOS = ()


class Letters(InputModule):
    """A layer on the number of letters."""

    modalities = ["text", ("text", "text")]  # noqa: RUF012

    def __init__(self, output: str) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.output = output

    def preprocess(self, inputs: Any, prompt: Any = None, **options: Any) -> dict[str, torch.Tensor]:
        return {"count": torch.tensor([[float(len(each))] for each in inputs])}

    def forward(self, features: dict[str, torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
        return features | {self.output: self.layer(features["count"])}

    def save(self, *arguments: Any, **options: Any) -> None:
        raise NotImplementedError


def encode(trial: Trial) -> None:
    model = trial.module("self", SentenceTransformer(modules=[Letters("sentence_embedding")], device="cpu"))
    trial.call(functools.partial(model.encode, convert_to_tensor=True), ["a", "bc"])


def predict(trial: Trial) -> None:
    model = trial.module("self", CrossEncoder(modules=[Letters("scores")], num_labels=1, device="cpu"))
    trial.call(functools.partial(model.predict, convert_to_tensor=True), [("a", "bc")])


CALLS: Probes = {
    "sentence_transformers.SentenceTransformer.encode": (encode,),
    "sentence_transformers.CrossEncoder.predict": (predict,),
}
