"""Checks of rollout policies."""

from typing import get_args

import torch

from ..data.transitions import Direction, Transitions
from . import line_world as world
from .running import conformance_check
from .subjects import N_ROWS, Subject

__all__ = ["check_actions_within_bounds", "check_policy_directions"]

_TOLERANCE = 1e-3  # of the range: float32 and a round trip through its scaling


@conformance_check("rollout_policy")
def check_actions_within_bounds(subject: Subject) -> None:
    """Checks that actions have the dataset's size and lie within its bounds."""
    actions, size = subject.answers()["actions"], subject.world.action_size
    if actions.dim() != 2 or actions.shape[1] != size:
        raise subject.violation(
            f"actions must have shape {(N_ROWS, size)}",
            tuple(actions.shape),
            "the sizes of observations and actions confused, or one-hot columns instead "
            "of indices",
        )
    if subject.world.choices:
        _check_choices(subject, actions)
        return
    known = (
        (world.ACTION_LOW, world.ACTION_HIGH)
        if subject.ready.needs_learner
        else _range(world.line_transitions().actions)
    )
    room = _TOLERANCE * (known[1] - known[0])
    outside = (actions < known[0] - room) | (actions > known[1] + room)
    if bool(outside.any()):
        raise subject.violation(
            f"actions must lie within the dataset's bounds, {_shown(known)}",
            f"{int(outside.sum())} of {outside.numel()} outside, in "
            f"{_shown(_range(actions))}",
            "actions in [-1, 1], as networks give them; use transitions.action_range() "
            "and its from_unit, and clip noise",
        )


def _check_choices(subject: Subject, actions: torch.Tensor) -> None:
    projected = subject.world.line_transitions().action_set().project(actions)
    outside = actions != projected
    if bool(outside.any()):
        raise subject.violation(
            f"actions must be indices of choices, 0 to {len(world.CHOICES) - 1}",
            f"{int(outside.sum())} others, such as {float(actions[outside][0]):g}",
            "a continuous policy's numbers; draw an index, or ask transitions.action_set()",
        )


def _range(actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return actions.amin(dim=0), actions.amax(dim=0)


def _shown(bounds: tuple[torch.Tensor, torch.Tensor]) -> str:
    low, high = ([round(x, 3) for x in bound.tolist()] for bound in bounds)
    return f"{low} to {high}"


@conformance_check("rollout_policy")
def check_policy_directions(subject: Subject) -> None:
    """Checks that it acts in the directions it declares: given s, in reverse s'.

    Fitted on data with a = sign(s1) forward, a = sign(s'1) reverse, and the opposite sign
    in the other column, it must not act as that other column says.
    """
    directions = subject.ready.directions
    if not directions or not set(directions) <= set(get_args(Direction)):
        raise subject.violation(
            "directions must be some of 'forward' and 'reverse'",
            repr(directions),
            "a string instead of a tuple, or a misspelt direction",
        )
    if subject.ready.needs_learner:  # which was fitted on something else
        return
    for direction in directions:
        asked, transitions = _opposed(direction, subject)
        aimed = type(subject)(subject.component, subject.world, direction=direction)
        policy = aimed.build(transitions)
        actions = policy.sample_action(asked, None)
        positive = asked[:, 0] > 0
        found = float(actions[positive].mean() - actions[~positive].mean()) / 2
        if found < -0.2:
            given = "s" if direction == "forward" else "s'"
            raise subject.violation(
                f"{direction} it must be conditioned on {given}, which it is asked about",
                f"actions that follow the other column ({-found:.2f}, where 1 is all the "
                "way)",
                "`fit` ignores self.direction; use "
                "transitions.given_observations(self.direction)",
            )


def _opposed(
    direction: Direction, subject: Subject
) -> tuple[torch.Tensor, Transitions]:
    """Returns states to ask with, and transitions whose two states are opposites.

    Of choices the first is taken where the sign is negative, the last where it is not.
    """
    asked = 10 * world.draw(1000, world.OBSERVATION_SIZE, 7) - 5
    signs = torch.sign(asked[:, :1])
    actions = signs + 0.1 * world.draw(1000, world.ACTION_SIZE, 8)
    n_actions = subject.world.n_actions
    if n_actions is not None:
        actions = (n_actions - 1) * (signs > 0).float()
    s, s_next = (asked, -asked) if direction == "forward" else (-asked, asked)
    zeros = torch.zeros(1000, 1)
    columns = s, actions, zeros, s_next, actions.clone(), zeros.clone()
    return asked, Transitions(*columns, n_actions=n_actions)
