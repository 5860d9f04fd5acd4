"""A fit that is refused, and what it may be given."""

from typing import Any

import d3rlpy
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import d3rlpy_mbo as mbo
from toys import (
    QUIET,
    line_dataset,
    line_imagination,
    small_learner,
)


class Line(gymnasium.Env):
    """s' = s + a, never ending."""

    def __init__(self, observation_size: int = 1, action_size: int = 1):
        self.observation_space = spaces.Box(-np.inf, np.inf, (observation_size,))
        self.action_space = spaces.Box(-1.0, 1.0, (action_size,))

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = np.zeros(self.observation_space.shape, np.float32)
        return self.state, {}

    def step(self, action: Any) -> Any:
        self.state = self.state + action
        return self.state, 0.0, False, False, {}


def transformer(**settings: Any) -> Any:
    config = d3rlpy.algos.DecisionTransformerConfig(
        context_size=3, batch_size=4, num_heads=1, num_layers=1, **settings
    )
    return config.create()


def limited(env: Any) -> Any:
    return gymnasium.wrappers.TimeLimit(env, 5)


def refused(message: str, learner: Any = None, dataset: Any = None, **arguments: Any):
    """Fits; expects an error and an imagination that was not fitted."""
    imagination = arguments.pop("imagination", line_imagination("reverse"))
    arguments = {"n_steps": 4, **QUIET, **arguments}
    with pytest.raises(mbo.D3RLPyMBOError, match=message):
        mbo.fit(
            small_learner("td3_plus_bc") if learner is None else learner,
            line_dataset() if dataset is None else dataset,
            imagination,
            **arguments,
        )
    if isinstance(imagination, mbo.Imagination):
        assert not imagination.fitted
