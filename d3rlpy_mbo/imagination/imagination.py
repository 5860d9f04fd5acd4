"""Imagination: a composition of components and its schedule."""

import contextlib
import copy
import dataclasses
import functools
import operator
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Optional, Union

import torch
from d3rlpy.dataset import ReplayBufferBase

from ..components.dynamics.ensemble import ProbabilisticEnsembleConfig
from ..components.dynamics.interface import Dynamics, DynamicsConfig
from ..components.dynamics_updaters import DynamicsUpdaterConfig
from ..components.halts import HaltConfig
from ..components.penalties import LearnedPenaltyConfig, Penalty
from ..components.rewards import RewardFunction
from ..components.rollout_policies.interface import RolloutPolicyConfig
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..components.terminations.interface import Termination
from ..components.terminations.learned import (
    LearnedTerminationConfig,
)
from ..data.action_sets import ActionRange, ActionSet
from ..data.real_data import RealData, start_rows
from ..data.transitions import Transitions, validate_transitions
from ..learners.reading import Learner
from ..registry.component import Component
from ..registry.fields import COUNT, component_field, number
from ..support.devices import (
    Device,
    device_name,
    rollouts_together,
    validate_device,
)
from ..support.errors import (
    CompositionError,
    DatasetError,
    NotFittedError,
)
from ..support.generators import generators_kept
from ..support.resuming import fit_once
from .composition import (
    changed_fields,
    not_followed,
    validate_action_set,
    warn_of_other_parts,
)
from .fitted_on import FittedOn
from .parts import Parts
from .readiness import (
    validate_action_spaces,
    validate_choices_alike,
    validate_divergence,
    validate_magnitudes,
    validate_model_rows,
    validate_rules,
    validate_same_data,
    validate_sizes,
    validate_termination,
    warn_if_slow,
    warn_of_lost_ends,
)
from .rollout import Rollout, RolloutCounts, rollout
from .saving import write_component

__all__ = ["Imagination", "ImaginationConfig"]


@dataclasses.dataclass()
class ImaginationConfig(Component):
    """The components of an imagination, and its schedule. A paper is a set of defaults.

    Args:
        dynamics: The model; its direction is the imagination's.
        rollout_policy: Proposes actions.
        termination: When imagined episodes end: a rule, or `LearnedTerminationConfig`.
            Required for datasets that hold a terminal, where `NoTermination` will do;
            None means never.
        reward_function: Known rewards; None for the predicted ones.
        penalty: Subtracted from imagined rewards, before the learner's reward scaler,
            when rows are imagined or when they are drawn.
        dynamics_updater: Changes the dynamics while the learner trains.
        rollout_length: h, the most steps of a rollout.
        rollout_batch_size: Rollouts of one refresh. If it is its class's default, it is
            lowered for small data: to 10 for each real row that rollouts may start from,
            or to 50,000 if that is more.
        rollout_interval: Learner steps from one refresh to the next; None to imagine
            once, before the first batch.
        retained_refreshes: How many refreshes are kept. The store holds this many times
            rollout_length times rollout_batch_size rows.
        real_ratio: Share of real rows in the learner's batches, in expectation.
        halt: Stops rollouts where the model is not to be trusted.
        steps_per_row: k, how many imagined steps become one row of the learner's batches:
            their discounted rewards, and then the value k steps on; fewer at a terminal
            or a rollout's end. More than 1 only with the learner's own actions.
    """

    kind: ClassVar[str] = "imagination"
    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")  # if parts do
    dynamics: DynamicsConfig = component_field(
        "dynamics", ProbabilisticEnsembleConfig, required=True
    )
    rollout_policy: RolloutPolicyConfig = component_field(
        "rollout_policy", UniformPolicyConfig, required=True
    )
    termination: Optional[Union[Termination, LearnedTerminationConfig]] = (
        component_field("termination")
    )
    reward_function: Optional[RewardFunction] = component_field("reward_function")
    penalty: Optional[Union[Penalty, LearnedPenaltyConfig]] = component_field("penalty")
    dynamics_updater: Optional[DynamicsUpdaterConfig] = component_field(
        "dynamics_updater"
    )
    rollout_length: int = number(5, at_least=1, whole=True)
    rollout_batch_size: int = number(50_000, at_least=1, whole=True)
    rollout_interval: Optional[int] = number(None, at_least=1, whole=True)
    retained_refreshes: int = number(1, at_least=1, whole=True)
    real_ratio: float = number(0.5, at_least=0, at_most=1)
    halt: Optional[HaltConfig] = component_field("halt")
    steps_per_row: int = number(1, at_least=1, whole=True)

    def __post_init__(self) -> None:
        """Does nothing; subclasses of version 0.1 call it."""

    @staticmethod
    def get_type() -> str:
        """Returns ``"custom"``: a composition that has no name of its own."""
        return "custom"

    def create(
        self, device: Device = False, dynamics: Optional[Dynamics] = None
    ) -> "Imagination":
        """Creates the components.

        Args:
            device: As d3rlpy's: False, True, a GPU's number or a torch device name; or a
                `torch.device`.
            dynamics: A fitted model to use, shared with other imaginations: a dynamics
                updater changes it for all of them, and so does `fit` of the imagination
                that created it. By default a new one is created, and fitted by
                `Imagination.fit`.

        Returns:
            An imagination that is not fitted yet.

        Raises:
            CompositionError: The components cannot work together, or the given model is
                not what this config asks for.
            NotFittedError: The given model is not fitted.
        """
        return Imagination(self, device, dynamics)


class Imagination(Parts):
    """Turns states of a dataset into imagined transitions.

    Args:
        config: Its components and schedule.
        device: Where its networks and rollouts are.
        dynamics: See `ImaginationConfig.create`.

    Raises:
        CompositionError, NotFittedError: See `ImaginationConfig.create`.
    """

    _said_slow = 0  # how many rollouts were said to take long

    def __init__(
        self,
        config: ImaginationConfig,
        device: Device = False,
        dynamics: Optional[Dynamics] = None,
    ):
        validate_device(device)
        super().__init__(config, device_name(device), dynamics)
        self._rows_together = rollouts_together(self.device)
        self._changed = False  # by the dynamics updater, while ...
        self._changed_for: Optional[weakref.ref[Learner]] = None  # ... this one trained
        self.version = 0  # of what was learned: grows with each change
        # How often it was fitted, loaded or given another action set: rows that were
        # imagined before that are not its own any more.
        self.times_settled = 0

    def __repr__(self) -> str:
        config, policy = self.config, self.config.rollout_policy.get_type()
        rows = self._fitted_on and self._fitted_on.n_rows
        state = "not fitted" if rows is None else f"fitted on {rows} rows"
        return (
            f"<Imagination {config.get_type()!r}: {self.dynamics.direction}, rollouts of "
            f"{config.rollout_length} with {policy}, {state}, on {self.device}>"
        )

    @property
    def fitted(self) -> bool:
        """Whether it can imagine: fitted, or loaded."""
        return self._fitted_on is not None

    @property
    def action_set(self) -> ActionSet:
        """The set that proposed actions are projected to: the dataset's, found by `fit`.

        If the dataset does not reach the environment's bounds, assign the environment's
        action set after `fit`.

        Raises:
            NotFittedError: Nothing was fitted yet; it cannot be assigned then, either.
            CompositionError: What is assigned is not for the dataset's kind and number of
                actions, or its bounds are no range.
        """
        return self._facts().action_set

    @action_set.setter
    def action_set(self, action_set: ActionSet) -> None:
        validate_action_set(action_set, self.action_set)
        there = action_set.to(self.device)
        self._settle(dataclasses.replace(self._facts(), action_set=there))
        self.version += 1

    def _facts(self) -> FittedOn:
        """Returns what is known of the data; raises NotFittedError."""
        if self._fitted_on is None:
            raise NotFittedError(
                f"The imagination {self.config.get_type()!r} is not fitted. Call "
                "imagination.fit(dataset), or load a fitted one with load_imagination."
            )
        return self._fitted_on

    def _settle(self, fitted_on: FittedOn) -> None:
        self._fitted_on = fitted_on
        self._attach(fitted_on)
        self.times_settled += 1

    @property
    def action_range(self) -> ActionRange:
        """The `action_set` of continuous actions.

        Raises:
            NotFittedError: Nothing was fitted yet.
            CompositionError: It was fitted on discrete actions, which have no range.
        """
        action_set = self.action_set
        if not isinstance(action_set, ActionRange):
            raise CompositionError(
                f"The imagination {self.config.get_type()!r} imagines with {action_set!r}, "
                "which has no range. Ask imagination.action_set."
            )
        return action_set

    @action_range.setter
    def action_range(self, action_range: ActionRange) -> None:
        self.action_set = action_range

    def fit(self, dataset: Union[ReplayBufferBase, RealData]) -> None:
        """Fits the dynamics, the rollout policy and all else that learns, on real rows.

        Shows its progress, and keeps `fit_history`. Warns if forward dynamics that must
        predict rewards cannot learn from the steps that end episodes (reverse rollouts
        never lead to these).
        Dynamics that were given at creation stay as they are; a dynamics updater is
        created anew.

        Args:
            dataset: From `load_minari`, or any d3rlpy dataset of vectors.

        Raises:
            DatasetError, TerminationRequiredError, CompositionError: See
                `check_fittable`; or the dynamics refuse the data. Nothing is fitted then,
                and what was fitted before stays.
            DivergedError: A loss is not finite; the imagination is then not fitted.
        """
        real = RealData.of(dataset)
        self.check_fittable(real.transitions)
        learns = not self.dynamics_given and self.config.reward_function is None
        if learns and self.dynamics.direction == "forward":
            warn_of_lost_ends(real.transitions)
        known = real.for_models
        fitted_on = FittedOn.of(real, self.device, self._made_of)
        before, updater = self._fitted_on, self.dynamics_updater
        self._fitted_on = None  # an interrupted fit is no fit
        self.dynamics_updater = self._new_updater()
        self._attach(fitted_on)
        if not self.dynamics_given:
            try:
                fit_once("dynamics", self.dynamics, lambda: self._fit_dynamics(known))
            except (CompositionError, DatasetError):  # refused: it is what it was
                self._fitted_on, self.dynamics_updater = before, updater
                self._attach(before)
                raise
            self._changed = False
        self._fit_part("rollout_policy", self.rollout_policy, known)
        if self._learned_termination is not None:
            self._fit_part("termination", self._learned_termination, known)
        for name, part in (("penalty", self._learned_penalty), ("halt", self.halt)):
            if part is not None:
                self._fit_part(name, part, self.dynamics, known)
        self._fitted_on = fitted_on
        self.version += 1
        self.times_settled += 1

    def _fit_dynamics(self, known: Transitions) -> None:
        self.dynamics.fit(known)
        # A plugin's may sample; what is only told decides no run.
        with generators_kept():
            self.dynamics.measure_holdout(known)

    @staticmethod
    def _fit_part(name: str, part: Any, *data: Any) -> None:
        """Fits a part on data; a resumed run takes it from its checkpoint instead."""
        fit_once(name, part, lambda: part.fit(*data))

    def check_fittable(self, transitions: Transitions) -> None:
        """Refuses real transitions that it cannot be fitted on.

        Raises:
            DatasetError: Models have nothing to learn from, or values are too large.
            TerminationRequiredError: They hold terminals, and no termination is given.
            CompositionError: The dynamics given at creation were fitted on data of other
                sizes, or on other data while there is a dynamics updater; or a component
                does not support the data's kind of actions; or a known reward or a
                termination cannot be asked about two of the rows.
        """
        validate_action_spaces(self.config, transitions)
        validate_model_rows(transitions)
        validate_magnitudes(transitions)
        asked = (self.config.reward_function, self.termination)
        rules = [
            each for each in asked if isinstance(each, RewardFunction | Termination)
        ]
        validate_rules(rules, transitions, self.device)
        if self._learned_termination is not None:
            self._learned_termination.check_transitions(transitions)
        whose = "The dynamics given"
        fitted_on = self.dynamics.fitted_on if self.dynamics_given else None
        if fitted_on is not None:
            validate_choices_alike(whose, self.dynamics.n_actions, transitions)
        self._validate(whose, fitted_on, transitions)

    def check_ready(self, transitions: Transitions) -> None:
        """Refuses real transitions that it cannot imagine from.

        Raises:
            NotFittedError: It is not fitted.
            CompositionError: It was fitted on data of other sizes, or on other data while
                it has a dynamics updater, which must know the hold-out rows. Likewise for
                its dynamics, if another imagination that shares them fitted them again.
                Or a rule that was put into its config since cannot work with the rest.
            TerminationRequiredError: They hold terminals, and no termination is given.
        """
        fitted_on = self._facts()
        name = f"The imagination {self.config.get_type()!r}"
        validate_choices_alike(name, fitted_on.action_set.n_actions, transitions)
        validate_action_spaces(self.config, transitions)
        self._validate(name, fitted_on.sizes, transitions)
        of_model = self.dynamics.fitted_on
        if of_model is not None:
            name = f"The dynamics of the imagination {self.config.get_type()!r}"
            validate_choices_alike(name, self.dynamics.n_actions, transitions)
            self._validate(name, of_model, transitions)

    def _validate(
        self,
        whose: str,
        fitted_on: Optional[tuple[int, int, int]],
        transitions: Transitions,
    ) -> None:
        """Refuses data that does not go with what was fitted, if something was.

        Args:
            whose: What was fitted.
            fitted_on: Its rows, sizes of observations and actions.
            transitions: The data.
        """
        warn_of_other_parts(self.config, self._made_of)
        self._validate_rules()
        name = self.config.get_type()
        validate_termination(self.termination, transitions, name)
        if fitted_on is not None:
            n_rows, observation_size, action_size = fitted_on
            validate_sizes(whose, (observation_size, action_size), transitions)
            if self.dynamics_updater is not None:
                validate_same_data(whose, n_rows, transitions)

    def update_dynamics(
        self, transitions: Transitions, learner: Learner
    ) -> dict[str, float]:
        """Lets the dynamics updater change the model, then measures the hold-out errors.

        Args:
            transitions: Those that the model was fitted on.
            learner: The algorithm being trained.

        Returns:
            The hold-out errors after the update, see `Dynamics.holdout_errors`.

        Raises:
            CompositionError: There is no dynamics updater, or it cannot work with these.
        """
        if self.dynamics_updater is None:
            raise CompositionError(
                f"The imagination {self.config.get_type()!r} has no dynamics_updater, so "
                "nothing changes its model."
            )
        self._tell_of_rules()
        try:
            self.dynamics_updater.apply(self.dynamics, transitions, learner)
        except CompositionError:  # refused: nothing was changed
            raise
        except BaseException:  # interrupted: some of it was
            self._note_change(learner)
            with contextlib.suppress(Exception):  # it may be what went wrong
                self.dynamics.measure_holdout(transitions)
            raise
        self._note_change(learner)
        return self.dynamics.measure_holdout(transitions)

    def _note_change(self, learner: Learner) -> None:
        self._changed, self._changed_for = True, weakref.ref(learner)
        self.version += 1

    def changed_for_another(self, learner: Optional[Learner]) -> bool:
        """Returns whether the model was last changed while another learner trained."""
        known = self._changed_for() if self._changed_for is not None else None
        return self._changed and (known is None or known is not learner)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_changed_for": None}  # no learner is here any more

    def rollouts(
        self,
        transitions: Union[Transitions, RealData],
        n_rollouts: int,
        learner: Optional[Learner] = None,
        rollout_length: Optional[int] = None,
    ) -> Iterator[Rollout]:
        """Imagines from random real transitions, in chunks.

        Args:
            transitions: Real ones, on the CPU.
            n_rollouts: How many rollouts in all.
            learner: For components that ask it.
            rollout_length: Instead of the config's; at least 1.

        Yields:
            Rollouts on the imagination's device; `start_rows` are indices of the real
            transitions.
        """
        if rollout_length is None:
            rollout_length = self.config.rollout_length
        COUNT.validated("rollout_length", rollout_length)
        self._tell_of_rules()
        direction = self.dynamics.direction
        if isinstance(transitions, RealData):
            rows, transitions = (
                transitions.start_rows(direction),
                transitions.transitions,
            )
        else:
            validate_transitions(transitions)
            rows = start_rows(direction, transitions)
        started = time.perf_counter()
        for first in range(0, n_rollouts, self._rows_together):
            if first == self._rows_together:
                seconds = (time.perf_counter() - started) / self._rows_together
                # Once: what is measured differs each time, so Python would show it anew.
                is_more = n_rollouts > self._said_slow
                if self.rollout_policy.needs_learner and is_more:
                    name = type(learner).__name__
                    if warn_if_slow(name, seconds, n_rollouts):
                        self._said_slow = n_rollouts
            size = min(self._rows_together, n_rollouts - first)
            drawn = rows[torch.randint(len(rows), (size,))]
            imagined = rollout(
                self.dynamics,
                self.rollout_policy,
                transitions[drawn].to(self.device),
                rollout_length,
                action_set=self.action_set,
                termination=self.termination,
                reward_function=self.config.reward_function,
                penalty=self.penalty_when("imagined"),
                halt=self.halt,
                learner=learner,
            )
            started_from = drawn.to(self.device)[imagined.start_rows]
            yield dataclasses.replace(imagined, start_rows=started_from)

    def imagine(
        self,
        dataset: Union[ReplayBufferBase, RealData, Transitions],
        n_rollouts: int,
        learner: Optional[Learner] = None,
        rollout_length: Optional[int] = None,
    ) -> Transitions:
        """Imagines transitions to look at.

        Args:
            dataset: Where the rollouts start (reverse: end): real data, or some of its
                transitions. Starts are drawn from it with replacement.
            n_rollouts: How many.
            learner: For components that ask it.
            rollout_length: Instead of the config's.

        Returns:
            At most n_rollouts * rollout_length rows on the CPU, in time order within
            a rollout, with `rollout_ids` (B,) from 0 to n_rollouts - 1. A penalty that
            is subtracted when rows are drawn is not subtracted here.

        Raises:
            NotFittedError, CompositionError, TerminationRequiredError: See
                `check_ready`; or a number is not positive.
            DatasetError: The dataset cannot be read, or no rollout can start from it.
            DivergedError: Too many rows were not finite.
        """
        COUNT.validated("n_rollouts", n_rollouts)
        rows = dataset if isinstance(dataset, Transitions) else RealData.of(dataset)
        self.check_ready(rows if isinstance(rows, Transitions) else rows.transitions)
        parts: list[Transitions] = []
        counts: list[RolloutCounts] = []
        chunks = self.rollouts(rows, n_rollouts, learner, rollout_length)
        for i, imagined in enumerate(chunks):
            part = imagined.transitions.to("cpu")
            assert part.rollout_ids is not None
            ids = part.rollout_ids + i * self._rows_together
            parts.append(dataclasses.replace(part, rollout_ids=ids))
            counts.append(imagined.counts)
        validate_divergence(
            functools.reduce(operator.add, counts).dropped_share,
            self.config.get_type(),
            rollout_length or self.config.rollout_length,
        )
        return Transitions.concatenate(parts)

    def save(self, path: Union[str, Path]) -> None:
        """Writes the fitted imagination to a file, completely or not at all.

        Raises:
            NotFittedError: There is nothing to save yet.
            CompositionError: The config of a part was changed since it was fitted, so
                that no file of it could be loaded; nothing is written then.
        """
        fitted_on = self._fitted_on
        if fitted_on is None:
            raise NotFittedError(
                "An imagination that is not fitted cannot be saved. Call fit first; "
                "the composition alone is imagination.config.serialize()."
            )
        config = copy.copy(self.config)
        vars(config).update(not_followed(config, self._made_of))
        parts = self._learned().items()
        state = {
            "components": {name: part.state_dict() for name, part in parts},
            "metrics": {name: part.metrics for name, part in parts},
            **fitted_on.state_dict(),
            "changed": self._changed,
        }
        self._validate_loadable(config, fitted_on, state)
        write_component(path, config, state)

    def _validate_loadable(
        self, config: ImaginationConfig, fitted_on: FittedOn, state: dict[str, Any]
    ) -> None:
        """Refuses a state that parts of changed configs, two layers for four, cannot take.

        A config may have been changed in place for the next imagination.
        """
        changed = changed_fields(config, fitted_on.configs)
        if not changed:
            return
        try:
            with generators_kept():
                config.create(self.device).load_state_dict(state)
        except Exception as error:
            raise CompositionError(
                f"The imagination {config.get_type()!r} cannot be saved: its config was "
                f"changed since it was fitted ({'; '.join(changed)}), and what was fitted "
                "does not go with that. Set it back, or fit it again; for another "
                "imagination change a copy: copy.deepcopy(config)."
            ) from error

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state that `save` wrote."""
        for name, part in self._learned().items():
            part.restore(state["components"][name], state["metrics"][name])
        # If it was changed, then not for a learner of this process; 0.1 did not write it.
        self._changed, self._changed_for = state.get("changed", False), None
        self._settle(FittedOn.of_state(state, self.device, self._made_of))
        self.version += 1

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns all that a killed run needs of it to go on."""
        parts = self._learned().items()
        return {
            "parts": {name: part.checkpoint_state() for name, part in parts},
            **self._facts().checkpoint_state(),
            "changed": self._changed,
        }

    def restore_checkpoint(
        self, state: dict[str, Any], learner: Optional[Learner] = None
    ) -> None:
        """Takes over what `checkpoint_state` returned.

        Args:
            state: What it returned.
            learner: The one that goes on training.
        """
        for name, part in self._learned().items():
            part.restore_checkpoint(state["parts"][name])
        self._settle(FittedOn.of_state(state, self.device, self._made_of))
        self._changed = state["changed"]
        self._changed_for = weakref.ref(learner) if learner is not None else None
        self.version += 1
