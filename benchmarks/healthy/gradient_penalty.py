"""A Wasserstein critic with a gradient penalty: a gradient inside of the loss."""

import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 32), nn.Softplus(), nn.Linear(32, 1))


def penalty(critic, real, fake):
    share = torch.rand(real.size(0), 1)
    between = (share * real + (1 - share) * fake).requires_grad_(True)
    scores = critic(between)
    (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def run(critic):
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    log = []
    for _ in range(6):
        real, fake = torch.randn(16, 2) + 1, torch.randn(16, 2)
        distance = critic(fake).mean() - critic(real).mean()
        loss = distance + 10 * penalty(critic, real, fake)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        log.append({"loss": loss.item(), "distance": float(distance.detach())})
    return log
