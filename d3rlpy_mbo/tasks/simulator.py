"""PointMaze's simulator in the place of a learned model: the control of a study."""

import dataclasses
from typing import Any

import numpy as np
import torch

from ..components.dynamics.interface import Dynamics, DynamicsConfig, Prediction
from ..data.transitions import Transitions
from ..support.errors import CompositionError

__all__ = ["PointMazeSimulator", "PointMazeSimulatorConfig"]


@dataclasses.dataclass()
class PointMazeSimulatorConfig(DynamicsConfig):
    """Config of the true dynamics, forward only.

    Args:
        layout: "umaze", "medium" or "large".
        reward: "sparse" or "dense".
    """

    layout: str = "umaze"
    reward: str = "sparse"

    @staticmethod
    def get_type() -> str:
        """Returns the name that settings choose it by."""
        return "pointmaze_simulator"

    def create(self, device: Any = False) -> "PointMazeSimulator":
        """Returns the simulator.

        Raises:
            CompositionError: The direction is reverse.
        """
        if self.direction != "forward":
            raise CompositionError(
                "The simulator cannot go backwards: direction is 'reverse', expected "
                "'forward'. Nearest: the reverse model of ProbabilisticEnsembleConfig."
            )
        return PointMazeSimulator(self, device)


class PointMazeSimulator(Dynamics):
    """One step of MuJoCo a row, and the reward of the state before it.

    The latter is D4RL's rule for its datasets, and that of ours.
    """

    config: PointMazeSimulatorConfig
    fitted = True

    def __init__(self, config: PointMazeSimulatorConfig, device: Any):
        # Simulators are an optional extra.
        from .pointmaze import PointMaze

        super().__init__(config, device)
        self._maze = PointMaze(config.layout, config.reward)

    def fit(self, transitions: Transitions) -> None:
        """Nothing is learned."""

    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> Prediction:
        """Returns where the maze leads, each row by itself."""
        before = observations.cpu().numpy().astype(np.float64)
        after = np.empty_like(before)
        for row, action in enumerate(actions.cpu().numpy()):
            self._maze.set_state(before[row])
            after[row] = self._maze.step(action)[0]
        rewards = self._maze.compute_rewards(before)[:, None]
        return Prediction(
            observations,
            actions,
            torch.as_tensor(after).to(observations),
            torch.as_tensor(rewards).to(observations),
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: nothing is learned."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Does nothing."""
