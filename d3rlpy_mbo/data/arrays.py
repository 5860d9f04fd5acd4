"""A user's own arrays as a d3rlpy dataset that keeps every true next observation."""

import warnings
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import Episode, EpisodeBase, ReplayBuffer

from ..support.errors import DatasetError
from .episodes import CompleteEpisode, dataset_of_episodes
from .outcomes import known_outcomes
from .rows import Rows

__all__ = ["dataset_from_arrays", "dataset_of_rows"]


def dataset_from_arrays(
    observations: Any,
    actions: Any,
    rewards: Any,
    next_observations: Any = None,
    terminals: Any = None,
    timeouts: Any = None,
    n_actions: Optional[int] = None,
) -> ReplayBuffer:
    """Builds a d3rlpy dataset from arrays, with every true next observation they hold.

    There are two forms, told apart by the observations:

    - **Row by row**, as D4RL has it: observations (N, D), all other arguments N rows. An
      episode ends at a terminal, at a timeout, and where `next_observations` of a row is
      not the observation of the following one (said in a warning).
    - **Episode by episode**: a sequence of arrays (T + 1, D), or (T, D) with
      `next_observations`; all other arguments have one entry an episode: T rows, of
      `terminals` and `timeouts` also a single flag. What does not end in a terminal
      counts as cut by a time limit.

    Where the outcome of an episode's last action is not known, a terminal row trains
    learners but no models, any other is left out; a warning says how many. That is so
    without next observations, and where they are not true: the following episode's first
    observation at a terminal (D4RL's ``qlearning_dataset``), or d3rlpy's zeros.

    Args:
        observations: (N, D), or one array (T + 1, D) an episode.
        actions: (N, A), or one array (T, A) an episode; of choices their indices from 0
            on, (N,) or (N, 1), or one array (T,) an episode.
        rewards: (N,) or (N, 1), or one array (T,) an episode.
        next_observations: (N, D), or one array (T, D) an episode. May be left out.
        terminals: 1 where the environment ended the episode, else 0. None: nowhere.
        timeouts: 1 where an episode was cut, by a time limit or otherwise.
        n_actions: How many choices there are, those that the data never takes included;
            None where actions are continuous, be they whole numbers or not.

    Returns:
        Of `CompleteEpisode`. Splits of it need its `transition_picker`.

    Raises:
        DatasetError: Shapes or lengths that do not fit, values that are not finite real
            numbers, flags other than 0 and 1, masks (1: goes on) given as terminals,
            nothing that says where episodes end, actions that name no choice.
    """
    columns = {
        "observations": observations,
        "actions": actions,
        "rewards": rewards,
        "next_observations": next_observations,
        "terminals": terminals,
        "timeouts": timeouts,
    }
    return dataset_of_rows(Rows.of(columns, "the arrays", n_actions), "the arrays")


def dataset_of_rows(rows: Rows, whose: str, notes: Sequence[str] = ()) -> ReplayBuffer:
    """Returns rows as a dataset; warns of all that was assumed, once.

    Args:
        rows: What was read.
        whose: For messages.
        notes: What the caller assumed; sentences.

    Raises:
        DatasetError: See `dataset_from_arrays`.
    """
    ends, known, more = known_outcomes(rows, whose)
    said = [*notes, *more, *rows.lost]
    if said:
        first, *others = said
        text = " ".join([first, *(each[:1].upper() + each[1:] for each in others)])
        warnings.warn(f"{whose}: {text}", stacklevel=3)
    episodes = _episodes(rows, ends, known)
    if not any(episode.transition_count for episode in episodes):
        raise DatasetError(
            f"No row of {whose} has a known next observation or is terminal. Give "
            "next_observations, or T + 1 observations an episode."
        )
    return dataset_of_episodes(episodes, rows.n_actions)


def _episodes(
    rows: Rows, ends: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> list[EpisodeBase]:
    """Returns episodes whose observations are slices of one array.

    Args:
        rows: What was read.
        ends: (episodes,) indices of last rows, ascending.
        known: (episodes,) whether the outcome of the last row is.
    """
    starts = np.append(0, ends[:-1] + 1)
    # The outcome of a last row is one more observation behind it.
    shifts: npt.NDArray[np.int64] = np.cumsum(known) - known
    observations = np.empty(
        (len(rows.observations) + int(known.sum()), rows.observations.shape[1]),
        dtype=np.float32,
    )
    where = np.arange(len(rows.observations)) + np.repeat(shifts, ends + 1 - starts)
    observations[where] = rows.observations
    if rows.next_observations is not None:
        observations[(ends + 1 + shifts)[known]] = rows.next_observations[ends[known]]

    actions, rewards = rows.actions.copy(), rows.rewards.copy()  # the user's own

    episodes: list[EpisodeBase] = []
    for start, end, shift, complete in zip(
        starts, ends + 1, shifts, known, strict=True
    ):
        kind: type[Episode] = CompleteEpisode if complete else Episode
        episodes.append(
            kind(
                observations[start + shift : end + shift + complete],
                actions[start:end],
                rewards[start:end],
                bool(rows.terminals[end - 1]),
            )
        )
    return episodes
