"""Several processes that train one learner share a fitted model, or nothing."""

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig
from toys import line_dataset, line_imagination, small_learner


@pytest.fixture
def distributed():
    learner = small_learner("sac")
    learner._enable_ddp = True  # as create(enable_ddp=True) leaves it
    return learner


def test_a_dynamics_updater_is_refused_by_name(distributed):
    dataset = line_dataset()
    updater = AdversarialUpdaterConfig()
    imagination = line_imagination("forward", dataset, dynamics_updater=updater)
    with pytest.raises(mbo.CompositionError, match="dynamics updater 'adversarial'"):
        mbo.ImaginedReplayBuffer(dataset, imagination, learner=distributed)


def test_processes_that_would_each_fit_a_model_are_refused(distributed):
    imagination = line_imagination("forward")
    with pytest.raises(mbo.CompositionError, match="each would fit a model of its own"):
        mbo.fit(distributed, line_dataset(), imagination, 2)
    assert not imagination.fitted


def test_checkpoints_of_several_processes_are_refused(distributed, tmp_path):
    with pytest.raises(mbo.CompositionError, match="cannot keep checkpoints together"):
        mbo.fit(distributed, line_dataset(), [], 2, checkpoint=tmp_path)
