"""A walk whose rows are known by heart, as strangers store it."""

import warnings
from typing import Any, Optional

import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer


def walk(
    lengths: tuple[int, ...] = (3, 4, 2), terminal: tuple[int, ...] = (0, 2)
) -> dict[str, Any]:
    """Episode k begins at 100 k; s' = s + (1, 10), a = s[0] / 1000, r = s[0].

    Args:
        lengths: Of the episodes.
        terminal: Which of them end in a terminal; the others in a time-out.

    Returns:
        D4RL's columns, float32, row by row.
    """
    firsts = [100.0 * k + np.arange(n) for k, n in enumerate(lengths)]
    first = np.concatenate(firsts)
    second = np.concatenate([10 * np.arange(n) for n in lengths])
    observations = np.stack([first, second], axis=1).astype(np.float32)
    ends = np.cumsum(lengths) - 1
    terminals, timeouts = np.zeros(len(first)), np.zeros(len(first))
    for k, end in enumerate(ends):
        (terminals if k in terminal else timeouts)[end] = 1
    return {
        "observations": observations,
        "actions": (first / 1000).astype(np.float32)[:, None],
        "rewards": first.astype(np.float32),
        "next_observations": observations + np.float32([1, 10]),
        "terminals": terminals,
        "timeouts": timeouts,
    }


def by_episode(columns: dict[str, Any]) -> dict[str, list[Any]]:
    """The same walk episode by episode, T + 1 observations each."""
    ends = np.flatnonzero(columns["terminals"] + columns["timeouts"]) + 1
    parts = {name: np.split(column, ends[:-1]) for name, column in columns.items()}
    after = parts.pop("next_observations")
    parts["observations"] = [
        np.concatenate([observations, reached[-1:]])
        for observations, reached in zip(parts["observations"], after, strict=True)
    ]
    return parts


def episode_buffers(
    lengths: tuple[int, ...] = (3, 4, 2), terminal: tuple[int, ...] = (0, 2)
) -> list[EpisodeBuffer]:
    """The same walk as Minari keeps it."""
    parts = by_episode(walk(lengths, terminal))
    return [
        EpisodeBuffer(
            observations=parts["observations"][k],
            actions=parts["actions"][k],
            rewards=list(parts["rewards"][k]),
            terminations=list(parts["terminals"][k] == 1),
            truncations=list(parts["timeouts"][k] == 1),
        )
        for k in range(len(lengths))
    ]


def write_minari(
    dataset_id: str,
    episodes: Optional[list[EpisodeBuffer]] = None,
    observation_space: Optional[spaces.Space[Any]] = None,
    **arguments: Any,
) -> minari.MinariDataset:
    """Writes a local Minari dataset of the walk that records no environment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            dataset_id,
            episode_buffers() if episodes is None else episodes,
            observation_space=observation_space or box(2),
            action_space=box(1),
            **arguments,
        )


def box(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)
