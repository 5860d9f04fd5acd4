"""D4RL's maze2d recipe on gymnasium-robotics' PointMaze.

Maps and physics are maze2d's. Coordinates are gymnasium's: the middle of the maze is
the origin, x grows with the column and y against the row. D4RL's first coordinate
grows with the row, its second with the column, and its whole numbers, where its goals
and targets lie, are 0.2 beside the cells' centres on both axes (``maze_model.py``: the
ball starts at 1.2, the walls at 1.0); ours lie at the centres.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import farama_notifications
import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec

from ..support.errors import DatasetError, UnknownComponentError, suggest

__all__ = ["LAYOUTS", "REWARDS", "PointMaze", "pointmaze_spec"]


@dataclass(frozen=True)
class _Layout:
    map_name: str  # in gymnasium_robotics.envs.maze.maps
    goal: tuple[int, int]  # row, column
    max_episode_steps: int


# D4RL, d4rl/pointmaze: the 'G' of maze_model.py; the time limits of __init__.py.
LAYOUTS = {
    "umaze": _Layout("U_MAZE", goal=(1, 1), max_episode_steps=300),
    "medium": _Layout("MEDIUM_MAZE", goal=(6, 6), max_episode_steps=600),
    "large": _Layout("LARGE_MAZE", goal=(7, 9), max_episode_steps=800),
}
REWARDS = ("sparse", "dense")

# D4RL, d4rl/pointmaze/maze_model.py (gymnasium-robotics: 0.45; +-0.25, at rest).
_GOAL_RADIUS = 0.5
_START_POSITION_NOISE = 0.1
_START_VELOCITY_STD = 0.1


class PointMaze(gymnasium.Env[npt.NDArray[np.float64], npt.NDArray[np.float32]]):
    """PointMaze as maze2d has it: one fixed goal, and episodes that only time out.

    The observation is (x, y, vx, vy) in cells and cells a second, one step is 0.01 s,
    the action is the force along x and y, clipped to [-1, 1]. Velocities are clipped
    to +-5 before each step. Episodes start anywhere, the goal's cell included. The
    reward is of the state after the step; nothing terminates. The time limit is the
    spec's (``pointmaze_spec``), not this class's.

    Args:
        layout: "umaze", "medium" or "large".
        reward: "sparse" (1 within 0.5 of the goal, else 0) or "dense"
            (exp(-distance)).
        render_mode: "human", "rgb_array", "depth_array" or None.

    Attributes:
        free_cells: Centres of the cells without a wall, with shape (N, 2).
        walls: Centres of the cells that are wall, one unit square, with shape (M, 2).
        goal: Centre of the goal's cell, with shape (2,).
        goal_cell: Row of ``free_cells`` that is the goal.

    Raises:
        UnknownComponentError: There is no such layout or reward.
        DatasetError: gymnasium-robotics or mujoco is missing.

    Source: Fu et al. 2020, and D4RL's ``maze_model.py``.
    """

    metadata = {  # noqa: RUF012, as gymnasium declares it
        "render_modes": ["human", "rgb_array", "depth_array"],
        "render_fps": 100,
    }

    def __init__(
        self,
        layout: str = "umaze",
        reward: str = "sparse",
        render_mode: Optional[str] = None,
    ):
        _validate_names(layout, reward)
        self.render_mode = render_mode
        self._is_sparse = reward == "sparse"
        self._simulator = _make_simulator(LAYOUTS[layout].map_name, render_mode)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

        maze = self._simulator.maze
        is_wall = np.array(maze.maze_map) == 1
        free_cells = [tuple(cell) for cell in np.argwhere(~is_wall)]
        self.free_cells = np.array(
            [maze.cell_rowcol_to_xy(cell) for cell in free_cells]
        )
        self.walls = np.array(
            [maze.cell_rowcol_to_xy(cell) for cell in np.argwhere(is_wall)]
        )
        self.goal_cell = free_cells.index(LAYOUTS[layout].goal)
        self.goal = self.free_cells[self.goal_cell]
        self._simulator.goal = self.goal
        self._simulator.update_target_site_pos()

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[dict[str, Any]] = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Starts near the centre of a random free cell, at a small velocity.

        Args:
            seed: Determines the start; None goes on with the current generator.
            options: None are known.

        Returns:
            Observation with shape (4,), and an empty dictionary.
        """
        super().reset(seed=seed)
        cell = self.np_random.integers(len(self.free_cells))
        position = self.free_cells[cell] + self.np_random.uniform(
            -_START_POSITION_NOISE, _START_POSITION_NOISE, 2
        )
        velocity = _START_VELOCITY_STD * self.np_random.standard_normal(2)
        observation = np.concatenate([position, velocity])
        self.set_state(observation)
        return observation, {}

    def set_state(self, observation: npt.NDArray[np.floating[Any]]) -> None:
        """Puts the simulator into a state, with no memory of an earlier one.

        Args:
            observation: Position and velocity (x, y, vx, vy) with shape (4,). A
                position inside a wall is accepted, and pushed out by the next steps.

        Raises:
            ValueError: The shape is another one.
        """
        if np.shape(observation) != (4,):
            raise ValueError(
                "PointMaze.set_state expects an observation with shape (4,), found "
                f"{np.shape(observation)}."
            )
        # The simulator's own reset also clears the solver's warm start.
        self._simulator.point_env.init_qpos[:] = observation[:2]
        self._simulator.point_env.init_qvel[:] = observation[2:]
        self._simulator.point_env.reset()

    def step(
        self, action: npt.NDArray[np.floating[Any]]
    ) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Applies a force for 0.01 s.

        Args:
            action: Force along x and y with shape (2,).

        Returns:
            Observation with shape (4,), its reward, twice False, an empty dictionary.

        Raises:
            ValueError: The action has another shape.
        """
        observation = self._simulator.point_env.step(action)[0]
        return observation, float(self.compute_rewards(observation)), False, False, {}

    def compute_rewards(
        self, observations: npt.NDArray[np.floating[Any]]
    ) -> npt.NDArray[np.float64]:
        """Returns the rewards of states.

        Args:
            observations: States with shape (..., 4).

        Returns:
            Rewards with shape (...).
        """
        offsets = observations[..., :2] - self.goal
        distances: npt.NDArray[np.float64] = np.linalg.norm(offsets, axis=-1)
        if self._is_sparse:
            return np.asarray(distances <= _GOAL_RADIUS, dtype=np.float64)
        return np.asarray(np.exp(-distances))

    def render(self) -> Any:
        """Returns an image (height, width, 3), or None in the "human" mode."""
        return self._simulator.render()

    def close(self) -> None:
        """Closes the window, if there is one."""
        self._simulator.close()


def pointmaze_spec(layout: str, reward: str) -> EnvSpec:
    """Returns what ``gymnasium.make`` needs, with the time limit of the layout.

    Args:
        layout: "umaze", "medium" or "large".
        reward: "sparse" or "dense".

    Raises:
        UnknownComponentError: There is no such layout or reward.
    """
    _validate_names(layout, reward)
    return EnvSpec(
        id=f"d3rlpy_mbo/PointMaze-{layout}-{reward}-v0",
        entry_point="d3rlpy_mbo.tasks.pointmaze:PointMaze",
        max_episode_steps=LAYOUTS[layout].max_episode_steps,
        disable_env_checker=True,
        kwargs={"layout": layout, "reward": reward},
    )


def _validate_names(layout: str, reward: str) -> None:
    for kind, name, known in (
        ("layout", layout, tuple(LAYOUTS)),
        ("reward", reward, REWARDS),
    ):
        if name not in known:
            raise UnknownComponentError(
                f"PointMaze has no {kind} {name!r}. {suggest(name, known)}"
            )


def _make_simulator(map_name: str, render_mode: Optional[str]) -> Any:
    try:
        # What it would print at import is about other environments.
        farama_notifications.notifications.pop("gymnasium_robotics", None)
        from gymnasium_robotics.envs.maze import maps
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise DatasetError(
            f"PointMaze needs gymnasium-robotics and mujoco ({error}). Install them "
            "with: pip install 'd3rlpy-mbo[mujoco]'"
        ) from error
    simulator = PointMazeEnv(getattr(maps, map_name), render_mode=render_mode)
    # It has been read, and nobody else removes it.
    Path(simulator.tmp_xml_file_path).unlink(missing_ok=True)
    return simulator
