"""A vector-quantised autoencoder: a straight-through estimate, codebook and commitment losses."""

import torch
import torch.nn.functional as F
from torch import nn


class VqVae(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        self.codebook = nn.Embedding(12, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))

    def quantise(self, latent):
        nearest = torch.cdist(latent.detach(), self.codebook.weight.detach()).argmin(dim=1)
        codes = self.codebook(nearest)
        codebook_loss = F.mse_loss(codes, latent.detach())
        commitment_loss = F.mse_loss(latent, codes.detach())
        straight_through = latent + (codes - latent).detach()
        return straight_through, codebook_loss + 0.25 * commitment_loss

    def forward(self, inputs):
        codes, loss = self.quantise(self.encoder(inputs))
        return self.decoder(codes), loss


def make():
    torch.manual_seed(0)
    return VqVae()


def run(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(6):
        inputs = torch.randn(32, 8)
        rebuilt, loss = model(inputs)
        loss = loss + F.mse_loss(rebuilt, inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
