"""What is checked: a component, fitted once and asked the same by every check."""

import copy
import dataclasses
import functools
from typing import Any, Union

import d3rlpy
import torch

from ..components.context import Context
from ..components.rollout_policies.interface import RolloutPolicy
from ..data.transitions import Direction
from ..registry.component import Component
from ..registry.kinds import Provided
from ..support.errors import ConformanceError
from .line_world import LineWorld

__all__ = [
    "CONTINUOUS",
    "DISCRETE",
    "N_ROWS",
    "Checkable",
    "Subject",
    "context_for",
    "default_constructed",
    "shortened",
]

Checkable = Union[Provided, type[Provided]]

CONTINUOUS, DISCRETE = LineWorld(), LineWorld(choices=True)

N_ROWS = 31  # no other size in the checks is 31, so it tells which axis holds the rows

# What keeps the checks of a default-constructed component short.
_LONGEST = {
    "n_steps": 50,
    "max_steps": 50,
    "n_updates": 10,
    "update_interval": 1,
    "rollout_batch_size": 100,
}


class Subject:
    """A component under check: made, fitted and asked as an imagination would.

    Args:
        component: Taken as it is.
        world: Gives the data that it is fitted on and asked about.
        device: Where it is made and asked.
    """

    component: Component

    def __init__(
        self, component: Any, world: LineWorld = CONTINUOUS, device: str = "cpu:0"
    ):
        self.component = component
        self.world = world
        self.device = device

    def elsewhere(self, device: str) -> "Subject":
        """Returns the same on another device, to be made and fitted there."""
        return type(self)(self.component, self.world, device)

    @property
    def learned(self) -> bool:
        """Whether it is a config whose `create` makes the thing itself."""
        return hasattr(self.component, "create")

    @functools.cached_property
    def ready(self) -> Any:
        """What can be asked: fitted once, on `fitted_on`, for all checks."""
        d3rlpy.seed(0)
        return self.build(self.fitted_on)

    @functools.cached_property
    def fitted_on(self) -> Any:
        """What `ready` was fitted on; nothing should differ from `data` ever after."""
        return self.data()

    def data(self) -> Any:
        """Returns new data to fit it on, always the same numbers."""
        return self.world.line_transitions()

    def build(self, data: Any) -> Any:
        """Returns a new one that can be asked, fitted on data if it learns."""
        if not self.learned:
            return copy.deepcopy(self.component)  # it may remember, if it is broken
        made = self.component.create(self.device)  # type: ignore[attr-defined]
        made.fit(data)
        return made

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
        d3rlpy.seed(0)
        return self.ask(self.ready, self.inputs(n_rows))

    def violation(self, violation: str, found: object, cause: str) -> ConformanceError:
        """Returns the error that says what is wrong, by what, and why probably."""
        space = " with discrete actions" if self.world.choices else ""
        return ConformanceError(
            f"{type(self.component).__name__}{space}: {violation}. "
            f"Found: {str(found).rstrip('.')}. Likely cause: {cause}."
        )


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
            f"for the command line and for compositions. Found: {type(error).__name__}: "
            f"{str(error).rstrip('.')}. Likely cause: a field without a default, or a "
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


def context_for(
    policy: RolloutPolicy, direction: Direction, world: LineWorld, device: str = "cpu:0"
) -> Context:
    """Returns what a rollout policy is told in an imagination of a direction."""
    return Context(
        direction=direction,
        rollout_policy=policy,
        termination=None,
        reward_function=None,
        rollout_length=1,
        action_set=world.line_transitions().action_set().to(device),
    )
