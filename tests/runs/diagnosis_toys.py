"""A noisy line, and models of it that are right or wrong in one way.

s' = s + a + noise, r = s[0] + noise. Every number of a right model is known.
"""

import dataclasses
from typing import Any, Optional

import d3rlpy
import gymnasium
import numpy as np
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode, CompleteTransitionPicker
from toys import LineDynamics

NOISE = 0.1


def noisy_line(
    n_episodes: int = 40,
    length: int = 60,
    noise: float = NOISE,
    size: int = 2,
    limit: float = float("inf"),
) -> d3rlpy.dataset.ReplayBuffer:
    """Whole episodes; they end, as terminals, where s'[0] is beyond the limit."""
    episodes = []
    for _ in range(n_episodes):
        actions = np.random.uniform(-1, 1, (length, size))
        moves = actions + noise * np.random.randn(length, size)
        start = np.random.uniform(-2, 2, (1, size))
        states = np.concatenate([start, start + moves.cumsum(axis=0)])
        ended = np.flatnonzero(states[1:, 0] > limit)
        n_steps = int(ended[0]) + 1 if len(ended) else length
        rewards = states[:n_steps, :1] + noise * np.random.randn(n_steps, 1)
        columns = states[: n_steps + 1], actions[:n_steps], rewards
        episodes.append(
            CompleteEpisode(*map(np.float32, columns), terminated=bool(len(ended)))
        )
    return dataset_of(episodes)


def dataset_of(episodes: list[Any]) -> d3rlpy.dataset.ReplayBuffer:
    return d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        transition_picker=CompleteTransitionPicker(),
        action_space=d3rlpy.constants.ActionSpace.CONTINUOUS,  # whole numbers or not
        action_size=episodes[0].actions.shape[1],
    )


class Line(gymnasium.Env):
    """s' = s + a, r = s[0]; an episode ends beyond the limit."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, pace=1.0, limit=np.inf):
        self.state, self.pace, self.limit = np.zeros(2), pace, limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        return self.state, {}

    def set_state(self, observation):
        self.state = np.array(observation)

    def step(self, action):
        reward = self.state[0]
        self.state = self.state + self.pace * action
        return self.state, reward, bool(self.state[0] > self.limit), False, {}


@dataclasses.dataclass()
class ModelOfNoiseConfig(mbo.DynamicsConfig):
    """The truth about `noisy_line`, but for what is asked for.

    Args:
        stds: One for each member; all imagine.
        shift: Added to every member's s (reverse s) of the first column.
        wrong_way: Whether it adds actions where it should subtract them.
        constant_reward: Predicted instead of s[0].
        broken_from: NaN where |s| is more.
    """

    stds: list[float] = dataclasses.field(default_factory=lambda: [NOISE] * 3)
    shift: float = 0.0
    wrong_way: bool = False
    constant_reward: Optional[float] = None
    broken_from: float = float("inf")

    @staticmethod
    def get_type() -> str:
        return "model_of_noise"

    def create(self, device: Any = False) -> "ModelOfNoise":
        return ModelOfNoise(self, device)


class ModelOfNoise(LineDynamics):
    config: Any

    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> mbo.Prediction:
        config = self.config
        forward = (config.direction == "forward") != config.wrong_way
        reached = observations + actions if forward else observations - actions
        reached[:, 0] += config.shift
        reached[reached.abs() > config.broken_from] = torch.nan
        before = observations if config.direction == "forward" else reached
        rewards = before[:, :1].clone()
        if config.constant_reward is not None:
            rewards[:] = config.constant_reward
        mean = torch.cat([reached, rewards], dim=1)
        stds = torch.tensor(config.stds)[:, None, None].expand(-1, *mean.shape)
        member = torch.randint(len(stds), (len(mean),))
        sampled = mean + stds[member, torch.arange(len(mean))] * torch.randn_like(mean)
        return mbo.Prediction(
            observations,
            actions,
            sampled[:, :-1],
            sampled[:, -1:],
            mean.expand(stds.shape) if all_members else None,
            stds if all_members else None,
        )


def imagination_of(dataset: Any, dynamics: Any, **settings: Any) -> mbo.Imagination:
    settings = {"rollout_length": 3, "rollout_batch_size": 100, **settings}
    imagination = mbo.ImaginationConfig(dynamics=dynamics, **settings).create()
    imagination.fit(dataset)
    return imagination


def judgement(diagnosis: mbo.Diagnosis) -> dict[str, bool]:
    return {verdict.subject: verdict.ok for verdict in diagnosis.verdicts}


def faults(diagnosis: mbo.Diagnosis) -> list[str]:
    return [verdict.subject for verdict in diagnosis.verdicts if not verdict.ok]


def text_of(diagnosis: mbo.Diagnosis, subject: str) -> str:
    (text,) = (v.text for v in diagnosis.verdicts if v.subject == subject)
    return text


@dataclasses.dataclass()
class FirstColumn(mbo.RewardFunction):
    @staticmethod
    def get_type() -> str:
        return "first_column"

    def __call__(self, observations, actions, next_observations):
        return observations[:, :1]


@dataclasses.dataclass()
class ModelOfLineWorldConfig(ModelOfNoiseConfig):
    """s' = s + (a1, a2, a1)."""

    @staticmethod
    def get_type() -> str:
        return "model_of_line_world"

    def create(self, device=False):
        return ModelOfLineWorld(self, device)


class ModelOfLineWorld(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        moves = torch.cat([actions, actions[:, :1]], dim=1)
        said = super().predict(observations, moves, all_members)
        return dataclasses.replace(said, actions=actions)
