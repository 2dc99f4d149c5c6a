"""Q-learning with a target network, which is evaluated without gradients and copied now and then."""

import copy
import random

import torch
import torch.nn.functional as F
from torch import nn

ACTIONS = 3


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, ACTIONS))


def act(network, state, chance, rng):
    if rng.random() < chance:
        return rng.randrange(ACTIONS)
    with torch.no_grad():
        return network(state).argmax().item()


def play(network, rng):
    state = torch.randn(4)
    transitions = []
    for _ in range(12):
        action = act(network, state, 0.3, rng)
        reward = state[action].item()
        following = torch.tanh(state + torch.randn(4) * 0.5)
        transitions.append((state, action, reward, following))
        state = following
    return transitions


def learn(network, target, optimizer, batch):
    states, actions, rewards, following = zip(*batch, strict=True)
    chosen = network(torch.stack(states)).gather(1, torch.tensor(actions).unsqueeze(1)).squeeze(1)
    with torch.no_grad():
        best = target(torch.stack(following)).max(dim=1).values
        wanted = torch.tensor(rewards) + 0.9 * best
    loss = F.smooth_l1_loss(chosen, wanted)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def run(network):
    rng = random.Random(0)
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    memory = []
    losses = []
    for episode in range(6):
        memory += play(network, rng)
        losses.append(learn(network, target, optimizer, rng.sample(memory, 12)))
        if episode % 2 == 1:
            target.load_state_dict(network.state_dict())
    return losses
