"""Traps that somebody stepped into once."""

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.imagination.readiness import validate_magnitudes
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from sizes import Made
from toys import (
    line_dataset,
    line_episodes,
    line_imagination,
    line_transitions,
    small_ensemble,
    small_learner,
)


def test_holdout_errors_of_other_rows_are_refused():
    rows = line_transitions(400)
    model = small_ensemble().create()
    model.fit(rows)
    assert model.holdout_errors(rows)["model_holdout_error"] > 0
    for others in (rows[:300], line_transitions(400)[:400]):
        with pytest.raises(mbo.CompositionError, match="fitted on 400 transitions"):
            model.holdout_errors(others)


@pytest.mark.parametrize("value", [2e18, -2e18])
def test_too_large_values_of_either_sign_are_found_without_a_copy_of_the_data(value):
    rows = line_transitions(1000, size=20)
    with Made() as made:
        validate_magnitudes(rows)
    assert made.largest < 0.1 * rows.observations.nbytes
    rows.observations[500, 3] = value
    with pytest.raises(mbo.DatasetError, match=r"observations reach 2.0e\+18 in .*3\]"):
        validate_magnitudes(rows)


def test_holdout_errors_of_any_model_are_measured_once_it_is_fitted():
    imagination = line_imagination("forward")
    imagination.dynamics.holdout_errors = lambda rows: {"model_error": float(len(rows))}
    imagination.fit(line_dataset(n_episodes=3, length=5))
    assert imagination.metrics == {"model_error": 12.0}


def test_hold_out_errors_that_are_drawn_change_nothing_of_what_follows():
    drawn = []
    for errors in (
        lambda rows: {},
        lambda rows: {"model_error": float(torch.rand(()))},
    ):
        imagination = line_imagination("forward")
        imagination.dynamics.holdout_errors = errors
        torch.manual_seed(0)
        imagination.fit(line_dataset())
        drawn.append(torch.rand(()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("column", ["rewards", "observations"])
def test_values_too_large_for_a_model_are_refused_by_column_not_by_penalty(column):
    episodes = line_episodes(20, 25)
    for episode in episodes:
        getattr(episode, column)[:] *= 1e30
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(episodes)
    imagination = MOPOConfig(dynamics=small_ensemble(), penalty=MaxAleatoric()).create()
    with pytest.raises(
        mbo.DatasetError, match=rf"{column} reach .*e\+30 in columns \[0\]"
    ):
        imagination.fit(dataset)


def test_what_is_printed_says_what_it_is_in_a_line():
    dataset = line_dataset(n_episodes=3, length=5)
    imagination = line_imagination("reverse")
    assert repr(imagination) == (
        "<Imagination 'custom': reverse, rollouts of 5 with uniform, not fitted, on cpu:0>"
    )
    imagination.fit(dataset)
    assert "fitted on 12 rows" in repr(imagination)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.3)
    assert repr(buffer) == (
        "<ImaginedReplayBuffer of 3 real episodes, 12 rows for learners: 30% real, 70% "
        "custom>"
    )
    real = mbo.RealData.of(dataset)
    assert repr(real) == (
        "<RealData: 12 rows of 3 episodes, observations of size 1, actions of size 1, 0 "
        "terminals>"
    )
    assert "12 real rows" in repr(real.transitions)
    assert "imagined rows" in repr(imagination.imagine(dataset, 2))
    assert repr(buffer.sample_imagined(3)).startswith("<Transitions: 0 rows, ")
    [predicted] = imagination.dynamics.predictions(real.transitions)
    assert repr(predicted.transitions("reverse")).startswith("<Transitions: 12 rows, ")
    narrow = mbo.ActionRange(real.transitions.actions[0], real.transitions.actions[0])
    assert repr(narrow).startswith("ActionRange(low=[")


def test_an_online_fit_is_refused_by_the_way_that_works():
    dataset = line_dataset()
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset))
    with pytest.raises(
        mbo.CompositionError, match="create_fifo_replay_buffer.*episodes"
    ):
        buffer.append(np.zeros(1), np.zeros(1), 0.0)


def test_numpy_numbers_in_a_config_are_saved_and_loaded(tmp_path):
    dataset = line_dataset()
    imagination = mbo.ImaginationConfig(
        dynamics=small_ensemble(max_steps=np.int64(3), learning_rate=np.float32(0.5)),
        real_ratio=np.float64(0.25),
        rollout_length=np.int32(2),
    ).create()
    imagination.fit(dataset)
    imagination.save(tmp_path / "x.mbo")
    assert mbo.load_imagination(tmp_path / "x.mbo").config == imagination.config
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, small_learner("sac"))
    assert "25% real" in repr(buffer)
