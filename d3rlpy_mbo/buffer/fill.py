"""How much an imagination puts into its store: what data justifies, memory holds."""

import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import Any

from ..data.real_data import RealData
from ..imagination.imagination import Imagination, ImaginationConfig
from ..learners.reading import is_transformer
from ..support.errors import CompositionError
from ..support.memory import memory_allowed
from .drawn_penalties import spares_rows
from .lead_ins import LeadIns
from .ring import Ring

__all__ = ["Fill", "validate_fills"]

# Rollouts per real row that a default may have (ours: ROMI's 800,000 come to 8 on the
# smallest dataset of its paper, walker2d-medium-replay's 100,930 rows) ...
_ROLLOUTS_PER_ROW = 10

# ... and those that it may have on the smallest data: the core's own default.
_FEW_ROLLOUTS = 50_000

# Share of the memory beyond which a store must be asked for.
_SHARE = 0.25

_KNOBS = ("rollout_batch_size", "rollout_length", "retained_refreshes")


@dataclasses.dataclass(frozen=True)
class Fill:
    """The rollouts of a refresh, and the store that they need.

    Args:
        config: The imagination's.
        real: What it starts from.
        spares: Whether the store remembers which rows no penalty is subtracted from.
        leads_in: Whether trajectories are drawn, which need `LeadIns` beside the rows.
    """

    config: ImaginationConfig
    real: RealData
    spares: bool = False
    leads_in: bool = False

    @classmethod
    def of(cls, imagination: Imagination, real: RealData, learner: Any) -> "Fill":
        """Returns that of an imagination, fitted or not, for a learner or None."""
        spares, leads_in = spares_rows(imagination), is_transformer(learner)
        return cls(imagination.config, real, spares, leads_in)

    @functools.cached_property
    def n_rollouts(self) -> int:
        """Rollouts of a refresh: as the config says, but for a default that is too large.

        A rollout_batch_size that is its class's default is at most 10 for each real row
        that rollouts may start from, or 50,000; any other is used as it is.
        """
        given = self.config.rollout_batch_size
        if not self._is_default("rollout_batch_size"):
            return given
        n_starts = len(self.real.start_rows(self.config.dynamics.direction))
        return min(given, max(_ROLLOUTS_PER_ROW * n_starts, _FEW_ROLLOUTS))

    @property
    def n_rows(self) -> int:
        """Rows of a refresh at most."""
        return self.config.rollout_length * self.n_rollouts

    @property
    def capacity(self) -> int:
        """Rows that the store holds."""
        return self.config.retained_refreshes * self.n_rows

    @property
    def nbytes(self) -> int:
        """Bytes of the store, with what is known of its rows beside it."""
        folded = self.config.steps_per_row > 1
        width = self.real.layout.width
        rows = Ring.bytes_of(self.capacity, width, folded, self.spares)
        return rows + self.leads_in * LeadIns.bytes_of(self.capacity)

    @property
    def description(self) -> str:
        """What will be imagined, in a sentence or two."""
        text = (
            f"{self.config.get_type()!r} imagines at most {self.n_rows:,} rows from "
            f"{self.n_rollouts:,} rollouts, into a store of {_size(self.nbytes)}."
        )
        default = self.config.rollout_batch_size
        if self.n_rollouts < default:
            text += (
                f" Its default of {default:,} rollouts is meant for more data: on "
                f"{len(self.real):,} rows it is lowered. Any other rollout_batch_size "
                "is used as it is."
            )
        return text

    def validate(self) -> None:
        """Refuses a store that memory does not hold; warns of a large one.

        Raises:
            CompositionError: It needs more than there is, or more than a quarter and
                nobody asked for it: every knob stands at its default.
        """
        memory = memory_allowed()
        if memory is None or self.nbytes <= _SHARE * memory:
            return
        values = {name: getattr(self.config, name) for name in _KNOBS}
        values["rollout_batch_size"] = self.n_rollouts
        product = " * ".join(f"{name} {value:,}" for name, value in values.items())
        text = (
            f"The imagination {self.config.get_type()!r} would need a store of "
            f"{_size(self.nbytes)} ({product} rows), and this machine has "
            f"{_size(memory)} of memory for this process"
        )
        asked_for = not all(map(self._is_default, _KNOBS))
        if self.nbytes > memory or not asked_for:
            expected = "less than that" if asked_for else "a quarter of that at most"
            raise CompositionError(
                f"{text}: expected {expected}. Lower rollout_batch_size or "
                "retained_refreshes."
            )
        # At one place, so that Python shows it once, however often it is validated.
        warnings.warn(
            f"{text}: more than a quarter. If that is too much, lower "
            "rollout_batch_size or retained_refreshes.",
            stacklevel=1,
        )

    def _is_default(self, name: str) -> bool:
        fields = {field.name: field for field in dataclasses.fields(self.config)}
        return bool(getattr(self.config, name) == fields[name].default)


def validate_fills(fills: Sequence[Fill]) -> None:
    """Refuses stores that memory does not hold, one alone or all of a run together.

    Raises:
        CompositionError: See `Fill.validate`; or their sum is more than there is.
    """
    for each in fills:
        each.validate()
    memory, total = memory_allowed(), sum(each.nbytes for each in fills)
    if memory is not None and total > memory:
        sizes = [f"{each.config.get_type()!r} {_size(each.nbytes)}" for each in fills]
        raise CompositionError(
            f"{len(fills)} imaginations would need stores of {_size(total)} "
            f"({', '.join(sizes)}), and this machine has {_size(memory)} of memory for "
            "this process: expected less than that. Lower rollout_batch_size or "
            "retained_refreshes."
        )


def _size(n_bytes: int) -> str:
    if n_bytes < 1e9:
        return f"{n_bytes / 1e6:,.3g} MB"
    return f"{n_bytes / 1e9:,.3g} GB"
