"""Rollouts where they can be drawn: in a maze."""

from typing import Any, Optional

import gymnasium
import torch

from ...data.transitions import Transitions
from ...tasks.pointmaze import PointMaze
from .results import Maze
from .rollouts import Imagined

__all__ = ["maze_of"]

_ROLLOUTS, _STATES = 40, 600  # enough to look at (ours)


def maze_of(
    env: Optional[gymnasium.Env[Any, Any]], imagined: Imagined, real: Transitions
) -> Optional[Maze]:
    """Returns some rollouts in their maze; None where the environment is none.

    Args:
        env: Of the data.
        imagined: Rows of rollouts, each a run of neighbours in time order.
        real: The data.
    """
    maze = None if env is None else env.unwrapped
    if not isinstance(maze, PointMaze):
        return None
    rows = imagined.rows
    assert rows.rollout_ids is not None
    _, lengths = torch.unique_consecutive(rows.rollout_ids, return_counts=True)
    paths, first = [], 0
    for length in lengths[:_ROLLOUTS].tolist():
        states = rows.observations[first : first + length]
        last = rows.next_observations[first + length - 1]
        paths.append(torch.cat([states, last[None]])[:, :2].double().tolist())
        first += length
    drawn = torch.linspace(0, len(real) - 1, min(len(real), _STATES)).long()
    return Maze(
        walls=maze.walls.tolist(),
        goal=maze.goal.tolist(),
        data=real.observations[drawn, :2].double().tolist(),
        rollouts=paths,
    )
