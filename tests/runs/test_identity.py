"""Whose checkpoints are a run's own: its scalers, and its seed."""

import copy
import functools
import json
import warnings

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.preprocessing import (
    ClipRewardScaler,
    MinMaxRewardScaler,
    MultiplyRewardScaler,
    StandardObservationScaler,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.real_data import RealData
from d3rlpy_mbo.runs.identity import (
    validate_same_run,
    warn_of_another_seed,
    warn_of_other_models,
)
from d3rlpy_mbo.runs.training import Run
from kept_runs import same
from toys import QUIET, line_dataset, small_ensemble, small_learner

DATASET = line_dataset(3)


def identity(**scalers):
    """As a checkpoint's manifest has it."""
    real = RealData.of(DATASET)
    run = Run(small_learner("td3_plus_bc", **scalers), real, [], 4, 2)
    return json.loads(json.dumps(run.checkpoints("somewhere")._about))


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        (
            MultiplyRewardScaler(100.0),
            MultiplyRewardScaler(1.0),
            "learner.reward_scaler.multiplier is 100.0 there and 1.0 here",
        ),
        (ClipRewardScaler(high=1.0), ClipRewardScaler(-1.0, 1.0), "low is None there"),
        (
            MinMaxRewardScaler(0.0, 1.0),
            MinMaxRewardScaler(),
            "minimum is 0.0 there and",
        ),
        (
            MinMaxRewardScaler(multiplier=2.0),
            MinMaxRewardScaler(0.0, 1.0),
            "multiplier is 2.0 there and 1.0 here",
        ),
    ],
)
def test_a_checkpoint_of_a_scaler_that_was_given_other_numbers_is_refused(
    tmp_path, there, here, words
):
    saved = identity(reward_scaler=there)
    validate_same_run(saved, identity(reward_scaler=copy.deepcopy(there)), tmp_path)
    with pytest.raises(mbo.CheckpointError, match=words):
        validate_same_run(saved, identity(reward_scaler=here), tmp_path)


def test_means_that_were_given_are_compared_and_those_that_were_fitted_are_not(
    tmp_path,
):
    def scaler(mean):
        return StandardObservationScaler(np.array([mean]), np.array([1.0]))

    given, fresh = identity(observation_scaler=scaler(0.5)), StandardObservationScaler()
    with pytest.raises(
        mbo.CheckpointError, match=r"observation_scaler.mean\[0\] is 0.5"
    ):
        validate_same_run(given, identity(observation_scaler=scaler(0.25)), tmp_path)
    with pytest.raises(mbo.CheckpointError, match=r"mean is \[0.5\] there and None"):
        validate_same_run(given, identity(observation_scaler=fresh), tmp_path)
    # A learner that goes on in the process where its scaler was fitted.
    validate_same_run(identity(observation_scaler=fresh), given, tmp_path)


def test_a_checkpoint_that_knows_neither_scalers_nor_seed_is_gone_on_from(tmp_path):
    ours = identity(reward_scaler=MultiplyRewardScaler(2.0))
    apart = ("scalers", "seed", "models")
    before = {k: v for k, v in ours.items() if k not in apart}
    assert len(before) == len(ours) - 3
    validate_same_run(before, ours, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_another_seed(before, {**ours, "seed": 3}, tmp_path)
        warn_of_other_models(before, {**ours, "models": ["3"]}, tmp_path)


def test_draws_do_not_change_the_seed_and_nobodys_seed_is_none(tmp_path):
    state = torch.get_rng_state()
    try:
        torch.set_rng_state(torch.Generator().get_state())  # as a process begins
        assert identity()["seed"] is None
        d3rlpy.seed(3)
        torch.rand(7)
        assert identity()["seed"] == 3
    finally:
        torch.set_rng_state(state)


@pytest.mark.training
def test_another_seed_in_a_folder_is_warned_of_and_the_runs_own_is_kept(tmp_path):
    def fit(seed, n_steps):
        d3rlpy.seed(seed)
        learner = small_learner(
            "td3_plus_bc", observation_scaler=StandardObservationScaler()
        )
        results = []
        for steps in n_steps:  # with the same learner, its scaler fitted by then
            results = mbo.fit(
                learner,
                DATASET,
                [],
                steps,
                n_steps_per_epoch=1,
                checkpoint=tmp_path / "kept",
                checkpoint_interval=1,
                **QUIET,
            )
        return [metrics["critic_loss"] for _, metrics in results]

    losses = fit(0, [1, 2])
    assert fit(0, [2]) == losses
    with pytest.warns(UserWarning, match="began with the seed 0, .* with 1 here"):
        assert fit(1, [2]) == losses
    with pytest.warns(UserWarning, match="began with the seed 0"):
        fit(1, [3])  # writes a checkpoint: still that of seed 0
    assert fit(0, [3])[:2] == losses


def fit_kept(folder, data, imagination, n_steps, **settings):
    """Trains a new learner, from the folder's last checkpoint on."""
    mbo.fit(
        small_learner("td3_plus_bc"),
        data,
        imagination,
        n_steps,
        n_steps_per_epoch=1,
        checkpoint=folder,
        **QUIET,
        **settings,
    )


@pytest.mark.training
def test_an_imagination_fitted_anew_is_told_that_the_folder_has_another(tmp_path):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(), rollout_batch_size=5)

    data, imagination = line_dataset(), config.create()
    fit = functools.partial(fit_kept, tmp_path / "kept", data)
    imagination.fit(data)
    imagination.save(tmp_path / "fitted.mbo")
    fit(imagination, 1)
    fit(imagination, 2)
    fit(mbo.load_imagination(tmp_path / "fitted.mbo"), 3)
    imagination.fit(data)
    with pytest.warns(UserWarning, match="another fit .*is replaced by the run's own"):
        fit(imagination, 4)
    fit(imagination, 5)  # it is the run's own by now
    fit(config.create(), 6)


@pytest.mark.training
def test_before_its_training_begins_another_fit_is_gone_on_with_and_that_is_said(
    tmp_path,
):
    config = mbo.ImaginationConfig(dynamics=small_ensemble(), rollout_batch_size=5)
    data, imagination = line_dataset(), config.create()
    imagination.fit(data)
    fit = functools.partial(fit_kept, tmp_path / "kept", data, imagination)
    mistake = {"mistaken": lambda algo, dataset: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        fit(1, evaluators=mistake)
    imagination.fit(data)
    fitted_anew = imagination.checkpoint_state()["parts"]
    with pytest.warns(
        UserWarning, match="training had not begun: it goes on with this"
    ):
        fit(1)
    assert same(imagination.checkpoint_state()["parts"], fitted_anew)
    fit(2)  # it is the run's own by now


@pytest.mark.training
def test_a_run_that_began_with_a_given_model_goes_on_with_it_and_says_so(tmp_path):
    config = mbo.ImaginationConfig(small_ensemble(), rollout_batch_size=5)
    models, data = [], line_dataset()
    for _ in range(2):
        owner = config.create()
        owner.fit(data)
        models.append(owner.dynamics)

    def fit(dynamics, n_steps):
        fit_kept(tmp_path / "kept", data, config.create(dynamics=dynamics), n_steps)

    fit(models[0], 1)
    with pytest.warns(UserWarning, match="replaced by the run's own"):
        fit(models[1], 2)
    fit(models[0], 2)


def test_another_given_model_is_refused_while_parts_are_fitted_beside_it(tmp_path):
    saved, ours = ({"given_models": [digest]} for digest in ("a", "b"))
    validate_same_run(saved, ours, tmp_path, fitting=False)
    validate_same_run(saved, {"given_models": [None]}, tmp_path, fitting=True)
    with pytest.raises(mbo.CheckpointError, match=r"given_models\[0\] is 'a' there"):
        validate_same_run(saved, ours, tmp_path, fitting=True)
