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


@dataclasses.dataclass(frozen=True, eq=False)  # == of tensors is no bool
class HaltDecision:
    """What a halt says of the rows of one imagined step.

    Terminal, with a reward of its own, is MOReL's reading: the row leads into an
    absorbing state. Not kept is TATU's: the row is dropped. Kept and not terminal is
    NEUBAY's: the rollout is cut, and its last row bootstraps.

    Args:
        stop: (B, 1) bool, whether the rollout ends with this row.
        keep: (B, 1) bool, whether learners get the row. A row that is dropped ends its
            rollout: the rows after it would not connect.
        terminal: (B, 1) bool, whether the row is terminal; such a row must stop and be
            kept. In reverse, its return is then its own reward.
        reward: (B, 1) the reward of the rows that stop, instead of the penalised one;
            None to leave theirs.
        state: (B, ...) what the halt is given at the rollouts' next step, or None.
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

    What the environment would do is for a `Termination` to say. A halt's `metrics` hold
    what it measured of the data, such as a threshold: if it stops everything at once, the
    error shows them.

    Attributes:
        compares: See `Penalty`.
    """

    config: HaltConfig
    compares: str = ""

    @abstractmethod
    def fit(self, dynamics: Dynamics, transitions: Transitions) -> None:
        """Learns from scratch what is usual in the data.

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
            state: (B, ...) the `state` of the last decision on these rollouts; None at
                their first step.

        Returns:
            The decision, on the prediction's device; for each row it depends on the row's
            own rollout alone.
        """
