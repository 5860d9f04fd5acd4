"""What a learned component is told of the imagination that it belongs to."""

import dataclasses
from typing import Optional, Union

from ..data.action_sets import ActionSet
from ..data.transitions import Direction
from .rewards import RewardFunction
from .rollout_policies.interface import RolloutPolicy
from .terminations.interface import Termination
from .terminations.learned import LearnedTermination

__all__ = ["Context"]


@dataclasses.dataclass(frozen=True)
class Context:
    """The parts of an imagination that its components may ask.

    Args:
        direction: The dynamics': rollouts ask about s if ``"forward"``, about s' if
            ``"reverse"``.
        rollout_policy: Proposes actions.
        termination: What ends imagined episodes, None if nothing does.
        reward_function: Known rewards, None for predicted ones.
        rollout_length: The most steps of a rollout.
        action_set: The set that actions are projected to, on the imagination's device;
            None until the data is known.
        reward_range: The least and the greatest reward of all real rows, also of those
            whose next observation is not known and which `fit` does not get; None until
            the data is known, and after loading a file.
    """

    direction: Direction
    rollout_policy: RolloutPolicy
    termination: Union[Termination, LearnedTermination, None]
    reward_function: Optional[RewardFunction]
    rollout_length: int
    action_set: Optional[ActionSet]
    reward_range: Optional[tuple[float, float]] = None
