"""D4RL's maze2d recipe on gymnasium-robotics' PointMaze.

Maps and physics are maze2d's. Coordinates are gymnasium's: the middle of the maze is
the origin, x grows with the column and y against the row. D4RL's first coordinate
grows with the row, its second with the column, and its whole numbers, where its goals
and targets lie, are 0.2 beside the cells' centres on both axes (``maze_model.py``: the
ball starts at 1.2, the walls at 1.0); ours lie at the centres.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from minari.data_collector.episode_buffer import EpisodeBuffer

from ..errors import DatasetError, UnknownComponentError, suggest
from .local_datasets import check_free, write_local_dataset
from .waypoints import mean_return, walk

__all__ = ["POINTMAZE_TASKS", "PointMaze", "collect_pointmaze", "pointmaze_spec"]


@dataclass(frozen=True)
class _Layout:
    map_name: str  # in gymnasium_robotics.envs.maze.maps
    goal: tuple[int, int]  # row, column
    max_episode_steps: int


# D4RL, d4rl/pointmaze: the 'G' of maze_model.py; the time limits of __init__.py.
_LAYOUTS = {
    "umaze": _Layout("U_MAZE", goal=(1, 1), max_episode_steps=300),
    "medium": _Layout("MEDIUM_MAZE", goal=(6, 6), max_episode_steps=600),
    "large": _Layout("LARGE_MAZE", goal=(7, 9), max_episode_steps=800),
}
_REWARDS = ("sparse", "dense")

POINTMAZE_TASKS = {
    f"pointmaze-{layout}-{reward}": (layout, reward)
    for layout in _LAYOUTS
    for reward in _REWARDS
}

# D4RL, d4rl/infos.py, version 1: its random policy, and its controller, which plans
# in the first episode only.
_D4RL_SCORES = {
    "pointmaze-umaze-sparse": (23.85, 161.86),
    "pointmaze-medium-sparse": (13.13, 277.39),
    "pointmaze-large-sparse": (6.7, 273.99),
    "pointmaze-umaze-dense": (68.54, 193.66),
    "pointmaze-medium-dense": (44.26, 297.46),
    "pointmaze-large-dense": (30.57, 303.49),
}

# D4RL, d4rl/pointmaze/maze_model.py (gymnasium-robotics: 0.45; +-0.25, at rest).
_GOAL_RADIUS = 0.5
_START_POSITION_NOISE = 0.1
_START_VELOCITY_STD = 0.1

_PACKAGES = ("gymnasium-robotics", "mujoco")  # what decides the physics


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
        render_mode: str | None = None,
    ):
        _check_names(layout, reward)
        self.render_mode = render_mode
        self._is_sparse = reward == "sparse"
        self._simulator = _make_simulator(_LAYOUTS[layout].map_name, render_mode)
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
        self.goal_cell = free_cells.index(_LAYOUTS[layout].goal)
        self.goal = self.free_cells[self.goal_cell]
        self._simulator.goal = self.goal
        self._simulator.update_target_site_pos()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
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
    _check_names(layout, reward)
    return EnvSpec(
        id=f"d3rlpy_mbo/PointMaze-{layout}-{reward}-v0",
        entry_point="d3rlpy_mbo.tasks.pointmaze:PointMaze",
        max_episode_steps=_LAYOUTS[layout].max_episode_steps,
        disable_env_checker=True,
        kwargs={"layout": layout, "reward": reward},
    )


def collect_pointmaze(
    task: str,
    *,
    n_steps: int = 1_000_000,
    seed: int = 0,
    dataset_id: str | None = None,
    force: bool = False,
    n_reference_episodes: int = 100,
) -> str:
    """Makes a local Minari dataset by D4RL's maze2d recipe.

    One walk between random cells, never reset, cut into truncated episodes of the
    layout's time limit: each begins where the one before ends. Rewards are of the
    state *before* the step, as in D4RL's datasets; in the environment that Minari
    recovers they are of the state after it, as in D4RL's environments.

    Minari's reference scores are mean returns of the uniform policy and of a controller
    that plans in each episode; D4RL's are kept as ``d4rl_ref_min_score`` and
    ``d4rl_ref_max_score``.

    Args:
        task: One of ``POINTMAZE_TASKS``.
        n_steps: Number of transitions.
        seed: Determines all of the dataset.
        dataset_id: Minari's ``namespace/name-v0``; ``pointmaze/umaze-sparse-v0`` and
            the like if None.
        force: Replace an existing dataset.
        n_reference_episodes: Episodes behind each reference score.

    Returns:
        The dataset's id.

    Raises:
        UnknownComponentError: There is no such task.
        DatasetError: A number is out of range, the dataset exists or its id is
            malformed, or gymnasium-robotics or mujoco is missing.

    Source: D4RL, ``generate_maze2d_datasets.py`` and ``relabel_maze2d_rewards.py``,
    without their repeated rows after a target is reached.
    """
    if task not in POINTMAZE_TASKS:
        raise UnknownComponentError(
            f"There is no task {task!r}. {suggest(task, POINTMAZE_TASKS)}"
        )
    for name, value, least in (
        ("n_steps", n_steps, 1),
        ("seed", seed, 0),
        ("n_reference_episodes", n_reference_episodes, 1),
    ):
        if value < least:
            raise DatasetError(f"{task}: {name} is {value}, expected at least {least}.")
    layout, reward = POINTMAZE_TASKS[task]
    dataset_id = dataset_id or f"pointmaze/{layout}-{reward}-v0"
    check_free(dataset_id, force)

    env = PointMaze(layout, reward)
    spec = pointmaze_spec(layout, reward)
    max_steps = _LAYOUTS[layout].max_episode_steps
    walk_rng, uniform_rng, controller_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
    )
    observations, actions = walk(env, n_steps, max_steps, walk_rng)
    uniform_return = mean_return(
        env, "uniform", n_reference_episodes, max_steps, uniform_rng
    )
    controller_return = mean_return(
        env, "controller", n_reference_episodes, max_steps, controller_rng
    )
    d4rl_min, d4rl_max = _D4RL_SCORES[task]
    write_local_dataset(
        dataset_id,
        _cut(observations, actions, env.compute_rewards(observations[:-1]), max_steps),
        env=spec,
        metadata={
            "description": (
                f"D4RL's maze2d recipe on PointMaze, {layout}, {reward} reward: one "
                "continuous walk between random cells, cut into truncated episodes; "
                "rewards are of the state before the step. ref_max_score is the mean "
                "return of a controller that plans in each episode; D4RL's own scores "
                f"are {d4rl_min} and {d4rl_max} (d4rl_ref_min_score and "
                "d4rl_ref_max_score), from one that plans in the first only."
            ),
            "algorithm_name": "waypoint controller",
            "ref_min_score": uniform_return,
            "ref_max_score": controller_return,
            "num_episodes_average_score": n_reference_episodes,
            "d4rl_ref_min_score": d4rl_min,
            "d4rl_ref_max_score": d4rl_max,
            "seed": seed,
            "versions": {name: version(name) for name in _PACKAGES},
        },
        force=force,
    )
    return dataset_id


def _check_names(layout: str, reward: str) -> None:
    for kind, name, known in (
        ("layout", layout, tuple(_LAYOUTS)),
        ("reward", reward, _REWARDS),
    ):
        if name not in known:
            raise UnknownComponentError(
                f"PointMaze has no {kind} {name!r}. {suggest(name, known)}"
            )


def _make_simulator(map_name: str, render_mode: str | None) -> Any:
    try:
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


def _cut(
    observations: npt.NDArray[np.float64],
    actions: npt.NDArray[np.float32],
    rewards: npt.NDArray[np.float64],
    max_steps: int,
) -> list[EpisodeBuffer]:
    episodes = []
    for start in range(0, len(actions), max_steps):
        stop = min(start + max_steps, len(actions))
        truncations = np.zeros(stop - start, dtype=bool)
        truncations[-1] = True
        episodes.append(
            EpisodeBuffer(
                observations=observations[start : stop + 1],
                actions=actions[start:stop],
                rewards=rewards[start:stop],
                terminations=np.zeros(stop - start, dtype=bool),
                truncations=truncations,
            )
        )
    return episodes
