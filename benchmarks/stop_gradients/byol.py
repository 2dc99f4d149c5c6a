"""Self-supervised learning with two views, a predictor and a slowly moving target network (BYOL)."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


class Byol(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16))
        self.predictor = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def half_loss(self, seen, other):
        predicted = F.normalize(self.predictor(self.online(seen)), dim=-1)
        wanted = F.normalize(self.target(other), dim=-1)
        return (2 - 2 * (predicted * wanted.detach()).sum(dim=-1)).mean()

    @torch.no_grad()
    def move_target(self, decay=0.99):
        for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
            slow.mul_(decay).add_(fast, alpha=1 - decay)


def make():
    torch.manual_seed(0)
    return Byol()


def run(model):
    trained = [*model.online.parameters(), *model.predictor.parameters()]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    for _ in range(6):
        inputs = torch.randn(16, 8)
        first, second = inputs + 0.1 * torch.randn(16, 8), inputs + 0.1 * torch.randn(16, 8)
        loss = model.half_loss(first, second) + model.half_loss(second, first)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.move_target()
