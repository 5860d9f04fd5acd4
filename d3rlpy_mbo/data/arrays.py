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
      not the observation of the following row (with a warning).
    - **Episode by episode**: a sequence of arrays (T + 1, D), or (T, D) with
      `next_observations`; all other arguments have one entry for each episode: T rows, or
      for `terminals` and `timeouts` also a single flag. An episode that does not end in a
      terminal counts as cut by a time limit.

    If the outcome of an episode's last action is not known, a terminal row trains
    learners but no models, and any other is left out; a warning says how many. It is not
    known without next observations, nor if these are not true: at a terminal, the
    following episode's first observation (D4RL's ``qlearning_dataset``) or d3rlpy's
    zeros.

    Args:
        observations: (N, D), or one array (T + 1, D) for each episode.
        actions: (N, A), or one array (T, A) for each episode; discrete ones are indices
            from 0 on, (N,) or (N, 1), or one array (T,) for each episode.
        rewards: (N,) or (N, 1), or one array (T,) for each episode.
        next_observations: (N, D), or one array (T, D) for each episode. May be left out.
        terminals: 1 where the environment ended the episode, else 0. None: nowhere.
        timeouts: 1 where an episode was cut, by a time limit or otherwise.
        n_actions: How many choices there are, including those that the data never takes;
            None for continuous actions, even if they are whole numbers.

    Returns:
        A dataset of `CompleteEpisode`. Buffers of some of its episodes need its
        `transition_picker`.

    Raises:
        DatasetError: Shapes or lengths do not fit, values are not finite real numbers,
            flags are not 0 or 1, terminals hold masks (1: goes on) by what follows (where
            nothing tells, mostly terminals are a warning), nothing says where episodes
            end, or actions are no indices of choices.
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
            "next_observations, or T + 1 observations for each episode."
        )
    return dataset_of_episodes(episodes, rows.n_actions)


def _episodes(
    rows: Rows, ends: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> list[EpisodeBase]:
    """Returns episodes whose observations are slices of one array.

    Args:
        rows: What was read.
        ends: (episodes,) indices of last rows, ascending.
        known: (episodes,) whether the outcome of the last row is known.
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
