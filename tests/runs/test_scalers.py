"""Scalers that cannot scale are refused before a fit, by column."""

import warnings

import d3rlpy
import numpy as np
import pytest
from refusals import refused, transformer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.validation import validate_parts
from toys import (
    QUIET,
    line_dataset,
    line_episodes,
    line_imagination,
    small_learner,
)

SCALERS = d3rlpy.preprocessing


@pytest.mark.parametrize(
    ("column", "scaler", "message"),
    [
        (
            "observations",
            {"observation_scaler": SCALERS.MinMaxObservationScaler()},
            r"observation_scaler of TD3PlusBC.*columns \[1\] of the observations",
        ),
        (
            "actions",
            {"action_scaler": SCALERS.MinMaxActionScaler()},
            r"action_scaler of TD3PlusBC.*columns \[1\] of the actions",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.MinMaxRewardScaler()},
            r"reward_scaler of TD3PlusBC.*columns \[0\] of the rewards",
        ),
        (
            "observations",
            {"observation_scaler": SCALERS.StandardObservationScaler(eps=0.0)},
            r"observation_scaler .*StandardObservationScaler, divides by zero",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.ReturnBasedRewardScaler()},
            r"ReturnBasedRewardScaler, divides by zero.*of the returns of episodes",
        ),
        (
            "rewards",
            {"reward_scaler": SCALERS.MultiplyRewardScaler(0.0)},
            r"MultiplyRewardScaler, has a multiplier of 0",
        ),
    ],
)
def test_a_scaler_that_divides_by_zero_is_refused_by_column(column, scaler, message):
    episodes = line_episodes(4, 10, size=2)
    for episode in episodes:
        getattr(episode, column)[:, -1] = 0.25
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    refused(message, learner=small_learner("td3_plus_bc", **scaler), dataset=dataset)


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [
        ("observation_scaler", SCALERS.StandardObservationScaler, "mean"),
        ("observation_scaler", SCALERS.MinMaxObservationScaler, "minimum"),
        ("action_scaler", SCALERS.MinMaxActionScaler, "minimum"),
    ],
)
def test_a_scaler_that_another_learner_fitted_on_other_data_is_refused(
    name, kind, field
):
    first = small_learner("td3_plus_bc", **{name: kind()})
    first.fit(line_dataset(size=2), n_steps=1, n_steps_per_epoch=1, **QUIET)
    again = first.config.create()  # whose scaler is the first one's, fitted
    refused(
        rf"{name} of TD3PlusBC, {kind.__name__}, has a {field} of shape \(2,\), .*size 1",
        learner=again,
    )


def test_a_scaler_of_one_number_for_all_columns_trains():
    scaler = SCALERS.MinMaxActionScaler(minimum=np.array(-1.0), maximum=np.array(1.0))
    learner = small_learner("td3_plus_bc", action_scaler=scaler)
    mbo.fit(learner, line_dataset(), [], 1, n_steps_per_epoch=1, **QUIET)


@pytest.mark.parametrize(
    "scaler", [SCALERS.StandardRewardScaler(), SCALERS.MinMaxRewardScaler()]
)
def test_a_scaler_that_no_transformer_can_fit_is_refused_by_name_not_later(scaler):
    episodes = line_episodes(2, 7) + line_episodes(2, 5)
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    refused(
        f"reward_scaler of DecisionTransformer, {type(scaler).__name__}, cannot be fitted"
        ".*different lengths.*ReturnBased",
        learner=transformer(reward_scaler=scaler),
        dataset=dataset,
    )
    assert not scaler.built
    alike = d3rlpy.dataset.create_infinite_replay_buffer(episodes[:2])
    validate_parts(transformer(reward_scaler=scaler), mbo.RealData.of(alike), [])
    assert not scaler.built


@pytest.mark.parametrize(
    "scaler", [SCALERS.ReturnBasedRewardScaler, SCALERS.MinMaxRewardScaler]
)
@pytest.mark.parametrize("last", [3.0, 0.0])
def test_a_transformers_scaler_sees_the_last_rewards_of_cut_episodes(scaler, last):
    # Of those alone, as in delayed data, d3rlpy's transitions hold none.
    episodes = line_episodes(4, 6)
    for number, episode in enumerate(episodes):
        episode.rewards[:] = 0.0
        episode.rewards[-1] = last * number
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    learner = transformer(reward_scaler=scaler())
    if last:
        validate_parts(learner, mbo.RealData.of(dataset), [])
    else:
        refused("reward_scaler.*divides by zero", learner=learner, dataset=dataset)
    q_learner = small_learner("td3_plus_bc", reward_scaler=scaler())
    refused("reward_scaler.*divides by zero", learner=q_learner, dataset=dataset)


def test_what_rounding_leaves_of_equal_returns_is_no_difference_to_a_transformer():
    episodes = line_episodes(3, 6)
    for number, episode in enumerate(episodes):
        episode.rewards[:] = 0.1
        episode.rewards[-1] += 1e-7 * number
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    learner = transformer(reward_scaler=SCALERS.ReturnBasedRewardScaler())
    refused("divides by zero.*returns of episodes", learner=learner, dataset=dataset)


def test_d3rlpy_finds_both_bounds_anew_where_one_is_missing():
    episodes = line_episodes(4, 6)
    for episode in episodes:
        episode.rewards[:] = 1.0
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    scaler = SCALERS.MinMaxRewardScaler(minimum=0.0)
    learner = small_learner("td3_plus_bc", reward_scaler=scaler)
    refused("reward_scaler.*divides by zero", learner=learner, dataset=dataset)


def test_actions_beyond_the_learners_range_are_a_warning_that_names_the_scaler():
    episodes = line_episodes(4, 10)
    for episode in episodes:
        episode.actions[:] = 50 + 40 * episode.actions
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    with pytest.warns(
        UserWarning, match=r"outside \[-1, 1\] in columns \[0\].*action_sc"
    ):
        mbo.fit(small_learner("td3_plus_bc"), dataset, [], n_steps=2, **QUIET)
    with pytest.warns(UserWarning, match="action_scaler"):
        mbo.pretrain_policy(small_learner("td3_plus_bc"), dataset, n_epochs=1)
    scaled = small_learner("td3_plus_bc", action_scaler=SCALERS.MinMaxActionScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbo.fit(scaled, dataset, [], n_steps=2, **QUIET)


def test_a_learner_whose_scalers_are_not_fitted_is_refused_by_scaler():
    dataset = line_dataset()
    learner = small_learner(
        "sac", observation_scaler=SCALERS.StandardObservationScaler()
    )
    learner.build_with_dataset(dataset)
    imagination = line_imagination(
        "forward", dataset, rollout_policy=mbo.LearnerPolicyConfig()
    )
    with pytest.raises(mbo.CompositionError, match="observation_scaler of SAC.*fitted"):
        imagination.imagine(dataset, 5, learner=learner)
