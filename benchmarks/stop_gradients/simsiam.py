"""SimSiam: one network on two views, and a stop-gradient on one side that keeps it from collapsing."""

import torch
import torch.nn.functional as F
from torch import nn


class SimSiam(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16))
        self.predictor = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 16))

    def forward(self, first, second):
        left, right = self.encoder(first), self.encoder(second)
        return self.predictor(left), self.predictor(right), left.detach(), right.detach()


def make():
    torch.manual_seed(0)
    return SimSiam()


def run(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(6):
        inputs = torch.randn(16, 8)
        first, second = inputs + 0.1 * torch.randn(16, 8), inputs + 0.1 * torch.randn(16, 8)
        predicted_left, predicted_right, left, right = model(first, second)
        loss = -F.cosine_similarity(predicted_left, right).mean() - F.cosine_similarity(predicted_right, left).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
