import json
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    NormalizeObservation,
    RecordEpisodeStatistics,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.terminations.gymnasium import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from d3rlpy_mbo.components.terminations.lookup import termination_for
from d3rlpy_mbo.registry.json_form import decode, encode
from d3rlpy_mbo.tasks.pointmaze import pointmaze_spec

pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")

gymnasium_robotics = pytest.importorskip("gymnasium_robotics")
gymnasium.register_envs(gymnasium_robotics)

RULES = {
    "Hopper": HopperTermination(),
    "Walker2d": Walker2dTermination(),
    "Ant": AntTermination(),
    "Humanoid": HumanoidTermination(),
    "InvertedPendulum": InvertedPendulumTermination(),
    "InvertedDoublePendulum": InvertedDoublePendulumTermination(),
}
NEVER = ["HalfCheetah", "Swimmer", "Reacher", "Pusher", "HumanoidStandup"]
ENDING = [f"{name}-{version}" for version in ("v5", "v4") for name in RULES]
# Pusher-v4 does not run with this mujoco.
ENDLESS = [
    *(f"{name}-v5" for name in NEVER),
    *(f"{name}-v4" for name in NEVER if name != "Pusher"),
    "Pendulum-v1",
    "PointMaze_UMaze-v3",
]


def make(env_id, **settings):
    return gymnasium.make(env_id, disable_env_checker=True, **settings)


def ends(rule, next_observations):
    """The rule's answers, (B,) bool, for rows as a dataset holds them."""
    rows = torch.from_numpy(np.asarray(next_observations).astype(np.float32))
    return rule(rows, torch.zeros(len(rows), 1), rows)[:, 0].numpy()


def disturb(env, rng):
    """Moves the start away from rest, by a random amount, so that both ends occur."""
    scale = rng.choice([0.0, 0.1, 0.3, 0.6])
    qpos = env.data.qpos + scale * rng.normal(size=env.model.nq)
    env.set_state(qpos, env.data.qvel + 10 * scale * rng.normal(size=env.model.nv))


def random_steps(env_id, n_steps):
    """Next observations (n_steps, D) and terminations (n_steps,) of short episodes."""
    env, rng = make(env_id).unwrapped, np.random.default_rng(0)
    rows, terminations, left = [], [], 0
    for _ in range(n_steps):
        if left == 0:
            env.reset(seed=int(rng.integers(2**31)))
            if env_id.startswith(("Hopper", "Walker2d", "Ant", "Humanoid")):
                disturb(env, rng)
            left, scale = int(rng.integers(1, 40)), rng.uniform()
        action = rng.uniform(env.action_space.low, env.action_space.high)
        observation, _, terminated, _, _ = env.step((scale * action).astype(np.float32))
        rows.append(
            observation["observation"] if isinstance(observation, dict) else observation
        )
        terminations.append(terminated)
        left = 0 if terminated else left - 1
    env.close()
    return np.array(rows), np.array(terminations)


def tip_height(rows):
    return 0.6 * rows[:, 3] + 0.6 * (rows[:, 3] * rows[:, 4] - rows[:, 1] * rows[:, 2])


@pytest.mark.training
@pytest.mark.parametrize("env_id", ENDING)
def test_terminations_agree_with_the_real_environment_at_every_random_step(env_id):
    rows, terminations = random_steps(env_id, 4000)
    predicted = ends(termination_for(env_id), rows)
    assert terminations.sum() > 100
    assert (~terminations).sum() > 100
    if env_id.startswith("InvertedDouble"):
        # The environment's height is 4e-5 m off the one in s'.
        clear = abs(tip_height(rows) - 1) > 1e-4
        assert clear.mean() > 0.99
        predicted, terminations = predicted[clear], terminations[clear]
    np.testing.assert_array_equal(predicted, terminations)


@pytest.mark.training
@pytest.mark.parametrize("env_id", ENDLESS)
def test_endless_environments_never_end_in_thousands_of_random_steps(env_id):
    rows, terminations = random_steps(env_id, 2000)
    assert termination_for(env_id) == mbo.NoTermination()
    assert not terminations.any()
    assert not ends(mbo.NoTermination(), rows).any()


def test_hopper_ends_at_large_negative_values_which_the_misplaced_bracket_misses():
    # Official MOPO, OfflineRL-Kit, unifloral: abs(next_obs[:, 1:] < 100).
    env = make("Hopper-v5").unwrapped
    env.reset(seed=0)
    env.data.qpos[3] = -150.0  # a joint; -100 is allowed
    row = env._get_obs()
    misplaced = np.abs(row[1:] < 100).all() and row[0] > 0.7 and abs(row[1]) < 0.2
    assert misplaced
    assert not env.is_healthy
    assert ends(HopperTermination(), [row])[0]


def test_velocities_that_hopper_clips_in_its_observation_cannot_end_imagined_episodes():
    env = make("Hopper-v5").unwrapped
    env.reset(seed=0)
    env.data.qvel[3] = 150.0
    assert not env.is_healthy
    assert not ends(HopperTermination(), [env._get_obs()])[0]


AT_BOUNDS = [
    ("Hopper-v5", 1, [0.7, 0.70001, 0.69999]),
    ("Hopper-v5", 2, [0.2, -0.2, 0.19999, -0.20001]),
    ("Hopper-v5", 3, [-100.0, 100.0, 99.999, -100.001]),
    ("Walker2d-v5", 1, [0.8, 2.0, 1.99999, 0.79999]),
    ("Walker2d-v5", 2, [1.0, -1.0, 0.99999, -1.00001]),
    ("Ant-v5", 2, [0.2, 1.0, 1.00001, 0.19999]),
    ("Humanoid-v5", 2, [1.0, 2.0, 1.99999, 0.99999]),
]


@pytest.mark.parametrize(("env_id", "position", "values"), AT_BOUNDS)
def test_bounds_are_open_or_closed_as_in_the_source(env_id, position, values):
    env = make(env_id).unwrapped
    env.reset(seed=0)
    rows, unhealthy = [], []
    for value in values:
        env.data.qpos[position] = value
        rows.append(env._get_obs())
        unhealthy.append(not env.is_healthy)
    assert any(unhealthy)
    np.testing.assert_array_equal(ends(termination_for(env), rows), unhealthy)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "env_id", ["Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5"]
)
def test_values_that_are_not_finite_end_where_they_do_in_the_source(env_id, value):
    env = make(env_id).unwrapped
    rows, unhealthy = [], []
    for position in range(2, env.model.nq):
        env.reset(seed=0)
        env.data.qpos[position] = value
        rows.append(env._get_obs())
        unhealthy.append(not env.is_healthy)
    assert any(unhealthy)
    np.testing.assert_array_equal(ends(termination_for(env), rows), unhealthy)


def test_the_inverted_pendulum_ends_where_any_value_is_not_finite():
    rows = np.zeros((5, 4))
    rows[[0, 1, 2, 3], [0, 1, 2, 3]] = [math.inf, math.nan, -math.inf, math.nan]
    assert ends(InvertedPendulumTermination(), rows).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rules_return_one_bool_a_row_and_change_nothing(rule):
    rows = torch.randn(100_000, 12)
    copy, actions = rows.clone(), torch.randn(100_000, 3)
    answers = rule(rows, actions, rows)
    assert answers.shape == (100_000, 1)
    assert answers.dtype == torch.bool
    assert torch.equal(rows, copy)
    assert torch.equal(answers[:10], rule(rows[:10], actions[:10], rows[:10]))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_reverse_rollout_may_ask_about_s_in_the_place_of_s_prime(rule):
    far, near = torch.full((3, 12), 1e4), torch.zeros(3, 12)
    assert torch.equal(rule(far, near[:, :3], near), rule(near, near[:, :3], near))


@pytest.mark.parametrize(
    "rule",
    [
        *RULES.values(),
        HopperTermination(healthy_z_range=(-math.inf, 3.0)),
        AntTermination(healthy_z_range=(0.1, 0.5)),
    ],
    ids=lambda rule: str(rule),
)
def test_rules_survive_json_that_knows_no_infinity(rule):
    written = json.dumps(encode(rule), allow_nan=False)
    assert decode("termination", json.loads(written)) == rule
    config = mbo.ImaginationConfig(termination=rule)
    assert mbo.ImaginationConfig.deserialize(config.serialize()) == config


@pytest.mark.parametrize("name", RULES)
def test_termination_for_an_id_needs_no_environment_and_equals_the_made_ones(name):
    for env_id in (f"{name}-v5", f"{name}-v4"):
        assert termination_for(env_id) == RULES[name]
        wrapped = FlattenObservation(RecordEpisodeStatistics(make(env_id)))
        assert termination_for(wrapped) == RULES[name]


def test_termination_for_reads_the_environments_own_parameters():
    env = make(
        "Hopper-v5",
        healthy_z_range=[0.5, 3],
        healthy_angle_range=(-0.4, 0.4),
        healthy_state_range=(-9.0, 9.0),
    )
    assert termination_for(env) == HopperTermination(
        (-9.0, 9.0), (0.5, 3.0), (-0.4, 0.4)
    )
    env = make("Ant-v5", healthy_z_range=(0.3, 0.9))
    assert termination_for(env) == AntTermination(healthy_z_range=(0.3, 0.9))


def test_termination_for_an_environment_that_was_told_not_to_end_is_never():
    env = make("Walker2d-v5", terminate_when_unhealthy=False)
    assert termination_for(env) == mbo.NoTermination()


def test_termination_for_our_own_pointmaze_is_never():
    env = gymnasium.make(pointmaze_spec("umaze", "sparse"))
    assert termination_for(env) == mbo.NoTermination()


@pytest.mark.parametrize(
    ("env_id", "settings", "message"),
    [
        ("AntMaze_UMaze-v5", {}, "ant_maze_v5"),
        ("MountainCarContinuous-v0", {}, "continuous_mountain_car"),
        (
            "Hopper-v5",
            {"exclude_current_positions_from_observation": False},
            "exclude_current_positions",
        ),
        ("PointMaze_UMaze-v3", {"continuing_task": False}, "continuing_task=False"),
    ],
)
def test_environments_without_a_rule_are_refused(env_id, settings, message):
    with pytest.raises(mbo.TerminationRequiredError, match=message):
        termination_for(make(env_id, **settings))


@pytest.mark.parametrize(
    "unknown",
    ["MountainCarContinuous-v0", "AntMaze_UMaze-v5", "Hopper-v3", "Hoper-v5", None],
)
def test_a_refusal_names_the_environment_and_the_terminations_there_are(unknown):
    with pytest.raises(mbo.TerminationRequiredError) as refusal:
        termination_for(unknown)
    for name in (str(unknown), *RULES, "NoTermination", "LearnedTerminationConfig"):
        assert name in str(refusal.value)


def test_an_environment_derived_from_a_known_one_is_not_taken_for_it():
    from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

    class Jumper(HopperEnv):
        """Might end by another rule."""

    with pytest.raises(mbo.TerminationRequiredError, match="Jumper"):
        termination_for(Jumper())


@pytest.mark.parametrize(
    "wrap", [NormalizeObservation, lambda env: FrameStackObservation(env, 2)]
)
def test_wrappers_that_change_what_the_rule_reads_are_refused_by_name(wrap):
    env = wrap(make("Hopper-v5"))
    with pytest.raises(mbo.TerminationRequiredError, match=type(env).__name__):
        termination_for(env)
    assert termination_for(wrap(make("HalfCheetah-v5"))) == mbo.NoTermination()
