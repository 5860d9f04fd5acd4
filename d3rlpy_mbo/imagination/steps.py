"""One imagined step: actions proposed, outcomes predicted, ends and penalties told."""

import dataclasses
import functools
from typing import NamedTuple, Optional, Union

import torch

from ..components.dynamics.interface import Dynamics, Prediction
from ..components.halts import Halt, HaltDecision
from ..components.penalties import LearnedPenalty, Penalty
from ..components.rewards import RewardFunction
from ..components.rollout_policies.interface import RolloutPolicy
from ..components.terminations.interface import Termination
from ..components.terminations.learned import LearnedTermination
from ..data.action_sets import ActionSet
from ..data.transitions import Transitions
from ..learners import Learner
from .contracts import ComponentChecks

__all__ = ["Imagined", "Proposals", "StepModel", "finite_rows"]


# Of a column's largest action: what float32 may lay an action at the border beyond it,
# where it was scaled to the range (ours).
_ROUNDING = 1e-6


class Imagined(NamedTuple):
    """What a model imagined; (B, D) states, else (B, 1).

    Attributes:
        halted: What the halt says of the rows.
    """

    before: torch.Tensor
    after: torch.Tensor
    reached: torch.Tensor
    rewards: torch.Tensor
    penalties: torch.Tensor
    ends: torch.Tensor
    usable: torch.Tensor
    halted: HaltDecision


class Proposals:
    """Asks a rollout policy for actions, holds them against its contract, projects them.

    Args:
        rollout_policy: Proposes.
        action_set: To which proposed actions are projected.
        learner: For policies that ask it.
        checks: Note what the policy breaks.
    """

    def __init__(
        self,
        rollout_policy: RolloutPolicy,
        action_set: ActionSet,
        learner: Optional[Learner],
        checks: ComponentChecks,
    ):
        self._policy, self._action_set = rollout_policy, action_set
        self._learner, self._checks = learner, checks
        self.n_actions = action_set.n_actions
        self.n_entries = 0
        self.n_projected: Union[torch.Tensor, int] = 0

    def at(self, states: torch.Tensor) -> torch.Tensor:
        """Returns (B, A) projected actions at (B, D) states, all of them finite."""
        proposed = self._policy.sample_action(states, self._learner)
        self._checks.shape(self._policy, proposed, (len(states), self._action_set.size))
        self._checks.finite(self._policy, proposed)
        actions = self._action_set.project(proposed)
        self.n_entries += actions.numel()
        rounding = _ROUNDING * actions.abs().amax(dim=0)
        outside = (actions - proposed).abs() > rounding
        self.n_projected = self.n_projected + outside.sum()
        return actions


class StepModel:
    """What imagines one step of all rollouts: dynamics, rewards, penalties, ends, halts.

    Args: See `rollout`.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        reward_function: Optional[RewardFunction],
        penalty: Union[Penalty, LearnedPenalty, None],
        termination: Union[Termination, LearnedTermination, None],
        halt: Optional[Halt],
        learner: Optional[Learner],
        checks: ComponentChecks,
        starts: Transitions,
    ):
        self.reverse = dynamics.direction == "reverse"
        self._dynamics, self._reward_function = dynamics, reward_function
        self._penalty, self._termination = penalty, termination
        self._halt = halt
        self._carried: Optional[torch.Tensor] = None
        self._learner, self._checks = learner, checks
        self._starts = starts

    def imagine(
        self, observations: torch.Tensor, actions: torch.Tensor, alive: torch.Tensor
    ) -> Imagined:
        """Imagines from (B, D) states and (B, A) actions, where (B, 1) are alive."""
        checks, shape = self._checks, (len(observations), 1)
        prediction = self._dynamics.predict(
            observations, actions, not (self._penalty is None and self._halt is None)
        )
        reached, rewards = prediction.observations, prediction.rewards
        checks.prediction(self._dynamics, prediction, observations)
        usable = alive & finite_rows(reached, rewards)
        before, after = observations, reached
        if self.reverse:
            before, after = after, before
        if self._reward_function is not None:
            rewards = self._reward_function(before, actions, after)
            checks.shape(self._reward_function, rewards, shape)
            # If a known reward is finite for real rows, it is NaN or infinite only at
            # absurd states: the rollout drops and counts such rows.
            checks.finite(
                self._reward_function,
                rewards,
                where=usable,
                unless=lambda: self._rewards_real_rows,
            )
        penalties = torch.zeros_like(rewards)
        if self._penalty is not None:
            checks.members(self._penalty, prediction)
            penalties = self._penalty(prediction, self._learner)
            checks.shape(self._penalty, penalties, shape)
            checks.finite(self._penalty, penalties, where=usable)
            checks.positive(self._penalty, penalties, where=usable)
            rewards = rewards - penalties
        halted = self._halted(prediction, usable)
        if halted.reward is not None:
            rewards = torch.where(halted.stop, halted.reward, rewards)
            penalties = torch.where(halted.stop, 0.0, penalties)
        ends = torch.zeros_like(alive)
        if self._termination is not None:
            # Backwards: whether s, as the end of the step that led to it, is one.
            asked = reached if self.reverse else before
            ends = self._termination(asked, actions, reached)
            checks.shape(self._termination, ends, shape, torch.bool)
        return Imagined(
            before, after, reached, rewards, penalties, ends, usable, halted
        )

    @functools.cached_property
    def _rewards_real_rows(self) -> bool:
        """Whether the known rewards of the real rows that rollouts start from are finite.

        Asked only where an imagined row's is not.
        """
        assert self._reward_function is not None
        real = self._starts.for_models()
        rewards = self._reward_function(
            real.observations, real.actions, real.next_observations
        )
        return bool(torch.isfinite(rewards).all())

    def _halted(self, prediction: Prediction, usable: torch.Tensor) -> HaltDecision:
        """Asks the halt, which is handed what it carried from the last step."""
        if self._halt is None:
            return HaltDecision.nowhere(usable)
        self._checks.members(self._halt, prediction)
        halted = self._halt(prediction, self._carried)
        self._checks.halt(self._halt, halted, usable)
        self._carried = halted.state
        stop = halted.stop | ~halted.keep  # the rows after it would not connect
        return dataclasses.replace(halted, stop=stop)


def finite_rows(*columns: torch.Tensor) -> torch.Tensor:
    """Returns (B, 1) whether every value of a row is finite."""
    flags = [torch.isfinite(column).all(dim=1, keepdim=True) for column in columns]
    return torch.stack(flags).all(dim=0)
