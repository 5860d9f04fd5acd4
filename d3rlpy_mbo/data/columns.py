"""Reads d3rlpy datasets as packed rows, and says which values d3rlpy made up."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import BasicTransitionPicker, EpisodeBase, ReplayBufferBase

from ..support.errors import DatasetError
from .choices import validate_choices, validate_n_actions
from .episodes import CompleteEpisode, CompleteTransitionPicker
from .packed_rows import PackedLayout
from .values import lost_by_float32

__all__ = ["DatasetColumns", "read_columns"]

_ROWS_LOOKED_AT = 100_000  # whether float32 loses something shows in these (ours)


@dataclasses.dataclass(frozen=True)
class DatasetColumns:
    """Every transition of a dataset, in its order, as one matrix.

    Args:
        packed: (N, width) float32.
        layout: Where the columns lie in a row.
        next_observation_known: (N,) False where d3rlpy has none and zero stands.
        next_action_known: (N,) False at the end of every episode.
        episode_starts: (episodes + 1,) int64: the rows of the i-th episode that has any
            begin at the i-th entry and end before the next.
        n_actions: How many choices there are; None where actions are continuous.
    """

    packed: npt.NDArray[np.float32]
    layout: PackedLayout
    next_observation_known: npt.NDArray[np.bool_]
    next_action_known: npt.NDArray[np.bool_]
    episode_starts: npt.NDArray[np.int64]
    n_actions: Optional[int]


def read_columns(dataset: ReplayBufferBase) -> DatasetColumns:
    """Reads every transition of a dataset: whole columns, nothing for each row.

    Raises:
        DatasetError: A dataset that is not of vectors and single steps, or is empty.
    """
    _validate_kind(dataset)
    episodes, rows = _kept_rows(dataset)
    if not episodes:
        raise DatasetError(
            "The dataset has no transitions. Load or collect data first."
        )
    observations, observation_counts = _joined(episodes, "observations")
    actions, action_counts = _joined(episodes, "actions")
    n_actions = _n_actions(dataset)
    if n_actions is not None:
        validate_choices(actions, n_actions)
    rewards, reward_counts = _joined(episodes, "rewards")
    _validate_lengths(observation_counts, action_counts, reward_counts)
    if rewards.shape[1] != 1:
        raise DatasetError(
            f"The dataset has {rewards.shape[1]} rewards a step, expected one."
        )

    n_rows = [len(each) for each in rows]
    episode = np.repeat(np.arange(len(episodes)), n_rows)
    index = np.concatenate(rows)
    observation = (np.cumsum(observation_counts) - observation_counts)[episode] + index
    action = (np.cumsum(action_counts) - action_counts)[episode] + index
    observation_known = index + 1 < observation_counts[episode]
    action_known = index + 1 < action_counts[episode]
    terminated = np.array([bool(each.terminated) for each in episodes])

    layout = PackedLayout(observations.shape[1], actions.shape[1])
    packed = np.empty((len(index), layout.width), dtype=np.float32)
    columns = layout.columns(packed)
    columns["observations"][:] = observations[observation]
    columns["actions"][:] = actions[action]
    columns["rewards"][:] = rewards[action]
    columns["next_observations"][:] = observations[observation + observation_known]
    columns["next_observations"][~observation_known] = 0.0
    columns["next_actions"][:] = actions[action + action_known]
    columns["next_actions"][~action_known] = 0.0
    columns["terminals"][:, 0] = ~action_known & terminated[episode]
    starts = np.cumsum([0, *n_rows], dtype=np.int64)
    return DatasetColumns(
        packed, layout, observation_known, action_known, starts, n_actions
    )


def _n_actions(dataset: ReplayBufferBase) -> Optional[int]:
    """Returns how many choices a dataset has, None where its actions are continuous."""
    info = dataset.dataset_info
    if info.action_space != ActionSpace.DISCRETE:
        return None
    validate_n_actions(info.action_size)
    return int(info.action_size)


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
        raise DatasetError(
            f"Datasets with {picker.__name__} are not supported: its transitions are "
            "not single steps of the stored observations. Expected "
            "BasicTransitionPicker; build the ReplayBuffer without a transition_picker."
        )
    if picker is BasicTransitionPicker and any(
        isinstance(episode, CompleteEpisode) for episode in dataset.episodes
    ):
        raise DatasetError(
            "The episodes keep the observation after their last action, which d3rlpy's "
            "BasicTransitionPicker does not expect. Build the buffer with "
            "transition_picker=dataset.transition_picker, that of the dataset that they "
            "are from."
        )


def _kind_found(dataset: Any) -> str:
    """Returns what stands in the place of a dataset, and what to do with it."""
    name = type(dataset).__name__
    if isinstance(dataset, tuple):
        return f"a {name} (mbo.load_minari returns the dataset and an environment)"
    if isinstance(dataset, dict):
        return f"a {name} of arrays (mbo.dataset_from_arrays makes a dataset of them)"
    if isinstance(dataset, Sequence):
        return f"a {name} (d3rlpy.dataset.create_infinite_replay_buffer takes episodes)"
    return f"a {name}"


def _kept_rows(
    dataset: ReplayBufferBase,
) -> tuple[list[EpisodeBase], list[npt.NDArray[np.int64]]]:
    """Returns the episodes and, of each, the indices of the transitions still kept."""
    episodes = [episode for episode in dataset.episodes if episode.transition_count]
    counts = [episode.transition_count for episode in episodes]
    if sum(counts) == dataset.transition_count:
        return episodes, [np.arange(count) for count in counts]
    # A FIFO buffer at its limit keeps whole episodes but only the last transitions.
    kept: dict[int, tuple[EpisodeBase, list[int]]] = {}
    for i in range(dataset.transition_count):
        episode, index = dataset.buffer[i]
        kept.setdefault(id(episode), (episode, []))[1].append(index)
    return (
        [episode for episode, _ in kept.values()],
        [np.array(indices) for _, indices in kept.values()],
    )


def _joined(
    episodes: Sequence[EpisodeBase], name: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns (rows, size) of all episodes, and how many rows each has."""
    parts: list[npt.NDArray[Any]] = [getattr(episode, name) for episode in episodes]
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused by column
            joined = np.concatenate(parts, dtype=np.float32, casting="unsafe")
    except ValueError as error:
        raise DatasetError(
            f"The {name} of the dataset's episodes cannot be joined ({error}). Expected "
            "the same size in each episode."
        ) from error
    if not np.isfinite(joined).all():
        _validate_fits_float32(name, parts)
    _warn_of_rounding(name, parts, counts)
    return joined.reshape(len(joined), -1), counts


def _warn_of_rounding(
    name: str, parts: Sequence[npt.NDArray[Any]], counts: npt.NDArray[np.int64]
) -> None:
    """Warns where float32 loses what tells values apart: of the first episodes."""
    if np.asarray(parts[0]).dtype.itemsize <= 4:
        return
    enough = int(np.searchsorted(counts.cumsum(), _ROWS_LOOKED_AT)) + 1
    some = np.concatenate(parts[:enough])
    if np.isfinite(some).all():
        for message in lost_by_float32(some, name, "the dataset"):
            warnings.warn(message, stacklevel=6)


def _validate_fits_float32(name: str, parts: Sequence[npt.NDArray[Any]]) -> None:
    """Raises DatasetError for a finite value that float32 cannot hold."""
    for episode, part in enumerate(parts):
        values = np.asarray(part, dtype=np.float64)
        beyond = np.isfinite(values) & (np.abs(values) > np.finfo(np.float32).max)
        if beyond.any():
            row, column = np.argwhere(beyond.reshape(len(values), -1))[0]
            raise DatasetError(
                f"The {name} hold {values.reshape(len(values), -1)[row, column]:g} in "
                f"column {column} (episode {episode}, step {row}), which float32 cannot: "
                "3.4e38 at most. Scale or repair that column."
            )


def _validate_lengths(
    observations: npt.NDArray[np.int64],
    actions: npt.NDArray[np.int64],
    rewards: npt.NDArray[np.int64],
) -> None:
    wrong = np.flatnonzero((observations < actions) | (rewards != actions))
    if len(wrong):
        first = wrong[0]
        raise DatasetError(
            f"Episode {first} has {observations[first]} observations, {actions[first]} "
            f"actions and {rewards[first]} rewards. Expected as many of each, or one "
            "observation more."
        )
