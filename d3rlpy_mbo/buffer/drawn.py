"""Which rows a batch holds, and the rewards that follow each: returns-to-go, lazily."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional, Protocol

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import Transition

from ..data.real_data import RealData
from ..support.errors import CompositionError
from .ring import Ring

__all__ = ["DrawnRows", "DrawnTransitions", "ImaginedRows", "RealRows"]

Rewards = npt.NDArray[np.float32]

# The return-to-go of a row that leads to no real state: Cal-QL takes the larger of it
# and a Q-value, so there it does nothing.
_UNKNOWN = np.full((1, 1), -np.inf, dtype=np.float32)


class DrawnRows(Protocol):
    """Rows of one origin in a batch."""

    @property
    def returns_known(self) -> bool:
        """Whether it is known which rewards follow them."""

    def __len__(self) -> int: ...

    def rewards_to_go(self) -> Iterator[Rewards]:
        """Yields (L, 1) for each row: its reward and those that follow it."""


class RealRows:
    """Rows of the real data.

    Args:
        real: The data.
        rows: (n,) indices.
    """

    returns_known = True

    def __init__(self, real: RealData, rows: npt.NDArray[np.int64]):
        self._real, self._rows = real, rows

    def __len__(self) -> int:
        return len(self._rows)

    def rewards_to_go(self) -> Iterator[Rewards]:
        """Yields views of the rewards of the rows' episodes."""
        real = self._real.rewards
        steps, ends = real.steps(self._rows), real.ends(self._rows)
        for step, end in zip(_listed(steps), _listed(ends), strict=True):
            yield real.rewards[step:end]


class ImaginedRows:
    """Rows of one imagination.

    Args:
        ring: Where they lie.
        places: (n,) of them in it.
        real: What its rollouts start from.
        leads_to_real: Whether its rollouts end in real states: the reverse ones.
        validate_rewards: Called where rewards that follow a row are asked for and known.
    """

    def __init__(
        self,
        ring: Ring,
        places: npt.NDArray[np.int64],
        real: RealData,
        leads_to_real: bool,
        validate_rewards: Callable[[], None],
    ):
        self._validate_rewards = validate_rewards
        self._ring, self._places, self._real = ring, places, real
        self._version = ring.version
        self.returns_known = leads_to_real

    def __len__(self) -> int:
        return len(self._places)

    @property
    def intervals(self) -> Optional[npt.NDArray[np.float32]]:
        """(n,) steps in each row; None if all have one."""
        return self._ring.intervals(self._places)

    def rewards_to_go(self) -> Iterator[Rewards]:
        """Yields the rewards imagined on the way to a real state, then those from there.

        Nothing follows a terminal. Where no real state is reached it is [[-inf]].

        Raises:
            CompositionError: The rows were replaced since, or a penalty is subtracted
                when they are drawn, and so is not in the rewards that follow.
        """
        if not self.returns_known:
            yield from itertools.repeat(_UNKNOWN, len(self))
        elif len(self):
            yield from self._rewards_to_real()

    def _rewards_to_real(self) -> Iterator[Rewards]:
        self._validate_rewards()
        if self._ring.version != self._version:
            raise CompositionError(
                "The rows of this batch have been imagined anew since, so the rewards that "
                "follow them are gone. Ask a batch for them before the next one is drawn."
            )
        starts, distances = self._ring.origins(self._places).T
        rest = self._ring.rest(self._places, distances, self._real.layout)
        real = self._real.rewards
        ends = real.ends(starts)
        # The real row is the one that leads to the state: what counts is behind it.
        steps = np.where(rest.ended, ends, real.steps(starts) + 1)
        counts = map(_listed, (rest.n_rows, steps, ends))
        for row, n, step, end in zip(rest.rewards[..., None], *counts, strict=True):
            yield np.concatenate([row[:n], real.rewards[step:end]])


class DrawnTransitions(Sequence[Transition]):
    """A batch's transitions, made when asked for: of d3rlpy's learners only Cal-QL does.

    Args:
        columns: Of the batch, (B, size) each, by name; intervals too.
        parts: The rows, in the batch's order.
        validate_unknown: Called where returns-to-go are asked for that are not known.
    """

    def __init__(
        self,
        columns: dict[str, npt.NDArray[np.float32]],
        parts: Sequence[DrawnRows],
        validate_unknown: Callable[[], None],
    ):
        self._columns, self._parts = columns, parts
        self._validate_unknown = validate_unknown

    def __len__(self) -> int:
        return len(self._columns["rewards"])

    def __iter__(self) -> Iterator[Transition]:
        if any(len(part) and not part.returns_known for part in self._parts):
            self._validate_unknown()
        rewards = itertools.chain(*(part.rewards_to_go() for part in self._parts))
        columns = self._columns
        for o, a, r, next_o, next_a, terminal, interval, to_go in zip(
            columns["observations"],
            columns["actions"],
            columns["rewards"],
            columns["next_observations"],
            columns["next_actions"],
            columns["terminals"][:, 0].tolist(),
            columns["intervals"][:, 0].astype(int).tolist(),
            rewards,
            strict=True,
        ):
            yield Transition(o, a, r, next_o, next_a, terminal, interval, to_go)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def _listed(values: npt.NDArray[np.int64]) -> list[int]:
    """Returns them as Python's own: slices by those are faster."""
    listed: list[int] = values.tolist()
    return listed
