"""The data of the other examples: random episodes of a swinging pendulum.

It stands for yours, and needs no download and no simulator. `environment()` is
Gymnasium's Pendulum-v1 with actions in [-1, 1], `arrays()` what happened in it, row by
row, `dataset()` the same as d3rlpy keeps it.
"""

from typing import Any

import d3rlpy_mbo as mbo  # isort: split

import gymnasium
import numpy as np
from d3rlpy.dataset import MDPDataset

N_STEPS = 50  # of an episode: then time is up, nothing terminates


def environment() -> gymnasium.Env[Any, Any]:
    """Returns the pendulum, with actions in [-1, 1]."""
    env = gymnasium.make("Pendulum-v1", max_episode_steps=N_STEPS)
    return gymnasium.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))


def arrays(n_episodes: int) -> dict[str, np.ndarray]:
    """Returns random episodes as D4RL has them: N rows of six columns."""
    env = environment()
    env.action_space.seed(0)
    rows = []
    for seed in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        timed_out = False
        while not timed_out:
            action = env.action_space.sample()
            following, reward, terminal, timed_out, _ = env.step(action)
            rows.append((observation, action, reward, following, terminal, timed_out))
            observation = following
    names = ("observations", "actions", "rewards", "next_observations")
    columns = zip(*rows, strict=True)
    return {
        name: np.array(column, dtype=np.float32)
        for name, column in zip((*names, "terminals", "timeouts"), columns, strict=True)
    }


def dataset(n_episodes: int) -> MDPDataset:
    """Returns random episodes as d3rlpy's own dataset."""
    data = arrays(n_episodes)
    return MDPDataset(
        observations=data["observations"],
        actions=data["actions"],
        rewards=data["rewards"],
        terminals=data["terminals"],
        timeouts=data["timeouts"],
    )


def model(quick: bool) -> mbo.ProbabilisticEnsembleConfig:
    """Returns a model of the pendulum: a minute of fitting, or a glance."""
    return mbo.ProbabilisticEnsembleConfig(max_steps=20 if quick else 3_000)
