"""rollout(): imagined transitions from real states, forwards or backwards."""

import dataclasses
from typing import Optional, Union

import torch

from ..components.dynamics.interface import Dynamics
from ..components.penalties import Penalty
from ..components.rewards import RewardFunction
from ..components.rollout_policies.interface import RolloutPolicy
from ..components.terminations.interface import Termination
from ..components.terminations.learned import LearnedTermination
from ..data.transitions import ActionRange, Transitions
from ..learners.reading import Learner
from .contracts import ComponentChecks

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
    """

    rollouts: torch.Tensor
    survivors: torch.Tensor
    produced: torch.Tensor
    dropped: torch.Tensor
    proposed: torch.Tensor
    clipped: torch.Tensor

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


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Imagined transitions and what happened on the way.

    Args:
        transitions: The rows that learners may have; rows of one rollout are
            neighbours, in time order, and share a rollout id.
        penalties: (B, 1) what was subtracted from the rewards of these rows.
        counts: What happened.
    """

    transitions: Transitions
    penalties: torch.Tensor
    counts: RolloutCounts


@torch.no_grad()
def rollout(
    dynamics: Dynamics,
    rollout_policy: RolloutPolicy,
    starts: Transitions,
    rollout_length: int,
    *,
    action_range: ActionRange,
    termination: Union[Termination, LearnedTermination, None] = None,
    reward_function: Optional[RewardFunction] = None,
    penalty: Optional[Penalty] = None,
    learner: Optional[Learner] = None,
) -> Rollout:
    """Imagines transitions in the direction of the dynamics.

    Forwards from the starts' s: a rollout ends after an imagined terminal; one more
    action is drawn at its end for the last row's next action. Backwards from the
    starts' s': the first imagined row leads to a real state, its next action and
    terminal are the dataset's own; a row that would leave from a terminal state
    ends the rollout and is dropped.

    Nothing here waits for the device: finished rollouts go on behind a mask, and
    their rows are taken out once, at the end.

    Args:
        dynamics: Fitted.
        rollout_policy: Fitted.
        starts: B real transitions on the dynamics' device.
        rollout_length: Steps at most, h.
        action_range: Proposed actions are clipped to it.
        termination: None if the task never terminates.
        reward_function: Replaces the predicted reward.
        penalty: Subtracted from the reward.
        learner: For policies and penalties that ask it.

    Returns:
        At most B * h rows on the dynamics' device.

    Raises:
        CompositionError: A component returned the wrong shape or type, values that
            are not finite, or a negative penalty; it and its distribution are named.
    """
    reverse = dynamics.direction == "reverse"
    observations = starts.given_observations(dynamics.direction)
    n_rollouts, device = len(starts), observations.device
    alive = torch.ones(n_rollouts, 1, dtype=torch.bool, device=device)
    clipped, produced, dropped = torch.zeros(3, device=device)
    steps: list[tuple[torch.Tensor, ...]] = []  # per step, columns of B rows
    checks = ComponentChecks()

    def propose(states: torch.Tensor) -> torch.Tensor:
        nonlocal clipped
        proposed = rollout_policy.sample_action(states, learner)
        checks.shape(rollout_policy, proposed, (n_rollouts, len(action_range.low)))
        checks.finite(rollout_policy, proposed)
        actions = torch.clamp(proposed, action_range.low, action_range.high)
        clipped = clipped + (actions != proposed).sum()
        return actions

    next_actions, terminals = starts.next_actions, starts.terminals
    actions = propose(observations)
    for step in range(rollout_length):
        prediction = dynamics.predict(observations, actions, penalty is not None)
        reached, rewards = prediction.observations, prediction.rewards
        usable = alive & _finite(reached, rewards)
        before, after = (reached, observations) if reverse else (observations, reached)
        if reward_function is not None:
            rewards = reward_function(before, actions, after)
            checks.shape(reward_function, rewards, (n_rollouts, 1))
            checks.finite(reward_function, rewards, where=usable)
        penalties = torch.zeros_like(rewards)
        if penalty is not None:
            penalties = penalty(prediction, learner)
            checks.shape(penalty, penalties, (n_rollouts, 1))
            checks.finite(penalty, penalties, where=usable)
            checks.positive(penalty, penalties, where=usable)
            rewards = rewards - penalties
        ends = torch.zeros_like(alive)
        if termination is not None:
            # Backwards: whether s, as the end of the step that led to it, is one.
            ends = termination(reached if reverse else before, actions, reached)
            checks.shape(termination, ends, (n_rollouts, 1), torch.bool)
        proposed = actions
        if not reverse or step < rollout_length - 1:
            # Policies never see a state that is not finite: distributions refuse it.
            proposed = propose(torch.where(usable, reached, observations))
        if not reverse:
            next_actions, terminals = proposed, ends.float()
        finite = _finite(reached, actions, rewards, next_actions)
        kept = alive & finite & ~ends if reverse else alive & finite
        produced = produced + alive.sum()
        dropped = dropped + (alive & ~finite).sum()
        steps.append(
            (before, actions, rewards, after, next_actions, terminals, penalties, kept)
        )
        alive = kept & ~ends
        observations = torch.where(alive, reached, observations)
        # What comes before a row in time needs this row's action as its next action.
        next_actions, terminals = actions, torch.zeros_like(terminals)
        actions = proposed

    checks.raise_found()
    if reverse:
        steps.reverse()
    *columns, kept = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
    survivors = kept[..., 0].sum(dim=0)
    rows = torch.nonzero(kept.flatten())[:, 0]
    s, a, r, s_next, a_next, ended, subtracted = (
        column.flatten(0, 1)[rows] for column in columns
    )
    ids = torch.arange(n_rollouts, device=device).repeat_interleave(rollout_length)
    n_proposed = n_rollouts * len(action_range.low)
    n_proposed *= rollout_length if reverse else rollout_length + 1
    return Rollout(
        transitions=Transitions(s, a, r, s_next, a_next, ended, rollout_ids=ids[rows]),
        penalties=subtracted,
        counts=RolloutCounts(
            rollouts=torch.tensor(n_rollouts, device=device),
            survivors=survivors.flip(0) if reverse else survivors,
            produced=produced,
            dropped=dropped,
            proposed=torch.tensor(n_proposed, device=device),
            clipped=clipped,
        ),
    )


def _finite(*columns: torch.Tensor) -> torch.Tensor:
    """Returns (B, 1) whether every value of a row is finite."""
    flags = [torch.isfinite(column).all(dim=1, keepdim=True) for column in columns]
    return torch.stack(flags).all(dim=0)
