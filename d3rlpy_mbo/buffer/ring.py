"""A fixed-size store of packed rows on the host."""

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Ring"]


class Ring:
    """The rows of the last refreshes, in memory that is allocated once.

    Args:
        capacity: Rows at most.
        width: Of a row.
        retained_refreshes: Refreshes at most; older ones are forgotten whole.
    """

    def __init__(self, capacity: int, width: int, retained_refreshes: int):
        # np.empty: the system hands out pages as they are written.
        self._rows = np.empty((capacity, width), dtype=np.float32)
        self._retained = retained_refreshes
        self._sizes: deque[int] = deque()  # rows of each refresh kept, oldest first
        self._start = 0
        self._size = 0
        self.version = 0  # of the rows: another one after each change

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return self._rows.nbytes

    def begin_refresh(self) -> None:
        """Starts a refresh; forgets the oldest if as many as allowed are kept."""
        if len(self._sizes) == self._retained:
            forgotten = self._sizes.popleft()
            self._start = (self._start + forgotten) % len(self._rows)
            self._size -= forgotten
        self._sizes.append(0)
        self.version += 1

    def append(self, rows: npt.NDArray[np.float32]) -> None:
        """Adds (B, width) rows to the current refresh."""
        capacity = len(self._rows)
        first = (self._start + self._size) % capacity
        until_end = min(len(rows), capacity - first)
        self._rows[first : first + until_end] = rows[:until_end]
        self._rows[: len(rows) - until_end] = rows[until_end:]
        self._sizes[-1] += len(rows)
        self._size += len(rows)
        self.version += 1

    def sample(self, out: npt.NDArray[np.float32]) -> None:
        """Fills (n, width) with rows drawn uniformly, with replacement."""
        indices = np.random.randint(self._size, size=len(out))
        indices += self._start
        indices %= len(self._rows)
        np.take(self._rows, indices, axis=0, out=out, mode="clip")

    def rows(self) -> npt.NDArray[np.float32]:
        """Returns a copy of all rows, oldest first."""
        indices = (self._start + np.arange(self._size)) % len(self._rows)
        taken: npt.NDArray[np.float32] = self._rows[indices]
        return taken

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns the rows, oldest first, and how many each refresh has."""
        return {
            "rows": torch.from_numpy(self._in_one_piece()),
            "sizes": list(self._sizes),
        }

    def _in_one_piece(self) -> npt.NDArray[np.float32]:
        if self._start + self._size <= len(self._rows):  # no copy
            return self._rows[self._start : self._start + self._size]
        return self.rows()

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned: the same rows in the same order."""
        rows = state["rows"].numpy()
        self._start, self._size = 0, len(rows)
        self._rows[: len(rows)] = rows
        self._sizes = deque(state["sizes"])
        self.version += 1
