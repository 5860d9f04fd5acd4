"""Halts: where a rollout stops because the model is not to be trusted there."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ..data.transitions import Transitions
from ..registry.component import Component
from .base import LearnedComponent
from .dynamics.interface import Dynamics, Prediction

__all__ = ["Halt", "HaltConfig", "HaltDecision"]


@dataclasses.dataclass(frozen=True, eq=False)  # of tensors there is no ==
class HaltDecision:
    """What a halt says of the rows of one imagined step.

    Terminal, with a reward of its own, is MOReL's reading: the row leads into an
    absorbing state. Not kept is TATU's: the row is dropped. Kept and not terminal is
    NEUBAY's: the rollout is cut, and its last row bootstraps.

    Args:
        stop: (B, 1) bool, whether the rollout ends with this row.
        keep: (B, 1) bool, whether learners get the row. A row that is dropped ends its
            rollout: what lies behind it would not chain.
        terminal: (B, 1) bool, whether the row is terminal; such a row stops and is kept.
            In reverse too: its return is its own reward then.
        reward: (B, 1) what the rows that stop have as reward, in the place of the
            penalised one; None to leave it.
        state: (B, ...) what the halt is handed at the rollouts' next step; None for
            nothing.
    """

    stop: torch.Tensor
    keep: torch.Tensor
    terminal: torch.Tensor
    reward: Optional[torch.Tensor] = None
    state: Optional[torch.Tensor] = None

    @classmethod
    def nowhere(cls, alive: torch.Tensor) -> "HaltDecision":
        """Returns the decision that lets every rollout go on; alive is (B, 1) bool."""
        none = torch.zeros_like(alive)
        return cls(stop=none, keep=~none, terminal=none)


@dataclasses.dataclass()
class HaltConfig(Component):
    """Base of halts' configs."""

    kind: ClassVar[str] = "halt"

    def create(self, device: DeviceArg = False) -> "Halt":
        """Returns an unfitted halt on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class Halt(LearnedComponent):
    """Says where rollouts stop because the model is not to be trusted there.

    What the environment would do is a `Termination`'s to say. Its metrics name whatever
    it measured of the data, such as its threshold: a halt that stops everything at once
    is refused with them.

    Attributes:
        compares: See `Penalty`.
    """

    config: HaltConfig
    compares: str = ""

    @abstractmethod
    def fit(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Learns what is usual from scratch.

        Args:
            dynamics: Fitted on these transitions; `Dynamics.predictions` asks it.
            transitions: Real ones with known next observations, on the CPU.
        """

    @abstractmethod
    def __call__(
        self, prediction: Prediction, state: Optional[torch.Tensor]
    ) -> HaltDecision:
        """Decides about one imagined step.

        Args:
            prediction: Of all members of the dynamics, as penalties see it.
            state: (B, ...) what its last decision on these rollouts carried; None at
                their first step.

        Returns:
            The decision, on the prediction's device; it depends on a row's own rollout
            alone.
        """
