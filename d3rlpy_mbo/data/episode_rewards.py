"""What follows a row of real data: the rewards of the rest of its episode."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from ..support.errors import DatasetError
from .kept_rows import KeptRows

__all__ = ["EpisodeRewards"]

Indices = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class EpisodeRewards:
    """The rewards of every step of some episodes, and which step a row is.

    Some steps are no rows: the last one of an episode that d3rlpy stores and that was
    cut, and what a FIFO buffer has forgotten. Their rewards count all the same, as in
    d3rlpy.

    Args:
        rewards: (M, 1) float32, step by step, episode by episode.
        row_starts: (E + 1,) int64: rows of the i-th episode begin at the i-th entry and
            end before the next.
        first_steps: (E,) int64: which step the first row of an episode is.
        step_ends: (E,) int64: the step behind an episode's last one.
        first_indices: (E,) int64: the place of the first row in its episode, from 0 on.
    """

    rewards: npt.NDArray[np.float32]
    row_starts: Indices
    first_steps: Indices
    step_ends: Indices
    first_indices: Indices

    @classmethod
    def of(cls, kept: KeptRows) -> "EpisodeRewards":
        """Reads the rewards of the episodes of which some transitions are kept.

        Raises:
            DatasetError: One is not finite.
        """
        parts = [np.asarray(episode.rewards) for episode in kept.episodes]
        rewards = np.concatenate(parts, dtype=np.float32, casting="unsafe")
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        wrong = np.flatnonzero(~np.isfinite(rewards[:, 0]))
        if len(wrong):
            episode = int(np.searchsorted(ends, wrong[0], side="right"))
            raise DatasetError(
                f"rewards has {len(wrong)} NaN or infinite values, the first in episode "
                f"{episode}: what came before it has no return. Remove or repair it."
            )
        begins = np.append(0, ends[:-1])
        return cls(rewards, kept.starts, begins + kept.firsts, ends, kept.firsts)

    @property
    def longest(self) -> int:
        """The most steps from an episode's beginning to a row of it, its own included."""
        return int((np.diff(self.row_starts) + self.first_indices).max())

    @property
    def best_return(self) -> float:
        """The greatest plain sum of an episode's rewards."""
        return float(self._returns[self.first_steps - self.first_indices].max())

    @functools.cached_property
    def returns(self) -> npt.NDArray[np.float32]:
        """(N,) plain sum of the rewards from a row on."""
        rows = np.arange(self.row_starts[-1])
        return self._returns[self.steps(rows)].astype(np.float32)

    @functools.cached_property
    def returns_after(self) -> npt.NDArray[np.float32]:
        """(N,) plain sum of the rewards that follow a row, without its own."""
        steps = self.steps(np.arange(self.row_starts[-1]))
        after: npt.NDArray[np.float64] = self._returns[steps] - self.rewards[steps, 0]
        return after.astype(np.float32)

    def steps(self, rows: Indices) -> Indices:
        """Returns which steps (B,) rows are."""
        episodes = self._episodes[rows]
        steps: Indices = rows - self.row_starts[episodes] + self.first_steps[episodes]
        return steps

    def ends(self, rows: Indices) -> Indices:
        """Returns (B,) the steps behind the last ones of the episodes of (B,) rows."""
        ends: Indices = self.step_ends[self._episodes[rows]]
        return ends

    def positions(self, rows: Indices) -> tuple[Indices, Indices, Indices]:
        """Returns where (B,) rows stand in their episodes.

        Returns:
            (B,) rows before each, its timestep from 1 on, and rows behind it.
        """
        episodes = self._episodes[rows]
        before = rows - self.row_starts[episodes]
        times = before + self.first_indices[episodes] + 1
        return before, times, self.row_starts[episodes + 1] - rows - 1

    @functools.cached_property
    def _episodes(self) -> npt.NDArray[np.int32]:
        """(N,) which episode a row is of."""
        counts = np.diff(self.row_starts)
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    @functools.cached_property
    def _returns(self) -> npt.NDArray[np.float64]:
        """(M,) plain sum of the rewards from a step on."""
        sums = np.append(np.cumsum(self.rewards[::-1, 0], dtype=np.float64)[::-1], 0.0)
        lengths = np.diff(self.step_ends, prepend=0)
        returns: npt.NDArray[np.float64] = sums[:-1] - np.repeat(
            sums[self.step_ends], lengths
        )
        return returns
