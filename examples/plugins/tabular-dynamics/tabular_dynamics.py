"""Dynamics of a world that is a table: outcomes as often as the data has them."""

import dataclasses
from typing import ClassVar

import d3rlpy_mbo as mbo
import torch


@dataclasses.dataclass()
class TabularDynamicsConfig(mbo.DynamicsConfig):
    """p(s', r | s, a), in reverse p(s, r | s', a), as counted in the data.

    Equal observations are one state; another is taken for the nearest, in standard
    deviations. Where no row has a state and an action, the nearest with one stands for it.

    Args:
        max_states: More are refused: such data is no table.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("discrete",)
    max_states: int = mbo.number(5_000, at_least=1, whole=True)

    @staticmethod
    def get_type():
        return "tabular"

    def create(self, device=False):
        return TabularDynamics(self, device)


class TabularDynamics(mbo.Dynamics):
    """Draws one of the data's own rows that has this state and action."""

    _table = None

    @property
    def fitted(self):
        return self._table is not None

    @property
    def n_actions(self):
        return self._table["n_actions"] if self.fitted else None

    def fit(self, transitions):
        given = transitions.given_observations(self.direction)
        reached = transitions.predicted_observations(self.direction)
        states, numbers = torch.cat([given, reached]).unique(dim=0, return_inverse=True)
        n_states, n_actions = len(states), transitions.n_actions
        if n_states > self.config.max_states:
            raise mbo.DatasetError(
                f"The data has {n_states} states, expected a table of at most "
                f"{self.config.max_states}. Use an ensemble, or raise max_states."
            )
        given, reached = numbers.split(len(transitions))
        cells = n_actions * given + transitions.actions[:, 0].long()
        n_rows = cells.bincount(minlength=n_states * n_actions)
        scale = states.std(dim=0, correction=0).clamp(min=1e-6)
        nearest = nearest_cells(states / scale, n_rows.view(n_states, n_actions))
        rows = cells.argsort()  # those of a cell lie together
        table = {"states": states, "scale": scale, "nearest": nearest}
        table |= {"n_rows": n_rows, "first_rows": n_rows.cumsum(dim=0) - n_rows}
        table |= {"outcomes": reached[rows], "rewards": transitions.rewards[rows]}
        self.load_state_dict(table | {"n_actions": n_actions})

    def predict(self, observations, actions, all_members):
        self.check_fitted()
        table = self._table
        scaled = [each / table["scale"] for each in (observations, table["states"])]
        given = torch.cdist(*map(torch.Tensor.double, scaled)).argmin(dim=1)
        cells = table["nearest"][given, actions[:, 0].long()]
        drawn = torch.rand(len(cells), device=self.device, dtype=torch.float64)
        drawn *= table["n_rows"][cells]
        rows = table["first_rows"][cells] + drawn.long()
        reached = table["states"][table["outcomes"][rows]]
        return mbo.Prediction(observations, actions, reached, table["rewards"][rows])

    def state_dict(self):
        self.check_fitted()
        return self._table

    def load_state_dict(self, state):
        tensors = {k: v.to(self.device) for k, v in state.items() if k != "n_actions"}
        self._table = state | tensors


def nearest_cells(states, n_rows):
    """Returns (S, A) the number S * A of the cell with rows that stands for each."""
    distances = torch.cdist(states.double(), states.double()).fill_diagonal_(-1.0)
    cells, n_actions = torch.empty_like(n_rows), n_rows.shape[1]
    for action in range(n_actions):
        taken = action if n_rows[:, action].any() else int(n_rows.sum(dim=0).argmax())
        known = n_rows[:, taken].nonzero()[:, 0]
        cells[:, action] = n_actions * known[distances[:, known].argmin(1)] + taken
    return cells


@mbo.hookimpl
def register_components():
    return [TabularDynamicsConfig]
