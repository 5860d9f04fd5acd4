"""The truth, where a simulator can be put into a state: a copy of the environment."""

import copy
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

import gymnasium
import numpy as np
import numpy.typing as npt
import torch

from ...data.transitions import Transitions
from ...tasks.pointmaze import PointMaze

__all__ = ["Simulator", "Step", "simulator_of"]

_Array = npt.NDArray[np.float64]
_CLASSIC = {"CartPoleEnv", "Continuous_MountainCarEnv", "MountainCarEnv"}  # show it all
_ROWS = 100  # real steps that it must repeat (ours)
# Of the change, in the median: what rounding and warm starts come to (ours).
_OFF = 0.01


class Step(NamedTuple):
    """One true step of B rows.

    Attributes:
        observations: (B, D) s'.
        rewards: (B, 1).
        terminals: (B, 1) 1.0 where the episode ended.
    """

    observations: torch.Tensor
    rewards: torch.Tensor
    terminals: torch.Tensor


class Simulator:
    """A copy of an environment, put into each row's state by itself.

    Args:
        env: The copy.
        put: Puts it into the state of an observation.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], put: Callable[[_Array], None]):
        self.env, self.put = env, put

    def step(self, observations: torch.Tensor, actions: torch.Tensor) -> Step:
        """Takes one step from each of (B, D) states with its action (B, A)."""
        before = observations.cpu().double().numpy()
        after, rewards, ends = np.empty_like(before), [], []
        choices = isinstance(self.env.action_space, gymnasium.spaces.Discrete)
        for row, action in enumerate(actions.cpu().numpy()):
            self.put(before[row])
            if choices:
                action = int(action[0])
            after[row], reward, ended, *_ = self.env.step(action)
            rewards.append(float(reward))
            ends.append(float(ended))
        maze = self.env.unwrapped
        if isinstance(maze, PointMaze):  # its datasets reward the state before
            rewards = maze.compute_rewards(before).tolist()
        return Step(
            torch.from_numpy(after).float(),
            torch.tensor(rewards, dtype=torch.float32)[:, None],
            torch.tensor(ends, dtype=torch.float32)[:, None],
        )


def simulator_of(
    env: Optional[gymnasium.Env[Any, Any]], real: Transitions
) -> tuple[Optional[Simulator], str]:
    """Returns a simulator that repeats the data's steps.

    Args:
        env: Of the data; it is left as it is.
        real: B real rows with known next observations.

    Returns:
        The simulator, or None and why there is none.
    """
    if env is None:
        return None, "only a simulator can tell; give env="
    name = type(env.unwrapped).__name__
    try:
        fresh = (
            copy.deepcopy(env)
            if env.spec is None
            else gymnasium.make(env.spec, disable_env_checker=True)
        )
        fresh.reset(seed=0)
        put = _reset_of(fresh.unwrapped, real.observation_size)
        if put is None:
            return None, f"nobody knows how to put {name} into a state"
        simulator = Simulator(fresh, put)
        off = _off(simulator, real)
    except Exception as error:  # a stranger's environment must not end the diagnosis
        return None, f"{name} failed: {type(error).__name__}: {error}"
    if not off <= _OFF:
        return None, (
            f"{name}, put into the data's states, leads elsewhere: off by {off:.2g} of "
            "the change, in the median"
        )
    return simulator, ""


def _off(simulator: Simulator, real: Transitions) -> float:
    """Returns the median error of repeated steps, in units of their change."""
    rows = real[torch.randperm(len(real))[:_ROWS]]
    step = simulator.step(rows.observations, rows.actions)
    errors = (step.observations - rows.next_observations).norm(dim=1)
    changes = (rows.next_observations - rows.observations).norm(dim=1)
    moved = changes > 0
    if not bool(moved.any()):
        return float(errors.max())
    return float((errors[moved] / changes[moved]).median())


def _reset_of(env: Any, size: int) -> Optional[Callable[[_Array], None]]:
    """Returns what puts an environment into the state of a (D,) observation.

    ``set_state(observation)`` of our mazes and of whoever has it; Gymnasium's MuJoCo
    tasks whose observation is their state but for where they are; its classic control.
    """
    if hasattr(env, "init_qpos") and hasattr(env, "set_state"):
        n_positions, n_velocities = len(env.init_qpos), len(env.init_qvel)
        n_hidden = n_positions + n_velocities - size
        if not 0 <= n_hidden <= 2:  # x, or x and y
            return None

        def put(observation: _Array) -> None:
            positions = np.concatenate([np.zeros(n_hidden), observation])
            env.set_state(positions[:n_positions], positions[n_positions:])

        return put
    if hasattr(env, "set_state"):
        if len(inspect.signature(env.set_state).parameters) != 1:
            return None
        found: Callable[[_Array], None] = env.set_state
        return found
    if type(env).__name__ == "PendulumEnv" and size == 3:

        def swing(observation: _Array) -> None:
            angle = np.arctan2(observation[1], observation[0])
            env.state = np.array([angle, observation[2]])

        return swing
    if type(env).__name__ in _CLASSIC:

        def place(observation: _Array) -> None:
            env.state = observation.copy()
            env.steps_beyond_terminated = None  # CartPole's

        return place
    return None
