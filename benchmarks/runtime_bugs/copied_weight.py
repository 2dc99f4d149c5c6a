"""`torch.tensor` copies the weight, so that the weight itself never learns."""

import torch
import torch.nn.functional as F
from torch import nn

FROZEN = ()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        features = self.encoder(images)
        weight = torch.tensor(self.head.weight)  # guilty
        return F.linear(features, weight, self.head.bias)


def make():
    torch.manual_seed(0)
    return Classifier()


def make_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def make_batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 16, 8, generator=generator)
    return [(batch, batch[:, :3].argmax(dim=1)) for batch in images]


def loss_fn(logits, labels):
    return F.cross_entropy(logits, labels)


def evaluate(model):
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in make_batches():
            correct += (model(images).argmax(dim=1) == labels).sum().item()
    return correct


def run(model):
    optimizer = make_optimizer(model)
    for _ in range(2):
        model.train()
        for images, labels in make_batches():
            optimizer.zero_grad()
            loss = loss_fn(model(images), labels)
            loss.backward()
            optimizer.step()
        evaluate(model)
