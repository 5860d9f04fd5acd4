"""What an imagination imagines, beside what is real."""

import functools
import operator
from typing import NamedTuple, Optional

import torch

from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...imagination.imagination import Imagination
from ...imagination.rollout import RolloutCounts
from ...learners.reading import Learner
from .one_step import varies
from .results import Nearness, Rollouts
from .statistics import distribution, quantile

__all__ = ["Imagined", "imagined_rows", "real_survival", "rollouts"]

# Real rows that distances are to, other real ones beside them, imagined ones in all, and
# how many of these at once (ours: 10,000 times 1,000 distances are 40 MB).
_COMPARED = 10_000
_BESIDE = 1_000
_IMAGINED = 20_000
_AT_ONCE = 1_000


class Imagined(NamedTuple):
    """Imagined rows.

    Attributes:
        rows: B of them, on the CPU.
        penalties: (B, 1) what was subtracted from their rewards.
        steps: (B,) from 0: which step of its rollout imagined the row.
        is_end: (B,) bool, whether its rollout imagined no other after it.
        counts: What happened.
    """

    rows: Transitions
    penalties: torch.Tensor
    steps: torch.Tensor
    is_end: torch.Tensor
    counts: RolloutCounts


def imagined_rows(
    imagination: Imagination,
    real: RealData,
    n_rollouts: int,
    learner: Optional[Learner],
) -> Imagined:
    """Imagines from random real states.

    Raises:
        CompositionError: A component broke its contract on the way.
    """
    parts, penalties, steps, is_end, counts = [], [], [], [], []
    reverse = imagination.dynamics.direction == "reverse"
    for chunk in imagination.rollouts(real, n_rollouts, learner):
        rows = chunk.transitions.to("cpu")
        assert rows.rollout_ids is not None
        step, last = _steps(rows.rollout_ids, reverse)
        parts.append(rows)
        penalties.append(chunk.penalties.cpu())
        steps.append(step)
        is_end.append(last)
        counts.append(chunk.counts)
    return Imagined(
        Transitions.concatenate(parts),
        torch.cat(penalties),
        torch.cat(steps),
        torch.cat(is_end),
        functools.reduce(operator.add, counts),
    )


def _steps(ids: torch.Tensor, reverse: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns which step of its rollout each row is, and whether it is the last one.

    Rows of a rollout are neighbours in time order; a reverse one's first is the last.
    """
    if reverse:
        step, is_end = _steps(ids.flip(0), reverse=False)
        return step.flip(0), is_end.flip(0)
    _, counts = torch.unique_consecutive(ids, return_counts=True)
    ends = counts.cumsum(dim=0)
    step = torch.arange(len(ids)) - (ends - counts).repeat_interleave(counts)
    is_end = torch.zeros(len(ids), dtype=torch.bool)
    is_end[ends - 1] = True
    return step, is_end


def rollouts(imagined: Imagined, real: RealData, reverse: bool) -> Rollouts:
    """Sums up imagined rows.

    Args:
        imagined: At least one row.
        real: Where they start.
        reverse: Whether they lead backwards.
    """
    counts, n_steps = imagined.counts, len(imagined.counts.survivors)
    states, actions = _nearness(imagined, real.transitions, reverse)
    return Rollouts(
        rollouts=int(counts.rollouts),
        rows=len(imagined.rows),
        rewards=distribution(imagined.rows.rewards + imagined.penalties),
        real_rewards=distribution(real.transitions.rewards),
        survival=(counts.survivors / counts.rollouts).tolist(),
        real_survival=[1.0] * n_steps if reverse else real_survival(real, n_steps),
        clipped_share=float(counts.clipped / counts.proposed),
        dropped_share=counts.dropped_share,
        states=states,
        actions=actions,
    )


def real_survival(real: RealData, n_steps: int) -> list[float]:
    """Returns the share of real rows that are followed by a 0th, 1st, 2nd, ... row.

    Kaplan and Meier's estimate: an episode that was cut says nothing about what would
    have come after.
    """
    lengths = real.episode_starts.diff()
    terminated = real.transitions.terminals[real.episode_starts[1:] - 1, 0] > 0
    survival = [1.0]
    for step in range(1, n_steps):
        # Of an episode of n rows, n - step + 1 have at least `step` rows before its end.
        at_risk = int((lengths - step + 1).clamp(min=0).sum())
        n_ended = int((terminated & (lengths >= step)).sum())
        survival.append(survival[-1] * (1 - n_ended / at_risk if at_risk else 1.0))
    return survival


def _nearness(
    imagined: Imagined, real: Transitions, reverse: bool
) -> tuple[Nearness, Nearness]:
    """Measures how far states and actions are from the data's."""
    states = _Scale(real.observations)
    actions = _Scale(real.actions)
    order = torch.randperm(len(real))
    n_beside = min(_BESIDE, max(len(real) // 5, 1))
    beside = real[order[:n_beside]]
    compared = real[order[n_beside:][:_COMPARED]] if len(real) > 1 else beside
    neighbours = _Neighbours(states(compared.observations))

    def of_actions(rows: Transitions, asked: torch.Tensor) -> torch.Tensor:
        nearest, _ = neighbours.of(states(asked))
        theirs = actions(compared.actions)[nearest]
        apart: torch.Tensor = (actions(rows.actions) - theirs).norm(dim=1)
        return apart

    kept = torch.randperm(len(imagined.rows))[:_IMAGINED]
    rows, steps = imagined.rows[kept], imagined.steps[kept]
    left, reached = rows.observations, rows.next_observations
    if reverse:
        left, reached = reached, left
    _, distances = neighbours.of(states(reached))
    _, real_distances = neighbours.of(states(beside.observations))
    return (
        _by_step(distances, real_distances, steps),
        _by_step(
            of_actions(rows, left), of_actions(beside, beside.observations), steps
        ),
    )


def _by_step(
    distances: torch.Tensor, real: torch.Tensor, steps: torch.Tensor
) -> Nearness:
    of_steps = [distances[steps == step] for step in range(int(steps.max()) + 1)]
    of_steps = [each for each in of_steps if len(each)]
    return Nearness(
        median=[quantile(each, 0.5) for each in of_steps],
        high=[quantile(each, 0.95) for each in of_steps],
        real_median=quantile(real, 0.5),
        real_high=quantile(real, 0.95),
    )


class _Scale:
    """Standardises the columns that vary, and leaves the others out."""

    def __init__(self, values: torch.Tensor):
        self._kept = varies(values)
        self._mean = values.mean(dim=0)
        self._std = values.std(dim=0, unbiased=False)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return ((values - self._mean) / self._std)[:, self._kept]


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
