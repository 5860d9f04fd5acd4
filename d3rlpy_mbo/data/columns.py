"""Reads d3rlpy datasets as columns, and says which values d3rlpy made up."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import BasicTransitionPicker, EpisodeBase, ReplayBufferBase

from ..support.errors import DatasetError
from .episodes import CompleteTransitionPicker

__all__ = ["dataset_columns"]


def dataset_columns(dataset: ReplayBufferBase) -> tuple[npt.NDArray[Any], ...]:
    """Returns the columns of `Transitions` for every transition of a dataset.

    Raises:
        DatasetError: A dataset that is not of vectors and single steps, or is empty.
    """
    _check_kind(dataset)
    columns = [_episode_columns(episode, rows) for episode, rows in _kept_rows(dataset)]
    if not columns:
        raise DatasetError(
            "The dataset has no transitions. Load or collect data first."
        )
    return tuple(map(np.concatenate, zip(*columns, strict=True)))


def _check_kind(dataset: ReplayBufferBase) -> None:
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
    if info.action_space != ActionSpace.CONTINUOUS:
        raise DatasetError(
            "Discrete actions are not supported yet; expected continuous actions "
            "of shape (A,)."
        )
    picker = type(dataset.transition_picker)
    if picker not in (BasicTransitionPicker, CompleteTransitionPicker):
        raise DatasetError(
            f"Datasets with {picker.__name__} are not supported: its transitions are "
            "not single steps of the stored observations. Expected "
            "BasicTransitionPicker; build the ReplayBuffer without a transition_picker."
        )


def _kept_rows(
    dataset: ReplayBufferBase,
) -> Iterator[tuple[EpisodeBase, npt.NDArray[np.int64]]]:
    """Yields each episode with the indices of the transitions still in the buffer."""
    episodes = dataset.episodes
    if sum(episode.transition_count for episode in episodes) == (
        dataset.transition_count
    ):
        for episode in episodes:
            if episode.transition_count:
                yield episode, np.arange(episode.transition_count)
        return
    # A FIFO buffer at its limit keeps whole episodes but only the last transitions.
    kept: dict[int, tuple[EpisodeBase, list[int]]] = {}
    for i in range(dataset.transition_count):
        episode, index = dataset.buffer[i]
        kept.setdefault(id(episode), (episode, []))[1].append(index)
    for episode, rows in kept.values():
        yield episode, np.array(rows)


def _episode_columns(
    episode: EpisodeBase, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[Any], ...]:
    observations = np.asarray(episode.observations, dtype=np.float32)
    actions = np.asarray(episode.actions, dtype=np.float32)
    last = rows == len(actions) - 1
    observation_known = rows + 1 < len(observations)
    next_observations = observations[np.where(observation_known, rows + 1, rows)]
    next_observations[~observation_known] = 0.0
    next_actions = actions[np.where(last, rows, rows + 1)]
    next_actions[last] = 0.0
    return (
        observations[rows],
        actions[rows],
        np.asarray(episode.rewards, dtype=np.float32).reshape(-1, 1)[rows],
        next_observations,
        next_actions,
        (last & bool(episode.terminated)).astype(np.float32).reshape(-1, 1),
        observation_known,
        ~last,
    )
