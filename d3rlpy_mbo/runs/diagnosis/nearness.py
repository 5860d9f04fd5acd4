"""Distances of imagined states and actions to the data."""

from collections.abc import Iterable
from typing import Optional

import torch

from ...data.action_sets import columns_of
from ...data.transitions import Direction, Transitions
from ...support.devices import ROWS_IN_DOUBLE
from .results import Nearness
from .statistics import quantile, spread

__all__ = ["nearness"]

# Real rows that distances are to, other real ones beside them, imagined ones in all, and
# how many of these at once (ours: 10,000 times 500 distances are 40 MB).
_COMPARED = 10_000
_BESIDE = 1_000
_IMAGINED = 20_000
_AT_ONCE = 500


def nearness(
    imagined: Transitions,
    steps: torch.Tensor,
    n_steps: int,
    real: Transitions,
    reverse: bool,
) -> tuple[Nearness, Nearness]:
    """Measures how far the states reached and the actions taken are from the data's.

    Forwards an action is compared with that of the real row which leaves the nearest
    state, in reverse with that of the row which leads into it.

    Args:
        imagined: B rows, at least one.
        steps: (B,) from 0: which step of its rollout imagined the row.
        n_steps: Of a rollout, at most; none may have reached the last ones.
        real: The data; in reverse its rows whose next observation is known.
        reverse: Whether rollouts lead backwards.
    """
    states = _Scale(torch.split(real.observations, ROWS_IN_DOUBLE))
    actions = _Scale(  # of choices: 0 apart are the same ones
        columns_of(some, real.n_actions)
        for some in torch.split(real.actions, ROWS_IN_DOUBLE)
    )
    order = torch.randperm(len(real))
    n_beside = min(_BESIDE, max(len(real) // 5, 1))
    beside = real[order[:n_beside]]
    compared = real[order[n_beside:][:_COMPARED]] if len(real) > 1 else beside
    neighbours = _Neighbours(states(compared.observations))
    direction: Direction = "reverse" if reverse else "forward"
    given = neighbours
    if reverse:
        given = _Neighbours(states(compared.given_observations(direction)))

    def of_actions(rows: Transitions) -> torch.Tensor:
        nearest, _ = given.of(states(rows.given_observations(direction)))
        theirs = actions(compared.action_columns)[nearest]
        apart: torch.Tensor = (actions(rows.action_columns) - theirs).norm(dim=1)
        return apart

    kept = torch.randperm(len(imagined))[:_IMAGINED]
    rows, steps = imagined[kept], steps[kept]
    _, distances = neighbours.of(states(rows.predicted_observations(direction)))
    _, real_distances = neighbours.of(states(beside.observations))
    return (
        _by_step(distances, real_distances, steps, n_steps),
        _by_step(of_actions(rows), of_actions(beside), steps, n_steps),
    )


def _by_step(
    distances: torch.Tensor, real: torch.Tensor, steps: torch.Tensor, n_steps: int
) -> Nearness:
    of_steps = [distances[steps == step] for step in range(n_steps)]

    def at(share: float) -> list[Optional[float]]:
        return [quantile(each, share) if len(each) else None for each in of_steps]

    return Nearness(
        median=at(0.5),
        high=at(0.95),
        real_median=quantile(real, 0.5),
        real_high=quantile(real, 0.95),
    )


class _Scale:
    """Standardises the columns that vary, and leaves the others out.

    In float64: what a ruined model imagines, 1e25 or more, has no square in float32.
    """

    def __init__(self, chunks: Iterable[torch.Tensor]):
        self._mean, self._std, self._kept = spread(chunks)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return ((values.double() - self._mean) / self._std)[:, self._kept]


class _Neighbours:
    """Finds the nearest of (N, n) points."""

    def __init__(self, points: torch.Tensor):
        self._points = points

    def of(self, asked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (B,) which point is nearest to each of (B, n), and how far it is."""
        found = [
            torch.cdist(block, self._points).argmin(dim=1)
            for block in torch.split(asked, _AT_ONCE)
        ]
        nearest = torch.cat(found)
        # By differences: what cdist finds by products is rounded where they are small.
        offsets = asked - self._points[nearest]
        return nearest, torch.linalg.vector_norm(offsets, dim=1)
