"""What follows a row of real data: the rewards of the rest of its episode."""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

__all__ = ["EpisodeRewards"]


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
    row_starts: npt.NDArray[np.int64]
    first_steps: npt.NDArray[np.int64]
    step_ends: npt.NDArray[np.int64]
    first_indices: npt.NDArray[np.int64]

    def episodes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns (B,) which episode rows are of."""
        return np.searchsorted(self.row_starts, rows, side="right") - 1

    def steps(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Returns (B,) which steps rows are, and (B,) where their episodes end."""
        episodes = self.episodes(rows)
        steps = rows - self.row_starts[episodes] + self.first_steps[episodes]
        return steps, self.step_ends[episodes]

    @functools.cached_property
    def returns_to_go(self) -> npt.NDArray[np.float64]:
        """(M + 1,) plain sum of the rewards from a step on; 0 behind the last step."""
        sums = np.append(np.cumsum(self.rewards[::-1, 0], dtype=np.float64)[::-1], 0.0)
        lengths = np.diff(self.step_ends, prepend=0)
        return np.append(sums[:-1] - np.repeat(sums[self.step_ends], lengths), 0.0)
