"""Every batch says which of its rows are imagined, and a learner's Impl is told."""

import d3rlpy
import numpy as np
import pytest
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from toys import QUIET, ConstantPenalty, line_dataset, line_imagination, small_learner


@pytest.fixture
def buffer() -> mbo.ImaginedReplayBuffer:
    """Real rewards are above -100, imagined ones below."""
    dataset = line_dataset()
    imagination = line_imagination("reverse", dataset, penalty=ConstantPenalty(1000.0))
    return mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.3)


def test_every_batch_says_which_of_its_rows_are_imagined(buffer):
    for batch_size in (1, 10, 64):
        batch = buffer.sample_transition_batch(batch_size)
        assert isinstance(batch, mbo.ImaginedMiniBatch)
        assert batch.imagined.shape == (batch_size, 1)
        assert batch.imagined.dtype == bool
        np.testing.assert_array_equal(batch.imagined, batch.rewards < -100)


def test_real_data_alone_says_that_no_row_is_imagined():
    batch = mbo.ImaginedReplayBuffer(line_dataset(), []).sample_transition_batch(5)
    assert batch.imagined.tolist() == [[False]] * 5


@pytest.mark.training
def test_an_impl_is_told_without_a_compiled_graph(buffer):
    learner = small_learner("td3_plus_bc", compile_graph=False)
    learner.build_with_dataset(buffer)
    inner_update, seen = learner.impl.inner_update, []

    def told(batch, grad_step):
        seen.append((batch.numpy_batch.imagined, batch.rewards.numpy()))
        return inner_update(batch, grad_step)

    learner.impl.inner_update = told
    learner.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert len(seen) == 3
    for imagined, rewards in seen:
        np.testing.assert_array_equal(imagined, rewards < -100)


def test_a_captured_graph_keeps_the_flags_of_the_batch_that_it_was_captured_with(
    buffer,
):
    # What d3rlpy's CudaGraphWrapper does with each later batch.
    captured, later = (
        TorchMiniBatch.from_batch(
            buffer.sample_transition_batch(16), 0.9, False, "cpu:0"
        )
        for _ in range(2)
    )
    flags = captured.numpy_batch.imagined.copy()
    captured.copy_(later)
    np.testing.assert_array_equal(captured.rewards, later.rewards)
    np.testing.assert_array_equal(captured.numpy_batch.imagined, flags)


def test_only_a_learner_on_a_gpu_is_compiled():
    assert not d3rlpy.algos.SACConfig(compile_graph=True).create("cpu").compiled
