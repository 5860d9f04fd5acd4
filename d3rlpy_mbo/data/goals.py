"""Goal-conditioned observations as one vector, in data and environment alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import gymnasium
import minari
import numpy as np
import numpy.typing as npt
from d3rlpy.envs import GoalConcatWrapper
from gymnasium import spaces

from .minari_files import stored_episodes

__all__ = ["OBSERVATION_KEYS", "goal_keys", "one_vector"]

# In the order in which their vectors are joined.
OBSERVATION_KEYS = ("observation", "achieved_goal", "desired_goal")
_WITHOUT_ACHIEVED = ("observation", "desired_goal")

# Episodes that show whether an observation holds what was achieved (ours).
_EPISODES = 10


def goal_keys(source: minari.MinariDataset) -> tuple[str, ...]:
    """Returns which parts make up an observation: none if it is a vector already.

    The observation and the desired goal; between them the achieved goal, if the
    observation does not hold it already. PointMaze's does. AntMaze's does not hold the
    ant's place, so that without it rewards would depend on what is not observed.

    Args:
        source: The dataset; its first episodes are looked at.
    """
    space = source.observation_space
    if not isinstance(space, spaces.Dict):
        return ()
    if "achieved_goal" not in space.spaces or _holds_achieved(source):
        return _WITHOUT_ACHIEVED
    return OBSERVATION_KEYS


def one_vector(
    environment: gymnasium.Env[Any, Any], source: minari.MinariDataset
) -> gymnasium.Env[Any, Any]:
    """Returns a goal-conditioned environment that shows one vector, as the data do.

    Args:
        environment: Whose observations are a Dict.
        source: The dataset: of such a Dict, or of vectors that were recorded from it.

    Raises:
        ValueError: Its parts, put together, are not what the dataset holds.
    """
    space: Any = environment.observation_space
    keys = goal_keys(source)
    if not keys:
        shapes = {name: part.shape for name, part in space.spaces.items()}
        wanted = source.observation_space.shape
        for keys in (_WITHOUT_ACHIEVED, OBSERVATION_KEYS):
            if _joined_shape([shapes.get(name) for name in keys]) == wanted:
                break
        else:
            raise ValueError(
                f"its observations are a Dict of {shapes}, the dataset's are vectors of "
                f"shape {wanted}"
            )
    if "achieved_goal" in keys:
        environment = _WithAchieved(environment)
    return GoalConcatWrapper(environment)


def _joined_shape(shapes: Sequence[Any]) -> Optional[tuple[int, ...]]:
    if any(shape is None or len(shape) != 1 for shape in shapes):
        return None
    return (sum(shape[0] for shape in shapes),)


def _holds_achieved(source: minari.MinariDataset) -> bool:
    """Whether each column of what was achieved is one of the observation's."""
    is_there = None
    for episode in stored_episodes(source, _EPISODES):
        parts = episode.observations
        if not isinstance(parts, Mapping) or not {*OBSERVATION_KEYS} <= {*parts}:
            return True  # damaged, which whoever reads all of it says
        seen, achieved = (_columns(parts[name]) for name in OBSERVATION_KEYS[:2])
        if seen is None or achieved is None or seen.shape[1] != achieved.shape[1]:
            return True
        same = (achieved[:, None] == seen[None]).all(axis=-1)
        is_there = same if is_there is None else is_there & same
    return is_there is None or bool(is_there.any(axis=1).all())


def _columns(values: Any) -> Any:
    """Returns (D, T) as float32, or None."""
    rows: npt.NDArray[Any] = np.asarray(values)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        return None
    return rows.astype(np.float32).T


class _WithAchieved(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Puts what was achieved behind the observation."""

    def __init__(self, environment: gymnasium.Env[Any, Any]):
        super().__init__(environment)
        space: Any = environment.observation_space
        parts = [space[name] for name in OBSERVATION_KEYS[:2]]
        joined = spaces.Box(
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            dtype=parts[0].dtype,
        )
        self.observation_space = spaces.Dict({**space, "observation": joined})

    def observation(self, observation: Any) -> Any:
        parts = [observation[name] for name in OBSERVATION_KEYS[:2]]
        return {**observation, "observation": np.concatenate(parts)}
