import dataclasses
from collections.abc import Iterable

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data import transitions as module
from sizes import peak_of_numpy
from toys import line_dataset, line_episodes, line_transitions


def one_episode(terminated: bool) -> d3rlpy.dataset.ReplayBuffer:
    episode = d3rlpy.dataset.Episode(
        np.array([[0.0], [1.0], [3.0]], np.float32),
        np.array([[1.5], [2.5], [4.5]], np.float32),
        np.array([[10.0], [20.0], [30.0]], np.float32),
        terminated,
    )
    return d3rlpy.dataset.create_infinite_replay_buffer([episode])


def test_a_truncated_episode_of_d3rlpy_loses_its_last_row_only():
    transitions = mbo.Transitions.from_dataset(one_episode(terminated=False))
    assert transitions.observations.flatten().tolist() == [0, 1]
    assert transitions.next_observations.flatten().tolist() == [1, 3]
    assert transitions.next_actions.flatten().tolist() == [2.5, 4.5]
    assert len(transitions.for_models()) == len(transitions.for_learners()) == 2


def test_a_zero_filled_terminal_row_is_for_learners_but_never_for_models():
    transitions = mbo.Transitions.from_dataset(one_episode(terminated=True))
    assert transitions.terminals.flatten().tolist() == [0, 0, 1]
    assert transitions.next_observations.flatten().tolist() == [1, 3, 0]
    assert len(transitions.for_learners()) == 3
    assert transitions.for_models().next_observations.flatten().tolist() == [1, 3]


def test_rows_equal_those_that_d3rlpy_picks():
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(
        line_episodes(3, 4, size=2) + line_episodes(3, 5, terminated=True, size=2)
    )
    ours = mbo.Transitions.from_dataset(dataset)
    picker = d3rlpy.dataset.BasicTransitionPicker()
    theirs = [picker(*dataset.buffer[i]) for i in range(dataset.transition_count)]
    for name in ("observation", "action", "reward", "next_observation", "next_action"):
        expected = np.stack([getattr(row, name) for row in theirs])
        np.testing.assert_array_equal(getattr(ours, name + "s"), expected)


def test_a_full_fifo_buffer_gives_only_the_transitions_still_in_it():
    episodes = line_episodes(4, 6, terminated=True)
    dataset = d3rlpy.dataset.create_fifo_replay_buffer(limit=10, episodes=episodes)
    ours = mbo.Transitions.from_dataset(dataset)
    expected = np.concatenate([episodes[2].observations[2:], episodes[3].observations])
    np.testing.assert_array_equal(ours.observations, expected)


def test_from_arrays_without_next_actions_is_for_models_but_not_for_learners():
    rows = np.zeros((4, 2)), np.zeros((4, 1)), np.zeros(4), np.zeros((4, 2))
    transitions = mbo.Transitions.from_arrays(*rows, np.array([0, 0, 0, 1]))
    assert len(transitions.for_models()) == 4
    assert len(transitions.for_learners()) == 1


@pytest.mark.parametrize("column", ["observations", "actions", "rewards"])
def test_values_that_are_not_finite_are_refused_by_column_and_count(column):
    episode = line_episodes(1, 6, size=2)[0]
    getattr(episode, column)[2:4, 0] = np.nan
    dataset = d3rlpy.dataset.create_infinite_replay_buffer([episode])
    with pytest.raises(
        mbo.DatasetError, match=rf"{column} has 2 NaN .* \[0\] .* row 2"
    ):
        mbo.Transitions.from_dataset(dataset)


def test_values_are_found_to_be_finite_without_flags_for_all_of_them(monkeypatch):
    monkeypatch.setattr(module, "ROWS_READ", 100)
    columns = {"observations": np.zeros((4000, 100), np.float32)}
    with peak_of_numpy() as peak:
        module._validate_finite(columns)
    assert peak[0] < 0.3 * columns["observations"].size
    columns["observations"][3999, 1] = np.inf  # in the last ones that are looked at
    with pytest.raises(mbo.DatasetError, match=r"1 NaN .* \[1\] .* row 3999"):
        module._validate_finite(columns)


def test_an_infinite_reward_in_plain_arrays_is_refused():
    with pytest.raises(mbo.DatasetError, match="rewards has 1 NaN or infinite"):
        mbo.Transitions.from_arrays([[0.0]], [[0.0]], [np.inf], [[0.0]], [0])


def test_images_and_tuples_are_refused_by_name():
    image = d3rlpy.dataset.Episode(
        np.zeros((3, 1, 8, 8), np.uint8),
        np.zeros((3, 1), np.float32),
        np.zeros((3, 1), np.float32),
        False,
    )
    pair = d3rlpy.dataset.Episode(
        [np.zeros((3, 2), np.float32), np.zeros((3, 1), np.float32)],
        np.zeros((3, 1), np.float32),
        np.zeros((3, 1), np.float32),
        False,
    )
    for episode, words in ((image, "images"), (pair, "Tuple")):
        dataset = d3rlpy.dataset.create_infinite_replay_buffer([episode])
        with pytest.raises(mbo.DatasetError, match=words):
            mbo.Transitions.from_dataset(dataset)


@pytest.mark.parametrize(
    ("picker", "why"),
    [
        (d3rlpy.dataset.MultiStepTransitionPicker(3, 0.99), "single.*steps_per_row"),
        (d3rlpy.dataset.FrameStackTransitionPicker(2), "not single steps"),
        (d3rlpy.dataset.SparseRewardTransitionPicker(0.0), "a return of its own"),
    ],
)
def test_other_transition_pickers_are_refused_by_name(picker, why):
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(
        line_episodes(1, 5), transition_picker=picker
    )
    with pytest.raises(mbo.DatasetError, match=f"{type(picker).__name__} .*{why}"):
        mbo.Transitions.from_dataset(dataset)


def test_shapes_that_do_not_fit_are_refused_by_column():
    with pytest.raises(mbo.DatasetError, match=r"next_observations has shape \(2, 3\)"):
        mbo.Transitions.from_arrays(
            np.zeros((2, 2)),
            np.zeros((2, 1)),
            np.zeros(2),
            np.zeros((2, 3)),
            np.zeros(2),
        )


def test_action_range_maps_to_the_unit_box_and_back_also_for_a_constant_dimension():
    actions = torch.tensor([[0.0, 5.0], [2.0, 5.0], [1.0, 5.0]])
    transitions = line_with_actions(actions)
    unit = transitions.action_range().to_unit(actions)
    assert unit.tolist() == [[-1, 0], [1, 0], [0, 0]]
    assert transitions.action_range().from_unit(unit).tolist() == actions.tolist()


def line_with_actions(actions: torch.Tensor) -> mbo.Transitions:
    zeros = np.zeros((len(actions), 1))
    return mbo.Transitions.from_arrays(zeros, actions.numpy(), zeros, zeros, zeros)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_rows_that_are_on_the_device_are_not_copied(device):
    rows = line_transitions(5)
    assert rows.to(device).actions.data_ptr() == rows.actions.data_ptr()


def test_an_empty_dataset_is_refused():
    dataset = line_dataset(1, 1)  # one truncated row has no next observation
    with pytest.raises(mbo.DatasetError, match="no transitions"):
        mbo.Transitions.from_dataset(dataset)


@pytest.mark.parametrize("strange", [2.0, -1.0, 0.5])
def test_flags_other_than_0_and_1_are_refused(strange):
    rows = np.zeros((2, 2)), np.zeros((2, 1)), np.zeros(2), np.zeros((2, 2))
    with pytest.raises(mbo.DatasetError, match=rf"terminals hold \[{strange}\]"):
        mbo.Transitions.from_arrays(*rows, np.array([0, strange]))


def test_rows_can_be_taken_one_by_one():
    rows = mbo.Transitions.from_dataset(line_dataset(n_episodes=1, length=4))
    assert isinstance(rows, Iterable)
    each = list(rows)
    assert [len(row) for row in each] == [1, 1, 1]
    joined = mbo.Transitions.concatenate(each)
    assert torch.equal(joined.observations, rows.observations)
    assert torch.equal(rows[np.int64(-1)].rewards, rows.rewards[-1:])
    for number in (3, -4):
        with pytest.raises(IndexError):
            rows[number]


def test_joined_rows_know_what_the_parts_know():
    rows = line_transitions(2)
    mask = torch.tensor([True, False])
    some = dataclasses.replace(rows, next_observation_known=mask)
    every = dataclasses.replace(
        rows, next_observation_known=None, rollout_ids=mask.int()
    )
    joined = mbo.Transitions.concatenate([every, some])
    assert joined.next_observation_known.tolist() == [True, True, True, False]
    joined = mbo.Transitions.concatenate([some, every])
    assert joined.next_observation_known.tolist() == [True, False, True, True]
    assert joined.rollout_ids is None  # those of the first part are not known
    assert mbo.Transitions.concatenate([every]).next_observation_known is None


def test_parts_that_are_not_alike_are_not_joined():
    rows = line_transitions(2)
    choices = dataclasses.replace(rows, n_actions=3)
    with pytest.raises(mbo.DatasetError, match=r"\(1, 1, 3\), \(1, 1, None\)"):
        mbo.Transitions.concatenate([rows, choices])
    with pytest.raises(mbo.DatasetError, match="The 0 parts .* none, expected one"):
        mbo.Transitions.concatenate([])
