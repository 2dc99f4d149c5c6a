"""Fine-tuning a new head on a frozen backbone, which stays in eval mode and out of the optimizer."""

import torch
import torch.nn.functional as F
from torch import nn

FROZEN = ("backbone",)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, 3)
        self.backbone.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, inputs):
        return self.head(self.backbone(inputs))


def make():
    torch.manual_seed(0)
    return Classifier()


def make_batches():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 16, 8, generator=generator)
    return [(batch, batch[:, :3].argmax(dim=1)) for batch in inputs]


def evaluate(model):
    model.eval()
    predictions, truth = [], []
    with torch.no_grad():
        for inputs, labels in make_batches():
            predictions.append(model(inputs).argmax(dim=1))
            truth.append(labels)
    return (torch.cat(predictions) == torch.cat(truth)).float().mean().item()


def run(model):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(2):
        model.train()
        for inputs, labels in make_batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
        evaluate(model)
