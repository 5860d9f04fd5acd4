"""Penalties: what an imagined reward is lowered by where the model is unsure."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ..data.transitions import Transitions
from ..learners.reading import Learner
from ..registry.component import Component
from .base import LearnedComponent
from .dynamics.interface import Dynamics, Prediction

__all__ = [
    "COMPARES",
    "DECLARED",
    "WHEN",
    "LearnedPenalty",
    "LearnedPenaltyConfig",
    "Penalty",
]

WHEN = ("imagined", "drawn")
COMPARES = ("members", "elites", "")

# What a penalty may declare, and which words there are; a halt the last alone.
DECLARED: dict[str, tuple[Any, ...]] = {
    "when": WHEN,
    "needs_critic": (False, True),
    "compares": COMPARES,
}


@dataclasses.dataclass()
class Penalty(Component):
    """Base of penalties: stateless; the same prediction gives the same penalty.

    Class attributes, or fields of the same names:

    - ``when``: ``"imagined"``, subtracted once, and kept with the imagined rows; or
      ``"drawn"``, subtracted from the imagined rows of each batch, with the current model
      and learner, while the rows are kept as they were imagined.
    - ``needs_critic``: whether the learner's critic is asked about s'. Such a penalty
      needs a learner with a critic, and is refused with reverse dynamics, which predict
      s.
    - ``compares``: ``"members"`` or ``"elites"``, of which the penalty needs at least
      two: dynamics with fewer are refused before they are fitted; ``""`` for neither.
    """

    kind: ClassVar[str] = "penalty"
    # Without annotations: fields for those that make fields of them alone.
    when = "imagined"
    needs_critic = False
    compares = ""

    @abstractmethod
    def __call__(
        self, prediction: Prediction, learner: Optional[Learner] = None
    ) -> torch.Tensor:
        """Returns what to subtract from the imagined rewards.

        Args:
            prediction: Of all members of the dynamics, not only of the elites. Its
                observations and rewards are those of the imagined rows.
            learner: The algorithm being trained, None if there is none.

        Returns:
            (B, 1) float32 in reward units, finite and at least 0.
        """
        raise NotImplementedError


@dataclasses.dataclass()
class LearnedPenaltyConfig(Component):
    """Base of the configs of penalties that learn from data."""

    kind: ClassVar[str] = "penalty"

    def create(self, device: DeviceArg = False) -> "LearnedPenalty":
        """Returns an unfitted penalty on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class LearnedPenalty(LearnedComponent):
    """A penalty that learns from data, and is saved with its imagination.

    The penalty declares these attributes; a config that says otherwise is refused.

    Attributes:
        when: See `Penalty`.
        needs_critic: See `Penalty`.
        compares: See `Penalty`.
    """

    config: LearnedPenaltyConfig
    when: str = "imagined"
    needs_critic: bool = False
    compares: str = ""

    @abstractmethod
    def fit(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Learns from real data, from scratch.

        Args:
            dynamics: Fitted on these transitions; `Dynamics.predictions` asks it.
            transitions: Real ones with known next observations, on the CPU.
        """

    @abstractmethod
    def __call__(
        self, prediction: Prediction, learner: Optional[Learner] = None
    ) -> torch.Tensor:
        """See `Penalty.__call__`."""
