"""How dynamics are fitted and asked."""

import dataclasses
import functools
from typing import Any, Optional, get_args

import torch

from ..components.dynamics.interface import DynamicsConfig, Prediction
from ..data.transitions import Direction, Transitions
from ..support.errors import CompositionError
from .subjects import N_ROWS, Subject

__all__ = ["DynamicsSubject"]


class DynamicsSubject(Subject):
    """Dynamics, in the direction of their config and in the other."""

    component: DynamicsConfig

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        """Returns what is given, and actions."""
        rows = self.world.line_transitions(n_rows).to(self.device)
        return rows.given_observations(self.ready.direction), rows.actions

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns what it predicts, of one member and of all."""
        brief = self._first_step(ready, inputs, False)
        whole = self._first_step(ready, inputs, True)
        answers = {
            "observations": brief.observations,
            "rewards": brief.rewards,
            "observations of all members": whole.observations,
            "rewards of all members": whole.rewards,
            "means": whole.means,
            "stds": whole.stds,
        }
        return {name: value for name, value in answers.items() if value is not None}

    @staticmethod
    def _first_step(
        ready: Any, inputs: tuple[Any, ...], all_members: bool
    ) -> Prediction:
        """Returns what it predicts of rollouts that begin there."""
        ready.begin_rollouts(len(inputs[0]))
        prediction: Prediction = ready.predict(*inputs, all_members)
        return prediction

    def direction_of(self, made: Any) -> Direction:
        """Returns its own."""
        direction: Direction = made.direction
        return direction

    def config_in(self, direction: Direction) -> Optional[DynamicsConfig]:
        """Returns its config in a direction, None if that is refused."""
        try:
            return dataclasses.replace(self.component, direction=direction)
        except CompositionError:
            return None

    def ready_in(self, direction: Direction) -> Any:
        """Returns a fitted model of a direction, None if its config refuses it."""
        if self.ready.direction == direction:
            return self.ready
        config = self.config_in(direction)
        return None if config is None else type(self)(config, self.world).ready

    @functools.cached_property
    def in_small_units(self) -> list[tuple[Transitions, Prediction, Prediction]]:
        """`LineWorld.small_transitions`, and what is predicted of them.

        Without and with all members, as rollouts ask with and without a penalty. Fitted on
        them, in each direction in which it can be made.
        """
        rows, found = self.world.small_transitions(), []
        for direction in get_args(Direction):
            config = self.config_in(direction)
            if config is not None:
                model = type(self)(config, self.world).build(
                    self.world.small_transitions()
                )
                given = rows.given_observations(direction)
                brief = model.predict(given, rows.actions, False)
                found.append((rows, brief, model.predict(given, rows.actions, True)))
        return found
