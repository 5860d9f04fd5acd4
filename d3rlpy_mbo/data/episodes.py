"""Episodes that keep the observation after their last action.

d3rlpy stores T observations for T actions: the successor of the last action is
lost, zero-filled at terminals and dropped at time-outs. Dynamics need it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import (
    Episode,
    EpisodeBase,
    InfiniteBuffer,
    ReplayBuffer,
    Signature,
    Transition,
    TransitionPickerProtocol,
)

from ..support.errors import DatasetError

__all__ = ["CompleteEpisode", "CompleteTransitionPicker", "dataset_of_episodes"]


@dataclasses.dataclass(frozen=True)
class CompleteEpisode(Episode):
    """An episode with T + 1 observations for T actions.

    Args:
        observations: (T + 1, D); the last one is where the last action led.
        actions: (T, A); discrete ones are indices, (T, 1) integers.
        rewards: (T, 1).
        terminated: Whether the environment ended the episode (not a time-out).
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", np.asarray(self.actions).view(_Actions))

    @property
    def transition_count(self) -> int:
        """T: every action has a true next observation.

        A dump holds d3rlpy's own episodes too, such as those of `fit_online`, and all are
        read back as one class: of those that were cut the last action is no transition.
        """
        complete = len(self.observations) > self.size() or self.terminated
        return self.size() if complete else self.size() - 1


class CompleteTransitionPicker(TransitionPickerProtocol):
    """Picks transitions with true next observations from `CompleteEpisode`.

    The last row of an episode has no next action: it is zero there, as with d3rlpy's
    own picker at terminals. In d3rlpy's own episodes, whose last outcome is not known,
    the next observation of a terminal is zero too.

    Args:
        actions: The kind and the size of the dataset's actions, so that a part of it in
            another buffer is not taken for data with other actions; None: not known.
    """

    actions: Optional[tuple[ActionSpace, int]] = None  # of those pickled before 0.2

    def __init__(self, actions: Optional[tuple[ActionSpace, int]] = None):
        self.actions = actions

    def __call__(self, episode: EpisodeBase, index: int) -> Transition:
        """Returns the transition of row `index`, 0 to T - 1."""
        is_last = index == episode.size() - 1
        observation, action = episode.observations[index], episode.actions[index]
        known = index + 1 < len(episode.observations)
        return Transition(
            observation=observation,
            action=action,
            reward=episode.rewards[index],
            next_observation=episode.observations[index + 1]
            if known
            else np.zeros_like(observation),
            next_action=np.zeros_like(action)
            if is_last
            else episode.actions[index + 1],
            terminal=float(is_last and episode.terminated),
            interval=1,
            rewards_to_go=episode.rewards[index:],
        )


class _PickerError(DatasetError, IndexError):
    """Also an IndexError, so that iteration stops where it should."""


class _Actions(np.ndarray):
    """An array that says why there is no action after its last.

    d3rlpy's own pickers read the row after the last one of an episode that was cut by a
    time limit. A ReplayBuffer gets one of them unless another is named.
    """

    __array_priority__ = -1.0  # joined arrays are ordinary ones

    def __getitem__(self, key: Any) -> Any:
        try:
            return np.asarray(self)[key]
        except IndexError as error:
            if not isinstance(key, (int, np.integer)) or key != len(self):
                raise
            raise _PickerError(
                f"{error}: an episode of load_minari, dataset_from_arrays or load_hdf5 has "
                "no action after its last, where d3rlpy's transition pickers look for one. "
                "A ReplayBuffer made from such episodes needs "
                "transition_picker=dataset.transition_picker."
            ) from error


def dataset_of_episodes(
    episodes: Sequence[EpisodeBase], n_actions: Optional[int] = None
) -> ReplayBuffer:
    """Returns a d3rlpy dataset that knows every outcome that its episodes know.

    Args:
        episodes: At least one; `CompleteEpisode`, or d3rlpy's own where the outcome of
            the last action is not known.
        n_actions: How many choices there are; None where actions are continuous.
    """
    first = episodes[0]
    # Said, because d3rlpy would guess: whole numbers are choices to it, as many as the
    # largest says.
    space, size = ActionSpace.CONTINUOUS, first.actions.shape[1]
    if n_actions is not None:
        space, size = ActionSpace.DISCRETE, n_actions
    return ReplayBuffer(
        InfiniteBuffer(),
        transition_picker=CompleteTransitionPicker((space, size)),
        episodes=episodes,
        observation_signature=first.observation_signature,
        action_signature=first.action_signature,
        reward_signature=Signature([np.dtype(np.float32)], [(1,)]),
        action_space=space,
        action_size=size,
    )
