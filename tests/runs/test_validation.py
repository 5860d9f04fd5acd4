"""A learner, its data and its models are refused before a fit."""

import d3rlpy
import numpy as np
import pytest
import torch
from refusals import refused

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.validation import validate_parts
from d3rlpy_mbo_rambo import RAMBOConfig
from toys import (
    QUIET,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)


def test_a_learner_that_cannot_be_built_is_refused_before_models_are_fitted():
    config = d3rlpy.algos.SACConfig(
        actor_encoder_factory=d3rlpy.models.VectorEncoderFactory(["many"])
    )
    refused("SAC cannot be built on this dataset", learner=config.create())


def test_the_trial_build_leaves_no_trace():
    real, learner = mbo.RealData.of(line_dataset()), small_learner("td3_plus_bc")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    validate_parts(learner, real, [line_imagination("reverse")])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert learner.impl is None


@pytest.mark.parametrize("device", ["cuda:99", "gpu", 99])
def test_a_device_that_is_not_here_is_refused_by_name(device, tmp_path):
    with pytest.raises(mbo.CompositionError, match="99|gpu"):
        mbo.ImaginationConfig().create(device)
    line_imagination("reverse", line_dataset()).save(tmp_path / "x.mbo")
    with pytest.raises(mbo.CompositionError, match="99|gpu"):
        mbo.load_imagination(tmp_path / "x.mbo", device)
    learner = d3rlpy.algos.SACConfig().create(device)
    refused("99|gpu", learner=learner)


def test_an_imagination_is_pickled_after_its_model_was_changed():
    import pickle

    dataset = line_dataset()
    imagination = RAMBOConfig(
        dynamics=small_ensemble(), rollout_batch_size=20, rollout_length=2
    )
    imagination.dynamics_updater = type(imagination.dynamics_updater)(
        update_interval=2, n_updates=1, batch_size=8
    )
    made = imagination.create()
    learner = small_learner("sac")
    mbo.fit(learner, dataset, made, n_steps=4, **QUIET)
    copied = pickle.loads(pickle.dumps(made))
    assert len(copied.imagine(dataset, 5, learner=learner)) > 0
    assert copied.changed_for_another(learner)
    assert not made.changed_for_another(learner)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("batch_size", 0, "a whole number, at least 1"),
        ("gamma", 99, "a number, at least 0 and at most 1"),
        ("tau", -0.005, "a number, at least 0 and at most 1"),
    ],
)
def test_a_number_that_d3rlpy_takes_and_cannot_use_is_refused_before_any_fit(
    field, value, expected
):
    learner, dataset = small_learner("td3_plus_bc"), line_dataset()
    setattr(learner.config, field, value)
    imagination = mbo.ImaginationConfig(small_ensemble("reverse")).create()
    words = f"TD3PlusBCConfig.{field} is {value}, expected {expected}"
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(learner, dataset, imagination, n_steps=2, **QUIET)
    assert not imagination.fitted


def test_models_that_no_batch_draws_from_are_told_of_before_they_are_fitted():
    learner, dataset = small_learner("td3_plus_bc"), line_dataset()
    imagination = mbo.ImaginationConfig(
        small_ensemble("reverse", max_steps=2), rollout_batch_size=20, real_ratio=1.0
    ).create()
    with pytest.warns(UserWarning, match="'custom' has none of the rows.*fitted all"):
        mbo.fit(learner, dataset, imagination, n_steps=2, **QUIET)
    # Fitted once, it costs nothing any more, and nothing is said.
    mbo.fit(small_learner("td3_plus_bc"), dataset, imagination, n_steps=2, **QUIET)


@pytest.mark.parametrize("built", [False, True])
def test_an_evaluation_by_fqe_is_fitted_as_any_learner(built, tmp_path):
    dataset, judged = line_dataset(4, 10), small_learner("td3_plus_bc")
    fqe = d3rlpy.ope.FQE(judged, d3rlpy.ope.FQEConfig(batch_size=8))
    refused("FQE cannot be built.*target algorithm is not", fqe, dataset)
    judged.build_with_dataset(dataset)
    if built:
        fqe.build_with_dataset(dataset)
    refused("FQE estimates is a policy's.*Leave", fqe, dataset, checkpoint=tmp_path)
    asks = line_imagination("forward", rollout_policy=mbo.LearnerPolicyConfig())
    refused("asks the learner, but FQE does not act", fqe, dataset, imagination=asks)
    asks.fit(dataset)
    with pytest.raises(mbo.CompositionError, match="FQE does not act"):
        mbo.ImaginedReplayBuffer(dataset, asks, learner=fqe)
    values = {"value": d3rlpy.metrics.InitialStateValueEstimationEvaluator()}
    romi = line_imagination("reverse")
    [(_, found)] = mbo.fit(fqe, dataset, romi, n_steps=3, evaluators=values, **QUIET)
    assert 0 < found["imagined_share"] <= 1
    assert np.isfinite(found["value"])
    assert judged.grad_step == 0


def test_a_learner_that_learns_nothing_is_refused():
    random = d3rlpy.algos.RandomPolicyConfig().create()
    refused("RandomPolicy has no networks, so there is nothing to train", random)
