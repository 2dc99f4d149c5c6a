"""A GAN: the discriminator learns from detached samples, the generator from the same samples with their graph."""

import torch
import torch.nn.functional as F
from torch import nn


class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))


def make():
    torch.manual_seed(0)
    return Gan()


def judged_as(truth, scores):
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, truth))


def step(gan, for_generator, for_discriminator, real):
    fake = gan.generator(torch.randn(real.size(0), 4))

    for_discriminator.zero_grad(set_to_none=True)
    on_real = judged_as(1.0, gan.discriminator(real))
    on_real.backward()
    on_fake = judged_as(0.0, gan.discriminator(fake.detach()))
    on_fake.backward()
    for_discriminator.step()

    for_generator.zero_grad(set_to_none=True)
    fooled = judged_as(1.0, gan.discriminator(fake))
    fooled.backward()
    for_generator.step()
    return (on_real + on_fake).item(), fooled.item()


def sample(gan, count):
    gan.eval()
    with torch.inference_mode():
        samples = gan.generator(torch.randn(count, 4)).numpy()
    gan.train()
    return samples


def run(gan):
    for_generator = torch.optim.Adam(gan.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for_discriminator = torch.optim.Adam(gan.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    losses = [step(gan, for_generator, for_discriminator, torch.randn(16, 2) * 0.5 + 1.0) for _ in range(6)]
    return losses, sample(gan, 8)
