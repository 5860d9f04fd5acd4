"""A replay that grows, and the folder that a killed collection goes on from."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Optional

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import TransitionMiniBatch
from minari.data_collector.episode_buffer import EpisodeBuffer

from ..data.minari_files import dataset_folder
from ..support.errors import DatasetError
from ..support.files import atomic_write

__all__ = ["Arrays", "Checkpoint", "Replay"]

Arrays = dict[str, npt.NDArray[Any]]

_NAMES = "names"  # of the other arrays in a file


class Replay:
    """Transitions in order, with one more observation than actions in each episode.

    Args:
        n_steps: Transitions at most.
        env: Gives the shapes and types of observations and actions.

    Attributes:
        size: Transitions so far.
    """

    def __init__(self, n_steps: int, env: Any):
        observations, actions = env.observation_space, env.action_space
        # np.empty: the system hands out pages as they are written. At worst every
        # step is an episode of two observations.
        self._observations = np.empty(
            (2 * n_steps, *observations.shape), observations.dtype
        )
        self._actions = np.empty((n_steps, *actions.shape), actions.dtype)
        # Learners count choices from 0, the environment perhaps from another number.
        self._first_action = getattr(actions, "start", 0)
        self._rewards = np.empty(n_steps)
        self._terminations = np.empty(n_steps, dtype=bool)
        self._positions = np.empty(n_steps, dtype=np.int64)  # of s in the observations
        self._starts: list[int] = []  # first step of each episode
        self._seeds: list[int] = []  # of each episode's reset
        self.size = 0

    @property
    def n_episodes(self) -> int:
        """Episodes so far, with the one that goes on."""
        return len(self._starts)

    def begin_episode(self, seed: int, observation: npt.NDArray[Any]) -> None:
        """Ends the episode before, and begins one.

        Args:
            seed: Of its reset.
            observation: Its first, with shape (D,).
        """
        self._observations[self.size + self.n_episodes] = observation
        self._starts.append(self.size)
        self._seeds.append(seed)

    def append(
        self,
        action: Any,
        reward: float,
        terminated: bool,
        next_observation: npt.NDArray[Any],
    ) -> None:
        """Adds a transition to the episode.

        Args:
            action: With shape (A,), or the number of a choice.
            reward: For it.
            terminated: Whether the environment, not a limit, ended the episode.
            next_observation: What it led to, with shape (D,).
        """
        self._positions[self.size] = position = self.size + self.n_episodes - 1
        self._observations[position + 1] = next_observation
        self._actions[self.size] = action
        self._rewards[self.size] = reward
        self._terminations[self.size] = terminated
        self.size += 1

    def sample(self, batch_size: int, rng: np.random.Generator) -> TransitionMiniBatch:
        """Draws transitions uniformly, with replacement."""
        rows = rng.integers(self.size, size=batch_size)
        actions = self._actions[rows].reshape(batch_size, -1) - self._first_action
        actions = actions.astype(np.float32)
        return TransitionMiniBatch(
            observations=self._observations[self._positions[rows]].astype(np.float32),
            actions=actions,
            rewards=self._rewards[rows, None].astype(np.float32),
            next_observations=self._observations[self._positions[rows] + 1].astype(
                np.float32
            ),
            next_actions=actions,  # neither SAC nor DoubleDQN reads any
            terminals=self._terminations[rows, None].astype(np.float32),
            intervals=np.ones((batch_size, 1), dtype=np.float32),
            transitions=[],
        )

    def since(self, size: int, n_episodes: int) -> Arrays:
        """Returns what came after that many steps, which ended an episode."""
        rows = slice(size, self.size)
        return {
            "observations": self._observations[
                size + n_episodes : self.size + self.n_episodes
            ],
            "actions": self._actions[rows],
            "rewards": self._rewards[rows],
            "terminations": self._terminations[rows],
            "starts": np.array(self._starts[n_episodes:]),
            "seeds": np.array(self._seeds[n_episodes:]),
        }

    def extend(self, part: Arrays) -> None:
        """Appends what `since` returned."""
        first, n_episodes = self.size, self.n_episodes
        self.size += len(part["actions"])
        self._starts += part["starts"].tolist()
        self._seeds += part["seeds"].tolist()
        rows = slice(first, self.size)
        self._observations[first + n_episodes : self.size + self.n_episodes] = part[
            "observations"
        ]
        self._actions[rows] = part["actions"]
        self._rewards[rows] = part["rewards"]
        self._terminations[rows] = part["terminations"]
        steps = np.arange(first, self.size)
        episodes = np.searchsorted(self._starts, steps, side="right") - 1
        self._positions[rows] = steps + episodes

    def episodes(self) -> list[EpisodeBuffer]:
        """Returns all, as Minari stores them; each ends terminated or truncated."""
        episodes = []
        bounds = pairwise([*self._starts, self.size])
        for index, (start, stop) in enumerate(bounds):
            truncations = np.zeros(stop - start, dtype=bool)
            truncations[-1] = not self._terminations[stop - 1]
            episodes.append(
                EpisodeBuffer(
                    seed=self._seeds[index],
                    observations=self._observations[start + index : stop + index + 1],
                    actions=self._actions[start:stop],
                    rewards=self._rewards[start:stop],
                    terminations=self._terminations[start:stop],
                    truncations=truncations,
                )
            )
        return episodes


class Checkpoint:
    """A hidden folder: the parts of a replay, and a state that says which count.

    A part is written before the state that counts it, and each file is complete or
    absent, so a kill at any time leaves the last state valid.

    Args:
        dataset_id: Of the dataset to be.
        settings: What its rows depend on, as JSON can hold it.
    """

    def __init__(self, dataset_id: str, settings: dict[str, Any]):
        self._dataset_id = dataset_id
        self._settings = json.loads(json.dumps(settings))
        name = dataset_id.replace("/", "--")
        self._folder = dataset_folder() / f".d3rlpy-mbo-replay-{name}"
        self._part_starts: list[int] = []

    def read(self, force: bool) -> Optional[tuple[Arrays, list[Arrays]]]:
        """Returns what was written, and makes the folder.

        Args:
            force: Forget what cannot be gone on with.

        Returns:
            The last state and all parts, or None if there is nothing.

        Raises:
            DatasetError: It cannot be read or has other settings, without ``force``.
        """
        saved = None
        try:
            if (self._folder / "state.npz").exists():
                saved = self._read()
        except DatasetError:
            if not force:
                raise
            self.remove()
        self._folder.mkdir(exist_ok=True)
        return saved

    def _read(self) -> tuple[Arrays, list[Arrays]]:
        unfinished = (
            f"The unfinished collection of {self._dataset_id!r} in {self._folder}"
        )
        try:
            state = _read_arrays(self._folder / "state.npz")
            found = json.loads(str(state["settings"]))
            part_starts = state["part_starts"].tolist()
            parts = [_read_arrays(self._part(start)) for start in part_starts]
        except Exception as error:  # whatever zipfile and NumPy make of damaged bytes
            raise DatasetError(
                f"{unfinished} cannot be read ({type(error).__name__}: {error}). Start "
                "clean with --force (force=True)."
            ) from error
        changed = [
            f"{name} is {found.get(name)!r} there, {self._settings.get(name)!r} here"
            for name in sorted({*found, *self._settings})
            if found.get(name) != self._settings.get(name)
        ]
        if changed:
            raise DatasetError(
                f"{unfinished} has other settings: {'; '.join(changed)}. Repeat its "
                "settings to go on with it, start clean with --force (force=True), or "
                "choose another dataset id."
            )
        self._part_starts = part_starts
        return state, parts

    def write(self, state: Arrays, part: Arrays, start: int) -> None:
        """Writes a part, then the state that counts it.

        Args:
            state: What to go on with.
            part: What came since the last writing.
            start: The step at which it begins.
        """
        self._part_starts.append(start)
        with atomic_write(self._part(start)) as file:
            _write_arrays(file, part)
        with atomic_write(self._folder / "state.npz") as file:
            own = {
                "settings": np.array(json.dumps(self._settings)),
                "part_starts": np.array(self._part_starts),
            }
            _write_arrays(file, {**own, **state})

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, start: int) -> Path:
        return self._folder / f"part-{start:010}.npz"


def _write_arrays(file: BinaryIO, arrays: Arrays) -> None:
    names = np.array(list(arrays))
    # Without allow_pickle, which NumPy before 2.2 takes for one more array. None of
    # these is of objects, and reading refuses such.
    save: Any = np.savez  # to its stub a name may be allow_pickle
    save(file, **{_NAMES: names}, **arrays)


def _read_arrays(path: Path) -> Arrays:
    """Returns what was written, all of it: a damaged zip file may hide some."""
    with path.open("rb") as file, np.load(file) as saved:
        found = dict(saved)
    names = found.pop(_NAMES, None)  # version 0.1 wrote none
    if names is not None and names.tolist() != list(found):
        raise ValueError(
            f"{path.name} holds {list(found)}, {names.tolist()} were written"
        )
    return found
