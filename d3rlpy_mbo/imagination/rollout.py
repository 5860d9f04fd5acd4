"""rollout(): imagined transitions from real states, forwards or backwards."""

import dataclasses
from typing import NamedTuple, Optional, Union

import torch

from ..components.dynamics.interface import Dynamics
from ..components.halts import Halt
from ..components.penalties import LearnedPenalty, Penalty
from ..components.rewards import RewardFunction
from ..components.rollout_policies.interface import RolloutPolicy
from ..components.terminations.interface import Termination
from ..components.terminations.learned import LearnedTermination
from ..data.action_sets import ActionSet
from ..data.packed_rows import PackedLayout
from ..data.transitions import Transitions
from ..learners.reading import Learner
from .contracts import ComponentChecks
from .steps import Proposals, StepModel, finite_rows

__all__ = ["Rollout", "RolloutCounts", "rollout"]


@dataclasses.dataclass(frozen=True)
class RolloutCounts:
    """What happened in some rollouts, as sums that add up over chunks.

    Args:
        rollouts: How many were started.
        survivors: (rollout_length,) how many of them produced a row in each step; a
            reverse rollout's first step is the last in time.
        produced: Rows imagined.
        dropped: Rows of these dropped because a value was not finite.
        proposed: Action entries proposed.
        clipped: Entries of these that lay outside the dataset's range.
        asked: (rollout_length,) rows of each step that a halt was asked about ...
        halted: ... and those of them that it stopped.
    """

    rollouts: torch.Tensor
    survivors: torch.Tensor
    produced: torch.Tensor
    dropped: torch.Tensor
    proposed: torch.Tensor
    clipped: torch.Tensor
    asked: torch.Tensor
    halted: torch.Tensor

    def __add__(self, other: "RolloutCounts") -> "RolloutCounts":
        names = [field.name for field in dataclasses.fields(self)]
        return RolloutCounts(
            *(getattr(self, name) + getattr(other, name) for name in names)
        )

    @property
    def dropped_share(self) -> float:
        """Share of the imagined rows that were dropped."""
        return float(self.dropped / self.produced)

    def report(self) -> dict[str, float]:
        """Returns the shares, for d3rlpy's logs."""
        survival = (self.survivors / self.rollouts).tolist()
        return {
            "dropped_share": self.dropped_share,
            "clipped_share": float(self.clipped / self.proposed),
            **{f"survival_{i}": share for i, share in enumerate(survival, start=1)},
        }

    def halt_report(self) -> dict[str, float]:
        """Returns the share of each step's rows that a halt stopped, for d3rlpy's logs."""
        shares = (self.halted / self.asked.clamp(min=1)).tolist()
        return {f"halted_{i}": share for i, share in enumerate(shares, start=1)}


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Imagined transitions and what happened on the way.

    Args:
        transitions: The rows that learners may have; rows of one rollout are
            neighbours, in time order, and share a rollout id.
        penalties: (B, 1) what was subtracted from the rewards of these rows.
        counts: What happened.
        start_rows: (B,) int64, which of the starts a row's rollout began from.
        distances: (B,) int64, how many steps of its rollout lie between a row and that
            start, its own included: 1 for the row that begins (reverse: ends) there.
        spared: (B, 1) bool, the rows whose reward is a halt's: no penalty is subtracted.
    """

    transitions: Transitions
    penalties: torch.Tensor
    counts: RolloutCounts
    start_rows: torch.Tensor
    distances: torch.Tensor
    spared: torch.Tensor


class _Step(NamedTuple):
    """One imagined step of all rollouts, in time order.

    Attributes:
        transitions: (B,) rows.
        penalties: (B, 1) subtracted from the rewards.
        asked: (B, 1) bool, whether a halt decides about the row.
        halted: (B, 1) bool, whether it stopped the rollout there.
        kept: (B, 1) bool, whether the row belongs to a rollout that is alive.
        spared: (B, 1) bool, whether the halt gave the row its reward.
    """

    transitions: Transitions
    penalties: torch.Tensor
    asked: torch.Tensor
    halted: torch.Tensor
    kept: torch.Tensor
    spared: torch.Tensor


@torch.no_grad()
def rollout(
    dynamics: Dynamics,
    rollout_policy: RolloutPolicy,
    starts: Transitions,
    rollout_length: int,
    *,
    action_set: ActionSet,
    termination: Union[Termination, LearnedTermination, None] = None,
    reward_function: Optional[RewardFunction] = None,
    penalty: Union[Penalty, LearnedPenalty, None] = None,
    halt: Optional[Halt] = None,
    learner: Optional[Learner] = None,
) -> Rollout:
    """Imagines transitions in the direction of the dynamics.

    Forwards from the starts' s: a rollout ends after an imagined terminal; one more
    action is drawn at its end for the last row's next action. Backwards from the
    starts' s': the first imagined row leads to a real state, its next action and
    terminal are the dataset's own; a row that would leave from a terminal state
    ends the rollout and is dropped.

    Args:
        dynamics: Fitted.
        rollout_policy: Fitted.
        starts: B real transitions on the dynamics' device.
        rollout_length: h, the most steps of a rollout.
        action_set: Proposed actions are projected to it.
        termination: None if the task never terminates.
        reward_function: Replaces the predicted reward.
        penalty: Subtracted from the reward.
        halt: Stops rollouts where the model is not to be trusted.
        learner: For policies and penalties that ask it.

    Returns:
        At most B * h rows on the dynamics' device.

    Raises:
        CompositionError: A component returned the wrong shape or type, values that
            are not finite, or a negative penalty; it and its distribution are named. A
            known reward that is finite for all real rows is not blamed: an imagined row
            for which it is not is dropped.
    """
    checks = ComponentChecks()
    proposals = Proposals(rollout_policy, action_set, learner, checks)
    rollout_policy.begin_rollouts(len(starts))
    dynamics.begin_rollouts(len(starts))
    model = StepModel(
        dynamics, reward_function, penalty, termination, halt, learner, checks, starts
    )
    walk = _Walk(
        model, proposals, starts, starts.given_observations(dynamics.direction)
    )
    for step in range(rollout_length):
        walk.advance(is_last=step == rollout_length - 1)
    checks.raise_found()
    return walk.collected()


class _Walk:
    """Rollouts side by side, on their way.

    Nothing here waits for the device: finished rollouts go on behind a mask, and
    their rows are taken out once, at the end.

    Args:
        model: Imagines a step.
        proposals: Proposes its actions.
        starts: B real transitions.
        observations: (B, D) where they start: s, reverse s'.
    """

    def __init__(
        self,
        model: StepModel,
        proposals: Proposals,
        starts: Transitions,
        observations: torch.Tensor,
    ):
        device = observations.device
        self._model, self._proposals = model, proposals
        self._observations = observations
        self._actions = proposals.at(observations)
        self._next_actions, self._terminals = starts.next_actions, starts.terminals
        self._alive = torch.ones(len(starts), 1, dtype=torch.bool, device=device)
        # Counts, of which float32 would lose some beyond 2^24.
        self._produced, self._dropped = torch.zeros(2, dtype=torch.int64, device=device)
        self._steps: list[_Step] = []

    def advance(self, is_last: bool) -> None:
        """Imagines one step of every rollout."""
        observations, actions, alive = self._observations, self._actions, self._alive
        reverse = self._model.reverse
        imagined = self._model.imagine(observations, actions, alive)
        proposed = actions
        if not (reverse and is_last):
            # Policies never see a state that is not finite: distributions refuse it.
            asked = torch.where(imagined.usable, imagined.reached, observations)
            proposed = self._proposals.at(asked)
        halted = imagined.halted
        next_actions, terminals = self._next_actions, self._terminals
        if not reverse:
            next_actions, terminals = proposed, imagined.ends.float()
        terminals = torch.where(halted.terminal, 1.0, terminals)
        finite = finite_rows(imagined.reached, actions, imagined.rewards, next_actions)
        asked = alive & finite
        if reverse:
            asked = asked & ~imagined.ends
        kept = asked & halted.keep
        self._produced = self._produced + alive.sum()
        self._dropped = self._dropped + (alive & ~finite).sum()
        columns = imagined.before, actions, imagined.rewards, imagined.after
        rows = Transitions(*columns, next_actions, terminals)
        stopped = asked & halted.stop
        spared = torch.zeros_like(stopped) if halted.reward is None else stopped
        self._steps.append(
            _Step(rows, imagined.penalties, asked, stopped, kept, spared)
        )
        self._alive = kept & ~imagined.ends & ~stopped
        self._observations = torch.where(self._alive, imagined.reached, observations)
        # What comes before a row in time needs this row's action as its next action.
        self._next_actions, self._terminals = actions, torch.zeros_like(terminals)
        self._actions = proposed

    def collected(self) -> Rollout:
        """Takes out the rows that were kept: those of a rollout are neighbours, in time."""
        steps = self._steps
        kept = torch.cat([step.kept for step in steps], dim=1)  # (B, h)
        survivors = kept.sum(dim=0)
        asked = torch.cat([step.asked for step in steps], dim=1).sum(dim=0)
        halted = torch.cat([step.halted for step in steps], dim=1).sum(dim=0)
        distances = torch.arange(1, len(steps) + 1, device=kept.device)
        if self._model.reverse:
            steps, kept, distances = steps[::-1], kept.flip(1), distances.flip(0)
        rows = torch.nonzero(kept.flatten())[:, 0]

        def taken(columns: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack(columns, dim=1).flatten(0, 1)[rows]

        columns = {
            name: taken([getattr(step.transitions, name) for step in steps])
            for name in PackedLayout.names
        }
        ids = rows // len(steps)
        return Rollout(
            transitions=Transitions(
                **columns, rollout_ids=ids, n_actions=self._proposals.n_actions
            ),
            penalties=taken([step.penalties for step in steps]),
            counts=RolloutCounts(
                rollouts=torch.tensor(len(kept), device=kept.device),
                survivors=survivors,
                produced=self._produced,
                dropped=self._dropped,
                proposed=torch.tensor(self._proposals.n_entries, device=kept.device),
                clipped=torch.as_tensor(self._proposals.n_projected),
                asked=asked,
                halted=halted,
            ),
            start_rows=ids,
            distances=distances[rows % len(steps)],
            spared=taken([step.spared for step in steps]),
        )
