"""Which transitions of a dataset are kept, without a Python object for each."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import (
    EpisodeBase,
    FIFOBuffer,
    MixedReplayBuffer,
    ReplayBufferBase,
)

__all__ = ["KeptRows", "kept_rows"]


@dataclasses.dataclass(frozen=True)
class KeptRows:
    """Consecutive transitions of episodes, in the dataset's order.

    Args:
        episodes: P of them.
        firsts: (P,) int64: the index in its episode of the first one.
        counts: (P,) int64: how many there are, at least one.
    """

    episodes: Sequence[EpisodeBase]
    firsts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """(P + 1,) where the rows of each begin; the last entry is their number."""
        return np.append(0, np.cumsum(self.counts))

    def chunks(self, n_rows: int) -> Iterator["KeptRows"]:
        """Yields them in parts of at most so many rows, long episodes cut."""
        first, last = 0, 0
        starts = self.starts
        while first < len(self.counts):
            if self.counts[first] > n_rows:
                yield from self._cut(first, n_rows)
                first += 1
                continue
            last = int(np.searchsorted(starts, starts[first] + n_rows, "right")) - 1
            some = slice(first, last)
            yield KeptRows(self.episodes[some], self.firsts[some], self.counts[some])
            first = last

    def _cut(self, which: int, n_rows: int) -> Iterator["KeptRows"]:
        first, count = int(self.firsts[which]), int(self.counts[which])
        for begin in range(first, first + count, n_rows):
            n_here = min(n_rows, first + count - begin)
            yield KeptRows(
                [self.episodes[which]], np.array([begin]), np.array([n_here])
            )


def kept_rows(dataset: ReplayBufferBase) -> KeptRows:
    """Returns the transitions that a dataset keeps."""
    if isinstance(dataset, MixedReplayBuffer):  # its `buffer` is its first part's
        parts = (dataset.primary_replay_buffer, dataset.secondary_replay_buffer)
        one, two = map(kept_rows, parts)
        return KeptRows(
            [*one.episodes, *two.episodes],
            np.concatenate([one.firsts, two.firsts]),
            np.concatenate([one.counts, two.counts]),
        )
    episodes = list(dataset.episodes)  # its own one grows
    counts = np.fromiter(
        (episode.transition_count for episode in episodes), np.int64, len(episodes)
    )
    if counts.sum() == dataset.transition_count:
        if not counts.all():
            episodes = [each for each, n in zip(episodes, counts, strict=True) if n]
            counts = counts[counts > 0]
        return KeptRows(episodes, np.zeros_like(counts), counts)
    return _one_by_one(dataset)


def _one_by_one(dataset: ReplayBufferBase) -> KeptRows:
    """Asks for each: a FIFO buffer at its limit keeps episodes, but not all their rows."""
    episodes: list[EpisodeBase] = []
    firsts, counts = list[int](), list[int]()
    i = 0
    while i < dataset.transition_count:
        episode, index = dataset.buffer[i]
        n_rows = _rows_in_order(dataset, i, episode, index)
        if episodes and episodes[-1] is episode and index == firsts[-1] + counts[-1]:
            counts[-1] += n_rows
        else:
            episodes.append(episode)
            firsts.append(index)
            counts.append(n_rows)
        i += n_rows
    return KeptRows(
        episodes, np.array(firsts, dtype=np.int64), np.array(counts, dtype=np.int64)
    )


def _rows_in_order(
    dataset: ReplayBufferBase, first: int, episode: EpisodeBase, index: int
) -> int:
    """Returns how many rows from one on are sure to be those that follow in its episode.

    A FIFO buffer is a deque, in which the way to a row grows with its place: asked for
    each, a million rows take seconds, ten million a quarter of an hour. It was filled in
    order, so if the last row of an episode is where it must be, so are those before it.
    """
    if type(dataset.buffer) is not FIFOBuffer:
        return 1
    last = min(first + episode.transition_count - index, dataset.transition_count) - 1
    if last <= first:
        return 1
    its_episode, its_index = dataset.buffer[last]
    in_order = its_episode is episode and its_index == index + last - first
    return last - first + 1 if in_order else 1
