"""What is checked: a component, fitted once and asked the same by every check."""

import copy
import dataclasses
import functools
from typing import Any, Union

import d3rlpy
import torch

from ..components.context import Context
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..data.transitions import Direction
from ..registry.component import Component
from ..registry.kinds import Provided
from ..support.errors import ConformanceError
from .line_world import LineWorld
from .raised import raised

__all__ = [
    "CONTINUOUS",
    "DISCRETE",
    "N_ROWS",
    "TOO_FEW_STEPS",
    "Checkable",
    "Subject",
    "default_constructed",
    "shortened",
]

Checkable = Union[Provided, type[Provided]]

CONTINUOUS, DISCRETE = LineWorld(), LineWorld(choices=True)

N_ROWS = 31  # no other size in the checks is 31, so it tells which axis holds the rows

_ROLLOUT_LENGTH = 5  # more than one step, as rollouts have

# What keeps the checks of a default-constructed component short.
_LONGEST = {
    "n_steps": 50,
    "max_steps": 50,
    "n_updates": 10,
    "update_interval": 1,
    "rollout_batch_size": 100,
}

# The likely cause where something learned less than it should.
TOO_FEW_STEPS = (
    "the instance learns too little in its steps (a class, as on the command line, has "
    f"n_steps and max_steps cut to {_LONGEST['n_steps']}: check an instance that learns "
    "enough, or let it learn faster)"
)


class Subject:
    """A component under check: made, fitted and asked as an imagination would.

    Args:
        component: Taken as it is.
        world: Gives the data that it is fitted on and asked about.
        device: Where it is made and asked.
        direction: Of the imagination that it belongs to, where that may be either.
    """

    component: Component
    as_given: Component  # nothing that was made of it since has changed this one

    def __init__(
        self,
        component: Any,
        world: LineWorld = CONTINUOUS,
        device: str = "cpu:0",
        direction: Direction = "forward",
    ):
        self.component = component
        self.as_given = copy.deepcopy(component)
        self.world = world
        self.device = device
        self.direction: Direction = direction

    def elsewhere(self, device: str) -> "Subject":
        """Returns the same on another device, to be made and fitted there."""
        return type(self)(self.component, self.world, device, self.direction)

    @property
    def learned(self) -> bool:
        """Whether it is a config whose `create` makes the thing itself."""
        return hasattr(self.component, "create")

    @functools.cached_property
    def ready(self) -> Any:
        """What can be asked: fitted once, on `fitted_on`, for all checks."""
        return self.build(self.fitted_on)

    @functools.cached_property
    def fitted_on(self) -> Any:
        """What `ready` was fitted on; nothing should differ from `data` ever after."""
        return self.data()

    def data(self) -> Any:
        """Returns new data to fit it on, always the same numbers."""
        return self.world.line_transitions()

    def other_data(self) -> Any:
        """Returns data of another world, where everything is three times as far apart."""
        rows = self.data()
        columns = ("observations", "next_observations", "rewards")
        wide = {name: 3 * getattr(rows, name) for name in columns}
        return dataclasses.replace(rows, **wide)

    def build(self, data: Any, seed: int = 0) -> Any:
        """Returns a new one that can be asked, fitted on data if it learns."""
        if not self.learned:
            return copy.deepcopy(self.component)  # it may remember, if it is broken
        d3rlpy.seed(seed)
        made = self.created()
        self.refit(made, data, seed)
        return made

    def refit(self, made: Any, data: Any, seed: int = 0) -> None:
        """Fits what `created` made as an imagination does, once more if it was fitted."""
        self.attach(made, with_data=True)
        d3rlpy.seed(seed)  # whatever making it has drawn
        self.fit(made, data)

    def created(self) -> Any:
        """Returns a new one that learns, told all that is known before there is data."""
        made = self.component.create(self.device)  # type: ignore[attr-defined]
        self.attach(made)
        return made

    def loaded(self, state: dict[str, Any]) -> Any:
        """Returns a new one that has taken over a state, as from a file."""
        made = self.created()
        made.load_state_dict(state)
        self.attach(made, from_file=True)
        return made

    def fit(self, made: Any, data: Any) -> None:
        """Fits what `created` made."""
        made.fit(data)

    def attach(
        self, made: Any, with_data: bool = False, from_file: bool = False
    ) -> None:
        """Tells it what an imagination tells when it is created, fits it, or is loaded."""
        rows, kind = self.world.line_transitions(), self.component.kind
        policy = made
        if kind != "rollout_policy":
            policy = UniformPolicyConfig().create(self.device)
            policy.fit(rows)
        known = with_data or from_file
        rewards = float(rows.rewards.min()), float(rows.rewards.max())
        context = Context(
            direction=self.direction_of(made),
            rollout_policy=policy,
            termination=made if kind == "termination" else None,
            reward_function=None,
            rollout_length=_ROLLOUT_LENGTH,
            action_set=rows.action_set().to(self.device) if known else None,
            reward_range=rewards if with_data else None,
        )
        made.attach(context)

    def direction_of(self, made: Any) -> Direction:
        """Returns the direction of the imagination that what was made belongs to."""
        return self.direction

    def learner_if_needed(self) -> Any:
        """Returns a learner if `ready` asks one, else None."""
        if not self.ready.needs_learner:
            return None
        return self.world.line_learner(device=self.device)

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        """Returns new inputs, always the same numbers."""
        raise NotImplementedError

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns what it answers, by name."""
        raise NotImplementedError

    @property
    def answers_at(self) -> str:
        """Where what it answers is to lie."""
        return self.device

    def answers(self, n_rows: int = N_ROWS) -> dict[str, torch.Tensor]:
        """Returns what it answers, the same if asked again."""
        ready = self.ready  # which draws, the first time
        d3rlpy.seed(0)
        return self.ask(ready, self.inputs(n_rows))

    def raised(self, error: Exception) -> str:
        """Returns what it raised, and where in its code."""
        return raised(error, self.component)

    def violation(self, violation: str, found: object, cause: str) -> ConformanceError:
        """Returns the error that says what is wrong, by what, and why probably."""
        return ConformanceError(
            f"{self.name}: {violation}. "
            f"Found: {str(found).rstrip('.')}. Likely cause: {cause}."
        )

    @property
    def name(self) -> str:
        """Of its class, and where it is asked if that is not everywhere."""
        where = " with discrete actions" if self.world.choices else ""
        where += " in reverse" if self.direction == "reverse" else ""
        return type(self.component).__name__ + where


def default_constructed(component: type[Provided]) -> Provided:
    """Returns a component made without arguments.

    Raises:
        ConformanceError: That is impossible.
    """
    try:
        return component()
    except Exception as error:
        raise ConformanceError(
            f"{component.__name__}: {component.__name__}() must work without arguments, "
            "for the command line and for compositions. Found: "
            f"{raised(error, component)}. Likely cause: a field without a default, or a "
            "default that __post_init__ refuses."
        ) from error


def shortened(component: Provided) -> Provided:
    """Returns a copy that is fitted in a few steps, see `check_component`."""
    component = copy.copy(component)
    for field in dataclasses.fields(component):
        value, longest = getattr(component, field.name), _LONGEST.get(field.name)
        if isinstance(value, Component):
            setattr(component, field.name, shortened(value))
        elif longest is not None and (value is None or value > longest):
            setattr(component, field.name, longest)
    return component
