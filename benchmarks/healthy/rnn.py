"""Truncated backpropagation through time: the hidden state is carried from chunk to chunk without its graph."""

import torch
import torch.nn.functional as F
from torch import nn


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.rnn = nn.LSTM(16, 24, batch_first=True)
        self.head = nn.Linear(24, 20)

    def forward(self, tokens, state):
        hidden, state = self.rnn(self.embedding(tokens), state)
        return self.head(hidden), state


def make():
    torch.manual_seed(0)
    return Language()


def make_text():
    return torch.randint(20, (4, 33), generator=torch.Generator().manual_seed(0))


def train(model, optimizer, text):
    model.train()
    state = None
    losses = []
    for start in range(0, text.size(1) - 8, 8):
        tokens, following = text[:, start : start + 8], text[:, start + 1 : start + 9]
        logits, state = model(tokens, state)
        loss = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        state = tuple(part.detach() for part in state)
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


@torch.no_grad()
def generate(model, length):
    model.eval()
    token, state, text = torch.zeros(1, 1, dtype=torch.long), None, []
    for _ in range(length):
        logits, state = model(token, state)
        token = logits[:, -1].argmax(dim=-1, keepdim=True)
        text.append(token.item())
    return text


def run(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = [train(model, optimizer, make_text()) for _ in range(2)]
    return losses, generate(model, 5)
