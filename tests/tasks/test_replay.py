import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import types
import zipfile

import gymnasium
import minari
import numpy as np
import pytest
import torch
from d3rlpy.algos import DoubleDQNConfig, SACConfig
from d3rlpy.models import VectorEncoderFactory
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.errors import DatasetError
from d3rlpy_mbo.tasks import online_learners, replay_store
from d3rlpy_mbo.tasks.online_learners import online_learner
from d3rlpy_mbo.tasks.replay import collect_replay
from d3rlpy_mbo.tasks.replay_store import Replay

pytestmark = pytest.mark.training

NAMES = ("observations", "actions", "rewards", "terminations", "truncations")
SMALL = VectorEncoderFactory([8])
FAST = SACConfig(
    batch_size=8, actor_encoder_factory=SMALL, critic_encoder_factory=SMALL
)


@pytest.fixture(autouse=True)
def root(minari_root):
    return minari_root


def collect(environment="Pendulum-v1", n_steps=700, n_random_steps=500, **kwargs):
    # Pendulum's episodes have 200 steps.
    kwargs = {"learner": FAST, "checkpoint_interval": 300, **kwargs}
    return minari.load_dataset(
        collect_replay(
            environment, n_steps=n_steps, n_random_steps=n_random_steps, **kwargs
        )
    )


def columns(dataset):
    return {
        name: np.concatenate([getattr(episode, name) for episode in dataset])
        for name in NAMES
    }


def assert_equal(one, other):
    for name, column in columns(one).items():
        np.testing.assert_array_equal(column, columns(other)[name], err_msg=name)


def kill_at(monkeypatch, n_steps):
    """Counts steps in the list that it returns; raises at that one."""
    steps, original = [], PendulumEnv.step

    def step(self, action):
        steps.append(1)
        if len(steps) == n_steps:
            raise KeyboardInterrupt
        return original(self, action)

    monkeypatch.setattr(PendulumEnv, "step", step)
    return steps


def kill(monkeypatch, n_steps=550, **kwargs):
    with monkeypatch.context() as context:
        kill_at(context, n_steps)
        with pytest.raises(KeyboardInterrupt):
            collect(**kwargs)


def hidden(root):
    """Names of what lies hidden; a lock's file says nothing once its process is dead."""
    names = [path.name for path in root.iterdir() if path.name.startswith(".")]
    return [name for name in names if not name.endswith(".lock")]


# The rows.


def test_every_row_is_what_the_environment_does_from_its_episodes_seed():
    pytest.importorskip("mujoco")
    dataset = collect("Hopper-v5", n_steps=300, n_random_steps=200)
    assert dataset.total_steps == 300
    assert len(dataset) > 5
    env = gymnasium.make("Hopper-v5")
    metadata = list(dataset.storage.get_episode_metadata(range(len(dataset))))
    for index in reversed(range(len(dataset))):  # by itself: no memory of others
        episode = dataset[index]
        observations = [env.reset(seed=metadata[index]["seed"])[0]]
        for step, action in enumerate(episode.actions):
            observation, reward, terminated, _, _ = env.step(action)
            observations.append(observation)
            assert episode.rewards[step] == reward
            assert episode.terminations[step] == terminated
        np.testing.assert_array_equal(episode.observations, observations)


def test_episodes_keep_their_last_observation_at_limits_and_at_the_end():
    dataset = collect(n_steps=450, n_random_steps=450)
    assert [len(episode) for episode in dataset] == [200, 200, 50]
    for episode in dataset:
        assert len(episode.observations) == len(episode) + 1
        assert list(np.flatnonzero(episode.truncations)) == [len(episode) - 1]
        assert not episode.terminations.any()


def test_models_learn_from_every_row_of_a_replay():
    collect(n_steps=250, n_random_steps=250)
    dataset, env = mbo.load_minari("replay/pendulum-v1-v0")
    assert len(mbo.Transitions.from_dataset(dataset)) == 250
    assert env.spec.id == "Pendulum-v1"


def test_actions_fill_the_environments_range():
    actions = columns(collect(n_steps=150, n_random_steps=100))["actions"]
    for part in (actions[:100], actions[100:]):
        assert 1.0 < np.abs(part).max() <= 2.0


def test_the_same_seed_gives_the_same_dataset_and_another_another():
    one = collect(n_steps=250, n_random_steps=200, dataset_id="one-v0")
    torch.manual_seed(123)
    np.random.seed(123)
    other = collect(n_steps=250, n_random_steps=200, dataset_id="other-v0")
    assert_equal(one, other)
    third = collect(n_steps=250, n_random_steps=200, dataset_id="third-v0", seed=1)
    assert not np.array_equal(columns(one)["actions"], columns(third)["actions"])


def test_the_callers_generators_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    collect(n_steps=30, n_random_steps=10)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def filled_replay():
    """s' = s + a, two episodes: 0 1 2 (terminated) and 10 20 30."""
    space = spaces.Box(-100.0, 100.0, (1,), np.float32)
    env = type("Env", (), {"observation_space": space, "action_space": space})
    replay = Replay(10, env)
    for seed, first in ((5, 0.0), (6, 10.0)):
        replay.begin_episode(seed, np.array([first]))
        for step in range(2):
            action = first or 1.0
            after = first + (step + 1) * action
            replay.append(np.array([action]), -after, (first, step) == (0, 1), after)
    return replay, Replay(10, env)


def test_the_learner_is_shown_true_next_observations():
    batch = filled_replay()[0].sample(200, np.random.default_rng(0))
    assert set(batch.observations[:, 0]) == {0, 1, 10, 20}
    np.testing.assert_array_equal(
        batch.next_observations, batch.observations + batch.actions
    )
    np.testing.assert_array_equal(batch.rewards, -batch.next_observations)
    np.testing.assert_array_equal(batch.terminals, batch.next_observations == 2)


def test_a_replay_put_together_from_its_parts_is_the_replay():
    replay, copy = filled_replay()
    whole = replay.since(0, 0)
    copy.extend({name: column[:0] for name, column in whole.items()})
    copy.extend(whole)
    one, other = (r.sample(50, np.random.default_rng(0)) for r in (replay, copy))
    np.testing.assert_array_equal(one.next_observations, other.next_observations)
    assert [episode.seed for episode in copy.episodes()] == [5, 6]
    assert [list(e.truncations) for e in copy.episodes()] == [[0, 0], [0, 1]]


# Killed collections.


def test_a_killed_collection_goes_on_and_gives_the_uninterrupted_dataset(
    monkeypatch, root
):
    whole = collect(dataset_id="whole-v0", n_random_steps=350)
    monkeypatch.setattr(tempfile, "tempdir", str(root / "no-such-folder"))
    # Saved after 400 steps, of which 50 were learned from.
    kill(monkeypatch, dataset_id="killed-v0", n_random_steps=350)
    assert list(minari.list_local_datasets()) == ["whole-v0"]
    assert hidden(root) == [".d3rlpy-mbo-replay-killed-v0"]
    with monkeypatch.context() as context:
        steps = kill_at(context, None)
        killed = collect(dataset_id="killed-v0", n_random_steps=350)
    assert len(steps) == 300
    assert_equal(whole, killed)
    assert hidden(root) == []


def test_a_collection_can_be_killed_again_and_again(monkeypatch):
    whole = collect(dataset_id="whole-v0", checkpoint_interval=1)
    for n_steps in (250, 150, 250):  # saved after 200, not at all, 400
        kill(monkeypatch, n_steps, dataset_id="killed-v0", checkpoint_interval=1)
    assert_equal(whole, collect(dataset_id="killed-v0", checkpoint_interval=1))


def test_a_kill_between_part_and_state_goes_back_to_the_state_before(monkeypatch):
    whole = collect(dataset_id="whole-v0", checkpoint_interval=1)
    original, written = replay_store.atomic_write, []

    def atomic_write(path):
        written.append(path.name)
        if written.count("state.npz") == 2:
            raise KeyboardInterrupt
        return original(path)

    with monkeypatch.context() as context:
        context.setattr(replay_store, "atomic_write", atomic_write)
        with pytest.raises(KeyboardInterrupt):
            collect(dataset_id="killed-v0", checkpoint_interval=1)
    assert written[-2:] == ["part-0000000200.npz", "state.npz"]
    assert_equal(whole, collect(dataset_id="killed-v0", checkpoint_interval=1))


def test_a_killed_process_leaves_no_dataset_and_goes_on(root):
    code = """
import os, signal, torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from d3rlpy.algos import SACConfig
from d3rlpy_mbo.tasks.replay import collect_replay
torch.set_num_threads(1)
steps, original = [], PendulumEnv.step
def step(self, action):
    steps.append(1)
    if len(steps) == 290:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, action)
PendulumEnv.step = step
collect_replay("Pendulum-v1", n_steps=300, checkpoint_interval=100)
"""
    child = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert minari.list_local_datasets() == {}
    whole = collect(n_steps=300, n_random_steps=1000, dataset_id="whole-v0")
    assert hidden(root) == [".d3rlpy-mbo-replay-replay--pendulum-v1-v0"]
    dataset = minari.load_dataset(
        collect_replay("Pendulum-v1", n_steps=300, checkpoint_interval=100)
    )
    assert_equal(whole, dataset)


def test_an_unfinished_collection_with_other_settings_is_an_error_unless_forced(
    monkeypatch, root
):
    kill(monkeypatch)
    with pytest.raises(DatasetError, match=r"seed is 0 there, 1 here.*--force"):
        collect(seed=1)
    other = SACConfig(batch_size=9)
    with pytest.raises(DatasetError, match=r"learner.batch_size is 8 there, 9 here"):
        collect(learner=other)
    with monkeypatch.context() as context:
        steps = kill_at(context, None)
        collect(seed=1, force=True)
    assert len(steps) == 700
    assert hidden(root) == []


def test_an_unreadable_unfinished_collection_is_an_error_unless_forced(
    monkeypatch, root
):
    kill(monkeypatch)
    (root / hidden(root)[0] / "part-0000000000.npz").write_bytes(b"PK, but no zip")
    with pytest.raises(DatasetError, match=r"cannot be read.*--force"):
        collect()
    assert collect(force=True).total_steps == 700


def test_rows_that_a_damaged_file_hides_are_missed(monkeypatch, root):
    kill(monkeypatch)
    path = root / hidden(root)[0] / "part-0000000000.npz"
    with np.load(path) as file:
        arrays = dict(file)
    del arrays["rewards"]
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=r"cannot be read.*'rewards'.* were written"):
        collect()


def savez_before_numpy_2_2(file, **arrays):
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.asanyarray(array))


def test_a_killed_collection_goes_on_with_the_oldest_numpy(monkeypatch):
    monkeypatch.setattr(np, "savez", savez_before_numpy_2_2)
    kill(monkeypatch)
    with monkeypatch.context() as context:
        steps = kill_at(context, None)
        collect()
    assert len(steps) == 300


# What it writes, and where.


def test_an_existing_dataset_stays_unless_forced(monkeypatch):
    collect(n_steps=10)
    steps = kill_at(monkeypatch, None)
    with pytest.raises(DatasetError, match="already exists"):
        collect(n_steps=20)
    assert steps == []
    assert collect(n_steps=20, force=True).total_steps == 20


def test_metadata_say_how_it_was_collected():
    metadata = collect(n_steps=10, seed=3).storage.metadata
    assert metadata["algorithm_name"] == "SAC"
    assert metadata["seed"] == 3
    assert metadata["collection"]["learner.batch_size"] == 8
    assert metadata["collection"]["version.d3rlpy"]


@pytest.mark.parametrize(
    ("environment", "scores"),
    [
        ("Hopper-v5", (-20.272305, 3234.3)),
        ("Ant-v5", (-325.6, 3879.7)),
        ("InvertedPendulum-v5", None),
    ],
)
def test_reference_scores_are_d4rls_where_it_states_them(environment, scores):
    pytest.importorskip("mujoco")
    metadata = collect(environment, n_steps=3).storage.metadata
    found = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    assert found == (scores or (None, None))
    assert ("-v2" in metadata["description"]) is (scores is not None)


# Choices.

CHOOSING = DoubleDQNConfig(batch_size=8, encoder_factory=SMALL)


def test_every_choice_is_one_that_the_environment_has_and_leads_where_it_leads():
    dataset = collect("CartPole-v1", n_steps=120, n_random_steps=100, learner=CHOOSING)
    assert dataset.action_space == spaces.Discrete(2)
    assert dataset.storage.metadata["algorithm_name"] == "DoubleDQN"
    assert set(columns(dataset)["actions"].tolist()) == {0, 1}
    env = gymnasium.make("CartPole-v1")
    episode = dataset[0]
    metadata = next(iter(dataset.storage.get_episode_metadata([0])))
    observations = [env.reset(seed=metadata["seed"])[0]]
    observations += [env.step(action)[0] for action in episode.actions]
    np.testing.assert_array_equal(episode.observations, observations)
    assert episode.terminations[-1]  # a pole fell before 200 steps
    rows = mbo.Transitions.from_dataset(mbo.load_minari(dataset)[0])
    assert (len(rows), rows.n_actions) == (120, 2)
    ends = mbo.CartPoleTermination()(
        rows.observations, rows.actions, rows.next_observations
    )
    assert torch.equal(ends, rows.terminals > 0)


def test_a_killed_collection_of_choices_ends_as_one_that_was_not(monkeypatch):
    settings = {
        "environment": "CartPole-v1",
        "n_steps": 150,
        "n_random_steps": 50,
        "checkpoint_interval": 60,
        "learner": dataclasses.replace(
            CHOOSING, target_update_interval=40, learning_rate=1e-2
        ),
    }
    monkeypatch.setattr(online_learners, "_EPSILON_STEPS", 1)  # its own choices
    whole = columns(collect(dataset_id="whole-v0", **settings))
    steps, original = [], CartPoleEnv.step

    def step(self, action):
        steps.append(1)
        if len(steps) == 120:
            raise KeyboardInterrupt
        return original(self, action)

    with monkeypatch.context() as context:
        context.setattr(CartPoleEnv, "step", step)
        with pytest.raises(KeyboardInterrupt):
            collect(dataset_id="killed-v0", **settings)
    found = columns(collect(dataset_id="killed-v0", **settings))
    for name, column in whole.items():
        np.testing.assert_array_equal(column, found[name], err_msg=name)


def test_choices_are_the_environments_numbers_in_the_dataset_and_begin_at_0_for_learners():
    replay = Replay(
        2,
        types.SimpleNamespace(
            observation_space=spaces.Box(-1.0, 1.0, (1,)),
            action_space=spaces.Discrete(3, start=5),
        ),
    )
    replay.begin_episode(0, np.zeros(1))
    for action in (5, 7):
        replay.append(np.int64(action), 0.0, False, np.zeros(1))
    assert replay.episodes()[0].actions.tolist() == [5, 7]
    actions = replay.sample(50, np.random.default_rng(0)).actions
    assert actions.shape == (50, 1)
    assert set(actions[:, 0].tolist()) == {0.0, 2.0}
    space = spaces.Discrete(3, start=5)
    online = online_learner("Somewhere", space, None)
    drawn = {int(online.uniform(np.random.default_rng(i))) for i in range(50)}
    assert drawn == {5, 6, 7}
    greedy = types.SimpleNamespace(predict=lambda rows: np.array([2]))
    rng = np.random.default_rng(0)
    early, late = (
        [int(online.explore(greedy, np.zeros(1), n, rng)) for _ in range(300)]
        for n in (0, 10_000)
    )
    assert 70 < sum(action == 7 for action in early) < 130  # a third: all at random
    assert 260 < sum(action == 7 for action in late) < 300  # but for a tenth


# Bad input.


def test_a_learner_of_the_other_kind_of_actions_is_refused():
    with pytest.raises(DatasetError, match="SACConfig, expected DoubleDQNConfig"):
        collect("CartPole-v1")
    with pytest.raises(DatasetError, match="DoubleDQNConfig, expected SACConfig"):
        collect(learner=CHOOSING)


class Bad(gymnasium.Env):
    def __init__(self, observation_space=None, action_space=None):
        vector = spaces.Box(-1.0, 1.0, (2,))
        self.observation_space = observation_space or vector
        self.action_space = action_space or vector


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("action", spaces.MultiDiscrete([2, 3]), r"MultiDiscrete.*expected a Box"),
        ("action", spaces.MultiBinary(2), r"MultiBinary.*expected a Box"),
        ("action", spaces.Box(-np.inf, np.inf, (2,)), "expected bounds"),
        ("observation", spaces.Dict(a=spaces.Discrete(2)), r"Dict.*expected vectors"),
        ("observation", spaces.Box(0, 255, (8, 8, 3)), r"Box.*expected vectors"),
    ],
)
def test_spaces_that_cannot_be_collected_are_refused(monkeypatch, name, space, message):
    spec = gymnasium.envs.registration.EnvSpec(
        "Bad-v0", entry_point=Bad, kwargs={f"{name}_space": space}
    )
    monkeypatch.setitem(gymnasium.registry, "Bad-v0", spec)
    with pytest.raises(DatasetError, match=rf"'Bad-v0'.*{message}"):
        collect("Bad-v0")


def test_an_environment_that_a_dataset_cannot_name_is_refused(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Bad-v0", entry_point=Bad)
    monkeypatch.setitem(gymnasium.registry, "Bad-v0", spec)
    with pytest.raises(DatasetError, match="string as entry point"):
        collect("Bad-v0")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("Pendulum-v0", "Did you mean 'Pendulum-v1'"),
        ("Pendulun-v1", "Did you mean 'Pendulum-v1'"),
        ("qqqq", "cannot make"),
        ("no_such_package:Pendulum-v1", "cannot make"),
    ],
)
def test_unknown_environments_are_refused(environment, message):
    with pytest.raises(DatasetError, match=message) as caught:
        collect(environment)
    assert "[mujoco]" not in str(caught.value)  # which would not help


def test_the_extra_is_advised_where_the_simulator_is_what_is_missing(monkeypatch):
    def make(environment):
        raise gymnasium.error.DependencyNotInstalled("No module named 'mujoco'")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(DatasetError, match=r"pip install 'd3rlpy-mbo\[mujoco\]'"):
        collect("Hopper-v5")


@pytest.mark.parametrize(
    "name", ["n_steps", "n_random_steps", "checkpoint_interval", "seed"]
)
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(DatasetError, match=f"{name} is -1, expected at least"):
        collect(**{name: -1})


def test_an_id_that_minari_cannot_read_is_refused():
    with pytest.raises(DatasetError, match="no Minari dataset id"):
        collect(dataset_id="no version")
