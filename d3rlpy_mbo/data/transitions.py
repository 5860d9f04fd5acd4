"""Columns of transitions: what models are fitted on and what they imagine."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, Union, cast

import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import ReplayBufferBase

from ..support.devices import ROWS_READ, on_device
from ..support.errors import DatasetError, listed
from .action_sets import ActionChoices, ActionRange, ActionSet, columns_of
from .choices import validate_choices, validated_n_actions
from .columns import DatasetColumns, read_columns

if TYPE_CHECKING:
    from .real_data import RealData

__all__ = ["Direction", "Transitions", "transitions_of", "validate_transitions"]

Direction = Literal["forward", "reverse"]


@dataclasses.dataclass(frozen=True, eq=False)  # == of tensors is no bool
class Transitions:
    """B transitions as columns, in time order whichever way they were imagined.

    All columns are float32 in dataset units (never normalised) on one device.

    Args:
        observations: (B, D) s.
        actions: (B, A) a; for discrete actions (B, 1), the index of the choice.
        rewards: (B, 1) r.
        next_observations: (B, D) s'; zero where it is not known.
        next_actions: (B, A) a'; zero where it is not known, without meaning where s' is
            terminal.
        terminals: (B, 1) 1.0 where the environment ended the episode, else 0.0.
        next_observation_known: (B,) bool, or None if all are. False at d3rlpy's
            zero-filled terminals.
        next_action_known: (B,) bool, or None if all are. False at the end of
            every episode.
        rollout_ids: (B,) int64, rows of one imagined rollout share one; None for
            real data, and where that is not known.
        episode_ids: (B,) int32, rows of one real episode share one; None where that is
            not known.
        n_actions: How many choices there are; None where actions are continuous.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    next_observations: torch.Tensor
    next_actions: torch.Tensor
    terminals: torch.Tensor
    next_observation_known: Optional[torch.Tensor] = None
    next_action_known: Optional[torch.Tensor] = None
    rollout_ids: Optional[torch.Tensor] = None
    episode_ids: Optional[torch.Tensor] = None
    n_actions: Optional[int] = None

    def __repr__(self) -> str:
        of_dataset = (
            self.next_action_known,
            self.next_observation_known,
            self.episode_ids,
        )
        kind = ""  # it cannot be told
        if self.rollout_ids is not None:
            kind = "imagined "
        elif any(column is not None for column in of_dataset):
            kind = "real "
        actions = f"actions of size {self.action_size}"
        if self.n_actions is not None:
            actions = f"{self.n_actions} choices"
        return (
            f"<Transitions: {len(self)} {kind}rows, observations of size "
            f"{self.observation_size}, {actions}, "
            f"{int(self.terminals.sum())} terminals, on {self.observations.device}>"
        )

    @classmethod
    def from_dataset(
        cls, dataset: Union[ReplayBufferBase, "RealData"]
    ) -> "Transitions":
        """Reads every transition of a d3rlpy dataset, in its order.

        Args:
            dataset: Vector observations, continuous or discrete actions and either
                d3rlpy's `BasicTransitionPicker` or what `load_minari`,
                `dataset_from_arrays` and `load_hdf5` return. Of a `RealData` its own are
                returned.

        Returns:
            Transitions on the CPU. Rows whose next observation d3rlpy zero-fills
            are marked, not dropped: learners may use them, models may not.

        Raises:
            DatasetError: Images, tuples, several discrete actions at once, actions that
                are no indices of choices, another transition picker, no transitions, NaN
                or infinite values.
        """
        read = getattr(dataset, "transitions", None)  # of a `RealData`, made of these
        if isinstance(read, Transitions):
            return read
        return transitions_of(read_columns(cast(ReplayBufferBase, dataset)))

    @classmethod
    def from_arrays(
        cls,
        observations: npt.ArrayLike,
        actions: npt.ArrayLike,
        rewards: npt.ArrayLike,
        next_observations: npt.ArrayLike,
        terminals: npt.ArrayLike,
        next_actions: Optional[npt.ArrayLike] = None,
        n_actions: Optional[int] = None,
    ) -> "Transitions":
        """Builds transitions from plain arrays with true next observations.

        Args:
            observations: (B, D).
            actions: (B, A); for choices their indices, (B,) or (B, 1).
            rewards: (B,) or (B, 1).
            next_observations: (B, D), the true ones even where an episode ends.
            terminals: (B,) or (B, 1), bool or 0/1.
            next_actions: (B, A); without them no row has a known next action.
            n_actions: How many choices there are; None where actions are continuous.

        Raises:
            DatasetError: Shapes do not fit, values are NaN or infinite, or actions are no
                indices of choices.
        """
        flags = np.asarray(terminals)
        if not np.isin(flags, (0, 1)).all():
            strange = np.unique(flags[~np.isin(flags, (0, 1))])[:3].tolist()
            raise DatasetError(
                f"terminals hold {strange}, expected 1 where the environment ended the "
                "episode and 0 elsewhere."
            )
        as_actions = _float32 if n_actions is None else _column
        observations, actions = _float32(observations), as_actions(actions)
        following = (
            np.zeros_like(actions) if next_actions is None else as_actions(next_actions)
        )
        if n_actions is not None:
            n_actions = validated_n_actions(n_actions)
            for name, column in (("actions", actions), ("next_actions", following)):
                validate_choices(column, n_actions, name)
        n_rows = len(observations) if observations.ndim else 0
        columns: dict[str, npt.NDArray[Any]] = {
            "observations": observations,
            "actions": actions,
            "rewards": _column(rewards),
            "next_observations": _float32(next_observations),
            "next_actions": following,
            "terminals": _column(terminals),
            "next_observation_known": np.ones(n_rows, dtype=bool),
            "next_action_known": np.full(n_rows, next_actions is not None),
        }
        return cls(**_validated(columns), n_actions=n_actions)

    @classmethod
    def concatenate(cls, parts: Sequence["Transitions"]) -> "Transitions":
        """Joins parts, in their order.

        What is known is known of each part's rows as before; ids of rollouts or episodes
        are kept if every part has them.

        Raises:
            DatasetError: There is no part, or they have different sizes or choices.
        """
        kinds = {(p.observation_size, p.action_size, p.n_actions) for p in parts}
        if len(kinds) != 1:
            raise DatasetError(
                f"The {len(parts)} parts to join have (size of observations, size of "
                f"actions, number of choices) {listed(sorted(kinds, key=str)) or 'none'}, "
                "expected one part or more, all alike."
            )
        columns = {}
        for name in dict.fromkeys(
            name for part in parts for name, _ in part._columns()
        ):
            each = [part._column(name) for part in parts]
            found = [column for column in each if column is not None]
            if len(found) == len(parts):
                columns[name] = torch.cat(found)
        return cls(**columns, n_actions=parts[0].n_actions)

    def _column(self, name: str) -> Optional[torch.Tensor]:
        """Returns a column; of what is known, which None says of all rows, one of True."""
        column: Optional[torch.Tensor] = getattr(self, name)
        if column is None and name in ("next_observation_known", "next_action_known"):
            return torch.ones_like(self.terminals[:, 0], dtype=torch.bool)
        return column

    def _columns(self) -> Iterator[tuple[str, torch.Tensor]]:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                yield field.name, value

    def __len__(self) -> int:
        return int(self.observations.shape[0])

    def __iter__(self) -> Iterator["Transitions"]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: Any) -> "Transitions":
        """Returns the rows that a slice, indices or a boolean tensor select.

        A single number selects that row, still as `Transitions`; so does iterating.

        Raises:
            IndexError: There is no such row.
        """
        if isinstance(rows, (int, np.integer)):
            number = range(len(self))[int(rows)]  # on a GPU a wrong index is fatal
            rows = slice(number, number + 1)
        return self._with({name: value[rows] for name, value in self._columns()})

    def to(self, device: str) -> "Transitions":
        """Returns the same rows on a device, without a copy if they are there."""
        moved = {name: on_device(value, device) for name, value in self._columns()}
        return self._with(moved)

    def _with(self, columns: dict[str, Any]) -> "Transitions":
        return dataclasses.replace(self, **columns)

    @property
    def observation_size(self) -> int:
        """D."""
        return int(self.observations.shape[1])

    @property
    def action_size(self) -> int:
        """A."""
        return int(self.actions.shape[1])

    @property
    def action_columns(self) -> torch.Tensor:
        """(B, A) actions as networks see them; choices are (B, n_actions), one-hot."""
        return columns_of(self.actions, self.n_actions)

    def action_set(self) -> ActionSet:
        """Returns which actions there are: the choices, or the `action_range`."""
        if self.n_actions is not None:
            return ActionChoices(self.n_actions, str(self.actions.device))
        return self.action_range()

    def action_range(self) -> ActionRange:
        """Returns the least and greatest value of each action dimension.

        Raises:
            DatasetError: The actions are choices, which have no range.
        """
        if self.n_actions is not None:
            raise DatasetError(
                f"The actions are {self.n_actions} choices, whose indices have no range. "
                "Ask transitions.action_set(), which knows both kinds."
            )
        return ActionRange(self.actions.amin(dim=0), self.actions.amax(dim=0))

    def given_observations(self, direction: Direction) -> torch.Tensor:
        """(B, D): what a model of this direction is asked about: s, in reverse s'."""
        return self.observations if direction == "forward" else self.next_observations

    def predicted_observations(self, direction: Direction) -> torch.Tensor:
        """(B, D): what a model of this direction predicts: s', in reverse s."""
        return self.next_observations if direction == "forward" else self.observations

    def for_models(self) -> "Transitions":
        """The rows whose next observation is known: what models are fitted on."""
        if self.next_observation_known is None:
            return self
        return self[self.next_observation_known]

    def for_learners(self) -> "Transitions":
        """The rows a TD target can be built from, those d3rlpy would draw."""
        return self[self.learner_rows()]

    def learner_rows(self) -> torch.Tensor:
        """(B,) bool: rows that have a next action, or need none (terminals)."""
        terminal = self.terminals[:, 0] > 0
        if self.next_action_known is None:
            return torch.ones_like(terminal)
        return self.next_action_known | terminal


def validate_transitions(given: Any) -> None:
    """Raises DatasetError for anything else, such as the dataset they are from."""
    if not isinstance(given, Transitions):
        raise DatasetError(
            f"transitions is a {type(given).__name__}, expected Transitions: for a "
            "dataset, mbo.Transitions.from_dataset(dataset)."
        )


def transitions_of(columns: DatasetColumns) -> Transitions:
    """Returns the transitions of a dataset that was read, views of its packed rows.

    Raises:
        DatasetError: NaN or infinite values.
    """
    known = {
        "next_observation_known": columns.next_observation_known,
        "next_action_known": columns.next_action_known,
    }
    packed = columns.layout.columns(columns.packed)
    return Transitions(**_validated({**packed, **known}), n_actions=columns.n_actions)


def _validated(columns: dict[str, npt.NDArray[Any]]) -> dict[str, torch.Tensor]:
    _validate_shapes(columns)
    _validate_finite(columns)
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def _float32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.asarray(values).astype(np.float32)  # a copy


def _column(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    column = _float32(values)
    return column.reshape(-1, 1) if column.ndim == 1 else column


def _validate_shapes(columns: dict[str, npt.NDArray[Any]]) -> None:
    for name in ("observations", "actions"):
        if columns[name].ndim != 2:
            raise DatasetError(
                f"{name} has shape {columns[name].shape}, expected two dimensions "
                "(rows, size)."
            )
    n_rows = len(columns["observations"])
    observation, action = columns["observations"].shape[1], columns["actions"].shape[1]
    expected = {
        "observations": (n_rows, observation),
        "actions": (n_rows, action),
        "rewards": (n_rows, 1),
        "next_observations": (n_rows, observation),
        "next_actions": (n_rows, action),
        "terminals": (n_rows, 1),
    }
    for name, shape in expected.items():
        if columns[name].shape != shape:
            raise DatasetError(
                f"{name} has shape {columns[name].shape}, expected {shape} as "
                "observations and actions give it."
            )


def _is_finite(values: npt.NDArray[Any]) -> bool:
    """Returns whether all of (N, ...) values are, a part of them at a time."""
    starts = range(0, len(values), ROWS_READ)
    return all(np.isfinite(values[i : i + ROWS_READ]).all() for i in starts)


def _validate_finite(columns: dict[str, npt.NDArray[Any]]) -> None:
    for name, values in columns.items():
        if not _is_finite(values):
            bad = ~np.isfinite(values)
            rows = np.flatnonzero(bad.any(axis=1))
            raise DatasetError(
                f"{name} has {int(bad.sum())} NaN or infinite values, in columns "
                f"[{listed(np.flatnonzero(bad.any(axis=0)))}] and {len(rows)} rows, the "
                f"first at row {rows[0]}. Remove or repair those rows."
            )
