"""Data that was probably not meant so is noticed before models learn it."""

import shutil
import warnings
from pathlib import Path

import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.validation import validate_parts
from d3rlpy_mbo.tasks.replay import collect_replay
from d3rlpy_mbo.testing import line_world as world
from toys import line_dataset, line_episodes, line_imagination, small_learner

VERSION_0_1 = Path(__file__).parents[1] / "version_0_1"


def episodes(lengths, terminated):
    return [line_episodes(1, length, terminated)[0] for length in lengths]


def buffer(some):
    return d3rlpy.dataset.create_infinite_replay_buffer(some)


def test_masks_given_as_terminals_are_noticed_by_the_share_of_terminal_rows():
    single = buffer(episodes([1] * 30, True))
    with pytest.warns(UserWarning, match="100% of the dataset's rows are terminal.*0%"):
        mbo.RealData.of(single)


def test_rows_that_are_nearly_all_episodes_of_their_own_are_noticed():
    """Shuffled rows: learners draw the terminal ones alone."""
    places = 2 * np.arange(20.0)[:, None]
    with pytest.warns(match="lead to another observation"):
        some = mbo.dataset_from_arrays(
            places, places, places, places + 1, terminals=np.arange(20) == 7
        )
    with pytest.warns(UserWarning, match="can draw 1 of 20 rows.*shuffled"):
        mbo.RealData.of(some)


def test_one_hot_actions_are_noticed_as_choices():
    one_hot = np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]
    some = mbo.dataset_from_arrays([np.ones((5, 2))], [one_hot], [np.ones(4)])
    with pytest.warns(UserWarning, match="1 in one of 3 columns.*argmax"):
        mbo.RealData.of(some)


def test_time_limits_given_as_terminals_are_noticed_by_their_length():
    with pytest.warns(UserWarning, match="All 12 episodes .* have 7 steps"):
        mbo.RealData.of(buffer(episodes([7] * 12, True)))


def test_a_dataset_read_without_gaps_between_minaris_episodes_is_noticed():
    shifted = []
    observations, actions = [], []
    for _ in range(20):
        moves = np.random.uniform(-0.1, 0.1, (30, 2)).astype(np.float32)
        first = np.random.uniform(-5, 5, (1, 2)).astype(np.float32)
        observations.append(np.cumsum(np.vstack([first, moves]), axis=0))  # T + 1
        actions.append(moves)
    joined = np.concatenate(observations)
    for k in range(20):  # as d3rlpy.datasets.get_minari cuts them
        cut = joined[30 * k : 30 * (k + 1)]
        rewards = np.zeros((30, 1), np.float32)
        shifted.append(d3rlpy.dataset.Episode(cut, actions[k], rewards, False))
    with pytest.warns(UserWarning, match="get_minari.*mbo.load_minari"):
        mbo.RealData.of(buffer(shifted))


@pytest.mark.filterwarnings("error")
def test_nothing_is_noticed_in_healthy_data():
    mbo.RealData.of(line_dataset())
    mbo.RealData.of(buffer(episodes(range(5, 25), True)))
    mbo.RealData.of(world.complete_dataset(world.line_transitions(40)))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            [],
            r"The dataset is a list \(d3rlpy.*episodes\), expected a d3rlpy ReplayBuffer",
        ),
        ({"observations": []}, "The dataset is a dict of arrays"),
        ((1, None), "a tuple .mbo.load_minari returns the dataset and an environment"),
        (world.line_transitions(3), "The dataset is a Transitions"),
        (None, "The dataset is a NoneType"),
    ],
)
def test_what_is_no_dataset_is_refused_by_what_it_is(dataset, message):
    with pytest.raises(mbo.DatasetError, match=message):
        line_imagination("reverse").fit(dataset)


def test_a_value_beyond_float32_is_refused_by_value_column_and_step():
    episode = line_episodes(1, 8, size=2)[0]
    observations = episode.observations.astype(np.float64)
    observations[5, 1] = 1e300
    wide = d3rlpy.dataset.Episode(observations, episode.actions, episode.rewards, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            mbo.DatasetError,
            match=r"1e\+300 in column 1 \(episode 0, step 5\).*float32",
        ):
            mbo.RealData.of(buffer([wide]))


def test_small_changes_beside_a_large_offset_are_noticed_by_column():
    episode = line_episodes(1, 50, size=2)[0]
    observations = episode.observations.astype(np.float64)
    observations[:, 1] = 1e6 + 1e-3 * observations[:, 1]  # float32 steps there: 0.06
    wide = d3rlpy.dataset.Episode(observations, episode.actions, episode.rewards, False)
    with pytest.warns(
        UserWarning, match="float32 loses up to .* in column 1 of observ"
    ):
        mbo.RealData.of(buffer([wide]))


def test_whole_numbers_that_d3rlpy_takes_for_choices_are_refused_by_the_way_out():
    episode = line_episodes(1, 8)[0]
    for values in ([-1, 0, 1, 0], [0, 0, 0, 0]):
        episode.actions[:] = np.resize(values, (8, 1))
        with pytest.raises(mbo.DatasetError, match="action_space=d3rlpy.ActionSpace.C"):
            mbo.RealData.of(buffer([episode]))
    episode.actions[:] = np.resize([0, 1], (8, 1))  # nothing but the learner can tell
    for learner in (small_learner("sac"), built_sac()):
        with pytest.raises(mbo.CompositionError, match="action_space=d3rlpy.ActionSpa"):
            mbo.ImaginedReplayBuffer(buffer([episode]), [], learner)


def built_sac():
    learner = small_learner("sac")
    learner.create_impl((1,), 1)
    return learner


def test_episodes_of_load_minari_need_their_own_picker():
    dataset = world.complete_dataset(world.line_transitions(10))
    part = buffer(dataset.episodes[:5])
    with pytest.raises(
        mbo.DatasetError, match="transition_picker=dataset.transition_pi"
    ):
        mbo.RealData.of(part)


@pytest.mark.parametrize("name", ["v01/umaze-v0", "v01/cheetah-jump-v0"])
def test_nothing_is_noticed_in_what_we_collect(name, minari_root):
    pytest.importorskip("mujoco")  # the environments that they record
    shutil.copytree(VERSION_0_1 / "datasets", minari_root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset, env = mbo.load_minari(name)
        real = mbo.RealData.of(dataset)
        learner = small_learner("td3_plus_bc")
        validate_parts(learner, real, [line_imagination("reverse")], env=env)


@pytest.mark.training
@pytest.mark.filterwarnings("error")
def test_nothing_is_noticed_in_a_replay(minari_root):
    collect_replay("Pendulum-v1", n_steps=400, dataset_id="replay/pendulum-v0")
    dataset, env = mbo.load_minari("replay/pendulum-v0")
    scaler = d3rlpy.preprocessing.MinMaxActionScaler()
    learner = small_learner("td3_plus_bc", action_scaler=scaler)
    real = mbo.RealData.of(dataset)
    validate_parts(learner, real, [line_imagination("reverse")], env=env)
