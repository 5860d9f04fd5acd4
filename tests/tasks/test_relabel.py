import json
import math
import subprocess
import sys

import gymnasium
import minari
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.known_rewards import AntAngleReward, HalfCheetahJumpReward
from d3rlpy_mbo.support.errors import DatasetError, UnknownComponentError
from d3rlpy_mbo.tasks.local_datasets import write_local_dataset
from d3rlpy_mbo.tasks.relabel import RELABELLED_TASKS, RelabelledEnvironment, relabel

pytest.importorskip("mujoco")

ENVIRONMENTS = {"halfcheetah-jump": "HalfCheetah-v5", "ant-angle": "Ant-v5"}


@pytest.fixture(autouse=True)
def root(minari_root):
    return minari_root


def collect(environment, n_episodes=2, n_steps=30, dataset_id="source-v0", **settings):
    """Writes a dataset of uniform actions; returns each step's info."""
    env = gymnasium.make(environment, **settings)
    rng = np.random.default_rng(0)
    episodes, infos = [], []
    for seed in range(n_episodes):
        observations, rewards = [env.reset(seed=seed)[0]], []
        actions = rng.uniform(-1, 1, (n_steps, *env.action_space.shape))
        actions = actions.astype(np.float32)
        for action in actions:
            observation, reward, _, _, info = env.step(action)
            observations.append(observation)
            rewards.append(reward)
            infos.append(info)
        ends = np.eye(n_steps, dtype=bool)[-1]
        terminated = environment.startswith("Ant") and seed == 0
        episodes.append(
            EpisodeBuffer(
                observations=np.array(observations),
                actions=actions,
                rewards=np.array(rewards),
                terminations=ends & terminated,
                truncations=ends & (not terminated),
            )
        )
    metadata = {"ref_min_score": 0.0, "ref_max_score": 1.0, "algorithm_name": "SAC"}
    write_local_dataset(dataset_id, episodes, env=env.spec, metadata=metadata)
    return infos


def relabelled(task, **kwargs):
    return minari.load_dataset(relabel(task, "source-v0", **kwargs))


def transitions(dataset):
    observations = np.concatenate([e.observations[:-1] for e in dataset])
    actions = np.concatenate([e.actions for e in dataset])
    next_observations = np.concatenate([e.observations[1:] for e in dataset])
    return [torch.from_numpy(x) for x in (observations, actions, next_observations)]


def rewards_of(dataset):
    return np.concatenate([episode.rewards for episode in dataset])


# The reward functions.


def rows(*values, size):
    """Rows of zeros but for {column: value}."""
    made = torch.zeros(len(values), size)
    for row, columns in zip(made, values, strict=True):
        for column, value in columns.items():
            row[column] = value
    return made


def test_halfcheetah_jump_limits_velocity_pays_height_and_charges_actions():
    rewards = HalfCheetahJumpReward()(
        rows({8: 1.0}, {8: 5.0}, {0: 9.0}, {}, size=17),
        rows({}, {}, {}, {0: 1.0, 5: -2.0}, size=6),
        rows({8: 2.0}, {8: 4.0}, {0: 0.2}, {}, size=17),
    )
    # 1.5 m/s; 4.5 m/s, of which 3 count; 15 * 0.2 of s' alone; -0.1 * (1 + 4).
    torch.testing.assert_close(rewards, torch.tensor([[1.5], [3.0], [3.0], [-0.5]]))


def test_ant_angle_pays_for_30_degrees_and_charges_actions():
    rewards = AntAngleReward()(
        rows({13: 2.0}, {14: 3.0}, {}, size=27),
        rows({}, {}, {0: 1.0, 7: -2.0}, size=8),
        rows({13: 4.0}, {14: 1.0}, {}, size=27),
    )
    expected = torch.tensor([[3.0 * math.sqrt(3) / 2], [2.0 * 0.5], [-0.5 * 5.0]])
    torch.testing.assert_close(rewards, expected)


@pytest.mark.parametrize("component", [HalfCheetahJumpReward, AntAngleReward])
def test_known_rewards_are_components_with_contract_shapes(component):
    assert issubclass(component, mbo.RewardFunction)
    assert component.deserialize(component().serialize()) == component()
    rewards = component()(torch.zeros(5, 105), torch.zeros(5, 8), torch.zeros(5, 105))
    assert rewards.shape == (5, 1)
    assert rewards.dtype == torch.float32


def test_known_rewards_have_different_names():
    assert HalfCheetahJumpReward.get_type() == "halfcheetah_jump"
    assert AntAngleReward.get_type() == "ant_angle"


# The datasets.


def test_halfcheetah_jump_has_the_simulators_velocity():
    infos = collect("HalfCheetah-v5")
    dataset = relabelled("halfcheetah-jump")
    _, actions, after = (column.numpy() for column in transitions(dataset))
    velocities = np.array([info["x_velocity"] for info in infos])
    expected = (
        np.minimum(velocities, 3) - 0.1 * (actions**2).sum(axis=1) + 15 * after[:, 0]
    )
    np.testing.assert_allclose(rewards_of(dataset), expected, atol=1e-6)


def test_halfcheetah_jump_undoes_the_sources_own_weights():
    infos = collect("HalfCheetah-v5", ctrl_cost_weight=0.3, forward_reward_weight=2.0)
    dataset = relabelled("halfcheetah-jump")
    _, actions, after = (column.numpy() for column in transitions(dataset))
    velocities = np.array([info["x_velocity"] for info in infos])
    expected = velocities - 0.1 * (actions**2).sum(axis=1) + 15 * after[:, 0]
    np.testing.assert_allclose(rewards_of(dataset), expected, atol=1e-6)


def test_the_jump_reward_function_is_near_the_relabelled_rewards():
    collect("HalfCheetah-v5", n_episodes=4, n_steps=100)
    dataset = relabelled("halfcheetah-jump")
    known = HalfCheetahJumpReward()(*transitions(dataset))[:, 0].numpy()
    errors = known - rewards_of(dataset)
    assert np.sqrt((errors**2).mean()) < 0.25  # ours: measured 0.18
    assert abs(errors.mean()) < 0.05
    assert rewards_of(dataset).std() > 1.0


def test_ant_angle_has_the_reward_functions_rewards():
    collect("Ant-v5")
    dataset = relabelled("ant-angle")
    known = AntAngleReward()(*transitions(dataset))[:, 0].numpy()
    np.testing.assert_allclose(rewards_of(dataset), known, atol=1e-6)


def test_ant_angle_is_near_the_simulators_velocity():
    infos = collect("Ant-v5", n_episodes=4, n_steps=60)
    dataset = relabelled("ant-angle")
    exact = np.array(
        [
            info["x_velocity"] * math.cos(math.pi / 6)
            + info["y_velocity"] * math.sin(math.pi / 6)
            + info["reward_ctrl"]
            for info in infos
        ]
    )
    errors = rewards_of(dataset) - exact
    assert np.sqrt((errors**2).mean()) < 0.1  # ours: measured 0.07


def test_ant_angle_turns_terminations_into_truncations():
    collect("Ant-v5")
    assert minari.load_dataset("source-v0")[0].terminations[-1]
    for episode in relabelled("ant-angle"):
        assert not episode.terminations.any()
        assert list(np.flatnonzero(episode.truncations)) == [len(episode) - 1]


@pytest.mark.parametrize("task", RELABELLED_TASKS)
def test_relabelling_changes_nothing_but_rewards_and_ends(task):
    collect(ENVIRONMENTS[task])
    for before, after in zip(
        minari.load_dataset("source-v0"), relabelled(task), strict=True
    ):
        np.testing.assert_array_equal(before.observations, after.observations)
        np.testing.assert_array_equal(before.actions, after.actions)


@pytest.mark.parametrize(
    ("task", "words"),
    [("halfcheetah-jump", "misprint for min"), ("ant-angle", "nothing terminates")],
)
def test_metadata_say_source_and_formula_and_keep_no_foreign_scores(task, words):
    collect(ENVIRONMENTS[task])
    dataset = relabelled(task)
    metadata = dataset.storage.metadata
    assert dataset.id == f"mopo/{task}-v0"
    assert metadata["source_dataset_id"] == "source-v0"
    assert metadata["algorithm_name"] == "SAC"
    assert words in metadata["description"]
    assert "ref_min_score" not in metadata


# The environments.


@pytest.mark.parametrize("task", RELABELLED_TASKS)
def test_the_recovered_environment_gives_the_datasets_rewards(task):
    collect(ENVIRONMENTS[task])
    dataset = relabelled(task)
    assert len(mbo.load_minari(dataset.id)[0].episodes) == 2
    for eval_env in (False, True):
        env = dataset.recover_environment(eval_env=eval_env)
        for seed, episode in enumerate(dataset):
            assert (env.reset(seed=seed)[0] == episode.observations[0]).all()
            rewards = [env.step(action)[1] for action in episode.actions]
            np.testing.assert_allclose(rewards, episode.rewards, atol=1e-6)


@pytest.mark.training
def test_the_environment_is_recovered_in_a_new_process():
    collect("Ant-v5", n_steps=10, ctrl_cost_weight=0.1)
    dataset = relabelled("ant-angle")
    code = f"""
import json, minari
dataset = minari.load_dataset({dataset.id!r})
env = dataset.recover_environment(eval_env=True)
env.reset(seed=0)
rewards = [env.step(action)[1] for action in dataset[0].actions]
print(json.dumps([rewards, env.spec.max_episode_steps]))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    rewards, limit = json.loads(child.stdout.splitlines()[-1])
    np.testing.assert_allclose(rewards, dataset[0].rewards, atol=1e-6)
    assert limit == 1000


def test_ant_angle_never_terminates_where_ant_does():
    settings = {"healthy_z_range": [5.0, 6.0]}  # no ant is healthy
    action = np.zeros(8, dtype=np.float32)
    for env, ends in (
        (gymnasium.make("Ant-v5", **settings), True),
        (RelabelledEnvironment("ant-angle", settings), False),
    ):
        env.reset(seed=0)
        assert bool(env.step(action)[2]) is ends


@pytest.mark.parametrize("task", RELABELLED_TASKS)
def test_spaces_and_modes_are_those_of_the_original(task):
    env, original = RelabelledEnvironment(task), gymnasium.make(ENVIRONMENTS[task])
    assert env.observation_space == original.observation_space
    assert env.action_space == original.action_space
    assert env.metadata["render_fps"] == original.metadata["render_fps"]
    env.close()


def test_how_the_source_was_drawn_does_not_matter():
    """Gymnasium keeps render_mode among the settings of a spec."""
    drawn = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array")
    settings = drawn.spec.kwargs
    assert settings["render_mode"] == "rgb_array"
    env = RelabelledEnvironment("halfcheetah-jump", settings)
    assert env.render_mode is None
    assert settings["render_mode"] == "rgb_array"


# Bad input.


def test_a_dataset_of_another_environment_is_refused():
    collect("Hopper-v5", n_steps=5)
    for task, expected in ENVIRONMENTS.items():
        with pytest.raises(
            DatasetError, match=rf"{task} relabels data of {expected}.*is of Hopper-v5"
        ):
            relabel(task, "source-v0")
    assert list(minari.list_local_datasets()) == ["source-v0"]


def test_a_relabelled_dataset_is_not_relabelled_again():
    collect("Ant-v5", n_steps=5)
    source = relabel("ant-angle", "source-v0")
    with pytest.raises(DatasetError, match="is of d3rlpy_mbo/AntAngle-v0"):
        relabel("ant-angle", source, dataset_id="again-v0")


def test_a_dataset_without_environment_is_refused(root):
    collect("Ant-v5", n_steps=5)
    file = root / "source-v0" / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    dataset = minari.load_dataset("source-v0")
    spaces = (dataset.observation_space, dataset.action_space)
    del metadata["env_spec"]
    for name, space in zip(("observation_space", "action_space"), spaces, strict=True):
        metadata[name] = minari.serialization.serialize_space(space)
    file.write_text(json.dumps(metadata))
    with pytest.raises(DatasetError, match="does not say which environment"):
        relabel("ant-angle", "source-v0")


def test_an_environment_with_other_columns_is_refused():
    collect("Ant-v5", n_steps=5, exclude_current_positions_from_observation=False)
    with pytest.raises(DatasetError, match="exclude_current_positions"):
        relabel("ant-angle", "source-v0")


def test_a_wrapped_environment_is_refused():
    episode = EpisodeBuffer(
        observations=np.zeros((2, 17)),
        actions=np.zeros((1, 6), dtype=np.float32),
        rewards=np.zeros(1),
        terminations=np.zeros(1, dtype=bool),
        truncations=np.ones(1, dtype=bool),
    )
    spec = json.loads(gymnasium.spec("HalfCheetah-v5").to_json())
    wrapper = WrapperSpec("Bigger", "gymnasium.wrappers:TimeAwareObservation", {})
    spec["additional_wrappers"] = [wrapper.__dict__]
    spec = EnvSpec.from_json(json.dumps(spec))
    write_local_dataset(
        "source-v0", [episode], env=gymnasium.spec("HalfCheetah-v5"), eval_env=spec
    )
    file = minari.load_dataset("source-v0").storage.data_path / "metadata.json"
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "env_spec": metadata["eval_env_spec"]}))
    with pytest.raises(DatasetError, match="has Bigger"):
        relabel("halfcheetah-jump", "source-v0")


def test_an_unknown_source_is_refused_with_the_nearest():
    collect("Ant-v5", n_steps=5)
    with pytest.raises(DatasetError, match=r"Did you mean 'source-v0'"):
        relabel("ant-angle", "sourc-v0")


@pytest.mark.parametrize("make", [RelabelledEnvironment, lambda t: relabel(t, "x-v0")])
def test_an_unknown_task_is_refused_with_the_nearest(make):
    with pytest.raises(UnknownComponentError, match="Did you mean 'ant-angle'"):
        make("ant-angel")


def test_an_existing_dataset_stays_unless_forced():
    collect("Ant-v5", n_steps=5)
    relabelled("ant-angle")
    with pytest.raises(DatasetError, match="already exists"):
        relabelled("ant-angle")
    assert relabelled("ant-angle", force=True).total_steps == 10


def test_a_missing_simulator_is_named(monkeypatch):
    def make(*args, **kwargs):
        raise gymnasium.error.DependencyNotInstalled("mujoco is not installed")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(DatasetError, match=r"HalfCheetah-v5 needs mujoco.*\[mujoco\]"):
        RelabelledEnvironment("halfcheetah-jump")
