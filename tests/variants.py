"""Steps of a training loop, with a mistake and without, and rewrites that change nothing; and how they are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gradlint.runtime.comparison.compare import compare
from gradlint.runtime.comparison.result import Aspect, Comparison

Step = Callable[..., Any]


class Net(nn.Module):
    """Has what makes comparisons hard: a bias whose true gradient is zero, running statistics and dropout."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.encoder = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(16, 3)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.encoder(x)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.dropout(self.features(x)))
        return logits


X = torch.randn(12, 8, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (12,), generator=torch.Generator().manual_seed(2))


def run(before: Step, after: Step, model: Any, device: str = "cpu", **options: Any) -> Comparison:
    values: dict[str, Any] = {"optimizer": lambda made: torch.optim.Adam(made.parameters(), lr=0.01), "inputs": (X, Y)}
    return compare(before, after, model=model, devices=[device], **{**values, **options})


def train(model: Net, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> Any:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def features_without_gradients(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    with torch.no_grad():
        features = model.features(x)
    F.cross_entropy(model.head(model.dropout(features)), y).backward()
    optimizer.step()


def detached_features(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model.head(model.dropout(model.features(x).detach())), y).backward()
    optimizer.step()


def data_of_features(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model.head(model.dropout(model.features(x).data)), y).backward()
    optimizer.step()


def never_cleared(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def edited_after_saving(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    positive = model.features(x).exp()
    loss = F.cross_entropy(model.head(model.dropout(positive)), y)
    positive.data.mul_(0.5)
    loss.backward()
    optimizer.step()


def edited_before_saving(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss = F.cross_entropy(model.head(model.dropout(model.features(x).exp())), y)
    loss.backward()
    optimizer.step()


def misspelt_freeze(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    for parameter in model.encoder.parameters():
        parameter.require_grad = False
    train(model, optimizer, x, y)


def freeze(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    for parameter in model.encoder.parameters():
        parameter.requires_grad = False
    train(model, optimizer, x, y)


def leaking_validation(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    loss = train(model, optimizer, x, y)
    torch.set_grad_enabled(False)
    model(x)
    return loss


def validation(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    loss = train(model, optimizer, x, y)
    with torch.no_grad():
        model(x)
    return loss


def loss_of_a_number(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y).item()
    torch.tensor(loss, requires_grad=True).backward()
    optimizer.step()


def history(keep: Callable[[torch.Tensor], object]) -> Step:
    kept: list[object] = []

    def evaluate(model: Net, x: torch.Tensor, y: torch.Tensor) -> None:
        kept.append(keep(F.cross_entropy(model(x), y)))

    return evaluate


MISTAKES: dict[str, tuple[Step, Step, Aspect]] = {
    "no_grad block": (features_without_gradients, train, Aspect.GRADIENTS),
    "detach": (detached_features, train, Aspect.GRADIENTS),
    ".data": (data_of_features, train, Aspect.GRADIENTS),
    "no zero_grad": (never_cleared, train, Aspect.GRADIENTS),
    ".data edit": (edited_after_saving, edited_before_saving, Aspect.GRADIENTS),
    "misspelt freeze": (misspelt_freeze, freeze, Aspect.FROZEN),
    "mode leak": (leaking_validation, validation, Aspect.MODE),
    "loss of a number": (loss_of_a_number, train, Aspect.GRADIENTS),
    "kept graphs": (history(lambda loss: loss), history(lambda loss: loss.item()), Aspect.GRAPH),
}


def loss_of(model: Net, optimizer: Any, loss: torch.Tensor) -> Any:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def by_hand(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    logits = model(x)
    return loss_of(model, optimizer, (torch.logsumexp(logits, 1) - logits.gather(1, y[:, None])[:, 0]).mean())


def summed(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    return loss_of(model, optimizer, F.cross_entropy(model(x), y, reduction="sum") / len(x))


def in_halves(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    optimizer.zero_grad()
    logits = model(x)
    one, other = (F.cross_entropy(logits[half], y[half], reduction="sum") / len(x) for half in (slice(7), slice(7, 12)))
    (one + other).backward()
    optimizer.step()
    return (one + other).item()


def in_place_after(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    logits = model(x)
    logits += 1
    return loss_of(model, optimizer, F.cross_entropy(logits, y))


def out_of_place_after(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    logits = model(x)
    logits = logits + 1
    return loss_of(model, optimizer, F.cross_entropy(logits, y))


def cleared_at_the_end(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def cleared_to_zero(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    optimizer.zero_grad(set_to_none=False)
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def accuracy(logits: torch.Tensor, y: torch.Tensor) -> Any:
    return (logits.argmax(1) == y).float().mean().item()


def with_metrics(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    logits = model(x)
    accuracy(logits, y)
    return loss_of(model, optimizer, F.cross_entropy(logits, y))


def with_metrics_without_gradients(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    logits = model(x)
    with torch.no_grad():
        accuracy(logits, y)
    return loss_of(model, optimizer, F.cross_entropy(logits, y))


def detached_for_the_log(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return float(loss.detach().cpu())


def spelled_out(model: Net, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Any:
    features = F.relu(F.linear(x, model.encoder.weight) + model.encoder.bias)
    features = F.relu(model.norm(x @ model.encoder.weight.T + model.encoder.bias)) + 0 * features.detach()
    return loss_of(model, optimizer, F.cross_entropy(model.head(model.dropout(features)), y))


HARMLESS: dict[str, tuple[Step, Step]] = {
    "loss by hand": (train, by_hand),
    "sum instead of mean": (train, summed),
    "batch in halves": (train, in_halves),
    "in place": (out_of_place_after, in_place_after),
    "zero_grad at the end": (train, cleared_at_the_end),
    "zeros instead of None": (train, cleared_to_zero),
    "zero_grad later": (train, lambda model, optimizer, x, y: loss_of(model, optimizer, F.cross_entropy(model(x), y))),
    "metrics without gradients": (with_metrics, with_metrics_without_gradients),
    "detached for the log": (train, detached_for_the_log),
    "linear spelled out": (train, spelled_out),
    "unused mode": (
        train,
        lambda model, optimizer, x, y: train(model, optimizer, *torch.enable_grad()(lambda: (x, y))()),
    ),
}
