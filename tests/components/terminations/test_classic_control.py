"""Rules of classic control against the environments themselves."""

import gymnasium
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo

RULES = {
    "CartPole-v1": mbo.CartPoleTermination(),
    "Acrobot-v1": mbo.AcrobotTermination(),
    "MountainCar-v0": mbo.MountainCarTermination(),
}
# A heuristic that gets there, or random actions that fall.
DRIVES = {"MountainCar-v0": lambda s: 2 if s[1] >= 0 else 0}


@pytest.mark.parametrize("env_id", RULES)
@pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")
def test_the_rule_ends_where_the_environment_does(env_id):
    env = gymnasium.make(env_id, disable_env_checker=True, max_episode_steps=2000)
    env.action_space.seed(0)
    drive = DRIVES.get(env_id, lambda s: env.action_space.sample())
    rows, ended = [], []
    for seed in range(3):
        observation, terminated = env.reset(seed=seed)[0], False
        for _ in range(2000):
            observation, _, terminated, _, _ = env.step(drive(observation))
            rows.append(observation)
            ended.append(terminated)
            if terminated:
                break
    assert sum(ended) >= 2
    found = RULES[env_id](*[torch.from_numpy(np.array(rows, np.float32))] * 3)
    assert found.shape == (len(rows), 1)
    assert found[:, 0].tolist() == ended


def test_a_velocity_that_mountain_car_asks_for_at_the_flag_is_part_of_its_rule():
    env = gymnasium.make("MountainCar-v0", goal_velocity=0.06)
    rule = mbo.termination_for(env)
    assert rule == mbo.MountainCarTermination(goal_velocity=0.06)
    env.reset(seed=0)
    for velocity in (0.011, 0.062):
        env.unwrapped.state = np.array([0.499, velocity])
        reached, _, terminated, _, _ = env.unwrapped.step(1)
        assert reached[0] > 0.5
        reached = torch.from_numpy(reached)[None]
        assert bool(rule(reached, reached[:, :1], reached)) == terminated
        assert bool(RULES["MountainCar-v0"](reached, reached[:, :1], reached))
    assert terminated
    # A file of before has no such field.
    assert mbo.MountainCarTermination.deserialize("{}").goal_velocity == 0.0


@pytest.mark.parametrize("env_id", RULES)
def test_it_is_found_by_environment_and_by_id(env_id):
    assert mbo.termination_for(env_id) == RULES[env_id]
    env = gymnasium.make(env_id)
    assert mbo.termination_for(env) == RULES[env_id]
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    assert "discrete" in RULES[env_id].action_spaces
