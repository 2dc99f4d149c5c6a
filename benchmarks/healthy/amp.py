"""Mixed precision: forward and loss under `autocast` in bfloat16, gradients through a `GradScaler`."""

import torch
import torch.nn.functional as F
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )


def make_batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 8, 1, 8, 8, generator=generator)
    return [(batch, batch.flatten(1)[:, :3].argmax(dim=1)) for batch in images]


@torch.inference_mode()
def evaluate(model):
    model.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = [model(images).float().softmax(dim=-1) for images, _ in make_batches()]
    return torch.cat(outputs)


def run(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(2):
        model.train()
        for images, labels in make_batches():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(images), labels)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        evaluate(model)
