"""What an imagination keeps of how it was fitted."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

from ..data.action_sets import ActionSet, action_set_of
from ..data.real_data import RealData
from ..registry.component import Component

__all__ = ["FittedOn"]


@dataclasses.dataclass(frozen=True)
class FittedOn:
    """Facts of the real data that parts were fitted on, and what these parts were.

    Args:
        action_set: What proposed actions are projected to, on the imagination's device.
        observation_size: D.
        n_rows: How many rows the models saw.
        reward_range: The least and the greatest reward of all rows, also of those that
            models do not see. None if a file was loaded: it does not hold them.
        configs: Copies of the parts' configs as they were then, by their fields.
    """

    action_set: ActionSet
    observation_size: int
    n_rows: int
    reward_range: Optional[tuple[float, float]]
    configs: Mapping[str, Optional[Component]]

    @classmethod
    def of(
        cls,
        real: RealData,
        device: str,
        configs: Mapping[str, Optional[Component]],
    ) -> "FittedOn":
        """Returns those of a dataset, and of parts about to be fitted on it."""
        known, rewards = real.for_models, real.transitions.rewards
        return cls(
            action_set=known.action_set().to(device),
            observation_size=known.observation_size,
            n_rows=len(known),
            reward_range=(float(rewards.min()), float(rewards.max())),
            configs=copy.deepcopy(dict(configs)),
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
    def of_state(
        cls,
        state: dict[str, Any],
        device: str,
        configs: Mapping[str, Optional[Component]],
    ) -> "FittedOn":
        """Returns the facts in a `state_dict` or `checkpoint_state`, on a device.

        Args:
            state: What they returned.
            device: The imagination's.
            configs: Of the parts that take over the state.
        """
        return cls(
            action_set=action_set_of(state["action_range"]).to(device),
            observation_size=state["observation_size"],
            n_rows=state["n_rows"],
            # In no file, and not in older checkpoints.
            reward_range=state.get("reward_range"),
            configs=copy.deepcopy(dict(configs)),
        )
