"""What a buffer does when the imagination that it was made of is another one now."""

import dataclasses

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from toys import (
    QUIET,
    ConstantPenalty,
    LineDynamics,
    LineDynamicsConfig,
    line_dataset,
    line_imagination,
    small_learner,
)


@dataclasses.dataclass()
class CountedConfig(LineDynamicsConfig):
    """The truth, but its rewards are the number of times that it was fitted."""

    @staticmethod
    def get_type() -> str:
        return "counted"

    def create(self, device=False) -> "Counted":
        return Counted(self, device)


class Counted(LineDynamics):
    n_fits = 0

    def fit(self, transitions: mbo.Transitions) -> None:
        self.n_fits += 1

    def predict(self, observations, actions, all_members) -> mbo.Prediction:
        prediction = super().predict(observations, actions, all_members)
        rewards = torch.full_like(prediction.rewards, float(self.n_fits))
        return dataclasses.replace(prediction, rewards=rewards)


def counted(dataset, **settings) -> mbo.Imagination:
    config = CountedConfig(direction="forward")
    return line_imagination("forward", dataset, dynamics=config, **settings)


def imagined_rewards(buffer: mbo.ImaginedReplayBuffer) -> set[float]:
    return set(buffer.sources[0].ring.column(2).tolist())


@pytest.mark.training
@pytest.mark.parametrize("interval", [None, 1000])
def test_rows_of_the_model_before_are_forgotten_once_it_was_fitted_anew(interval):
    dataset, learner = line_dataset(), small_learner("td3_plus_bc")
    imagination = counted(dataset, rollout_interval=interval, retained_refreshes=3)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    learner.fit(buffer, n_steps=2, n_steps_per_epoch=2, **QUIET)
    assert imagined_rewards(buffer) == {1.0}
    imagination.fit(dataset)
    learner.fit(buffer, n_steps=2, n_steps_per_epoch=2, **QUIET)
    assert imagined_rewards(buffer) == {2.0}


def test_rows_within_the_actions_of_before_are_forgotten_too():
    dataset = line_dataset()
    imagination = counted(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    buffer.sample_transition_batch(4)
    imagination.action_set = mbo.ActionRange(np.float32([0.5]), np.float32([0.6]))
    buffer.sample_transition_batch(4)
    actions = buffer.sources[0].ring.column(1)
    assert actions.min() >= 0.5


def test_what_was_fitted_anew_on_other_data_is_refused_by_the_buffer_of_before():
    dataset = line_dataset()
    imagination = counted(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    buffer.sample_transition_batch(4)
    imagination.fit(line_dataset(size=2))
    for _ in range(2):
        with pytest.raises(mbo.CompositionError, match="size 2.*dataset has 1"):
            buffer.sample_transition_batch(4)
    imagination.fit(dataset)
    buffer.sample_transition_batch(4)
    assert imagined_rewards(buffer) == {3.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rollout_length", 10),
        ("rollout_batch_size", 300),
        ("retained_refreshes", 2),
        ("steps_per_row", 2),
    ],
)
def test_a_store_is_not_filled_by_settings_that_it_was_not_made_for(name, value):
    dataset = line_dataset()
    imagination = counted(dataset, rollout_interval=1)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    buffer.sample_transition_batch(4)
    setattr(imagination.config, name, value)
    with pytest.raises(
        mbo.CompositionError, match=rf"{name} .*is {value}.*Make a new buffer"
    ):
        buffer.sample_transition_batch(4)


def test_shorter_rollouts_and_another_penalty_are_followed():
    dataset = line_dataset()
    imagination = counted(dataset, rollout_interval=1)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    buffer.sample_transition_batch(4)
    imagination.config.rollout_length = 2
    imagination.config.penalty = ConstantPenalty(5.0)
    buffer.sample_transition_batch(4)
    assert imagined_rewards(buffer) == {-4.0}
    assert len(buffer.sources[0].ring) == 2 * 200
    survival = [buffer.sources[0].metrics[f"survival_{step}"] for step in range(1, 6)]
    assert survival[:2] == [1.0, 1.0]
    assert np.isnan(survival[2:]).all()  # nothing of the longer ones before


def test_a_critics_sizes_are_read_without_a_copy_of_the_data(monkeypatch):
    dataset, learner = line_dataset(), small_learner("td3_plus_bc")
    learner.build_with_dataset(dataset)
    penalty = ConstantPenalty()
    penalty.needs_critic = True
    imagination = line_imagination("forward", dataset, penalty=penalty)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    monkeypatch.setattr(mbo.RealData, "for_models", property(lambda own: 1 / 0))
    assert len(buffer.sample_transition_batch(8).rewards) == 8
