"""Fits go on at the last place where they could be left, and end as if they had not."""

import copy

import d3rlpy
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.terminations.learned import LearnedTermination
from d3rlpy_mbo.data.real_data import RealData
from d3rlpy_mbo.learners.state import LearnerState
from d3rlpy_mbo.support.resuming import Fits, fit_once, fits_kept
from kept_runs import Killed, networks, same
from toys import line_dataset, line_transitions, small_learner


def kept_until(n: int, fit) -> dict:
    """Runs fits until the n-th place where they may be left; returns what is kept."""
    states = []

    def reached(done: bool) -> None:
        state = fits.checkpoint_state()
        done_parts = {name: p.checkpoint_state() for name, p in fits.done.items()}
        states.append(copy.deepcopy({**state, "done": done_parts}))
        if len(states) == n:
            raise Killed

    fits = Fits(reached)
    with pytest.raises(Killed), fits_kept(fits):
        fit()
    return states[-1]


def gone_on(state: dict, fit) -> None:
    with fits_kept(Fits(lambda done: None, state)):
        fit()


def termination() -> LearnedTermination:
    config = mbo.LearnedTerminationConfig(hidden_units=[4], batch_size=8, n_steps=20)
    return config.create()


@pytest.mark.training
@pytest.mark.parametrize("n", [1, 7, 21])
def test_a_fit_by_gradient_goes_on_with_its_schedule(n):
    rows = line_transitions(200)
    rows.terminals[:40] = 1.0
    d3rlpy.seed(1)
    whole, number = termination(), None
    with fits_kept(Fits(lambda done: None)):
        fit_once("termination", whole, lambda: whole.fit(rows))
    number = torch.rand(1)
    d3rlpy.seed(1)
    killed = termination()
    state = kept_until(
        n, lambda: fit_once("termination", killed, lambda: killed.fit(rows))
    )
    d3rlpy.seed(5)  # another process stands elsewhere
    resumed = termination()
    gone_on(state, lambda: fit_once("termination", resumed, lambda: resumed.fit(rows)))
    assert same(resumed.checkpoint_state(), whole.checkpoint_state())
    assert torch.equal(torch.rand(1), number)


@pytest.mark.training
@pytest.mark.parametrize("n", [1, 3, 4])
def test_pretraining_goes_on(n):
    real = RealData.of(line_dataset(n_episodes=4))

    def pretrain(learner) -> None:
        state = LearnerState(learner, real)
        fit_once(
            "pretraining",
            state,
            lambda: mbo.pretrain_policy(learner, real, n_epochs=3, batch_size=20),
        )

    d3rlpy.seed(1)
    whole = small_learner("sac")
    pretrain(whole)
    number = torch.rand(1)
    d3rlpy.seed(1)
    killed = small_learner("sac")
    state = kept_until(n, lambda: pretrain(killed))
    kept = copy.deepcopy(LearnerState(killed, real).checkpoint_state())
    d3rlpy.seed(5)
    resumed = small_learner("sac")
    LearnerState(resumed, real).restore_checkpoint(kept)
    gone_on(state, lambda: pretrain(resumed))
    assert same(networks(resumed), networks(whole))
    assert torch.equal(torch.rand(1), number)


def test_without_anybody_who_keeps_fits_they_are_done():
    done = []
    fit_once("part", termination(), lambda: done.append(1))
    assert done == [1]
