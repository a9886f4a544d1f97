"""CartPole-v1 solved with the pure functions that train the language models: no trainer, no model
of transformers. What differs from a usual PPO is that whole episodes are collected, so that GAE is
given rows of steps that end where the row does, as answers are.

python -m tests.impls.cartpole SEED STEPS
"""

import sys

import gymnasium
import numpy as np
import torch
from torch import nn

from reference_impls.core.objective import ppo
from reference_impls.core.objective.groups import whitened_tokens

GAMMA, LAM, EPSILON, RATE = 0.99, 0.95, 0.2, 3e-4
EPOCHS, MINIBATCH, PER_ROLLOUT = 10, 64, 2048
"""As in stable-baselines3's defaults, which are those of the paper's table 3 but for the rollout's
length, counted there over cut episodes."""


def network(outputs, scale):
    layers = [nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs)]
    for layer, gain in zip(layers[::2], (2**0.5, 2**0.5, scale), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def padded(rows):
    return nn.utils.rnn.pad_sequence([torch.as_tensor(np.array(r)) for r in rows], batch_first=True)


def episodes(env, policy, steps, draw):
    """Whole episodes of at least so many steps: (states, actions, rewards, mask) of (B, T)."""
    kept, count = [], 0
    while count < steps:
        state, done = env.reset()[0], False
        states, actions, rewards = [], [], []
        while not done:
            with torch.no_grad():
                chances = policy(torch.as_tensor(state)).softmax(-1)
            action = int(torch.multinomial(chances, 1, generator=draw))
            states.append(state)
            state, reward, ended, cut, _ = env.step(action)
            actions.append(action)
            rewards.append(float(reward))
            done = ended or cut
        kept.append((states, actions, rewards))
        count += len(rewards)
    states, actions, rewards = (padded(column) for column in zip(*kept, strict=True))
    mask = padded([np.ones(len(r[2]), dtype=np.float32) for r in kept])
    return states, actions, rewards.float(), mask


def trained(seed, steps):
    """Mean return of the last 20 episodes of training after so many steps."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=seed)
    policy, critic = network(2, 0.01), network(1, 1.0)
    both = [*policy.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(both, lr=RATE, eps=1e-5)
    seen, returns = 0, []
    while seen < steps:
        states, actions, rewards, mask = episodes(env, policy, PER_ROLLOUT, draw)
        seen += int(mask.sum())
        returns += rewards.sum(1).tolist()

        def scored(states, actions):
            logps = policy(states).log_softmax(-1).gather(-1, actions[..., None])[..., 0]
            return logps, critic(states)[..., 0]

        with torch.no_grad():
            old_logps, old_values = scored(states, actions)
        advantages, targets = ppo.gae(rewards, old_values, mask, GAMMA, LAM)
        kept = mask > 0
        flat = [each[kept] for each in (states, actions, old_logps, advantages, targets)]
        for _ in range(EPOCHS):
            for part in torch.randperm(len(flat[0]), generator=draw).split(MINIBATCH):
                if len(part) < 2:
                    continue
                one = torch.ones(1, len(part))
                state, action, old, advantage, target = (each[part][None] for each in flat)
                logps, values = scored(state, action)
                policy_loss, _ = ppo.clipped_policy_loss(
                    logps, old, whitened_tokens(advantage, one), one, EPSILON
                )
                loss = policy_loss + 0.5 * ppo.value_loss(values, old, target, one)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(both, 0.5)
                optimizer.step()
    return float(np.mean(returns[-20:]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(trained(int(sys.argv[1]), int(sys.argv[2])))
