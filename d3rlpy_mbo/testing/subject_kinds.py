"""How each kind of component is fitted and asked."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import d3rlpy
import torch
from d3rlpy.constants import ActionSpace

from ..components.dynamics_updaters import DynamicsUpdaterConfig
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..data.transitions import Direction, Transitions
from ..imagination.imagination import Imagination, ImaginationConfig
from ..registry.component import Component
from ..registry.json_form import parts
from ..registry.kinds import kind_of
from ..support.errors import CompositionError, ConformanceError
from .dynamics_subject import DynamicsSubject
from .fitted_models import copied, fitted_imagination
from .judge_subject import HaltSubject, JudgeSubject, PenaltySubject
from .learner_subject import LearnerSubject
from .rule_subject import RuleSubject
from .subjects import (
    CONTINUOUS,
    DISCRETE,
    N_ROWS,
    Checkable,
    Subject,
    default_constructed,
    shortened,
)

__all__ = ["subjects_of"]


class _RolloutPolicy(Subject):
    def direction_of(self, made: Any) -> Direction:
        known = made.directions
        return self.direction if self.direction in known or not known else known[0]

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        rows = self.world.line_transitions(n_rows).to(self.device)
        return rows.given_observations(self.ready.direction), self.learner_if_needed()

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        observations, _ = inputs
        ready.begin_rollouts(len(observations))
        return {"actions": ready.sample_action(*inputs)}


class _DynamicsUpdater(Subject):
    @functools.cached_property
    def _imagination(self) -> Imagination:
        assert isinstance(self.component, DynamicsUpdaterConfig)
        fitted = fitted_imagination(self.world).dynamics
        imagination = ImaginationConfig(
            dynamics=fitted.config,
            rollout_policy=UniformPolicyConfig(),
            dynamics_updater=self.component,
        ).create(self.device, dynamics=copied(fitted, self.device))
        d3rlpy.seed(0)
        imagination.fit(self.world.line_dataset())
        return imagination

    def build(self, data: Any, seed: int = 0) -> Any:
        return copy.deepcopy(self._imagination.dynamics_updater)

    @property
    def ready(self) -> Any:
        """A new one for each dynamics: it may keep an optimizer for them."""
        return self.build(None)

    def data(self) -> Any:
        return self.world.connected_transitions()

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        dynamics = copy.deepcopy(self._imagination.dynamics)
        return dynamics, self.data(), self.world.line_learner(device=self.device)

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        dynamics, transitions, learner = inputs
        ready.metrics = ready.update(dynamics, transitions, learner)
        parameters = enumerate(dynamics.parameters())
        return {f"parameters[{i}]": value.data for i, value in parameters}


class _Imagination(Subject):
    def attach(
        self, made: Any, with_data: bool = False, from_file: bool = False
    ) -> None:
        """Does nothing: it tells its parts itself."""

    @property
    def answers_at(self) -> str:
        return "cpu"  # where learners' batches are drawn

    def data(self) -> Any:
        terminated = getattr(self.component, "termination", None) is not None
        return self.world.line_dataset(terminated)

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        return self.fitted_on, n_rows, self.learner_if_needed()

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        imagined = ready.imagine(*inputs)
        names = [field.name for field in dataclasses.fields(Transitions)]
        columns = {name: getattr(imagined, name) for name in names}
        return {
            name: column
            for name, column in columns.items()
            if isinstance(column, torch.Tensor) and name != "rollout_ids"
        }


_SUBJECTS: dict[str, type[Subject]] = {
    "dynamics": DynamicsSubject,
    "rollout_policy": _RolloutPolicy,
    "termination": RuleSubject,
    "reward_function": RuleSubject,
    "penalty": PenaltySubject,
    "halt": HaltSubject,
    "dynamics_updater": _DynamicsUpdater,
    "imagination": _Imagination,
    "task": Subject,
    "learner": LearnerSubject,
}

_latest: list[tuple[Checkable, list[Subject]]] = []


def subjects_of(given: Checkable) -> list[Subject]:
    """Returns the subjects of a component, one for each kind of actions that it knows.

    The latest are kept, so that each is fitted once.

    Args:
        given: An instance, taken as it is; or a class, which is default-constructed
            and shortened, see `check_component`.

    Raises:
        ConformanceError: The class cannot be default-constructed, or knows no kind of
            actions.
    """
    for known, subjects in _latest:
        same = inspect.isclass(given) or subjects[0].component == given
        if known is given and same:
            return subjects
    component = (
        shortened(default_constructed(given))
        if isinstance(given, type)
        else copy.deepcopy(given)
    )
    kind = _SUBJECTS[str(kind_of(component))]
    spaces = _action_spaces(component)
    subjects = [
        subject
        for world in (CONTINUOUS, DISCRETE)
        if world.action_space in spaces
        for subject in _in_each_direction(kind(component, world))
    ]
    if not subjects:  # every check would pass, of nothing
        found = getattr(component, "action_spaces", spaces)
        raise ConformanceError(
            f"{type(component).__name__}: its action_spaces must hold 'continuous', "
            f"'discrete' or both. Found: {found!r}. Likely cause: a "
            'string instead of a tuple, ("discrete") for ("discrete",), or a misspelt '
            "name."
        )
    _latest[:] = [(given, subjects)]
    return subjects


def _in_each_direction(subject: Subject) -> Iterator[Subject]:
    """Yields a subject, and the same in reverse if what rollouts ask may be either.

    Those that a reverse imagination would refuse are left out, and those that refuse it.
    """
    yield subject
    if not (isinstance(subject, JudgeSubject) and subject.learned):
        return
    reverse = type(subject)(subject.component, subject.world, direction="reverse")
    try:
        refused = getattr(reverse.ready, "needs_critic", False) or not reverse.answers()
    except CompositionError:
        return
    except Exception:  # the checks meet it again
        refused = False
    if not refused:
        yield reverse


def _action_spaces(component: Any) -> set[str]:
    """Returns the kinds of actions that a component and all its parts know."""
    if not isinstance(component, Component):
        known = component.create().get_action_type()
        spaces = {
            ActionSpace.CONTINUOUS: {"continuous"},
            ActionSpace.DISCRETE: {"discrete"},
        }
        return spaces.get(known, {"continuous", "discrete"})
    declared = [set(part.action_spaces) for part in parts(component)]
    return set.intersection(*declared) or {"continuous"}
