"""Imagined steps that lead into real ones: the rests of reverse rollouts."""

import dataclasses

import numpy as np
import numpy.typing as npt

from ..data.real_data import RealData
from .ring import Ring

__all__ = ["LeadIn", "LeadIns"]

Indices = npt.NDArray[np.int64]


class LeadIns:
    """What is known of each row of a ring as a step before real ones.

    It is found once a refresh, so that a batch only looks it up: 32 bytes a row.

    Args:
        ring: The store of reverse rollouts.
        real: What they lead to.
    """

    def __init__(self, ring: Ring, real: RealData):
        self.ring, self._real = ring, real
        self._version = -1
        n_places = ring.shape[0]  # pages are handed out as they are written
        # How many imagined steps are left out, since they would stand before timestep 1;
        # how many remain; how many real ones follow; and the real row that leads to these.
        self._rests = np.empty((n_places, 4), dtype=np.int32)
        # Terminal, return-to-go, timestep, and a mask of 1.
        self.columns = np.empty((n_places, 4), dtype=np.float32)

    @staticmethod
    def bytes_of(capacity: int) -> int:
        """Returns the bytes that this allocates beside a store of so many rows."""
        return (
            4 * capacity * (np.dtype(np.int32).itemsize + np.dtype(np.float32).itemsize)
        )

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self._rests.nbytes + self.columns.nbytes

    def at(self, places: Indices, length: int) -> "LeadIn":
        """Returns those that begin at (B,) places, in trajectories of `length` steps.

        Steps whose timestep would be below 1 are left out; behind a terminal is nothing.
        """
        if self._version != self.ring.version:
            self._find()
        left_out, n_imagined, n_real, starts = self._rests.take(places, axis=0).T
        n_imagined = np.minimum(n_imagined, length)
        n_real = np.minimum(n_real, length - n_imagined)
        return LeadIn(self, places + left_out, n_imagined, n_real, starts + n_real)

    def _find(self) -> None:
        ring, rewards, layout = self.ring, self._real.rewards, self._real.layout
        held = ring.held
        starts, distances = np.ascontiguousarray(ring.origins(held).T)
        terminals = ring.column(layout.terminal) > 0
        n_steps = np.ones(len(ring), dtype=np.int64)
        sums = ring.column(layout.reward).astype(np.float64)
        ended = terminals.copy()
        # From the real state on: what follows a row is its neighbour, one step nearer.
        for distance in range(2, distances.max() + 1):
            rows = np.flatnonzero((distances == distance) & ~terminals)
            n_steps[rows] += n_steps[rows + 1]
            sums[rows] += sums[rows + 1]
            ended[rows] = ended[rows + 1]
        # The start row is the one that leads to the real state, the next one leaves it:
        # where its timestep is t, t steps fit in front.
        _, times, n_real = rewards.positions(starts)
        left_out = np.maximum(distances - times, 0)
        first = np.arange(len(ring)) + left_out
        rests = left_out, n_steps[first], n_real * ~ended[first], starts
        returns = sums + rewards.returns_after[starts] * ~ended
        columns = terminals, returns, times + 1 - distances, 1.0
        for index in range(4):
            self._rests[held, index] = rests[index]
            self.columns[held, index] = columns[index]
        self._version = ring.version


@dataclasses.dataclass(frozen=True)
class LeadIn:
    """Imagined steps before real ones, in B trajectories.

    Attributes:
        source: Where they come from.
        places: (B,) of the first step in the ring; the others follow it there.
        n_imagined: (B,) how many.
        n_real: (B,) real steps behind them.
        last: (B,) the row of the last of these.
    """

    source: LeadIns
    places: Indices
    n_imagined: Indices
    n_real: Indices
    last: Indices

    def write(self, steps: npt.NDArray[np.float32]) -> None:
        """Writes the imagined steps to where they belong, before the real ones.

        Args:
            steps: (B, L, size) contiguous: what a packed row begins with, up to the
                reward, then the columns of a `LeadIns`.
        """
        n_trajectories, length, size = steps.shape
        n_steps = self.n_imagined
        # All steps in one row: a step's number less those of the trajectories before its
        # own is its number there.
        ends = n_steps.cumsum()
        numbers, before = np.arange(ends[-1]), ends - n_steps
        first = np.arange(length, length * (n_trajectories + 1), length)
        first -= self.n_real + n_steps
        places = (self.places - before).repeat(n_steps) + numbers
        where = (first - before).repeat(n_steps) + numbers
        ring, columns = self.source.ring, self.source.columns
        rows = np.empty((len(places), ring.shape[1]), dtype=np.float32)
        ring.take(places, rows)
        written = steps.reshape(n_trajectories * length, size)
        width = size - columns.shape[1]
        written[where, :width] = rows[:, :width]
        written[where, width:] = columns.take(places, axis=0, mode="wrap")
