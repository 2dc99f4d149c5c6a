"""Gradient accumulation: four micro-batches per step, with clipping, a schedule and losses logged as numbers."""

import torch
import torch.nn.functional as F
from torch import nn

MICRO_BATCHES = 4


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))


def make_batches():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, 8, 8, generator=generator)
    return [(batch, batch[:, :3].argmax(dim=1)) for batch in inputs]


@torch.no_grad()
def evaluate(model):
    model.eval()
    correct = torch.zeros(())
    for inputs, labels in make_batches():
        correct += (model(inputs).argmax(dim=1) == labels).float().mean()
    return correct.item() / 16


def run(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    history = []
    for _ in range(2):
        model.train()
        total = 0.0
        optimizer.zero_grad()
        for number, (inputs, labels) in enumerate(make_batches(), start=1):
            loss = F.cross_entropy(model(inputs), labels)
            (loss / MICRO_BATCHES).backward()
            total += loss.item()
            if number % MICRO_BATCHES == 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
        history.append((total / 16, evaluate(model)))
    return history
