"""Stable-Baselines3: learning, callbacks and policies of every kind in a world of three steps."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, EventCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import polyak_update

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch


class World(gymnasium.Env[Any, Any]):
    """Shows zeros three times."""

    def __init__(self, actions: gymnasium.Space[Any], image: bool = False) -> None:
        self.action_space = actions
        picture = gymnasium.spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.observation_space = picture if image else gymnasium.spaces.Box(0, 1, (2,))

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.left = 3
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self._seen(), 1.0, self.left == 0, False, {}

    def _seen(self) -> Any:
        space = self.observation_space
        return np.zeros(space.shape or (), space.dtype)


DISCRETE = gymnasium.spaces.Discrete(2)
CONTINUOUS = gymnasium.spaces.Box(-1, 1, (1,))
SMALL = {"net_arch": [2]}
ON_POLICY = {"n_steps": 6, "device": "cpu", "seed": 0}
OFF_POLICY = {"learning_starts": 2, "batch_size": 2, "buffer_size": 10, "device": "cpu", "seed": 0}


class Extractor(BaseFeaturesExtractor):
    """One layer."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, features_dim=2)
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layer(observations)


class Bare(BaseCallback):
    """Goes on."""

    def _on_step(self) -> bool:
        return True


def learn(watch: Watch, algorithm: Any, policy: Any, world: dict[str, Any], options: dict[str, Any]) -> object:
    """Learn, evaluating in between, and predict."""
    seen = Monitor(World(**world))
    watched = policy if isinstance(policy, str) else watch.watched(policy)
    with watch.caller():
        small = {} if policy is ActorCriticCnnPolicy else {"features_extractor_class": watch.watched(Extractor)}
        model = watch.watched(algorithm)(watched, seen, policy_kwargs=SMALL | small, **options)
        watch.module(model.policy)
        inner = EventCallback(watch.watched(Bare)())
        callbacks = [
            watch.watched(Bare)(),
            watch.watched(EvalCallback)(seen, callback_after_eval=inner, eval_freq=4, verbose=0),
        ]
        model.learn(12, callback=callbacks)
        return model.predict(seen.observation_space.sample())


ALGORITHMS: tuple[tuple[Any, Any, dict[str, Any], dict[str, Any]], ...] = (
    (sb3.PPO, ActorCriticPolicy, {"actions": DISCRETE}, ON_POLICY | {"batch_size": 3, "n_epochs": 2}),
    (sb3.PPO, ActorCriticCnnPolicy, {"actions": DISCRETE, "image": True}, ON_POLICY | {"batch_size": 3, "n_epochs": 1}),
    (sb3.A2C, ActorCriticPolicy, {"actions": CONTINUOUS}, ON_POLICY),
    (sb3.DQN, "MlpPolicy", {"actions": DISCRETE}, OFF_POLICY),
    (sb3.SAC, "MlpPolicy", {"actions": CONTINUOUS}, OFF_POLICY),
    (sb3.TD3, "MlpPolicy", {"actions": CONTINUOUS}, OFF_POLICY),
    (sb3.DDPG, "MlpPolicy", {"actions": CONTINUOUS}, OFF_POLICY),
)
SCENARIOS = tuple(
    functools.partial(learn, algorithm=algorithm, policy=policy, world=world, options=options)
    for algorithm, policy, world, options in ALGORITHMS
)

# -- calls ---------------------------------------------------------------------------------------------------------


def model(trial: Trial, name: str) -> Any:
    """Return an algorithm, whose policy is watched under a name."""
    made = sb3.PPO("MlpPolicy", World(DISCRETE), policy_kwargs=SMALL, device="cpu")
    trial.module(name, made.policy)
    return made


def policy_predict(trial: Trial) -> None:
    trial.call(model(trial, "self").policy.predict, np.zeros(2, dtype=np.float32))


def algorithm_predict(trial: Trial) -> None:
    trial.call(model(trial, "self.policy").predict, np.zeros(2, dtype=np.float32))


def set_training_mode(trial: Trial) -> None:
    trial.call(model(trial, "self").policy.set_training_mode, True)


def polyak(trial: Trial) -> None:
    trial.call(polyak_update, trial.net("params").parameters(), trial.net("target_params").parameters(), 0.5)


def evaluation(trial: Trial) -> None:
    trial.call(evaluate_policy, model(trial, "model.policy"), Monitor(World(DISCRETE)), n_eval_episodes=1)


CALLS: Probes = {
    "stable_baselines3.common.policies.BasePolicy.predict": (policy_predict,),
    "stable_baselines3.common.base_class.BaseAlgorithm.predict": (algorithm_predict,),
    "stable_baselines3.common.policies.BasePolicy.set_training_mode": (set_training_mode,),
    "stable_baselines3.common.utils.polyak_update": (polyak,),
    "stable_baselines3.common.evaluation.evaluate_policy": (evaluation,),
}
