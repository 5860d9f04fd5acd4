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

from ..components.dynamics.interface import Dynamics, Prediction
from ..components.dynamics_updaters import DynamicsUpdaterConfig
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..data.transitions import Direction, Transitions
from ..imagination.imagination import Imagination, ImaginationConfig
from ..registry.component import Component
from ..registry.json_form import parts
from ..registry.kinds import kind_of
from ..support.errors import CompositionError, ConformanceError
from . import line_world as world
from .dynamics_subject import DynamicsSubject
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

_N_MEMBERS = 4


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


class _AsksPredictions(Subject):
    """A penalty or a halt; one that learns is also asked about what it was fitted on."""

    @functools.cached_property
    def _dynamics(self) -> Dynamics:
        """A model of the world, for those that learn what it says of the data."""
        return _copied(_fitted_dynamics(self.world, self.direction), self.device)

    def data(self) -> Any:
        """Returns rows of episodes, those that `dynamics` was fitted on."""
        return self.world.connected_transitions()

    def fit(self, made: Any, data: Any) -> None:
        made.fit(self._dynamics, data)

    def prediction(self, n_rows: int) -> Prediction:
        """Returns what an ensemble may say; in one row all its members agree.

        Of the second half of the rows it is what the model says of the data, where
        something was learned from that.
        """
        made_up = self._made_up(n_rows)
        n_of_data = n_rows // 2 if self.learned else 0
        rows = slice(n_rows - n_of_data, n_rows)
        for name, column in vars(made_up).items():
            if n_of_data and isinstance(column, torch.Tensor):
                place = (slice(None), rows) if name in ("means", "stds") else rows
                column[place] = getattr(self._of_data, name)[place]
        return made_up

    @functools.cached_property
    def _of_data(self) -> Prediction:
        """What the model says of the first N_ROWS rows of the data."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            (found,) = self._dynamics.predictions(self.data()[:N_ROWS])
        return found

    def _made_up(self, n_rows: int) -> Prediction:
        rows = self.world.line_transitions(n_rows)
        size = (_N_MEMBERS, n_rows, world.OBSERVATION_SIZE + 1)
        noise, spread = (
            world.draw(size[0] * size[1], size[2], seed).view(size) for seed in (5, 6)
        )
        noise[:, 0] = 0.5  # here all members agree ...
        spread[:, 0] = 1e-6  # ... and are all but certain
        reached = rows.predicted_observations(self.direction)
        means = torch.cat([reached, rows.rewards], dim=1) + 4 * noise - 2
        sample = means[0].clone()
        given = rows.given_observations(self.direction).clone()
        columns = given, rows.actions, sample[:, :-1], sample[:, -1:]
        given, actions, outcome, reward = (each.to(self.device) for each in columns)
        spread, means = 2 * spread.to(self.device), means.to(self.device)
        return Prediction(given, actions, outcome, reward, means, spread)


@functools.cache
def _fitted_dynamics(line_world: world.LineWorld, direction: Direction) -> Dynamics:
    """Returns a model on the CPU; nobody but `_copied` is given it."""
    config = dataclasses.replace(world.line_dynamics(direction), n_models=_N_MEMBERS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dynamics = config.create("cpu:0")
        dynamics.fit(line_world.connected_transitions())
    return dynamics


def _copied(dynamics: Dynamics, device: str) -> Dynamics:
    """Returns the same model on a device."""
    copied = dynamics.config.create(device)
    copied.load_state_dict(dynamics.state_dict())
    return copied


class _Penalty(_AsksPredictions):
    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        return self.prediction(n_rows), self.world.line_learner(device=self.device)

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        return {"penalties": ready(*inputs)}


class _Halt(_AsksPredictions):
    """A halt, asked at two steps of rollouts."""

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        return (self.prediction(n_rows),)

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        (prediction,) = inputs
        first = ready(prediction, None)
        answers = dict(vars(first))
        if first.state is None or len(first.state) == len(prediction.rewards):
            second = ready(prediction, first.state)
            answers |= {f"{k} at the second step": v for k, v in vars(second).items()}
        return {name: value for name, value in answers.items() if value is not None}


class _DynamicsUpdater(Subject):
    @functools.cached_property
    def _imagination(self) -> Imagination:
        assert isinstance(self.component, DynamicsUpdaterConfig)
        imagination = ImaginationConfig(
            dynamics=world.line_dynamics(),
            rollout_policy=UniformPolicyConfig(),
            dynamics_updater=self.component,
        ).create(self.device)
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
    "penalty": _Penalty,
    "halt": _Halt,
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
            'string in the place of a tuple, ("discrete") for ("discrete",), or a misspelt '
            "name."
        )
    _latest[:] = [(given, subjects)]
    return subjects


def _in_each_direction(subject: Subject) -> Iterator[Subject]:
    """Yields a subject, and the same in reverse if what rollouts ask may be either.

    Those that a reverse imagination would refuse are left out, and those that refuse it.
    """
    yield subject
    if not (isinstance(subject, _AsksPredictions) and subject.learned):
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
