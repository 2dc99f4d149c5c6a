"""MAML: an inner step whose graph the outer backward goes through."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))


def make_task():
    amplitude, phase = torch.rand(()) * 4 + 0.1, torch.rand(()) * 3
    inputs = torch.rand(20, 1) * 10 - 5
    targets = amplitude * torch.sin(inputs + phase)
    return (inputs[:10], targets[:10]), (inputs[10:], targets[10:])


def adapt(model, support, rate):
    inputs, targets = support
    weights = dict(model.named_parameters())
    for _ in range(2):
        loss = F.mse_loss(functional_call(model, weights, (inputs,)), targets)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: weight - rate * gradient for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights


def run(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = []
    for _ in range(4):
        optimizer.zero_grad()
        total = 0.0
        for _ in range(3):
            support, (inputs, targets) = make_task()
            weights = adapt(model, support, rate=0.01)
            loss = F.mse_loss(functional_call(model, weights, (inputs,)), targets)
            loss.backward()
            total += loss.item()
        optimizer.step()
        history.append(total / 3)
    return history
