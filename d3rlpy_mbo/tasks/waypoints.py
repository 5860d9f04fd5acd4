"""A controller that drives PointMaze cell by cell, its walk and its return."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ..support.progress import tracked

if TYPE_CHECKING:
    from .pointmaze import PointMaze

__all__ = ["WaypointController", "mean_return", "walk"]

# D4RL, d4rl/pointmaze/waypoint_controller.py: the gains, and the distance at which
# a waypoint counts as reached.
_POSITION_GAIN = 10.0
_VELOCITY_GAIN = -1.0
_REACHED_DISTANCE = 0.1

# Ours: D4RL draws from an interval of the same width, but on one side of its grid
# points, which lie 0.2 beside the centres of its cells.
_JITTER = 0.1


class WaypointController:
    """Follows the shortest path to a cell with a PD controller, as D4RL does.

    The path runs through the centres of the free cells, each but the last moved by
    uniform noise of up to 0.1 per axis; where there are several shortest paths, the
    same one is taken every time.

    Args:
        centers: Centres of the free cells, one unit apart, with shape (N, 2).
        rng: Source of the noise.

    Source: Fu et al. 2020, section 5 (Maze2D), and D4RL's ``waypoint_controller.py``;
    breadth-first search in place of its Q-iteration.
    """

    def __init__(self, centers: npt.NDArray[np.float64], rng: np.random.Generator):
        self._centers = centers
        self._rng = rng
        self._towards = _next_cells(centers)
        self._waypoints: list[tuple[float, float]] = []
        self._next_waypoint = 0

    def set_target(self, observation: Sequence[float], target: int) -> None:
        """Plans a path from where the point is.

        Args:
            observation: Position and velocity (x, y, vx, vy).
            target: Row of ``centers`` to go to.
        """
        offsets = self._centers - (observation[0], observation[1])
        cell = int(np.argmin((offsets**2).sum(axis=1)))
        self._waypoints = []
        self._next_waypoint = 0
        while cell != target:
            cell = self._towards[target][cell]
            if cell != target:
                x, y = self._centers[cell] + self._rng.uniform(-_JITTER, _JITTER, 2)
                self._waypoints.append((float(x), float(y)))
        x, y = self._centers[target]
        self._waypoints.append((float(x), float(y)))

    def act(self, observation: Sequence[float]) -> tuple[float, float, bool]:
        """Returns the action, and whether the target is reached.

        At the target the controller goes on holding the point there.

        Args:
            observation: Position and velocity (x, y, vx, vy).

        Returns:
            The two forces, each in [-1, 1], and whether the point is within 0.1 of
            the target.
        """
        # Plain floats: arrays of two would take most of the time of a walk.
        x, y, x_velocity, y_velocity = observation
        waypoint_x, waypoint_y = self._waypoints[self._next_waypoint]
        x_offset, y_offset = waypoint_x - x, waypoint_y - y
        is_last = self._next_waypoint == len(self._waypoints) - 1
        is_near = x_offset**2 + y_offset**2 < _REACHED_DISTANCE**2
        if is_near and not is_last:
            self._next_waypoint += 1
        return (
            _clip(_POSITION_GAIN * x_offset + _VELOCITY_GAIN * x_velocity),
            _clip(_POSITION_GAIN * y_offset + _VELOCITY_GAIN * y_velocity),
            is_near and is_last,
        )


def walk(
    env: "PointMaze", n_steps: int, max_steps: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Walks between random cells without ever resetting the simulator.

    Args:
        env: The maze; reset once.
        n_steps: Length of the walk.
        max_steps: Steps after which a target that is not reached is given up.
        rng: Source of the start, the targets and the waypoints' noise.

    Returns:
        Observations with shape (n_steps + 1, 4), actions with shape (n_steps, 2).
    """
    observations = np.empty((n_steps + 1, 4))
    actions = np.empty((n_steps, 2), dtype=np.float32)
    observations[0], _ = env.reset(seed=_draw_seed(rng))
    controller = WaypointController(env.free_cells, rng)
    steps_left = 0
    for step in tracked(range(n_steps), "Walking", n_steps, "steps"):
        observation = observations[step].tolist()
        if steps_left == 0:
            controller.set_target(observation, int(rng.integers(len(env.free_cells))))
            steps_left = max_steps
        *action, is_reached = controller.act(observation)
        actions[step] = action
        # The rounded action, so that the dataset repeats the simulator exactly.
        observations[step + 1] = env.step(actions[step])[0]
        steps_left = 0 if is_reached else steps_left - 1
    return observations, actions


def mean_return(
    env: "PointMaze",
    policy: Literal["uniform", "controller"],
    n_episodes: int,
    max_steps: int,
    rng: np.random.Generator,
) -> float:
    """Returns the mean return of a reference policy, in the environment's rewards.

    Args:
        env: The maze.
        policy: "uniform" actions, or the "controller" that plans in each episode.
        n_episodes: Number of episodes.
        max_steps: Length of each.
        rng: Source of the starts, the actions and the waypoints' noise.
    """
    controller = WaypointController(env.free_cells, rng)
    total = 0.0
    description = f"Reference policy: {policy}"
    for _ in tracked(range(n_episodes), description, n_episodes, "episodes"):
        observation, _ = env.reset(seed=_draw_seed(rng))
        controller.set_target(observation.tolist(), env.goal_cell)
        for _ in range(max_steps):
            if policy == "uniform":
                action = rng.uniform(-1.0, 1.0, 2)
            else:
                action = np.array(controller.act(observation.tolist())[:2])
            observation, reward, *_ = env.step(action)
            total += reward
    return total / n_episodes


def _draw_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _clip(force: float) -> float:
    return min(max(force, -1.0), 1.0)


def _next_cells(centers: npt.NDArray[np.float64]) -> list[dict[int, int]]:
    """For each target, the next cell on the way to it from every other cell."""
    distances = np.abs(centers[:, None] - centers[None]).sum(axis=2)
    neighbors = [np.flatnonzero(np.isclose(row, 1.0)).tolist() for row in distances]
    towards: list[dict[int, int]] = []
    for target in range(len(centers)):
        came_from = {target: target}
        queue = deque([target])
        while queue:
            cell = queue.popleft()
            for neighbor in neighbors[cell]:
                if neighbor not in came_from:
                    came_from[neighbor] = cell
                    queue.append(neighbor)
        towards.append(came_from)
    return towards
