"""Buffers of buffers: d3rlpy's MixedReplayBuffer, and ours in the place of a dataset."""

import d3rlpy
import numpy as np
import pytest
from d3rlpy.dataset import MixedReplayBuffer, create_fifo_replay_buffer

import d3rlpy_mbo as mbo
from toys import QUIET, line_dataset, line_imagination, small_learner


@pytest.fixture(scope="module")
def buffer() -> mbo.ImaginedReplayBuffer:
    d3rlpy.seed(0)
    dataset = line_dataset(4, 6)
    imagination = line_imagination("reverse", dataset, rollout_batch_size=10)
    return mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.0)


@pytest.mark.parametrize("first", [True, False])
def test_a_mixed_buffer_of_a_buffer_that_imagines_is_refused_when_it_is_made(
    buffer, first
):
    online = line_dataset(2, 6)
    parts = (buffer, online) if first else (online, buffer)
    with pytest.raises(mbo.CompositionError, match="MixedReplayBuffer.* dataset"):
        MixedReplayBuffer(*parts, 0.5)


@pytest.mark.parametrize(
    "draw",
    [lambda b: b.sample_transition_batch(4), lambda b: b.sample_trajectory_batch(4, 2)],
)
def test_where_python_skips_assertions_it_is_refused_at_the_first_batch(buffer, draw):
    online = line_dataset(2, 6)
    mixed = MixedReplayBuffer(online, online, 0.5)
    mixed._secondary_replay_buffer = buffer
    with pytest.raises(mbo.CompositionError, match="MixedReplayBuffer"):
        draw(mixed)


def test_anybody_else_has_as_many_single_transitions_as_they_like(buffer):
    drawn = [buffer.sample_transition() for _ in range(300)]
    assert {each.observation.shape for each in drawn} == {(1,)}
    assert buffer.sample_trajectory(3).observations.shape == (3, 1)
    learner = d3rlpy.algos.BCConfig().create()
    learner.build_with_dataset(buffer)
    assert learner.impl is not None


def test_what_is_said_to_be_mixed_instead_is_mixed():
    dataset = mbo.dataset_from_arrays(
        [np.arange(4.0).reshape(-1, 1)], [np.ones((3, 1))], [np.ones(3)]
    )
    online = create_fifo_replay_buffer(
        100, line_dataset(2, 6).episodes, dataset.transition_picker
    )
    mixed = MixedReplayBuffer(online, dataset, 0.5)
    assert mixed.sample_transition_batch(8).rewards.shape == (8, 1)


def test_a_buffer_that_imagines_is_no_dataset_for_learners(buffer):
    learner = small_learner("td3_plus_bc")
    other = line_imagination("reverse")
    words = r"an ImaginedReplayBuffer, of which only.*learner\.fit\(buffer"
    for given in (buffer, mbo.RealData.of(buffer)):
        with pytest.raises(mbo.CompositionError, match=words):
            mbo.ImaginedReplayBuffer(given, other)
        for imagination in ([], other):
            with pytest.raises(mbo.CompositionError, match=words):
                mbo.fit(learner, given, imagination, n_steps=1, **QUIET)
    assert not other.fitted
    other.fit(buffer)  # models learn from the real rows: these are read of it
    alone = mbo.ImaginedReplayBuffer(buffer._dataset, [])
    assert len(mbo.ImaginedReplayBuffer(alone, other).episodes) == 4
