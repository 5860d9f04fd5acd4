"""Dynamics: p(s', r | s, a), or in reverse p(s, r | s', a)."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg

from ..configs import Component, LearnedComponent
from ..errors import CompositionError
from ..transitions import Direction, Transitions

__all__ = ["Dynamics", "DynamicsConfig", "Prediction"]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a dynamics model says, in dataset units.

    Args:
        given_observations: (B, D) what it was asked with: s, reverse s'.
        actions: (B, A) what it was asked with.
        observations: (B, D) sampled: s', reverse s. Never a difference.
        rewards: (B, 1) sampled.
        means: (E, B, D + 1) of s' (reverse s), reward last, for all E members;
            None unless all members were asked for.
        stds: (E, B, D + 1) their standard deviations, likewise.
    """

    given_observations: torch.Tensor
    actions: torch.Tensor
    observations: torch.Tensor
    rewards: torch.Tensor
    means: Optional[torch.Tensor] = None
    stds: Optional[torch.Tensor] = None


@dataclasses.dataclass()
class DynamicsConfig(Component):
    """Base of dynamics configs.

    Args:
        direction: ``"forward"`` for p(s', r | s, a), ``"reverse"`` for
            p(s, r | s', a) (Wang et al. 2021, equation 1).
    """

    kind: ClassVar[str] = "dynamics"
    direction: Direction = "forward"

    def __post_init__(self) -> None:
        if self.direction not in ("forward", "reverse"):
            raise CompositionError(
                f"direction is {self.direction!r}, expected 'forward' or 'reverse'."
            )

    def create(self, device: DeviceArg = False) -> "Dynamics":
        """Returns an unfitted model on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class Dynamics(LearnedComponent):
    """A learned model of the environment in one direction."""

    config: DynamicsConfig

    @property
    def direction(self) -> Direction:
        """``"forward"`` or ``"reverse"``."""
        return self.config.direction

    @abstractmethod
    def fit(self, transitions: Transitions) -> None:
        """Fits the model from scratch.

        Args:
            transitions: Real transitions with known next observations, on the CPU,
                in dataset units.

        Raises:
            DatasetError: Too few rows.
            DivergedError: The loss became non-finite.
        """

    @abstractmethod
    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> Prediction:
        """Samples one outcome for each row.

        Args:
            observations: (B, D) s, reverse s', on the model's device.
            actions: (B, A) within the dataset's range.
            all_members: Whether `means` and `stds` of every member are wanted;
                penalties want them. Models without members return None for both.

        Returns:
            Prediction in dataset units.
        """

    def log_prob(self, transitions: Transitions) -> torch.Tensor:
        """Returns (B, 1) log p of the transitions, differentiable. Optional.

        Raises:
            CompositionError: This model offers none.
        """
        raise self._lacks("log_prob")

    def training_loss(self, transitions: Transitions) -> torch.Tensor:
        """Returns the scalar supervised loss on a batch, differentiable. Optional.

        Raises:
            CompositionError: This model offers none.
        """
        raise self._lacks("training_loss")

    def parameters(self) -> Iterable[torch.nn.Parameter]:
        """Returns what a dynamics updater may change. Optional.

        Raises:
            CompositionError: This model offers none.
        """
        raise self._lacks("parameters")

    def _lacks(self, what: str) -> Exception:
        return CompositionError(
            f"{type(self).__name__} offers no {what}, which dynamics updaters need. "
            "Use ProbabilisticEnsembleConfig, or leave the dynamics_updater out."
        )
