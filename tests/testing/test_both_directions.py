"""Penalties and halts that learn are asked in both directions, unless one is refused."""

import pytest
import torch

import d3rlpy_mbo as mbo
from broken_components import DistanceFromUsual, SoundLearnedPenalty, component
from d3rlpy_mbo import testing
from d3rlpy_mbo.testing.subject_kinds import subjects_of

pytestmark = pytest.mark.training


def penalty(name, **overridden):
    """The config of a sound learned penalty with methods and attributes of its own."""
    learned = type(name, (DistanceFromUsual,), overridden)
    return component(f"of_directions_{name}")(
        type(name, (SoundLearnedPenalty,), {"Learned": learned, "__module__": __name__})
    )()


def negative_in_reverse(self, prediction, learner=None):
    found = DistanceFromUsual.__call__(self, prediction)
    return found if self.context.direction == "forward" else -found


def refuse_reverse(self, dynamics, transitions):
    if dynamics.direction == "reverse":
        raise mbo.CompositionError("forward alone")
    DistanceFromUsual.fit(self, dynamics, transitions)


def fail_in_reverse(self, dynamics, transitions):
    assert dynamics.direction == "forward"
    DistanceFromUsual.fit(self, dynamics, transitions)


def test_what_is_wrong_in_reverse_alone_is_found_there():
    check = testing.check_penalty_non_negative
    with pytest.raises(
        testing.ConformanceError, match=r"^Turned in reverse: penalties"
    ):
        check(penalty("Turned", __call__=negative_in_reverse))
    with pytest.raises(testing.ConformanceError, match="AssertionError"):
        check(penalty("Failing", fit=fail_in_reverse))


@pytest.mark.parametrize(
    "forward_alone",
    [
        penalty("Refusing", fit=refuse_reverse),
        penalty("OfTheCritic", needs_critic=True),
    ],
    ids=["refuses", "critic"],
)
def test_what_no_reverse_imagination_would_take_is_asked_forward_alone(forward_alone):
    assert [subject.direction for subject in subjects_of(forward_alone)] == ["forward"]
    testing.check_component(forward_alone)


def draw_rows(self, dynamics, transitions):
    drawn = transitions[torch.randperm(len(transitions))[:10]]
    DistanceFromUsual.fit(self, dynamics, drawn)


def test_a_fit_that_draws_gives_the_same_again_whichever_check_is_the_first():
    testing.check_fit_starts_anew(penalty("Drawing", fit=draw_rows))


def test_half_of_what_one_that_learns_is_asked_about_is_its_data():
    forward, reverse = subjects_of(SoundLearnedPenalty())
    for subject in (forward, reverse):
        (prediction, _), rows = subject.inputs(), subject.data()
        given = rows.given_observations(subject.direction)[16:31]
        assert (prediction.given_observations[16:] == given).all()
        reached = rows.predicted_observations(subject.direction)[16:31]
        assert (prediction.observations[16:] - reached).abs().mean() < 1
