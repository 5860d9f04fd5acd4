"""Checks of imaginations."""

import math
from typing import Any

import numpy as np

from ..buffer.replay_buffer import ImaginedReplayBuffer
from ..data.transitions import Transitions
from ..support.errors import CompositionError
from . import line_world as world
from .running import conformance_check
from .subjects import Subject

__all__ = ["check_real_episodes_stay_real", "check_time_order", "check_trains_learners"]

_N_STEPS = 3


@conformance_check("imagination")
def check_trains_learners(subject: Subject) -> None:
    """Checks that a few learners train on it for a few steps.

    TD3+BC, CQL and IQL; for choices DoubleDQN, DiscreteCQL and DiscreteSAC.
    """
    for name in subject.world.learners:
        learner = subject.world.line_learner(name)
        try:
            imagination = _for_one_learner(subject)
            buffer = ImaginedReplayBuffer(subject.fitted_on, imagination, learner)
            losses = [
                learner.update(buffer.sample_transition_batch(64))
                for _ in range(_N_STEPS)
            ]
        except Exception as error:
            cause = "a component that asks the learner for what only some learners have"
            if isinstance(error, CompositionError):
                cause = (
                    "components that do not go together here; those for continuous "
                    "actions alone must say so, "
                    'action_spaces: ClassVar = ("continuous",)'
                )
            raise subject.violation(
                f"{name} must train on it", subject.raised(error), cause
            ) from error
        for loss, value in losses[-1].items():
            if not math.isfinite(value):
                raise subject.violation(
                    f"the {loss} of {name} must stay finite",
                    value,
                    "imagined rewards or states of another size than the dataset's",
                )


def _for_one_learner(subject: Subject) -> Any:
    """Returns an imagination whose model no other learner's training has changed."""
    ready = subject.ready
    if ready.dynamics_updater is None:
        return ready
    return subject.build(subject.fitted_on)


@conformance_check("imagination")
def check_time_order(subject: Subject) -> None:
    """Checks that imagined rows follow each other in time, whatever the direction.

    Within a rollout each row starts where the one before it led, with the action that was
    its next action; and on s' = s + M a, s' lies after s.
    """
    dataset, n_rollouts, learner = subject.inputs()
    imagined = subject.ready.imagine(dataset, n_rollouts, learner)
    assert imagined.rollout_ids is not None
    follows = imagined.rollout_ids[1:] == imagined.rollout_ids[:-1]
    for ahead, then in (
        ("next_observations", "observations"),
        ("next_actions", "actions"),
    ):
        expected = getattr(imagined, ahead)[:-1][follows]
        found = getattr(imagined, then)[1:][follows]
        broken = (expected != found).any(dim=1)
        if bool(broken.any()):
            raise subject.violation(
                f"within a rollout, the {then} of a row must be the {ahead} before it",
                f"{int(broken.sum())} of {len(broken)} pairs of rows that do not fit",
                "rows of a reverse rollout left in the order they were imagined in",
            )
    _check_slope(subject, imagined)


def _check_slope(subject: Subject, imagined: Transitions) -> None:
    change = imagined.next_observations - imagined.observations
    found = world.slope(change, subject.world.moves(imagined.actions))
    if not found > 0:
        raise subject.violation(
            "imagined rows must have s' = s + M a, as the data",
            f"s' - s is {found:.2f} times M a",
            "observations and next_observations swapped, in a reverse rollout or in the "
            "dynamics",
        )


@conformance_check("imagination")
def check_real_episodes_stay_real(subject: Subject) -> None:
    """Checks that fitting and sampling change nothing in the dataset's episodes."""
    learner = subject.world.line_learner()
    buffer = ImaginedReplayBuffer(subject.fitted_on, _for_one_learner(subject), learner)
    buffer.sample_transition_batch(64)
    untouched = subject.data()
    counts = len(untouched.episodes), len(buffer.episodes)
    if counts[0] != counts[1]:
        raise subject.violation(
            "the dataset must keep its episodes",
            f"{counts[1]} episodes where there were {counts[0]}",
            "imagined transitions appended to the dataset",
        )
    for before, after in zip(untouched.episodes, buffer.episodes, strict=True):
        for name in ("observations", "actions", "rewards"):
            expected, found = getattr(before, name), getattr(after, name)
            if not np.array_equal(expected, found):
                raise subject.violation(
                    f"the {name} of the dataset's episodes must stay as they were",
                    "an episode with other values",
                    "an operation in place on arrays of the dataset, as in x -= x.mean()",
                )
