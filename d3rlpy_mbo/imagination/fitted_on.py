"""What an imagination keeps of the data that it was fitted on."""

import dataclasses
from typing import Any, Optional

from ..data.action_sets import ActionSet, action_set_of
from ..data.real_data import RealData

__all__ = ["FittedOn"]


@dataclasses.dataclass(frozen=True)
class FittedOn:
    """Facts of real data.

    Args:
        action_set: What proposed actions are projected to, on the imagination's device.
        observation_size: D.
        n_rows: How many rows the models saw.
        reward_range: The least and the greatest reward of all rows, also of those that
            models do not see. None if a file was loaded: it does not hold them.
    """

    action_set: ActionSet
    observation_size: int
    n_rows: int
    reward_range: Optional[tuple[float, float]] = None

    @classmethod
    def of(cls, real: RealData, device: str) -> "FittedOn":
        """Returns those of a dataset."""
        known, rewards = real.for_models, real.transitions.rewards
        return cls(
            action_set=known.action_set().to(device),
            observation_size=known.observation_size,
            n_rows=len(known),
            reward_range=(float(rewards.min()), float(rewards.max())),
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Its rows, sizes of observations and actions, as `Dynamics.fitted_on` has them."""
        return self.n_rows, self.observation_size, self.action_set.size

    def state_dict(self) -> dict[str, Any]:
        """Returns what saved files hold."""
        return {
            "action_range": self.action_set.state_dict(),  # as 0.1 named it
            "observation_size": self.observation_size,
            "n_rows": self.n_rows,
        }

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns what checkpoints hold."""
        return {**self.state_dict(), "reward_range": self.reward_range}

    @classmethod
    def of_state(cls, state: dict[str, Any], device: str) -> "FittedOn":
        """Returns the facts in a `state_dict` or `checkpoint_state`, on a device."""
        return cls(
            action_set=action_set_of(state["action_range"]).to(device),
            observation_size=state["observation_size"],
            n_rows=state["n_rows"],
            # In no file, and not in older checkpoints.
            reward_range=state.get("reward_range"),
        )
