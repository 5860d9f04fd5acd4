"""Names of observation columns, where the environment's are known."""

from typing import Any, Optional

import gymnasium

__all__ = ["column_names"]


def _walker(joints: str) -> list[str]:
    """Positions, then velocities, of Gymnasium's planar walkers; x itself is left out."""
    parts = joints.split()
    velocities = [f"v_{part}" for part in ("x", "z", "angle", *parts)]
    return ["z", "angle", *parts, *velocities]


# By the id's name, whatever its version: as Gymnasium's documentation orders them.
_NAMES = [
    ("Hopper", _walker("thigh leg foot")),
    (
        "Walker2d",
        _walker("thigh leg foot left_thigh left_leg left_foot"),
    ),
    (
        "HalfCheetah",
        _walker("b_thigh b_shin b_foot f_thigh f_shin f_foot"),
    ),
    ("Pendulum", ["cos", "sin", "v_angle"]),
    ("PointMaze", ["x", "y", "v_x", "v_y"]),  # ours
    ("PointMaze", ["x", "y", "v_x", "v_y", "goal_x", "goal_y"]),
]


def column_names(env: Optional[gymnasium.Env[Any, Any]], size: int) -> list[str]:
    """Returns a name for each of the (D,) columns; ``s[i]`` where none is known.

    Args:
        env: Whose observations they are; None if nobody knows.
        size: D. An environment that shows another number of columns is not the one that
            the names are of.
    """
    spec = None if env is None else env.spec
    name = "" if spec is None else spec.id.rpartition("/")[2]
    for task, columns in _NAMES:
        if name.startswith((f"{task}-", f"{task}_")) and len(columns) == size:
            return columns
    return [f"s[{i}]" for i in range(size)]
