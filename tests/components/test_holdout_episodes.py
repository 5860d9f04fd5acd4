"""Whole episodes held out of a model's fit."""

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics.holdout import split_by_episode
from toys import small_ensemble


def rows_of_lengths(*lengths: int) -> mbo.Transitions:
    n = sum(lengths)
    column = torch.zeros(n, 1)
    ids = torch.arange(len(lengths), dtype=torch.int32)
    return mbo.Transitions(
        *[column] * 6, episode_ids=ids.repeat_interleave(torch.tensor(lengths))
    )


def test_rows_of_an_episode_are_all_held_out_or_none():
    for seed in range(20):
        torch.manual_seed(seed)
        rows = rows_of_lengths(3, 1, 4, 5, 2, 7)
        held_out, training = split_by_episode(rows, 6, 5)
        assert sorted([*held_out.tolist(), *training.tolist()]) == list(range(22))
        theirs = [set(rows.episode_ids[each].tolist()) for each in (held_out, training)]
        assert not theirs[0] & theirs[1]
        assert len(training) >= 5
        # Enough, and not one episode more than that takes.
        lengths = [[3, 1, 4, 5, 2, 7][each] for each in theirs[0]]
        assert sum(lengths) >= 6 > sum(lengths) - max(lengths)


def test_what_is_left_is_enough_to_fit_on():
    for seed in range(20):
        torch.manual_seed(seed)
        held_out, training = split_by_episode(rows_of_lengths(4, 4, 8), 16, 8)
        assert len(training) >= 8
        assert len(held_out) >= 4


@pytest.mark.parametrize("lengths", [(10,), (10, 10)])
def test_too_few_episodes_are_refused(lengths):
    with pytest.raises(mbo.DatasetError, match="holdout='rows'"):
        split_by_episode(rows_of_lengths(*lengths), 1, 11)


def test_rows_that_do_not_know_their_episodes_are_refused_by_what_knows_them():
    model = small_ensemble(holdout="episodes", batch_size=16).create()
    column = torch.zeros(100, 1)
    with pytest.raises(mbo.DatasetError, match=r"RealData\.of\(dataset\)\.for_models"):
        model.fit(mbo.Transitions(*[column] * 6))


def test_random_rows_are_the_default_and_draw_what_they_drew():
    model = mbo.ProbabilisticEnsembleConfig()
    assert model.holdout == "rows"
    with pytest.raises(mbo.CompositionError, match="holdout"):
        mbo.ProbabilisticEnsembleConfig(holdout="weeks")
    rows = rows_of_lengths(60, 60)
    ensemble = small_ensemble(max_steps=1, batch_size=16).create()
    d3rlpy.seed(3)
    expected = torch.randperm(120)[:24]
    d3rlpy.seed(3)
    ensemble.fit(rows)
    assert torch.equal(ensemble.holdout_indices, expected)
