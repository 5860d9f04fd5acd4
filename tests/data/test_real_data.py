"""A dataset is read once, whatever follows."""

import gc
import pickle
import weakref

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data import columns, real_data, transitions
from d3rlpy_mbo.testing import line_world as world
from toys import QUIET, line_dataset, line_episodes, line_imagination, small_learner


@pytest.fixture
def reads(monkeypatch):
    """The datasets that were read."""
    seen = []

    def counted(dataset):
        seen.append(dataset)
        return columns.read_columns(dataset)

    monkeypatch.setattr(real_data, "read_columns", counted)
    monkeypatch.setattr(transitions, "read_columns", counted)
    return seen


def test_a_fit_with_two_imaginations_reads_the_dataset_once(reads):
    dataset = line_dataset()
    back, forth = (
        line_imagination(each, rollout_batch_size=20) for each in ("reverse", "forward")
    )
    mbo.fit(
        small_learner("td3_plus_bc"),
        dataset,
        [back, forth],
        n_steps=4,
        real_ratio=0.5,
        **QUIET,
    )
    assert reads == [dataset]


def test_who_reads_it_beforehand_may_hand_it_on(reads):
    real = mbo.RealData.of(line_dataset())
    assert mbo.RealData.of(real) is real
    assert mbo.Transitions.from_dataset(real) is real.transitions
    imagination = line_imagination("reverse", rollout_batch_size=20)
    imagination.fit(real)
    imagination.imagine(real, 5)
    learner = small_learner("td3_plus_bc")
    mbo.pretrain_policy(learner, real, n_epochs=1)
    buffer = mbo.ImaginedReplayBuffer(real, imagination, learner)
    assert buffer.episodes is real.dataset.episodes
    buffer.sample_transition_batch(4)
    assert len(reads) == 1


def test_a_dataset_that_grew_is_read_as_it_is_now():
    dataset = line_dataset(n_episodes=2, length=5)
    before = mbo.RealData.of(dataset)
    dataset.append_episode(line_episodes(1, 5)[0])
    assert (len(before), len(mbo.RealData.of(dataset))) == (8, 12)


def test_what_was_read_stays_as_it_was_when_the_dataset_changes():
    # Full: an episode that is appended takes the place of the first.
    dataset = d3rlpy.dataset.create_fifo_replay_buffer(48, line_episodes(2, 25))
    first, second = dataset.episodes
    real = mbo.RealData.of(dataset)
    dataset.append_episode(line_episodes(1, 25)[0])
    assert dataset.episodes[0] is not first
    assert real.kept.episodes == [first, second]
    expected = np.concatenate([first.rewards, second.rewards])
    np.testing.assert_array_equal(real.rewards.rewards, expected)


def test_what_holds_arrays_can_be_compared_searched_and_be_a_key():
    ones, no = torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.bool)
    made = [
        *(mbo.RealData.of(line_dataset()) for _ in range(2)),
        *(mbo.RealData.of(line_dataset()).transitions for _ in range(2)),
        *(mbo.Prediction(ones, ones, ones, ones, None, None) for _ in range(2)),
        *(mbo.HaltDecision(no, no, no) for _ in range(2)),
    ]
    assert [made.index(each) for each in made] == list(range(8))
    assert len(set(made)) == 8


def test_columns_are_views_of_one_matrix_of_the_rows():
    real = mbo.RealData.of(
        line_dataset(n_episodes=3, length=4, terminated=True, size=2)
    )
    assert real.packed.shape == (12, real.layout.width) == (12, 2 + 2 + 1 + 2 + 2 + 1)
    for name, where in real.layout.slices.items():
        column = getattr(real.transitions, name).numpy()
        assert np.shares_memory(column, real.packed)
        np.testing.assert_array_equal(column, real.packed[:, where])


def test_row_sets_and_offsets_of_episodes_worked_out_by_hand():
    # d3rlpy keeps T rows of an episode that ended, the last without a successor, and
    # T - 1 of one that was cut.
    ended, cut = line_episodes(1, 3, terminated=True), line_episodes(1, 3)
    real = mbo.RealData.of(
        d3rlpy.dataset.create_infinite_replay_buffer([*ended, *cut, *ended])
    )
    assert real.episode_starts.tolist() == [0, 3, 5, 8]
    assert real.learner_rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert real.model_rows.tolist() == [0, 1, 3, 4, 5, 6]
    known = real.for_models
    assert real.for_models is known
    torch.testing.assert_close(
        real.for_models.observations,
        real.transitions.observations[[0, 1, 3, 4, 5, 6]],
    )
    assert real.start_rows("forward").tolist() == list(range(8))
    assert real.start_rows("reverse").tolist() == [0, 1, 3, 4, 5, 6]
    rows = real.transitions
    assert real.action_set.low.tolist() == rows.actions.amin(dim=0).tolist()


def test_a_copy_of_the_rows_that_models_may_see_lives_as_long_as_it_is_used():
    real = mbo.RealData.of(line_dataset(n_episodes=3, length=4, terminated=True))
    known = weakref.ref(real.for_models)
    gc.collect()
    assert known() is None
    rows = real.for_models
    again = pickle.loads(pickle.dumps(real)).for_models
    assert torch.equal(again.observations, rows.observations)
    complete = mbo.RealData.of(world.complete_dataset(world.line_transitions(5)))
    held = complete.for_models.observations
    assert held.data_ptr() == complete.transitions.observations.data_ptr()


def test_data_without_a_row_for_learners_is_refused():
    # Single steps that do not end: each has a next observation, none a next action.
    dataset = world.complete_dataset(world.line_transitions(5))
    real = mbo.RealData.of(dataset)
    assert (len(real.for_models), len(real.learner_rows)) == (5, 0)
    with pytest.raises(mbo.DatasetError, match="learners have nothing to train on"):
        mbo.ImaginedReplayBuffer(real, [])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": np.zeros((9, 1), np.float32)}, "5 observations, 5 actions and 9"),
        ({"observations": np.zeros((4, 1), np.float32)}, "4 observations, 5 actions"),
        ({"rewards": np.zeros((5, 2), np.float32)}, "2 rewards per step, expected one"),
    ],
)
def test_an_episode_whose_parts_do_not_fit_is_refused_by_number(changed, message):
    parts = {
        "observations": np.zeros((5, 1), np.float32),
        "actions": np.linspace(0, 0.9, 5, dtype=np.float32)[:, None],
        "rewards": np.zeros((5, 1), np.float32),
        "terminated": True,
    }
    episode = d3rlpy.dataset.Episode(**{**parts, **changed})
    dataset = d3rlpy.dataset.create_infinite_replay_buffer([episode])
    with pytest.raises(mbo.DatasetError, match=message):
        mbo.RealData.of(dataset)


def test_episodes_of_other_sizes_are_refused():
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(
        [*line_episodes(1, 4, size=1), *line_episodes(1, 4, size=2)]
    )
    with pytest.raises(
        mbo.DatasetError, match="Expected the same size in each episode"
    ):
        mbo.RealData.of(dataset)
