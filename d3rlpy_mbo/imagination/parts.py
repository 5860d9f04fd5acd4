"""The parts of an imagination: created from its config, told of it, and asked."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Optional, Union

from ..components.base import LearnedComponent
from ..components.context import Context
from ..components.dynamics.interface import Dynamics
from ..components.dynamics_updaters import DynamicsUpdater
from ..components.halts import Halt
from ..components.history import FitRecord
from ..components.penalties import LearnedPenalty, LearnedPenaltyConfig, Penalty
from ..components.rollout_policies.interface import RolloutPolicy
from ..components.terminations.interface import Termination
from ..components.terminations.learned import (
    LearnedTermination,
    LearnedTerminationConfig,
)
from .composition import (
    MADE_OF,
    validate_declared,
    validate_direction,
    validate_given,
    validate_members,
    validate_penalty,
    validate_steps_per_row,
)
from .fitted_on import FittedOn

if TYPE_CHECKING:
    from .imagination import ImaginationConfig

__all__ = ["Parts"]

# Of what components are told, that which is looked up in the config whenever it is asked.
_RULES = ("termination", "reward_function", "rollout_length")


class Parts:
    """Base of `Imagination`: its components, and what they know of each other.

    What learns is created once. Rules are looked up in the config whenever they are asked.

    Args:
        config: Their configs and the schedule.
        device: A torch device's name.
        dynamics: See `ImaginationConfig.create`.

    Raises:
        CompositionError, NotFittedError: See `ImaginationConfig.create`.
    """

    def __init__(
        self, config: "ImaginationConfig", device: str, dynamics: Optional[Dynamics]
    ):
        self.config = config
        self._made_of: dict[str, Any] = {n: getattr(config, n) for n in MADE_OF}
        self.device = device
        self.dynamics_given = dynamics is not None  # and so not fitted here
        if dynamics is None:
            dynamics = config.dynamics.create(device)
        else:
            validate_given(dynamics, config.dynamics, self.device)
        self.dynamics: Dynamics = dynamics
        self.rollout_policy: RolloutPolicy = config.rollout_policy.create(device)
        self._learned_termination: Optional[LearnedTermination] = None
        if isinstance(config.termination, LearnedTerminationConfig):
            self._learned_termination = config.termination.create(device)
        self._learned_penalty: Optional[LearnedPenalty] = None
        if isinstance(config.penalty, LearnedPenaltyConfig):
            self._learned_penalty = config.penalty.create(device)
        self.halt: Optional[Halt] = None
        if config.halt is not None:
            self.halt = config.halt.create(device)
        self.dynamics_updater = self._new_updater()
        validate_direction(self.dynamics, self.rollout_policy)
        validate_declared(config.penalty, self.penalty)
        validate_declared(config.halt, self.halt)
        validate_members(self.dynamics, self.halt)
        self._validate_rules()
        self._fitted_on: Optional[FittedOn] = None
        self._attach(None)

    def _validate_rules(self) -> None:
        """Refuses what is looked up in the config, which may have changed since."""
        validate_penalty(self.dynamics, self.penalty, self.config.steps_per_row)
        validate_members(self.dynamics, self.penalty)
        validate_steps_per_row(self.config)

    def _new_updater(self) -> Optional[DynamicsUpdater]:
        if self.config.dynamics_updater is None:
            return None
        return self.config.dynamics_updater.create(self.device)

    def _attach(self, fitted_on: Optional[FittedOn]) -> None:
        """Tells every component that learns what it belongs to."""
        self._told = context = self._context(fitted_on)
        for part in self._learned().values():
            part.attach(context)

    def _tell_of_rules(self) -> None:
        """Tells them again, if the config has other rules by now: rollouts follow these."""
        context = self._context(self._fitted_on)
        if any(getattr(context, n) is not getattr(self._told, n) for n in _RULES):
            self._attach(self._fitted_on)

    def _context(self, fitted_on: Optional[FittedOn]) -> Context:
        return Context(
            direction=self.dynamics.direction,
            rollout_policy=self.rollout_policy,
            termination=self.termination,
            reward_function=self.config.reward_function,
            rollout_length=self.config.rollout_length,
            action_set=None if fitted_on is None else fitted_on.action_set,
            reward_range=None if fitted_on is None else fitted_on.reward_range,
        )

    @property
    def needs_learner(self) -> bool:
        """Whether a component asks the learner."""
        asks = self.rollout_policy.needs_learner or self.dynamics_updater is not None
        return asks or self.needs_critic

    @property
    def needs_critic(self) -> bool:
        """Whether a component asks the learner's critic."""
        parts = (self.dynamics_updater, self.penalty)
        return any(part is not None and part.needs_critic for part in parts)

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers of the components, for d3rlpy's logs.

        A name that several of them report is preceded by the component's field, as in
        ``dynamics_loss``.
        """
        return self.metrics_beside(())

    def metrics_beside(self, taken: Collection[str]) -> dict[str, float]:
        """Returns the `metrics`; names already taken get the field's in front."""
        parts = self._learned()
        names = Counter([*taken, *(name for p in parts.values() for name in p.metrics)])
        return {
            name if names[name] == 1 else f"{field}_{name}": value
            for field, part in parts.items()
            for name, value in part.metrics.items()
        }

    @property
    def termination(self) -> Union[Termination, LearnedTermination, None]:
        """What ends imagined episodes, None if nothing does."""
        chosen = self.config.termination
        if not isinstance(chosen, LearnedTerminationConfig):
            return chosen
        # One that was put there since was never created: what stood there before stays.
        return self._learned_termination or self._made_of["termination"]

    @property
    def penalty(self) -> Union[Penalty, LearnedPenalty, None]:
        """What is subtracted from imagined rewards, None if nothing is."""
        chosen = self.config.penalty
        if not isinstance(chosen, LearnedPenaltyConfig):
            return chosen
        return self._learned_penalty or self._made_of["penalty"]  # likewise

    def penalty_when(self, when: str) -> Union[Penalty, LearnedPenalty, None]:
        """Returns the `penalty` if it is subtracted then.

        Args:
            when: ``"imagined"`` or ``"drawn"``.
        """
        penalty = self.penalty
        return penalty if penalty is not None and penalty.when == when else None

    def _learned(self) -> dict[str, LearnedComponent]:
        """Returns the components that have a state, by their field's name."""
        parts = {
            "dynamics": self.dynamics,
            "rollout_policy": self.rollout_policy,
            "dynamics_updater": self.dynamics_updater,
            "termination": self._learned_termination,
            "penalty": self._learned_penalty,
            "halt": self.halt,
        }
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def fit_history(self) -> dict[str, list[FitRecord]]:
        """What was measured while the components were fitted, by the components' fields.

        Empty if nothing was fitted in this process: files do not hold it.
        """
        parts = self._learned().items()
        return {name: list(part.history) for name, part in parts if part.history}
