"""An exponential moving average of the weights, kept in a copy of the model and used for evaluation."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, 3))


def make_batches():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 16, 8, generator=generator)
    return [(batch, batch[:, :3].argmax(dim=1)) for batch in inputs]


@torch.no_grad()
def update(average, model, decay):
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
    for slow, fast in zip(average.buffers(), model.buffers(), strict=True):
        slow.copy_(fast)


def evaluate(model):
    model.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(model(inputs), labels) for inputs, labels in make_batches()]
    return torch.stack(losses).mean().item()


def run(model):
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        model.train()
        for inputs, labels in make_batches():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            update(average, model, decay=0.9)
    return evaluate(average)
