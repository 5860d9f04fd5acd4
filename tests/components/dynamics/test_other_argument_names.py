"""`predict` is called by position: a plugin may name its arguments as it likes."""

import pytest

import d3rlpy_mbo as mbo
from broken_components import SoundDynamicsWithOtherNames, SoundHalt
from d3rlpy_mbo import metrics
from d3rlpy_mbo.testing.line_world import line_dataset, line_transitions


@pytest.mark.training
def test_all_that_asks_a_model_asks_it_by_position():
    config = mbo.ImaginationConfig(
        dynamics=SoundDynamicsWithOtherNames(), halt=SoundHalt(), rollout_length=2
    )
    imagination = config.create()
    imagination.fit(line_dataset())  # the halt asks what it says of the data
    model, rows = imagination.dynamics, line_transitions(8)
    assert len(imagination.imagine(line_dataset(), 20)) > 0
    model.training_loss_and_sample(rows, rows.observations, rows.actions)
    assert metrics.one_step_model_error(model, rows) < 1
    mbo.diagnose(imagination, line_dataset())
