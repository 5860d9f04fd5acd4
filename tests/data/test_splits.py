"""Parts of datasets: Minari's own, and d3rlpy's functions on complete episodes."""

import io
import pickle
import warnings
from typing import Any

import d3rlpy
import minari
import numpy as np
import pytest
from d3rlpy.dataset import (
    FIFOBuffer,
    InfiniteBuffer,
    MixedReplayBuffer,
    ReplayBuffer,
    create_fifo_replay_buffer,
    create_infinite_replay_buffer,
)
from minari import combine_datasets, split_dataset

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode, CompleteTransitionPicker
from own_data import episode_buffers, walk, write_minari
from toys import QUIET, line_imagination, small_learner


def load(dataset: Any) -> ReplayBuffer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these datasets record no environment
        return mbo.load_minari(dataset)[0]


def firsts(dataset: ReplayBuffer) -> list[float]:
    """The first column of s tells rows apart."""
    rows = mbo.Transitions.from_dataset(dataset)
    difference = rows.next_observations - rows.observations
    assert np.array_equal(difference.numpy(), np.tile([1, 10], (len(rows), 1)))
    return rows.observations[:, 0].tolist()


def train(dataset: ReplayBuffer) -> None:
    d3rlpy.algos.TD3PlusBCConfig(
        batch_size=64,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
    ).create().fit(
        dataset,
        2,
        1,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        evaluators={"td": d3rlpy.metrics.TDErrorEvaluator()},
    )


def test_a_minari_dataset_is_as_good_as_its_id(minari_root):
    dataset = write_minari("parts/one-v0")
    assert firsts(load(dataset)) == firsts(load("parts/one-v0"))


def test_filtered_and_split_minari_datasets_are_their_own_episodes(minari_root):
    dataset = write_minari("parts/one-v0")
    short = dataset.filter_episodes(lambda episode: len(episode) < 4)
    assert firsts(load(short)) == [0, 1, 2, 200, 201]
    one, two = split_dataset(dataset, [1, 2], seed=3)
    assert sorted(firsts(load(one)) + firsts(load(two))) == firsts(load(dataset))
    with pytest.raises(mbo.DatasetError, match="'parts/one-v0' holds no transitions"):
        load(dataset.filter_episodes(lambda episode: False))


def test_combined_minari_datasets_are_all_episodes_one_after_the_other(minari_root):
    one = write_minari("parts/one-v0")
    two = write_minari("parts/two-v0", episode_buffers((2,), ()))
    both = combine_datasets([one, two], "both-v0")
    assert firsts(load(both)) == firsts(load("both-v0"))
    assert firsts(load(both)) == [*firsts(load(one)), 0, 1]


@pytest.mark.parametrize("given", [None, 3, np.zeros((3, 2)), {"observations": 1}])
def test_what_is_no_minari_dataset_names_the_door_that_is_its_own(given):
    with pytest.raises(mbo.DatasetError, match=r"dataset_from_arrays.*load_hdf5"):
        mbo.load_minari(given)


def test_a_split_with_the_datasets_picker_trains_everywhere(minari_root):
    dataset = load(write_minari("parts/one-v0"))
    picker = dataset.transition_picker
    parts = [
        create_infinite_replay_buffer(dataset.episodes[:2], picker),
        create_fifo_replay_buffer(100, dataset.episodes[:2], picker),
        ReplayBuffer(InfiniteBuffer(), picker, episodes=dataset.episodes[:2]),
        ReplayBuffer(FIFOBuffer(7), picker, episodes=dataset.episodes[:2]),
    ]
    for part in parts:
        assert firsts(part) == [0, 1, 2, 100, 101, 102, 103]
        train(part)
        train(mbo.ImaginedReplayBuffer(part, []))


def test_a_mixed_buffer_of_two_parts_is_drawn_from_and_read_whole():
    dataset = mbo.dataset_from_arrays(**walk())
    one, two = (
        create_infinite_replay_buffer(part, dataset.transition_picker)
        for part in (dataset.episodes[:1], dataset.episodes[1:])
    )
    mixed = MixedReplayBuffer(one, two, secondary_mix_ratio=0.5)
    assert firsts(mixed) == firsts(dataset)
    assert mixed.sample_transition_batch(64).rewards.shape == (64, 1)


def test_a_mixed_buffer_whose_part_forgot_rows_is_read_as_it_is_kept():
    dataset = mbo.dataset_from_arrays(**walk())
    picker = dataset.transition_picker
    first = create_fifo_replay_buffer(2, dataset.episodes[:1], picker)
    rest = create_infinite_replay_buffer(dataset.episodes[1:], picker)
    mixed = MixedReplayBuffer(first, rest, secondary_mix_ratio=0.5)
    assert firsts(mixed) == firsts(dataset)[1:]


def test_learners_are_refused_a_mixed_buffer_before_anything_is_fitted():
    dataset = mbo.dataset_from_arrays(**walk())
    one, two = (
        create_infinite_replay_buffer(part, dataset.transition_picker)
        for part in (dataset.episodes[:1], dataset.episodes[1:])
    )
    mixed = MixedReplayBuffer(one, two, secondary_mix_ratio=0.5)
    with pytest.raises(mbo.DatasetError, match="MixedReplayBuffer.* join the parts"):
        mbo.ImaginedReplayBuffer(mixed, [])
    imagination = line_imagination("forward")
    with pytest.raises(mbo.DatasetError, match="MixedReplayBuffer"):
        mbo.fit(small_learner("bc"), mixed, imagination, n_steps=1, **QUIET)
    assert not imagination.fitted
    joined = create_infinite_replay_buffer(mixed.episodes, mixed.transition_picker)
    mbo.ImaginedReplayBuffer(joined, []).sample_transition()


@pytest.mark.parametrize("terminal", [(), (0, 1, 2)])
def test_a_split_with_d3rlpys_picker_works_or_names_the_one_it_needs(terminal):
    dataset = mbo.dataset_from_arrays(**walk(terminal=terminal))
    part = create_infinite_replay_buffer(dataset.episodes)
    if terminal:  # there d3rlpy asks for no next action
        train(part)
        return
    with pytest.raises(mbo.DatasetError, match=r"dataset\.transition_picker"):
        train(part)
    with pytest.raises(IndexError, match=r"transition_picker=dataset\."):
        part.transition_picker(part.episodes[0], 2)


def test_actions_of_a_complete_episode_are_an_array_as_any_other():
    episode = CompleteEpisode(
        np.zeros((4, 2), np.float32),
        np.arange(3, dtype=np.float32)[:, None],
        np.zeros((3, 1), np.float32),
        False,
    )
    actions = pickle.loads(pickle.dumps(episode)).actions
    assert [action.item() for action in actions] == [0, 1, 2]
    assert type(actions[-1]) is np.ndarray
    assert type(np.concatenate([actions, actions])) is np.ndarray
    with pytest.raises(IndexError) as caught:
        actions[4]
    assert not isinstance(caught.value, mbo.DatasetError)


def test_a_dump_comes_back_with_every_last_outcome(tmp_path):
    dataset = mbo.dataset_from_arrays(**walk())
    with open(tmp_path / "dump.h5", "w+b") as file:
        dataset.dump(file)
    with open(tmp_path / "dump.h5", "rb") as file:
        loaded = ReplayBuffer.load(
            file,
            InfiniteBuffer(),
            episode_cls=CompleteEpisode,
            transition_picker=CompleteTransitionPicker(),
        )
    assert firsts(loaded) == firsts(dataset)


@pytest.mark.parametrize("terminated", [False, True])
def test_a_dump_of_what_was_appended_online_comes_back_as_it_was(terminated):
    dataset = mbo.dataset_from_arrays(**walk())
    picker = dataset.transition_picker
    online = create_infinite_replay_buffer(dataset.episodes, picker)
    for i in range(3):
        online.append(np.full(2, 7.0, np.float32), np.zeros(1, np.float32), i)
    online.clip_episode(terminated)
    file = io.BytesIO()
    online.dump(file)
    loaded = ReplayBuffer.load(file, InfiniteBuffer(), CompleteEpisode, picker)
    assert loaded.transition_count == online.transition_count
    last = picker(loaded.episodes[-1], loaded.episodes[-1].transition_count - 1)
    # No row leads to made-up zeros but a terminal, behind which nothing counts.
    assert bool(last.terminal) == terminated != last.next_observation.any()


def part_of(dataset, episodes, **said):
    return ReplayBuffer(
        InfiniteBuffer(),
        episodes=episodes,
        transition_picker=dataset.transition_picker,
        **said,
    )


def test_a_part_keeps_all_choices_or_is_refused_with_what_is_missing():
    states, choices = np.arange(10.0).reshape(2, 5, 1), [[0, 1, 2, 5], [0, 1, 0, 3]]
    dataset = mbo.dataset_from_arrays(states, choices, np.ones((2, 4)), n_actions=7)
    info = dataset.dataset_info
    said = {"action_space": info.action_space, "action_size": info.action_size}
    part = part_of(dataset, dataset.episodes[1:], **said)
    assert mbo.Transitions.from_dataset(part).n_actions == 7
    with pytest.raises(
        mbo.DatasetError, match=r"has 4 choices.*7 choices.*action_size="
    ):
        mbo.Transitions.from_dataset(part_of(dataset, dataset.episodes[1:]))


def test_joined_parts_of_more_choices_are_told_whose_picker_to_take():
    states, few, many = np.arange(4.0).reshape(1, 4, 1), [[0, 1, 2]], [[0, 1, 4]]
    first = mbo.dataset_from_arrays(states, few, np.ones((1, 3)), n_actions=3)
    second = mbo.dataset_from_arrays(states, many, np.ones((1, 3)), n_actions=5)
    episodes = [*first.episodes, *second.episodes]
    with pytest.raises(mbo.DatasetError, match="joined, take .* of the larger one"):
        mbo.Transitions.from_dataset(part_of(first, episodes))
    assert mbo.Transitions.from_dataset(part_of(second, episodes)).n_actions == 5


def test_a_picker_that_was_pickled_before_it_knew_actions_says_nothing_of_them():
    old = CompleteTransitionPicker.__new__(CompleteTransitionPicker)  # without __init__
    dataset = mbo.dataset_from_arrays(**walk())
    again = ReplayBuffer(
        InfiniteBuffer(), episodes=dataset.episodes, transition_picker=old
    )
    assert firsts(again) == firsts(dataset)


def test_whole_numbers_that_are_no_choices_stay_so_in_a_part():
    states, actions = np.arange(10.0).reshape(2, 5, 1), np.ones((2, 4, 1))
    dataset = mbo.dataset_from_arrays(states, actions, np.ones((2, 4)))
    words = "has 2 choices.*continuous actions of size 1"
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.Transitions.from_dataset(part_of(dataset, dataset.episodes[1:]))


def test_a_minari_dataset_that_minari_opened_is_not_asked_for_its_id(
    minari_root, monkeypatch
):
    write_minari("parts/one-v0")
    dataset = minari.load_dataset("parts/one-v0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(minari_root / "elsewhere"))
    assert load(dataset).transition_count == 9


def test_a_full_fifo_buffer_is_not_asked_for_each_of_its_rows(monkeypatch):
    lengths = [900, 1, 99, 1000]
    ends = np.cumsum(lengths)
    states = np.arange(2001.0)[:, None]
    dataset = mbo.dataset_from_arrays(
        [states[end - n : end + 1] for n, end in zip(lengths, ends, strict=True)],
        [np.full((length, 1), 0.5) for length in lengths],
        [np.zeros(length) for length in lengths],
    )
    kept = create_fifo_replay_buffer(1500, dataset.episodes, dataset.transition_picker)
    asked = []
    ask = FIFOBuffer.__getitem__
    monkeypatch.setattr(
        FIFOBuffer, "__getitem__", lambda own, i: asked.append(i) or ask(own, i)
    )
    read = mbo.RealData.of(kept).transitions
    assert read.observations[:, 0].tolist() == list(range(500, 2000))
    assert len(asked) <= 3 * len(lengths)


def test_rows_that_a_fifo_buffer_got_out_of_order_are_read_as_they_are():
    dataset = mbo.dataset_from_arrays(**walk())
    episodes = dataset.episodes[:2]
    kept = create_fifo_replay_buffer(100, episodes, dataset.transition_picker)
    for episode, index in ((episodes[1], 2), (episodes[0], 1), (episodes[1], 3)):
        kept.buffer.append(episode, index)
    assert firsts(kept) == [0, 1, 2, 100, 101, 102, 103, 102, 1, 103]


def test_a_dataset_that_draws_rows_in_its_own_way_is_a_warning():
    class ByPriority(ReplayBuffer):
        def sample_transition_batch(self, batch_size):
            raise AssertionError("never asked")

    dataset = mbo.dataset_from_arrays(**walk())
    own = ByPriority(
        InfiniteBuffer(), dataset.transition_picker, episodes=dataset.episodes
    )
    with pytest.warns(
        UserWarning, match="ByPriority, whose own sample_transition_batch"
    ):
        buffer = mbo.ImaginedReplayBuffer(own, [])
    assert len(buffer.sample_transition_batch(8)) == 8

    class Named(ReplayBuffer):
        pass

    named = Named(
        InfiniteBuffer(), dataset.transition_picker, episodes=dataset.episodes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbo.ImaginedReplayBuffer(named, [])
