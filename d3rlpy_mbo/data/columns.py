"""Reads d3rlpy datasets as packed rows, and says which values d3rlpy made up."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import (
    BasicTransitionPicker,
    MultiStepTransitionPicker,
    ReplayBufferBase,
    SparseRewardTransitionPicker,
)

from ..support.devices import ROWS_READ
from ..support.errors import DatasetError
from .choices import validate_choices, validated_n_actions
from .episodes import CompleteEpisode, CompleteTransitionPicker
from .kept_rows import KeptRows, kept_rows
from .packed_rows import PackedLayout
from .values import float32_holds, lost_by_float32

__all__ = ["DatasetColumns", "read_columns"]


@dataclasses.dataclass(frozen=True)
class DatasetColumns:
    """Every transition of a dataset, in its order, as one matrix.

    Args:
        packed: (N, width) float32.
        layout: Where the columns lie in a row.
        next_observation_known: (N,) False where d3rlpy has none; it is zero there.
        next_action_known: (N,) False at the end of every episode.
        episode_starts: (episodes + 1,) int64: the rows of the i-th episode that has any
            begin at the i-th entry and end before the next.
        kept: Which transitions these are.
        n_actions: How many choices there are; None where actions are continuous.
    """

    packed: npt.NDArray[np.float32]
    layout: PackedLayout
    next_observation_known: npt.NDArray[np.bool_]
    next_action_known: npt.NDArray[np.bool_]
    episode_starts: npt.NDArray[np.int64]
    kept: KeptRows
    n_actions: Optional[int]


def read_columns(dataset: ReplayBufferBase) -> DatasetColumns:
    """Reads every transition of a dataset: whole columns, nothing for each row.

    Raises:
        DatasetError: The dataset is not of vectors and single steps, or is empty.
    """
    _validate_kind(dataset)
    kept = kept_rows(dataset)
    if not len(kept.episodes):
        raise DatasetError(
            "The dataset has no transitions. Load or collect data first."
        )
    starts, first = kept.starts, kept.episodes[0]
    layout = PackedLayout(_width(first.observations), _width(first.actions))
    packed = np.empty((starts[-1], layout.width), dtype=np.float32)
    observation_known, action_known = np.ones((2, len(packed)), dtype=np.bool_)
    row = episode = 0
    for chunk in kept.chunks(ROWS_READ):
        rows = slice(row, row + int(chunk.counts.sum()))
        _fill(
            layout.columns(packed[rows]),
            observation_known[rows],
            action_known[rows],
            chunk,
            episode,
        )
        if row == 0:
            _warn_of_rounding(chunk)
        row = rows.stop
        episode = int(np.searchsorted(starts, row, "right")) - 1
    n_actions = _n_actions(dataset)
    if n_actions is not None:
        # A next action may be of no row: that of a step which is not kept.
        for name in ("actions", "next_actions"):
            validate_choices(layout.columns(packed)[name], n_actions, name)
    return DatasetColumns(
        packed, layout, observation_known, action_known, starts, kept, n_actions
    )


def _n_actions(dataset: ReplayBufferBase) -> Optional[int]:
    """Returns how many choices a dataset has, None where its actions are continuous."""
    info = dataset.dataset_info
    if info.action_space != ActionSpace.DISCRETE:
        return None
    return validated_n_actions(info.action_size)


def _width(values: Any) -> int:
    return int(np.prod(np.shape(values)[1:], dtype=np.int64))


def _fill(
    columns: dict[str, npt.NDArray[np.float32]],
    observation_known: npt.NDArray[np.bool_],
    action_known: npt.NDArray[np.bool_],
    kept: KeptRows,
    number: int,
) -> None:
    """Writes some rows, and whether what follows the last one of each episode is known.

    Args:
        columns: By name, (n, size) each.
        observation_known: (n,) all True so far.
        action_known: (n,) all True so far.
        kept: n rows.
        number: Of the first episode, for messages.
    """
    _validate_lengths(kept, number)
    parts = _Parts(kept, number)
    # Each episode's next observation and action come too, if there are any.
    observations, observation_counts = parts.joined("observations", 1)
    actions, action_counts = parts.joined("actions", 1)
    rewards, _ = parts.joined("rewards", 0)
    for name, found in (("observations", observations), ("actions", actions)):
        if found.shape[1] != columns[name].shape[1]:
            raise _another_size(name, f"{found.shape[1]} and {columns[name].shape[1]}")
    if rewards.shape[1] != 1:
        raise DatasetError(
            f"The dataset has {rewards.shape[1]} rewards per step, expected one."
        )
    last = np.cumsum(kept.counts) - 1
    observation_known[last] = observation_counts > kept.counts
    action_known[last] = action_counts > kept.counts
    columns["rewards"][:] = rewards
    for name, values, counts, known in (
        ("observations", observations, observation_counts, observation_known),
        ("actions", actions, action_counts, action_known),
    ):
        shifts = np.cumsum(counts - kept.counts) - (counts - kept.counts)
        index = np.arange(len(known)) + np.repeat(shifts, kept.counts)
        columns[name][:] = values[index]
        following = columns[f"next_{name}"]
        following[:] = values[np.minimum(index + 1, len(values) - 1)]
        following[~known] = 0.0
    terminated = np.array([bool(each.terminated) for each in kept.episodes])
    columns["terminals"][:] = 0.0
    columns["terminals"][last, 0] = ~action_known[last] & terminated


def _validate_kind(dataset: ReplayBufferBase) -> None:
    if not isinstance(dataset, ReplayBufferBase):
        raise DatasetError(
            f"The dataset is {_kind_found(dataset)}, expected a d3rlpy ReplayBuffer: from "
            "mbo.load_minari, mbo.load_hdf5 or mbo.dataset_from_arrays."
        )
    info = dataset.dataset_info
    shapes = info.observation_signature.shape
    if len(shapes) != 1:
        raise DatasetError(
            f"Tuple observations {list(map(tuple, shapes))} are not supported; "
            "expected one vector per observation. Concatenate the parts."
        )
    if len(shapes[0]) != 1:
        raise DatasetError(
            f"Observations of shape {tuple(shapes[0])} (images?) are not supported; "
            "expected vectors of shape (D,). Flatten or encode them first."
        )
    picker = type(dataset.transition_picker)
    if picker not in (BasicTransitionPicker, CompleteTransitionPicker):
        why = "its transitions are not single steps of the stored observations"
        if picker is MultiStepTransitionPicker:
            why = (
                "its rows are not single steps, which models learn (several imagined steps "
                "in one row: steps_per_row of an imagination)"
            )
        if picker is SparseRewardTransitionPicker:
            why = (
                "it gives failed episodes a return of its own, while rows here have the "
                "rewards that follow them (only Cal-QL asks for either)"
            )
        raise DatasetError(
            f"Datasets with {picker.__name__} are not supported: {why}. Expected "
            "BasicTransitionPicker; build the ReplayBuffer without a transition_picker. A "
            "history of observations is more columns of each (docs/own-data.md)."
        )
    if picker is BasicTransitionPicker and any(
        isinstance(episode, CompleteEpisode) for episode in dataset.episodes
    ):
        raise DatasetError(
            "The episodes keep the observation after their last action, which d3rlpy's "
            "BasicTransitionPicker does not expect. Build the buffer with "
            "transition_picker=dataset.transition_picker, of the dataset that the "
            "episodes are from."
        )
    _validate_actions(dataset)


def _validate_actions(dataset: ReplayBufferBase) -> None:
    """Refuses a part of a dataset if d3rlpy guessed other actions than the whole has."""
    picker, info = dataset.transition_picker, dataset.dataset_info
    if not isinstance(picker, CompleteTransitionPicker) or picker.actions is None:
        return
    found = (info.action_space, info.action_size)
    if found == picker.actions:
        return
    advice = (
        "Build a part of a dataset, or what was read from a dump, with "
        "action_space=dataset.dataset_info.action_space and "
        "action_size=dataset.dataset_info.action_size too (docs/own-data.md)."
    )
    if found[0] == picker.actions[0] and found[1] > picker.actions[1]:
        advice = "If datasets are joined, take the transition_picker of the larger one."
    raise DatasetError(
        f"The dataset has {_kind_of_actions(*found)}, as d3rlpy guesses from its "
        "episodes, but its transition_picker is that of a dataset with "
        f"{_kind_of_actions(*picker.actions)}. {advice}"
    )


def _kind_of_actions(space: ActionSpace, size: int) -> str:
    if space == ActionSpace.DISCRETE:
        return f"{size} choices"
    return f"continuous actions of size {size}"


def _kind_found(dataset: Any) -> str:
    """Returns what was given instead of a dataset, and what to do with it."""
    name = type(dataset).__name__
    if isinstance(dataset, tuple):
        return f"a {name} (mbo.load_minari returns the dataset and an environment)"
    if isinstance(dataset, dict):
        return f"a {name} of arrays (mbo.dataset_from_arrays makes a dataset of them)"
    if isinstance(dataset, Sequence):
        return f"a {name} (d3rlpy.dataset.create_infinite_replay_buffer takes episodes)"
    return f"a {name}"


class _Parts:
    """The arrays of some episodes, of their kept rows.

    Args:
        kept: The rows.
        number: Of the first episode, for messages.
    """

    def __init__(self, kept: KeptRows, number: int):
        self._kept, self._number = kept, number
        self._begins = kept.firsts.tolist()

    def joined(
        self, name: str, n_more: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Returns (rows, size) of all episodes, and how many rows each has.

        Args:
            name: Of the column.
            n_more: How many rows of an episode behind those kept, if it has them.
        """
        ends = (self._kept.firsts + self._kept.counts + n_more).tolist()
        parts: list[npt.NDArray[Any]] = [
            getattr(episode, name)[begin:end]
            for episode, begin, end in zip(
                self._kept.episodes, self._begins, ends, strict=True
            )
        ]
        counts = np.fromiter(map(len, parts), np.int64, len(parts))
        try:
            # What becomes infinite is refused by column.
            with np.errstate(over="ignore"):
                joined = np.concatenate(parts, dtype=np.float32, casting="unsafe")
        except ValueError as error:
            raise _another_size(name, str(error)) from error
        if not np.isfinite(joined).all():
            self._validate_fits_float32(name, parts)
        return joined.reshape(len(joined), -1), counts

    def _validate_fits_float32(
        self, name: str, parts: Sequence[npt.NDArray[Any]]
    ) -> None:
        """Raises DatasetError for a finite value that float32 cannot hold."""
        for episode, part in enumerate(parts):
            values = np.asarray(part, dtype=np.float64)
            beyond = np.isfinite(values) & (np.abs(values) > np.finfo(np.float32).max)
            if beyond.any():
                row, column = np.argwhere(beyond.reshape(len(values), -1))[0]
                found = values.reshape(len(values), -1)[row, column]
                raise DatasetError(
                    f"The {name} hold {found:g} in column {column} (episode "
                    f"{self._number + episode}, step {self._begins[episode] + row}), "
                    "more than float32 can hold (3.4e38). Scale or repair that column."
                )


def _another_size(name: str, found: str) -> DatasetError:
    return DatasetError(
        f"The {name} of the dataset's episodes cannot be joined ({found}). Expected "
        "the same size in each episode."
    )


def _warn_of_rounding(kept: KeptRows) -> None:
    """Warns if float32 makes different values equal, in the first episodes."""
    for name in ("observations", "actions", "rewards"):
        if float32_holds(np.asarray(getattr(kept.episodes[0], name)).dtype):
            continue
        some = np.concatenate([getattr(episode, name) for episode in kept.episodes])
        if np.isfinite(some).all():
            for message in lost_by_float32(some, name, "the dataset"):
                warnings.warn(message, stacklevel=5)


def _validate_lengths(kept: KeptRows, number: int) -> None:
    observations, actions, rewards = (
        np.fromiter(
            (len(getattr(episode, name)) for episode in kept.episodes),
            np.int64,
            len(kept.episodes),
        )
        for name in ("observations", "actions", "rewards")
    )
    wrong = np.flatnonzero((observations < actions) | (rewards != actions))
    if len(wrong):
        first = wrong[0]
        raise DatasetError(
            f"Episode {number + first} has {observations[first]} observations, "
            f"{actions[first]} actions and {rewards[first]} rewards. Expected as many of "
            "each, or one observation more."
        )
