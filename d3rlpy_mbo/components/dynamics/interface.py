"""Dynamics: p(s', r | s, a), or in reverse p(s, r | s', a)."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar, Optional, get_args

import torch
from d3rlpy.base import DeviceArg

from ...data.transitions import Direction, Transitions
from ...registry.component import Component
from ...registry.fields import choice
from ...support.devices import rollouts_together
from ...support.errors import CompositionError
from ..base import LearnedComponent

__all__ = ["Dynamics", "DynamicsConfig", "Prediction"]


@dataclasses.dataclass(frozen=True, eq=False)  # == of tensors is no bool
class Prediction:
    """What a dynamics model predicts, in dataset units.

    Args:
        given_observations: (B, D) that the model was asked about: s, in reverse s'.
        actions: (B, A) that the model was asked about.
        observations: (B, D) sampled: s', in reverse s. Never a difference.
        rewards: (B, 1) sampled.
        means: (E, B, D + 1) of s' (in reverse of s), reward last, for all E members;
            None unless all members were asked for.
        stds: (E, B, D + 1) standard deviations, likewise.
        n_elites: How many of the members imagine (they come first); None if all do.
    """

    given_observations: torch.Tensor
    actions: torch.Tensor
    observations: torch.Tensor
    rewards: torch.Tensor
    means: Optional[torch.Tensor] = None
    stds: Optional[torch.Tensor] = None
    n_elites: Optional[int] = None

    def transitions(
        self, direction: Direction, n_actions: Optional[int] = None
    ) -> Transitions:
        """Returns B rows in time order; next actions and terminals are zero.

        Args:
            direction: Of the model.
            n_actions: Of the rows, see `Transitions`: a prediction does not know it.
        """
        before, after = self.given_observations, self.observations
        if direction == "reverse":
            before, after = after, before
        nothing = torch.zeros_like(self.actions), torch.zeros_like(self.rewards)
        return Transitions(
            before, self.actions, self.rewards, after, *nothing, n_actions=n_actions
        )


@dataclasses.dataclass()
class DynamicsConfig(Component):
    """Base of dynamics configs.

    Args:
        direction: ``"forward"`` for p(s', r | s, a), ``"reverse"`` for
            p(s, r | s', a) (Wang et al. 2021, equation 1).
    """

    kind: ClassVar[str] = "dynamics"
    direction: Direction = choice("forward", get_args(Direction))

    def __post_init__(self) -> None:
        """Does nothing; subclasses of version 0.1 call it."""

    @property
    def members(self) -> Optional[tuple[int, int]]:
        """How many members a model will have, and how many of them imagine.

        None if that is not known before the model is fitted.
        """
        return None

    def create(self, device: DeviceArg = False) -> "Dynamics":
        """Returns an unfitted model on a device, given as to d3rlpy's `create`."""
        raise NotImplementedError


class Dynamics(LearnedComponent):
    """A learned model of the environment in one direction.

    Attributes:
        capturable: Whether a CUDA graph may record `training_loss` and
            `training_loss_and_sample`, see `recorded`: they never wait for the device.
    """

    config: DynamicsConfig
    capturable: ClassVar[bool] = False

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

    def begin_rollouts(self, n_rollouts: int) -> None:  # optional
        """Tells the model that this many rollouts begin side by side. Optional.

        The next call of `predict` is about their first step, and those after it about the
        next steps of the same rollouts, in the same order, so a model may carry a history
        along them, or a draw, such as a member for each rollout. Rollouts that have ended
        are asked about too, and what is said of them does not matter.

        Outside of rollouts `predict` is called without it, about rows of its own.

        Args:
            n_rollouts: How many rows `predict` will be asked about.
        """

    @abstractmethod
    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> Prediction:
        """Samples one outcome for each row.

        Args:
            observations: (B, D) s, in reverse s', on the model's device.
            actions: (B, A) within the dataset's range; discrete ones are indices (B, 1).
            all_members: Whether `means` and `stds` of every member are wanted, as
                penalties need them. Models without members return None for both.

        Returns:
            Prediction in dataset units.
        """

    @torch.no_grad()
    def predictions(self, transitions: Transitions) -> Iterator[Prediction]:
        """Asks all members about real rows, some rows at a time.

        Args:
            transitions: Real ones, on any device.

        Yields:
            Predictions on the model's device, in the rows' order.
        """
        given = transitions.given_observations(self.direction)
        together = rollouts_together(self.device)
        for first in range(0, len(transitions), together):
            rows = slice(first, first + together)
            yield self.predict(
                given[rows].to(self.device),
                transitions.actions[rows].to(self.device),
                True,  # all members
            )

    @property
    def fitted_on(self) -> Optional[tuple[int, int, int]]:
        """Number of rows given to `fit`, and the sizes of observations and actions.

        None for models that do not keep them; if such a model is shared, it goes
        unnoticed that it was fitted on other data.
        """
        return None

    @property
    def n_actions(self) -> Optional[int]:
        """Number of choices it was fitted for; None for continuous actions."""
        return None

    @property
    def n_members(self) -> int:
        """How many members `training_loss` trains, and deals its rows among."""
        return 1

    @property
    def holdout_indices(self) -> torch.Tensor:
        """(H,) indices of the rows given to `fit` that the model never trained on."""
        return torch.empty(0, dtype=torch.int64)

    def holdout_errors(self, transitions: Transitions) -> dict[str, float]:
        """Measures errors on the hold-out rows; empty for models that keep no such rows.

        They are logged after `fit` and after each update of the dynamics, and so is the
        growth of ``model_holdout_error``, if it is among them.

        Args:
            transitions: Those that were given to `fit`, in the same order.
        """
        return {}

    def measure_holdout(self, transitions: Transitions) -> dict[str, float]:
        """Returns the `holdout_errors`, and keeps them among the metrics."""
        errors = self.holdout_errors(transitions)
        self.metrics |= errors
        return errors

    def log_prob(self, transitions: Transitions) -> torch.Tensor:
        """Returns log p(s', r | s, a), in reverse log p(s, r | s', a). Optional.

        Args:
            transitions: B rows with known next observations, on the model's device.

        Returns:
            (B, 1) in dataset units, differentiable with respect to `parameters`; it
            does not depend on which member a row was sampled from.

        Raises:
            CompositionError: This model offers none.
        """
        raise self._lacks("log_prob")

    def training_loss(self, transitions: Transitions) -> torch.Tensor:
        """Returns the loss that `fit` minimises, on given rows. Optional.

        Args:
            transitions: n_members times B rows with known next observations, on the
                model's device. The first B go to the first member, and so on, so
                that each can have an independent draw.

        Returns:
            A scalar, differentiable with respect to `parameters`.

        Raises:
            CompositionError: This model offers none.
        """
        raise self._lacks("training_loss")

    def training_loss_and_sample(
        self,
        transitions: Transitions,
        observations: torch.Tensor,
        actions: torch.Tensor,
    ) -> tuple[torch.Tensor, Prediction, torch.Tensor]:
        """Returns what one adversarial step needs. Optional.

        By default this calls `training_loss`, `predict`, and `log_prob` of what was
        predicted, one after the other; a model may override it and evaluate its networks
        once for all three.

        Args:
            transitions: As for `training_loss`.
            observations: (B, D) as for `predict`.
            actions: (B, A).

        Returns:
            The training loss; one outcome for each row, not differentiable; the (B, 1)
            log-probabilities of these outcomes.

        Raises:
            CompositionError: This model offers no `training_loss` or no `log_prob`.
        """
        loss = self.training_loss(transitions)
        with torch.no_grad():  # through its sample a density's gradient cancels out
            prediction = self.predict(observations, actions, False)
        sampled = prediction.transitions(self.direction, transitions.n_actions)
        return loss, prediction, self.log_prob(sampled)

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
