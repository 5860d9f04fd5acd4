"""Minari datasets as d3rlpy's, every episode aligned, every last observation kept."""

import warnings
from collections.abc import Mapping
from typing import Any, Optional

import gymnasium
import minari
import numpy as np
import numpy.typing as npt
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import InfiniteBuffer, ReplayBuffer, Signature
from d3rlpy.envs import GoalConcatWrapper
from gymnasium import spaces
from minari.storage import get_dataset_path

from ..support.errors import DatasetError, suggest
from .episodes import CompleteEpisode, CompleteTransitionPicker

__all__ = ["load_minari", "reference_scores"]


def load_minari(
    dataset_id: str,
) -> tuple[ReplayBuffer, Optional[gymnasium.Env[Any, Any]]]:
    """Loads a Minari dataset for d3rlpy, with its evaluation environment.

    `d3rlpy.datasets.get_minari` (2.8.1) shifts every episode after the first, because
    Minari keeps T + 1 observations for T actions. Here each episode keeps them, so
    that models learn from all T transitions. Goal-conditioned observations become
    one vector: observation, then desired goal.

    Args:
        dataset_id: Such as ``"mujoco/hopper/medium-v0"``. Downloaded if it is not
            local; a local dataset never touches the network.

    Returns:
        The dataset, and the environment to evaluate in. The latter is None, with a
        warning, if the dataset records none or its package is not installed.

    Raises:
        DatasetError: No such dataset, or one that d3rlpy-mbo cannot use.
    """
    source = _open(dataset_id)
    observation_space, action_space = source.observation_space, source.action_space
    _check_spaces(dataset_id, observation_space, action_space)
    episodes = [
        _episode(dataset_id, episode)
        for episode in source.iterate_episodes()
        if len(episode.actions)
    ]
    if not episodes:
        raise DatasetError(f"The dataset {dataset_id!r} holds no transitions.")
    first = episodes[0]
    dataset = ReplayBuffer(
        InfiniteBuffer(),
        transition_picker=CompleteTransitionPicker(),
        episodes=episodes,
        observation_signature=first.observation_signature,
        action_signature=first.action_signature,
        reward_signature=Signature([np.dtype(np.float32)], [(1,)]),
        action_space=ActionSpace.CONTINUOUS,
        action_size=first.actions.shape[1],
    )
    return dataset, _environment(source)


def reference_scores(
    dataset_id: str, prefix: str = ""
) -> Optional[tuple[float, float]]:
    """Returns the returns that score 0 and 100, None where the dataset has none.

    Args:
        dataset_id: Id of a Minari dataset.
        prefix: ``"d4rl_"`` for D4RL's where the dataset keeps them beside its own.
    """
    metadata = _open(dataset_id).storage.metadata
    low = metadata.get(f"{prefix}ref_min_score")
    high = metadata.get(f"{prefix}ref_max_score")
    return None if low is None or high is None else (float(low), float(high))


def _open(dataset_id: str) -> minari.MinariDataset:
    root, path = get_dataset_path(), get_dataset_path(dataset_id)
    # Minari asks its server first unless the dataset is known to be here.
    local = (path / "data").exists()
    try:
        return minari.load_dataset(dataset_id, download=not local)
    except Exception as error:
        why = f"({type(error).__name__}: {error})"
        if local:
            raise DatasetError(
                f"The dataset {dataset_id!r} in {str(root)!r} cannot be read {why}. It is "
                "damaged, or was written by another version of Minari. Move it away, and "
                "download or collect it again."
            ) from error
        known = [
            data.parent.relative_to(root).as_posix() for data in root.rglob("data")
        ]
        raise DatasetError(
            f"The dataset {dataset_id!r} is not in {str(root)!r} and could not be "
            f"downloaded {why}. Locally: {suggest(dataset_id, known)} Mazes and replays "
            "are not downloaded, `d3rlpy-mbo collect` makes them."
        ) from error


def _check_spaces(
    dataset_id: str, observation_space: spaces.Space[Any], action_space: Any
) -> None:
    if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1:
        raise DatasetError(
            f"The actions of {dataset_id!r} are {action_space}; expected a Box of shape "
            "(A,). Discrete actions are not supported yet."
        )
    parts = [observation_space]
    if isinstance(observation_space, spaces.Dict):
        if not {"observation", "desired_goal"} <= set(observation_space):
            raise DatasetError(
                f"The observations of {dataset_id!r} have the keys "
                f"{sorted(observation_space)}; expected 'observation' and "
                "'desired_goal', or a single Box."
            )
        parts = [observation_space["observation"], observation_space["desired_goal"]]
    for part in parts:
        if not isinstance(part, spaces.Box) or len(part.shape) != 1:
            raise DatasetError(
                f"The observations of {dataset_id!r} are {part}; expected vectors, a Box "
                "of shape (D,). Images, tuples and nested goals are not supported."
            )


def _episode(dataset_id: str, episode: minari.EpisodeData) -> CompleteEpisode:
    observations, n_actions = _vectors(episode.observations), len(episode.actions)
    if len(observations) != n_actions + 1:
        raise DatasetError(
            f"Episode {episode.id} of {dataset_id!r} has {len(observations)} observations "
            f"for {n_actions} actions; expected one more, the last one's outcome."
        )
    if np.any(episode.terminations[:-1]):
        raise DatasetError(
            f"Episode {episode.id} of {dataset_id!r} goes on after a termination at step "
            f"{int(np.argmax(episode.terminations))}. Split it there."
        )
    return CompleteEpisode(
        observations=observations,
        actions=np.asarray(episode.actions, dtype=np.float32),
        rewards=np.asarray(episode.rewards, dtype=np.float32).reshape(-1, 1),
        terminated=bool(episode.terminations[-1]),
    )


def _vectors(observations: Any) -> npt.NDArray[np.float32]:
    if isinstance(observations, Mapping):
        parts = [observations["observation"], observations["desired_goal"]]
        observations = np.concatenate(parts, axis=1)
    return np.asarray(observations, dtype=np.float32)


def _environment(source: minari.MinariDataset) -> Optional[gymnasium.Env[Any, Any]]:
    try:
        environment: gymnasium.Env[Any, Any] = source.recover_environment(eval_env=True)
    except Exception as error:
        warnings.warn(
            f"The evaluation environment of {source.id!r} is not available "
            f"({type(error).__name__}: {error}), so None is returned for it. Robotics and "
            "MuJoCo tasks need: pip install 'd3rlpy-mbo[mujoco]'.",
            stacklevel=3,
        )
        return None
    if isinstance(environment.observation_space, spaces.Dict):
        environment = GoalConcatWrapper(environment)
    return environment
