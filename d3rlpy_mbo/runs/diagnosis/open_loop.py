"""Errors along real action sequences: how fast they grow."""

from typing import Optional

import torch

from ...components.dynamics.interface import Dynamics
from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...support.devices import ROWS_IN_DOUBLE
from .predictions import moments, targets
from .results import OpenLoop
from .statistics import quantile, spread

__all__ = ["open_loop", "sequence_starts"]

# Sequences; their medians then have a standard error of 6 % of their spread (ours).
_SEQUENCES = 500


def sequence_starts(
    real: RealData, n_steps: int, episodes: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Returns the rows that a sequence of so many steps of one episode may begin with.

    All its rows have a known next observation.

    Args:
        real: Where the sequences are.
        n_steps: Of each.
        episodes: (episodes,) bool, which ones they may be of; None: all.
    """
    starts = real.episode_starts
    known = real.transitions.next_observation_known
    counts = starts.diff()
    if known is not None:  # d3rlpy loses the last of an episode, and no other
        counts = counts - (~known[starts[1:] - 1]).long()
    n_windows = (counts - n_steps + 1).clamp(min=0)
    if episodes is not None:
        n_windows = n_windows * episodes
    first = starts[:-1].repeat_interleave(n_windows)
    before = (n_windows.cumsum(dim=0) - n_windows).repeat_interleave(n_windows)
    return first + torch.arange(len(first)) - before


@torch.no_grad()
def open_loop(
    dynamics: Dynamics,
    real: RealData,
    n_steps: int,
    episodes: Optional[torch.Tensor] = None,
) -> Optional[OpenLoop]:
    """Follows real action sequences for so many steps.

    Args:
        dynamics: Fitted; a reverse model starts at the end and goes backwards.
        real: Where the sequences are.
        n_steps: Of each.
        episodes: See `sequence_starts`.

    Returns:
        None if no episode is long enough; fewer steps, or none, where nothing that is
        finite is predicted beyond them.
    """
    starts = sequence_starts(real, n_steps, episodes)
    if not len(starts):
        return None
    starts = starts[torch.randperm(len(starts))[:_SEQUENCES]]
    rows, direction = real.transitions, dynamics.direction
    first = starts if direction == "forward" else starts + n_steps - 1
    pace = 1 if direction == "forward" else -1
    started = rows[first].given_observations(direction).double()
    _, std, usable = spread(torch.split(rows.observations, ROWS_IN_DOUBLE))
    scale = std[usable]

    state = started.float().to(dynamics.device)
    member: Optional[torch.Tensor] = None
    finite = torch.ones(len(starts), dtype=torch.bool)
    found = OpenLoop(len(starts), [], [], [], [], [], [])
    for step in range(n_steps):
        real_rows: Transitions = rows[first + pace * step]
        means, _, n_elites, _ = moments(
            dynamics, state, real_rows.actions.to(dynamics.device)
        )
        if member is None:
            member = torch.randint(n_elites, (len(starts),)).to(dynamics.device)
        mean = means[member, torch.arange(len(starts), device=dynamics.device)]
        truth = targets(real_rows, direction).double()
        errors = mean.cpu().double() - truth
        finite = finite & torch.isfinite(errors).all(dim=1)
        if not bool(finite.any()):
            break
        sizes = _size(errors[finite, :-1][:, usable] / scale)
        still = _size((started - truth[:, :-1])[finite][:, usable] / scale)
        found.median.append(quantile(sizes, 0.5))
        found.low.append(quantile(sizes, 0.1))
        found.high.append(quantile(sizes, 0.9))
        found.standing_still.append(quantile(still, 0.5))
        found.columns.append(errors[finite].square().mean(dim=0).sqrt().tolist())
        found.finite.append(float(finite.double().mean()))
        state = torch.where(torch.isfinite(mean), mean, 0.0)[:, :-1]
    return found


def _size(values: torch.Tensor) -> torch.Tensor:
    """Returns (B,) root mean squares over the columns of (B, n); 0 if there is none."""
    if not values.shape[1]:
        return torch.zeros(len(values))
    return values.square().mean(dim=1).sqrt()
