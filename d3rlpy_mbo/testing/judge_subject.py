"""How penalties and halts are fitted and asked: about what a model says."""

import functools
from typing import Any

import torch

from ..components.dynamics.interface import Dynamics, Prediction
from . import line_world as world
from .fitted_models import copied, fitted_dynamics
from .subjects import N_ROWS, Subject

__all__ = ["HaltSubject", "JudgeSubject", "PenaltySubject"]

_N_MEMBERS = 4


class JudgeSubject(Subject):
    """A penalty or a halt; one that learns is also asked about what it was fitted on."""

    @functools.cached_property
    def _dynamics(self) -> Dynamics:
        """A model of the world, for those that learn what it says of the data."""
        fitted = fitted_dynamics(self.world, self.direction, _N_MEMBERS)
        return copied(fitted, self.device)

    def data(self) -> Any:
        """Returns rows of episodes, those that `dynamics` was fitted on."""
        return self.world.connected_transitions()

    def fit(self, made: Any, data: Any) -> None:
        """Fits it on data, and on what the model says of it."""
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


class PenaltySubject(JudgeSubject):
    """A penalty."""

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        """Returns a prediction, and a learner."""
        return self.prediction(n_rows), self.world.line_learner(device=self.device)

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns its penalties."""
        return {"penalties": ready(*inputs)}


class HaltSubject(JudgeSubject):
    """A halt, asked at two steps of rollouts."""

    def inputs(self, n_rows: int = N_ROWS) -> tuple[Any, ...]:
        """Returns a prediction."""
        return (self.prediction(n_rows),)

    def ask(self, ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns its decisions, by the names of their columns."""
        (prediction,) = inputs
        first = ready(prediction, None)
        answers = dict(vars(first))
        if first.state is None or len(first.state) == len(prediction.rewards):
            second = ready(prediction, first.state)
            answers |= {f"{k} at the second step": v for k, v in vars(second).items()}
        return {name: value for name, value in answers.items() if value is not None}
