"""Penalties that learn, and those that are subtracted when rows are drawn."""

import dataclasses
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from toys import (
    QUIET,
    ConstantPenalty,
    DoubtfulLineConfig,
    ReadingConfig,
    line_dataset,
    line_imagination,
    small_learner,
)


@dataclasses.dataclass()
class DoubtWhenDrawn(mbo.Penalty):
    """How far the members lie apart, |s| (reverse |s'|), when drawn."""

    when = "drawn"

    @staticmethod
    def get_type() -> str:
        return "doubt_when_drawn"

    def __call__(self, prediction: mbo.Prediction, learner: Any = None) -> torch.Tensor:
        assert prediction.means is not None
        return (prediction.means[0] - prediction.means[1])[:, :1].abs()


@dataclasses.dataclass()
class ValueWhenDrawn(mbo.Penalty):
    """|Q(s', 0)| of the learner, when drawn."""

    when = "drawn"
    needs_critic = True

    @staticmethod
    def get_type() -> str:
        return "value_when_drawn"

    def __call__(self, prediction: mbo.Prediction, learner: Any = None) -> torch.Tensor:
        actions = torch.zeros_like(prediction.actions)
        return mbo.learners.q_value(learner, prediction.observations, actions).abs()


@pytest.fixture
def dataset():
    d3rlpy.seed(0)
    return line_dataset(5, 20)


def drawn_buffer(dataset, direction="forward", penalty=None, learner=None, **settings):
    imagination = line_imagination(
        direction,
        dataset,
        dynamics=DoubtfulLineConfig(direction=direction),
        penalty=penalty or DoubtWhenDrawn(),
        real_ratio=settings.pop("real_ratio", 0.0),
        **settings,
    )
    return mbo.ImaginedReplayBuffer(dataset, imagination, learner)


@pytest.mark.parametrize(
    "penalties",
    [
        (DoubtWhenDrawn(), ConstantPenalty(1.0)),  # would be subtracted twice
        (ConstantPenalty(1.0), DoubtWhenDrawn()),  # ... or never
        (DoubtWhenDrawn(), None),
    ],
)
def test_a_penalty_of_another_time_is_refused_by_the_buffer_of_before(
    dataset, penalties
):
    before, after = penalties
    buffer = drawn_buffer(dataset, penalty=before, rollout_interval=1)
    buffer.sample_transition_batch(4)
    buffer.imaginations[0].config.penalty = after
    with pytest.raises(
        mbo.CompositionError, match="penalty .* was changed .* Make a new buffer"
    ):
        buffer.sample_transition_batch(4)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_each_imagined_row_is_drawn_with_its_own_penalty_of_now(dataset, direction):
    buffer = drawn_buffer(dataset, direction)
    batch = buffer.sample_transition_batch(64)
    given = batch.observations if direction == "forward" else batch.next_observations
    # r = s, and the members lie |given| apart.
    expected = batch.observations - np.abs(given)
    np.testing.assert_allclose(batch.rewards, expected, rtol=1e-5, atol=1e-6)
    buffer.imaginations[0].dynamics.config.doubt = 2.0  # the model of now has changed
    batch = buffer.sample_transition_batch(64)
    given = batch.observations if direction == "forward" else batch.next_observations
    expected = batch.observations - 2 * np.abs(given)
    np.testing.assert_allclose(batch.rewards, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_halts_reward_stands_as_it_is_whatever_is_subtracted_when_drawn(
    dataset, direction
):
    settings = {"halt": ReadingConfig(), "rollout_length": 3}
    buffer = drawn_buffer(dataset, direction, **settings)
    batch = buffer.sample_transition_batch(400)
    given = batch.observations if direction == "forward" else batch.next_observations
    doubt = np.abs(given)  # beyond 1.5 the reading halts, and says -31
    expected = np.where(doubt > 1.5, -31, batch.observations - doubt)
    assert 0 < (doubt > 1.5).sum() < 400
    np.testing.assert_allclose(batch.rewards, expected, rtol=1e-5, atol=1e-6)
    # What was subtracted there is reported as nothing, as where it is imagined.
    found = buffer.sources[0].metrics["penalty_mean"]
    assert found == pytest.approx(np.where(doubt > 1.5, 0, doubt).mean(), rel=1e-4)


def test_a_halt_that_leaves_rewards_as_they_are_spares_no_row(dataset):
    settings = {"halt": ReadingConfig(reading="neubay"), "rollout_length": 3}
    batch = drawn_buffer(dataset, **settings).sample_transition_batch(200)
    expected = batch.observations - np.abs(batch.observations)
    np.testing.assert_allclose(batch.rewards, expected, rtol=1e-5, atol=1e-6)


def test_which_rows_are_spared_goes_through_a_checkpoint(dataset):
    buffer = drawn_buffer(dataset, halt=ReadingConfig())
    buffer.sample_transition_batch(8)
    ring = buffer.sources[0].ring
    again = mbo.ImaginedReplayBuffer(dataset, buffer.imaginations[0])
    again.restore_checkpoint(buffer.checkpoint_state())
    again.sources[0].ring.restore_checkpoint(ring.checkpoint_state())
    rewards = []
    for each in (buffer, again):
        np.random.seed(0)
        rewards.append(each.sample_transition_batch(200).rewards)
    np.testing.assert_array_equal(*rewards)
    assert -31 in rewards[1]


def test_the_ring_holds_unpenalised_rewards_whatever_is_drawn(dataset):
    buffer = drawn_buffer(dataset)
    buffer.sample_transition_batch(64)
    before = buffer.sources[0].ring.rows()
    buffer.sample_transition_batch(64)
    np.testing.assert_array_equal(buffer.sources[0].ring.rows(), before)
    np.testing.assert_array_equal(before[:, 0], before[:, 2])  # s and r
    seen = buffer.sample_imagined(50)
    torch.testing.assert_close(seen.rewards, seen.observations)


def test_a_drawn_penalty_never_touches_a_real_row(dataset):
    buffer = drawn_buffer(dataset, real_ratio=0.5)
    batch = buffer.sample_transition_batch(200)
    real = batch.observations[:100]
    np.testing.assert_array_equal(batch.rewards[:100], real)
    assert (batch.rewards[100:] < batch.observations[100:]).all()


def test_the_same_batch_drawn_with_a_changed_critic_has_another_penalty(dataset):
    learner = small_learner("sac")
    learner.build_with_dataset(dataset)
    buffer = drawn_buffer(dataset, penalty=ValueWhenDrawn(), learner=learner)
    buffer.sample_transition_batch(8)
    kept = buffer.sources[0].ring.rows()
    batches = []
    for _ in range(2):
        np.random.seed(0)
        batches.append(buffer.sample_transition_batch(32))
        with torch.no_grad():
            for parameter in learner.impl.q_function.parameters():
                parameter += 0.1
    np.testing.assert_array_equal(batches[0].observations, batches[1].observations)
    assert (batches[0].rewards != batches[1].rewards).all()
    np.testing.assert_array_equal(buffer.sources[0].ring.rows(), kept)


def test_penalties_of_the_last_draws_are_logged(dataset):
    buffer = drawn_buffer(dataset)
    evaluators = mbo.imagination_evaluators(buffer)
    assert np.isnan(evaluators["custom_penalty_mean"](None, None))
    batch = buffer.sample_transition_batch(64)
    subtracted = batch.observations - batch.rewards
    for name, expected in (
        ("penalty_mean", subtracted.mean()),
        ("penalty_p95", np.percentile(subtracted, 95)),
    ):
        found = evaluators[f"custom_{name}"](None, None)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class NegativeWhenDrawn(DoubtWhenDrawn):
    def __call__(self, prediction, learner=None):
        return -1 - super().__call__(prediction)


class FlatWhenDrawn(DoubtWhenDrawn):
    def __call__(self, prediction, learner=None):
        return super().__call__(prediction)[:, 0]


@pytest.mark.parametrize(
    ("penalty", "words"),
    [
        (NegativeWhenDrawn(), "NegativeWhenDrawn .* returned 8 negative values"),
        (FlatWhenDrawn(), r"FlatWhenDrawn .* returned shape \(8,\)"),
    ],
)
def test_a_drawn_penalty_that_breaks_its_contract_is_named(dataset, penalty, words):
    buffer = drawn_buffer(dataset, penalty=penalty)
    with pytest.raises(mbo.CompositionError, match=words):
        buffer.sample_transition_batch(8)


def test_a_penalty_that_asks_the_critic_is_refused_backwards_and_without_a_critic(
    dataset,
):
    with pytest.raises(
        mbo.CompositionError, match="reverse dynamics predict the states"
    ):
        drawn_buffer(dataset, "reverse", penalty=ValueWhenDrawn())
    with pytest.raises(mbo.CompositionError, match="asks the learner"):
        drawn_buffer(dataset, penalty=ValueWhenDrawn())
    cloner = small_learner("bc")
    cloner.build_with_dataset(dataset)
    buffer = drawn_buffer(dataset, penalty=ValueWhenDrawn(), learner=cloner)
    with pytest.raises(mbo.CompositionError, match="BC has no critic"):
        buffer.sample_transition_batch(8)


@pytest.mark.parametrize(
    "config",
    [
        d3rlpy.algos.CalQLConfig(),
        d3rlpy.algos.DecisionTransformerConfig(context_size=9),
    ],
    ids=lambda config: config.get_type(),
)
def test_learners_that_ask_for_the_rewards_behind_a_row_are_refused(dataset, config):
    # Backwards, where their returns are known but for what is subtracted later.
    imagination = line_imagination(
        "reverse",
        dynamics=DoubtfulLineConfig(direction="reverse"),
        penalty=DoubtWhenDrawn(),
    )
    made = config.create()
    with pytest.raises(
        mbo.CompositionError, match="is subtracted when single rows are"
    ):
        mbo.fit(made, dataset, imagination, n_steps=2, real_ratio=0.5, **QUIET)
    assert not imagination.fitted
    imagination.fit(dataset)
    with pytest.raises(
        mbo.CompositionError, match="is subtracted when single rows are"
    ):
        mbo.ImaginedReplayBuffer(dataset, imagination, made, real_ratio=0.5)


def test_without_a_learner_it_is_refused_where_the_rewards_behind_a_row_are_read(
    dataset,
):
    # Nobody says who will train.
    buffer = drawn_buffer(dataset, "reverse", real_ratio=0.5)
    words = "Doubt.* is subtracted when single rows are"
    with pytest.raises(mbo.CompositionError, match=f"Trajectories hold.*{words}"):
        buffer.sample_trajectory_batch(8, 3)
    batch = buffer.sample_transition_batch(8)
    with pytest.raises(mbo.CompositionError, match=f"Returns-to-go hold.*{words}"):
        list(batch.transitions)
    # Real rows alone hold no penalty.
    real = drawn_buffer(dataset, "reverse", real_ratio=1.0)
    assert len(list(real.sample_transition_batch(8).transitions)) == 8
    assert real.sample_trajectory_batch(8, 3).rewards.shape == (8, 3, 1)


def test_several_steps_in_a_row_are_refused():
    settings = {"rollout_policy": mbo.LearnerPolicyConfig(), "steps_per_row": 2}
    with pytest.raises(mbo.CompositionError, match="a row holds several steps"):
        line_imagination("forward", penalty=DoubtWhenDrawn(), **settings)
    line_imagination("forward", penalty=ConstantPenalty(), **settings)


@dataclasses.dataclass()
class SometimesConfig(ConstantPenalty):
    when: str = "sometimes"

    @staticmethod
    def get_type() -> str:
        return "sometimes"


def test_a_penalty_is_subtracted_when_imagined_or_when_drawn():
    with pytest.raises(mbo.CompositionError, match="when is 'sometimes', expected"):
        line_imagination("forward", penalty=SometimesConfig())


@dataclasses.dataclass()
class FarFromMeanConfig(mbo.LearnedPenaltyConfig):
    """The distance of s' from the data's mean s'."""

    when: str = mbo.choice("imagined", ["imagined", "drawn"])

    @staticmethod
    def get_type() -> str:
        return "far_from_mean"

    def create(self, device: Any = False) -> "FarFromMean":
        return FarFromMean(self, device)


class FarFromMean(mbo.LearnedPenalty):
    config: FarFromMeanConfig
    mean: Any = None

    @property
    def when(self):
        return self.config.when

    @property
    def fitted(self):
        return self.mean is not None

    def fit(self, dynamics, transitions):
        assert dynamics.fitted
        self.mean = transitions.next_observations.mean()
        self.metrics = {"mean": float(self.mean)}

    def __call__(self, prediction, learner=None):
        return (prediction.observations - self.mean).abs()

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]


@pytest.mark.parametrize("when", ["imagined", "drawn"])
def test_a_learned_penalty_is_fitted_subtracted_saved_and_loaded(
    dataset, tmp_path, when
):
    imagination = line_imagination(
        "forward", dataset, penalty=FarFromMeanConfig(when), real_ratio=0.0
    )
    mean = imagination.metrics["mean"]
    real = mbo.Transitions.from_dataset(dataset).for_models()
    assert mean == pytest.approx(float(real.next_observations.mean()))
    imagination.save(tmp_path / "learned.mbo")
    for each in (imagination, mbo.load_imagination(tmp_path / "learned.mbo")):
        batch = mbo.ImaginedReplayBuffer(dataset, each).sample_transition_batch(64)
        expected = batch.observations - np.abs(batch.next_observations - mean)
        np.testing.assert_allclose(batch.rewards, expected, rtol=1e-4, atol=1e-5)
