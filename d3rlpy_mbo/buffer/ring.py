"""A fixed-size store of packed rows on the host, and of where they come from."""

from collections import deque
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt
import torch

from ..data.packed_rows import PackedLayout

__all__ = ["Places", "Rest", "Ring"]

Places = Union[slice, npt.NDArray[np.int64]]


class Ring:
    """The rows of the last refreshes, in memory that is allocated once.

    Of each row it remembers the real row from which its rollout started, and how many
    steps away that is. Rows of one rollout stay neighbours.

    Args:
        capacity: Rows at most.
        width: Of a row.
        retained_refreshes: Refreshes at most; older ones are forgotten whole.
        folded: Whether rows hold several steps each, of which it remembers the number.
        spares: Whether it remembers of which rows no penalty is subtracted.
    """

    def __init__(
        self,
        capacity: int,
        width: int,
        retained_refreshes: int,
        folded: bool = False,
        spares: bool = False,
    ):
        # np.empty: the system hands out pages as they are written.
        self._rows = np.empty((capacity, width), dtype=np.float32)
        # Whole numbers of their own: float32 ends at 2^24.
        self._origins = np.empty((capacity, 2), dtype=np.int64)
        self._intervals = np.ones(capacity, dtype=np.float32) if folded else None
        self._spared = np.zeros(capacity, dtype=np.bool_) if spares else None
        self._retained = retained_refreshes
        self._sizes: deque[int] = deque()  # rows of each refresh kept, oldest first
        self._start = 0
        self._size = 0
        self.version = 0  # of the rows: another one after each change

    def __len__(self) -> int:
        return self._size

    @property
    def shape(self) -> tuple[int, int]:
        """Rows at most, and their width."""
        return self._rows.shape

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(store.nbytes for store in self._stores.values())

    @staticmethod
    def bytes_of(
        capacity: int, width: int, folded: bool = False, spares: bool = False
    ) -> int:
        """Returns the bytes that a store of this size allocates."""
        rows, origins = np.dtype(np.float32), np.dtype(np.int64)
        width_bytes = (width + folded) * rows.itemsize + spares
        return capacity * (width_bytes + 2 * origins.itemsize)

    def clear(self) -> None:
        """Forgets all rows."""
        self._sizes.clear()
        self._start = self._size = 0
        self.version += 1

    def begin_refresh(self) -> None:
        """Starts a refresh; forgets the oldest if as many as allowed are kept."""
        if len(self._sizes) == self._retained:
            forgotten = self._sizes.popleft()
            self._start = (self._start + forgotten) % len(self._rows)
            self._size -= forgotten
        self._sizes.append(0)
        self.version += 1

    def append(
        self,
        rows: npt.NDArray[np.float32],
        origins: npt.NDArray[np.int64],
        intervals: Optional[npt.NDArray[np.float32]] = None,
        spared: Optional[npt.NDArray[np.bool_]] = None,
    ) -> None:
        """Adds to the current refresh.

        Args:
            rows: (B, width), those of a rollout as neighbours, in time order.
            origins: (B, 2) the real row that a rollout started from, and the steps to it.
            intervals: (B,) steps in each row, of a store of folded ones.
            spared: (B,) whether no penalty is subtracted, of a store that remembers it.
        """
        capacity = len(self._rows)
        first = (self._start + self._size) % capacity
        until_end = min(len(rows), capacity - first)
        stores: list[tuple[Any, Any]] = [(self._rows, rows), (self._origins, origins)]
        if self._intervals is not None:
            stores.append((self._intervals, intervals))
        if self._spared is not None:
            stores.append((self._spared, spared))
        for store, values in stores:
            store[first : first + until_end] = values[:until_end]
            store[: len(rows) - until_end] = values[until_end:]
        self._sizes[-1] += len(rows)
        self._size += len(rows)
        self.version += 1

    def draw(self, n_rows: int) -> npt.NDArray[np.int64]:
        """Returns (n,) places of rows, drawn uniformly with replacement."""
        places = np.random.randint(self._size, size=n_rows)
        places += self._start
        places %= len(self._rows)
        return places

    def take(self, places: npt.NDArray[np.int64], out: npt.NDArray[np.float32]) -> None:
        """Fills (n, width) with the rows at (n,) places; behind the last is the first."""
        np.take(self._rows, places, axis=0, out=out, mode="wrap")

    def rest(
        self,
        places: npt.NDArray[np.int64],
        n_rows: npt.NDArray[np.int64],
        layout: PackedLayout,
    ) -> "Rest":
        """Returns what follows rows in their rollouts, themselves included.

        Args:
            places: (n,) of the rows.
            n_rows: (n,) that belong to each at most: its distance, in reverse rollouts.
            layout: Where the columns lie.
        """
        steps = np.arange(n_rows.max())
        rows = places[:, None] + steps
        rows %= len(self._rows)
        terminals = steps < n_rows[:, None]
        terminals &= self._rows[rows, layout.terminal] > 0
        ended: Any = terminals.any(axis=1)
        n_rows = np.where(ended, terminals.argmax(axis=1) + 1, n_rows)
        return Rest(self._rows[rows, layout.reward], n_rows, ended)

    @property
    def held(self) -> Places:
        """The places of all rows, oldest first."""
        first, last = self._start, self._start + self._size
        if last <= len(self._rows):  # no copy
            return slice(first, last)
        return np.arange(first, last) % len(self._rows)

    def column(self, index: int) -> npt.NDArray[np.float32]:
        """Returns (n,) one number of all rows, oldest first."""
        taken: npt.NDArray[np.float32] = self._rows[self.held, index]
        return taken

    def origins(self, places: Places) -> npt.NDArray[np.int64]:
        """Returns (n, 2): see `append`."""
        taken: npt.NDArray[np.int64] = self._origins[places]
        return taken

    def intervals(
        self, places: npt.NDArray[np.int64]
    ) -> Optional[npt.NDArray[np.float32]]:
        """Returns (n,) steps in the rows at (n,) places; None if all have one."""
        return None if self._intervals is None else self._intervals[places]

    def spared(self, places: npt.NDArray[np.int64]) -> Optional[npt.NDArray[np.bool_]]:
        """Returns (n,) whether nothing is subtracted from the rows at (n,) places.

        None if it does not remember that: no row is spared.
        """
        return None if self._spared is None else self._spared[places]

    def rows(self) -> npt.NDArray[np.float32]:
        """Returns a copy of all rows, oldest first."""
        return np.array(self._rows[self.held])

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns the rows, oldest first, where they come from, and each refresh's size.

        Nothing is copied, the store may fill the memory: where its rows go around its end,
        those from its beginning on are ``"behind"`` the others, by the same names.
        """
        last = self._start + self._size
        around = max(last - len(self._rows), 0)
        state = self._views(slice(self._start, last - around))
        state["sizes"] = list(self._sizes)
        if around:
            state["behind"] = self._views(slice(0, around))
        return state

    def _views(self, some: slice) -> dict[str, Any]:
        return {
            name: torch.from_numpy(store[some]) for name, store in self._stores.items()
        }

    @property
    def _stores(self) -> dict[str, npt.NDArray[Any]]:
        """What is known of each row, by its name in checkpoints."""
        stores: dict[str, Optional[npt.NDArray[Any]]] = {
            "rows": self._rows,
            "origins": self._origins,
            "intervals": self._intervals,
            "spared": self._spared,
        }
        return {name: store for name, store in stores.items() if store is not None}

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned: the same rows in the same order."""
        self._start = self._size = 0
        for part in (state, state.get("behind")):  # older checkpoints are one part
            if part is not None:
                n_rows = len(part["rows"])
                some = slice(self._size, self._size + n_rows)
                for name, store in self._stores.items():
                    store[some] = part[name].numpy()
                self._size += n_rows
        self._sizes = deque(state["sizes"])
        self.version += 1


class Rest(NamedTuple):
    """What follows (n,) rows in their rollouts, themselves included; h rows at most.

    Attributes:
        rewards: (n, h) of these rows; beyond the last of them, whatever lies there.
        n_rows: (n,) how many there are.
        ended: (n,) whether the last one is terminal.
    """

    rewards: npt.NDArray[np.float32]
    n_rows: npt.NDArray[np.int64]
    ended: npt.NDArray[np.bool_]
