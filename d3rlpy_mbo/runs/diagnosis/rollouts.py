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
from .nearness import nearness
from .results import Rollouts
from .statistics import distribution

__all__ = ["Imagined", "imagined_rows", "real_survival", "rollouts"]


class Imagined(NamedTuple):
    """Imagined rows.

    Attributes:
        rows: B of them, on the CPU.
        penalties: (B, 1) what was subtracted from their rewards.
        spared: (B, 1) bool, whether the reward is a halt's, and not the model's.
        steps: (B,) from 0: which step of its rollout imagined the row.
        is_end: (B,) bool, whether its rollout imagined no other after it.
        counts: What happened.
    """

    rows: Transitions
    penalties: torch.Tensor
    spared: torch.Tensor
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
    parts, penalties, spared, steps, is_end, counts = [], [], [], [], [], []
    reverse = imagination.dynamics.direction == "reverse"
    for chunk in imagination.rollouts(real, n_rollouts, learner):
        rows = chunk.transitions.to("cpu")
        assert rows.rollout_ids is not None
        step, last = _steps(rows.rollout_ids, reverse)
        parts.append(rows)
        penalties.append(chunk.penalties.cpu())
        spared.append(chunk.spared.cpu())
        steps.append(step)
        is_end.append(last)
        counts.append(chunk.counts)
    return Imagined(
        Transitions.concatenate(parts),
        torch.cat(penalties),
        torch.cat(spared),
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


def rollouts(
    imagined: Imagined, real: RealData, reverse: bool, halts: bool = False
) -> Rollouts:
    """Sums up imagined rows.

    Args:
        imagined: At least one row.
        real: Where they start.
        reverse: Whether they lead backwards.
        halts: Whether a halt was asked.
    """
    counts, n_steps = imagined.counts, len(imagined.counts.survivors)
    beside = real.for_models if reverse else real.transitions
    states, actions = nearness(imagined.rows, imagined.steps, n_steps, beside, reverse)
    return Rollouts(
        rollouts=int(counts.rollouts),
        rows=len(imagined.rows),
        rewards=distribution(_rewards(imagined)),
        real_rewards=distribution(real.transitions.rewards),
        survival=(counts.survivors / counts.rollouts).tolist(),
        real_survival=[1.0] * n_steps if reverse else real_survival(real, n_steps),
        clipped_share=float(counts.clipped / counts.proposed),
        dropped_share=counts.dropped_share,
        states=states,
        actions=actions,
        halted=[*counts.halt_report().values()] if halts else [],
    )


def _rewards(imagined: Imagined) -> torch.Tensor:
    """Returns (n, 1) what the model pays: no penalty is in it, and no halt's reward.

    Where a halt gave every row its reward, those.
    """
    rewards = imagined.rows.rewards.double() + imagined.penalties.double()
    own = rewards[~imagined.spared[:, 0]]
    return own if len(own) else rewards


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
