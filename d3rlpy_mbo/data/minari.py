"""Minari datasets as d3rlpy's, every episode aligned, every last observation kept."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any, Optional, Union

import gymnasium
import minari
import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import ReplayBuffer
from gymnasium import spaces

from ..support.errors import DatasetError
from .choices import validate_choices, validated_n_actions
from .environments import evaluation_environment
from .episodes import CompleteEpisode, dataset_of_episodes
from .goals import OBSERVATION_KEYS, goal_keys
from .minari_files import open_minari, reference_scores, stored_episodes
from .values import float32_values, lost_by_float32, zero_or_one

__all__ = ["load_minari", "reference_scores"]

_BY_ARRAYS = (
    "Read its episodes yourself, make vectors of them and pass these to "
    'mbo.dataset_from_arrays (docs/own-data.md, "Other spaces").'
)


def load_minari(
    dataset_id: Union[str, minari.MinariDataset], trust_environment: bool = False
) -> tuple[ReplayBuffer, Optional[gymnasium.Env[Any, Any]]]:
    """Loads a Minari dataset for d3rlpy, with its evaluation environment.

    `d3rlpy.datasets.get_minari` (2.8.1) shifts every episode after the first, because
    Minari keeps T + 1 observations for T actions. Here each episode keeps them all, so
    that models learn from all T transitions. Goal-conditioned observations become one
    vector: observation, then desired goal; between them the achieved goal, if the
    observation does not hold it already, as in AntMaze. Discrete actions become indices
    from 0 on, whatever the space counts from. The environment is wrapped to match.

    The environment is made if its id is registered with Gymnasium, from the code that is
    registered there, or if it is one of d3rlpy-mbo's; its settings and its time limit are
    the dataset's. Code that only the dataset names is not run.

    Args:
        dataset_id: Such as ``"mujoco/hopper/medium-v0"``. Downloaded if it is not
            local; for a local dataset the network is not used. Or a `MinariDataset`,
            such as a filtered, split or combined one.
        trust_environment: Import and call whatever the dataset names as its environment,
            as Minari does. For datasets whose author you know.

    Returns:
        The dataset, and the environment to evaluate in, which is None, with a warning,
        if the dataset records none, its package is not installed, or it is not trusted.
        Buffers of some of the dataset's episodes need its `transition_picker`.

    Raises:
        DatasetError: There is no such dataset, it is damaged, or cannot be used here.
    """
    if isinstance(dataset_id, str):
        source = open_minari(dataset_id, trust_environment)
    elif isinstance(dataset_id, minari.MinariDataset):
        source = dataset_id
    else:
        raise DatasetError(
            f"load_minari was given a {type(dataset_id).__name__}, expected the id of a "
            "Minari dataset or a MinariDataset. For arrays use mbo.dataset_from_arrays, "
            "for D4RL's files mbo.load_hdf5."
        )
    observations = _Observations.of(source)
    actions = _Actions.of(source.id, source.action_space)
    episodes: list[CompleteEpisode] = []
    lost: list[str] = []
    for episode in stored_episodes(source):
        if np.shape(episode.actions)[:1] == (0,):
            continue
        whose = f"episode {episode.id} of {source.id!r}"
        episodes.append(_episode(whose, episode, observations, actions))
        lost = lost or _lost(whose, episode)
    if lost:
        warnings.warn(lost[0], stacklevel=2)
    if not episodes:
        raise DatasetError(f"The dataset {source.id!r} holds no transitions.")
    environment = evaluation_environment(source, trust_environment, stacklevel=2)
    return dataset_of_episodes(episodes, actions.n_actions), environment


@dataclasses.dataclass(frozen=True)
class _Actions:
    """What the actions of a dataset are.

    Args:
        size: A.
        n_actions: How many choices there are; None where actions are continuous.
        start: What the choices are counted from in the file.
    """

    size: int
    n_actions: Optional[int] = None
    start: int = 0

    @classmethod
    def of(cls, dataset_id: str, space: Any) -> "_Actions":
        if isinstance(space, spaces.Discrete):
            n_actions = validated_n_actions(int(space.n), repr(dataset_id))
            return cls(1, n_actions, int(space.start))
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise DatasetError(
                f"The actions of {dataset_id!r} are {space}; expected a Box of shape (A,), "
                "or a Discrete. Several choices at once (MultiDiscrete, MultiBinary) are "
                f"not supported: number their combinations. {_BY_ARRAYS}"
            )
        return cls(space.shape[0])

    def read(self, episode: minari.EpisodeData, whose: str) -> npt.NDArray[Any]:
        """Returns (T, A) float32, or (T, 1) int64 indices from 0 on."""
        actions = float32_values(episode.actions, "actions", whose)
        n_steps = len(actions) if actions.ndim else 0
        if self.n_actions is None:
            _validate("actions", whose, actions, (n_steps, self.size))
            return actions
        if actions.shape != (n_steps, 1):
            _validate("actions", whose, actions, (n_steps,))
        indices = actions.reshape(-1, 1)
        name = f"actions of {whose}"
        validate_choices(indices, self.n_actions, name, self.start)
        return indices.astype(np.int64) - self.start


@dataclasses.dataclass(frozen=True)
class _Observations:
    """What the observations of a dataset are.

    Args:
        size: D.
        keys: Whose vectors are joined, see `goal_keys`.
    """

    size: int
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: minari.MinariDataset) -> "_Observations":
        space: Any = source.observation_space
        if not isinstance(space, spaces.Dict):
            return cls(_size(source.id, space))
        needed = {"observation", "desired_goal"}
        if not needed <= set(space):
            raise DatasetError(
                f"The observations of {source.id!r} have the keys {sorted(space)}; "
                "expected 'observation' and 'desired_goal', or a single Box. "
                f"{_BY_ARRAYS}"
            )
        unread = sorted(set(space) - {*OBSERVATION_KEYS})
        if unread:
            warnings.warn(
                f"Of the observations of {source.id!r} {', '.join(map(repr, unread))} "
                "will not be seen by models and learners: only 'observation', "
                "'desired_goal' and 'achieved_goal' are read.",
                stacklevel=3,
            )
        for name in needed | ({"achieved_goal"} & set(space)):
            _size(source.id, space[name])
        keys = goal_keys(source)
        return cls(sum(_size(source.id, space[name]) for name in keys), keys)

    def read(self, episode: minari.EpisodeData, whose: str) -> npt.NDArray[np.float32]:
        """Returns (T + 1, D)."""
        found = episode.observations
        if not isinstance(found, Mapping):
            return np.atleast_1d(float32_values(found, "observations", whose))
        parts = [
            float32_values(found[name], f"observations[{name!r}]", whose)
            for name in self.keys
            if name in found
        ]
        try:
            return np.concatenate(parts, axis=1)
        except ValueError as error:
            raise DatasetError(
                f"The observations of {whose} do not fit together ({error}). Expected "
                f"{', '.join(map(repr, self.keys))}, as many rows of each."
            ) from error


def _size(dataset_id: str, space: Any) -> int:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise DatasetError(
            f"The observations of {dataset_id!r} are {space}; expected vectors, a Box "
            "of shape (D,). Images, tuples and nested goals are not supported. "
            f"{_BY_ARRAYS}"
        )
    return space.shape[0]


def _episode(
    whose: str,
    episode: minari.EpisodeData,
    kind_of_observations: _Observations,
    kind_of_actions: _Actions,
) -> CompleteEpisode:
    actions = kind_of_actions.read(episode, whose)
    n_steps = len(actions)
    observations = kind_of_observations.read(episode, whose)
    if observations.shape[0] != n_steps + 1:
        raise DatasetError(
            f"{_title(whose)} has {len(observations)} observations "
            f"for {n_steps} actions; expected one more, the outcome of the last action."
        )
    expected = (n_steps + 1, kind_of_observations.size)
    _validate("observations", whose, observations, expected)
    rewards = float32_values(episode.rewards, "rewards", whose)
    if rewards.shape != (n_steps, 1):
        _validate("rewards", whose, rewards, (n_steps,))
    terminations = zero_or_one(episode.terminations, "terminations", whose)
    _validate("terminations", whose, terminations, (n_steps,))
    truncations = zero_or_one(episode.truncations, "truncations", whose)
    _validate("truncations", whose, truncations, (n_steps,))
    if np.any(terminations[:-1]):
        raise DatasetError(
            f"{_title(whose)} goes on after a termination at step "
            f"{int(np.argmax(terminations))}. Split it there."
        )
    return CompleteEpisode(
        observations=observations,
        actions=actions,
        rewards=rewards.reshape(-1, 1),
        terminated=bool(terminations[-1]),
    )


def _lost(whose: str, episode: minari.EpisodeData) -> list[str]:
    observations = episode.observations
    if not isinstance(observations, Mapping):
        observations = {"": observations}
    named = [("observations", part) for part in observations.values()]
    return [
        note
        for name, column in [*named, ("rewards", episode.rewards)]
        for note in lost_by_float32(column, name, whose)
    ]


def _title(whose: str) -> str:
    return whose[:1].upper() + whose[1:]


def _validate(
    name: str, whose: str, found: npt.NDArray[Any], expected: tuple[int, ...]
) -> None:
    if found.shape != expected:
        raise DatasetError(
            f"{name} of {whose} has shape {found.shape}, expected {expected}. The dataset "
            "is damaged, or its spaces are not those of its data."
        )
