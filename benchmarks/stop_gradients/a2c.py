"""Advantage actor-critic: the advantage weighs the actor's loss without teaching the critic."""

import torch
from torch import nn


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 32), nn.Tanh())
        self.actor = nn.Linear(32, 3)
        self.critic = nn.Linear(32, 1)

    def forward(self, states):
        hidden = self.body(states)
        return torch.distributions.Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)


def make():
    torch.manual_seed(0)
    return ActorCritic()


def returns_of(rewards, last, discount=0.9):
    total, returns = last, []
    for reward in reversed(rewards):
        total = reward + discount * total
        returns.append(total)
    return torch.stack(returns[::-1])


def run(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(5):
        state, log_probs, values, rewards, entropies = torch.randn(8, 4), [], [], [], []
        for _ in range(5):
            policy, value = model(state)
            action = policy.sample()
            log_probs.append(policy.log_prob(action))
            entropies.append(policy.entropy())
            values.append(value)
            rewards.append(state.gather(1, action.unsqueeze(1)).squeeze(1))
            state = torch.tanh(state + torch.randn(8, 4))
        with torch.no_grad():
            last = model(state)[1]
        advantage = returns_of(rewards, last) - torch.stack(values)
        actor_loss = -(torch.stack(log_probs) * advantage.detach()).mean()
        critic_loss = advantage.square().mean()
        loss = actor_loss + 0.5 * critic_loss - 0.01 * torch.stack(entropies).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
