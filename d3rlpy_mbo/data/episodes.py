"""Episodes that keep the observation after their last action.

d3rlpy stores T observations for T actions: the successor of the last action is
lost, zero-filled at terminals and dropped at time-outs. Dynamics need it.
"""

import dataclasses

import numpy as np
from d3rlpy.dataset import Episode, EpisodeBase, Transition, TransitionPickerProtocol

__all__ = ["CompleteEpisode", "CompleteTransitionPicker"]


@dataclasses.dataclass(frozen=True)
class CompleteEpisode(Episode):
    """An episode with T + 1 observations for T actions.

    Args:
        observations: (T + 1, D), the last one is where the last action led.
        actions: (T, A).
        rewards: (T, 1).
        terminated: Whether the environment ended the episode (not a time-out).
    """

    @property
    def transition_count(self) -> int:
        """T: every action has a true next observation."""
        return self.size()


class CompleteTransitionPicker(TransitionPickerProtocol):
    """Picks transitions with true next observations from `CompleteEpisode`.

    The last row of an episode has no next action: it is zero there, as d3rlpy's
    own picker leaves it at terminals.
    """

    def __call__(self, episode: EpisodeBase, index: int) -> Transition:
        """Returns the transition of row `index`, 0 to T - 1."""
        is_last = index == episode.size() - 1
        action = episode.actions[index]
        return Transition(
            observation=episode.observations[index],
            action=action,
            reward=episode.rewards[index],
            next_observation=episode.observations[index + 1],
            next_action=np.zeros_like(action)
            if is_last
            else episode.actions[index + 1],
            terminal=float(is_last and episode.terminated),
            interval=1,
            rewards_to_go=episode.rewards[index:],
        )
