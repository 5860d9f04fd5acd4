"""An environment that does not fit the data is refused before a fit."""

import warnings
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from refusals import Line, limited, refused

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.environments import validate_environment
from toys import (
    QUIET,
    choice_dataset,
    line_dataset,
    small_learner,
)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            limited(Line(observation_size=4)),
            r"observations are Box.*dataset's have size 1",
        ),
        (limited(Line(action_size=2)), r"actions are Box.*dataset's have size 1"),
        (gymnasium.vector.SyncVectorEnv([Line]), "vector environment"),
        ("Line-v0", "env is builtins.str, expected a gymnasium.Env"),
        (gym.Env(), "env is gym.*of gym, which is no longer.*gymnasium.make"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(env, message):
    refused(message, env=env)


class Chooses(gymnasium.Env):
    observation_space = spaces.Box(-9, 9, (1,), np.float32)

    def __init__(self, space):
        self.action_space = space


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(2), r"Discrete\(2\), but the dataset's are 3 choices"),
        (spaces.Box(-1, 1, (1,)), "Box.*, but the dataset's are 3 choices"),
        (spaces.Discrete(3, start=1), "counted from 1.*TransformAction"),
    ],
)
def test_an_environment_of_other_choices_is_refused(space, words):
    real = mbo.RealData.of(choice_dataset(5))
    with pytest.raises(mbo.CompositionError, match=words):
        validate_environment(Chooses(space), real)


def test_an_environment_of_choices_is_refused_for_continuous_data():
    real = mbo.RealData.of(line_dataset())
    with pytest.raises(mbo.CompositionError, match=r"actions are Discrete\(3\)"):
        validate_environment(Chooses(spaces.Discrete(3)), real)


def test_an_environment_of_goals_is_refused_by_the_wrapper_that_helps():
    env = Line()
    env.observation_space = spaces.Dict(observation=env.observation_space)
    refused(r"one that mbo\.load_minari returns.*GoalConcatWrapper", env=limited(env))


@pytest.mark.parametrize(("terminated", "does"), [(True, "some do"), (False, "none")])
def test_an_environment_without_a_limit_is_a_warning(terminated, does):
    class Ending(Line):
        def step(self, action: Any) -> Any:
            return self.state, 1.0, True, False, {}

    dataset = line_dataset(n_episodes=4, terminated=terminated)
    learner = small_learner("td3_plus_bc")
    with pytest.warns(UserWarning, match=f"declares no step limit.*{does}.*TimeLimit"):
        mbo.fit(learner, dataset, [], n_steps=2, env=Ending(), **QUIET)
    limits = [limited(Ending()), Ending()]
    limits[1].max_episode_steps = 1
    for env in limits:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mbo.fit(learner, dataset, [], n_steps=2, env=env, **QUIET)
