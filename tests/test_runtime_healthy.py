"""Training as people do it edits no saved tensor that a backward still uses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradlint.runtime.recorder import record

pytestmark = pytest.mark.torch


def net(device: str) -> nn.Module:
    layers = nn.Linear(8, 16), nn.ReLU(inplace=True), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 4)
    return nn.Sequential(*layers).to(device)


def batch(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(8, 8, device=device), torch.randint(0, 4, (8,), device=device)


def loss_of(model: nn.Module, device: str) -> torch.Tensor:
    inputs, labels = batch(device)
    return functional.cross_entropy(model(inputs), labels)


def stepping(device: str, make: Callable[[Any], torch.optim.Optimizer]) -> None:
    model = net(device)
    optimizer = make(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, device).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def optimizers(device: str) -> None:
    stepping(device, lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9))
    stepping(device, lambda parameters: torch.optim.AdamW(parameters, fused=True))
    stepping(device, lambda parameters: torch.optim.Adam(parameters, foreach=True))


def closure(device: str) -> None:
    model = net(device).eval()
    inputs, labels = batch(device)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        return loss

    optimizer.step(evaluate)


def accumulation(device: str) -> None:
    model = net(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(4):
        (loss_of(model, device) / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()


def adversaries(device: str) -> None:
    generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Linear(8, 8)).to(device)
    critic = nn.Sequential(nn.utils.spectral_norm(nn.Linear(8, 8)), nn.BatchNorm1d(8), nn.Linear(8, 1)).to(device)
    generates = torch.optim.Adam(generator.parameters())
    judges = torch.optim.Adam(critic.parameters(), fused=True)
    for _ in range(3):
        fake = generator(torch.randn(8, 4, device=device))
        judges.zero_grad()
        (critic(fake.detach()) - critic(torch.randn(8, 8, device=device))).mean().backward()
        judges.step()
        generates.zero_grad()
        functional.softplus(-critic(fake)).mean().backward()
        generates.step()


def gradient_penalty(device: str) -> None:
    critic = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).to(device)
    optimizer = torch.optim.Adam(critic.parameters(), fused=True)
    for _ in range(3):
        x = torch.randn(8, 8, device=device, requires_grad=True)
        score = critic(x)
        (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        optimizer.zero_grad()
        (score.mean() + (gradient.norm(dim=1) - 1).pow(2).mean()).backward()
        optimizer.step()
        for parameter in critic.parameters():
            parameter.data.clamp_(-0.1, 0.1)


def moving_average(device: str) -> None:
    student = net(device)
    teacher = copy.deepcopy(student)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    for _ in range(3):
        inputs, _ = batch(device)
        with torch.no_grad():
            target = teacher(inputs)
        optimizer.zero_grad()
        functional.mse_loss(student(inputs), target).backward()
        optimizer.step()
        for average, current in zip(teacher.parameters(), student.parameters(), strict=True):
            average.data.mul_(0.9).add_(current.data, alpha=0.1)


def truncated_recurrence(device: str) -> None:
    cell, head = nn.GRUCell(4, 6).to(device), nn.Linear(6, 2).to(device)
    optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()])
    state = torch.zeros(2, 6, device=device)
    for _ in range(3):
        outputs = torch.empty(5, 2, 6, device=device)
        for step in range(5):
            state = cell(torch.randn(2, 4, device=device), state)
            outputs[step] = state
        optimizer.zero_grad()
        head(outputs).pow(2).mean().backward()
        optimizer.step()
        state = state.detach()


def mixed_precision(device: str) -> None:
    model = net(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler(device)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(model, device)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()


def recomputation(device: str) -> None:
    model = net(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for reentrant in (True, False):
        inputs, labels = batch(device)
        optimizer.zero_grad()
        outputs = checkpoint(model, inputs.requires_grad_(), use_reentrant=reentrant)
        functional.cross_entropy(outputs, labels).backward()
        optimizer.step()


def retained(device: str) -> None:
    model = net(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        loss = loss_of(model, device)
        loss.backward(retain_graph=True)
        optimizer.step()


def attack(device: str) -> None:
    model = net(device)
    inputs, labels = batch(device)
    adversarial = inputs.clone().requires_grad_()
    for _ in range(3):
        loss = functional.cross_entropy(model(adversarial), labels)
        (gradient,) = torch.autograd.grad(loss, adversarial)
        adversarial.data.add_(0.1 * gradient.sign())
        adversarial.data.clamp_(-1, 1)


def metrics(device: str) -> None:
    model = net(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        inputs, labels = batch(device)
        probabilities = model(inputs).softmax(-1)
        loss = functional.nll_loss(probabilities.log(), labels)
        assert probabilities.detach().cpu().numpy().argmax(1).shape == (8,)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


HEALTHY = [
    optimizers,
    closure,
    accumulation,
    adversaries,
    gradient_penalty,
    moving_average,
    truncated_recurrence,
    mixed_precision,
    recomputation,
    retained,
    attack,
    metrics,
]


@pytest.mark.parametrize("program", HEALTHY, ids=lambda program: program.__name__)
def test_no_edit_is_used_in_a_healthy_program(program: Callable[[str], None], device: str) -> None:
    torch.manual_seed(0)
    with record(3) as recording:
        program(device)
    assert [edit for edit in recording.edits if edit.used] == []
    if program is not retained:
        assert recording.edits == ()
    assert recording.saved
