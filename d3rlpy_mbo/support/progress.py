"""How far something long is: a bar on a terminal, lines where there is none."""

import contextlib
import contextvars
import math
from collections.abc import Iterable, Iterator
from time import monotonic
from types import TracebackType
from typing import Any, Optional, TypeVar

from d3rlpy.logging import LOG
from tqdm.auto import tqdm

__all__ = ["Progress", "duration", "progress_shown", "tracked"]

# Seconds between two lines; what surely takes no longer is not announced (ours).
_INTERVAL = 30.0

# Steps after which it is known how long one takes (ours).
_STEPS_TIMED = 100

_shown: contextvars.ContextVar[bool] = contextvars.ContextVar("_shown", default=True)

T = TypeVar("T")


@contextlib.contextmanager
def progress_shown(shown: bool) -> Iterator[None]:
    """Says whether what runs inside shows its progress; False is never overruled.

    A context instead of an argument: components of others are fitted inside, and their
    `fit` takes transitions alone.
    """
    token = _shown.set(shown and _shown.get())
    try:
        yield
    finally:
        _shown.reset(token)


class Progress:
    """Shows a loop's progress, its speed, and how long it takes at most.

    On a terminal and in a notebook as a bar. Elsewhere as lines, at most every 30
    seconds and one at the end, written by d3rlpy's logger: its users look there
    already, and Python's own hides such lines unless it is configured.

    Once, after the first epoch or else 100 steps, but after 30 seconds at the latest, it
    says how long the loop takes at most, unless that is no more than 30 seconds.

    Args:
        description: What is done.
        total: Steps at most; None if that is not known.
        unit: What steps are, in the plural.
        initial: Steps taken before.
        steps_per_epoch: Steps of an epoch; required without a total.
        ends: Without a total, the sentence that says when it ends instead.
    """

    def __init__(
        self,
        description: str,
        *,
        total: Optional[int],
        unit: str = "steps",
        initial: int = 0,
        steps_per_epoch: Optional[int] = None,
        ends: str = "",
    ):
        self._description, self._unit, self._ends = description, unit, ends
        self._total, self._steps_per_epoch = total, steps_per_epoch
        self._quiet = not _shown.get()
        self._bar: Any = tqdm(
            desc=description,
            total=total,
            initial=initial,
            unit=f" {unit}",
            smoothing=0,  # over all steps, as the lines: the last few mislead
            disable=self._quiet or None,
        )
        self._in_lines = not self._quiet and bool(self._bar.disable)
        self._initial, self._steps, self._rows = initial, initial, 0
        self._numbers: dict[str, Any] = {}
        self._least_left: Optional[int] = None
        self._announced = False
        self._started = self._written = monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._bar.close()
        if self._in_lines and kind is None:
            seconds = monotonic() - self._started
            LOG.info(f"{self._description}: done", **self._state(seconds))

    def advance(self, steps: int = 1, rows: int = 0) -> None:
        """Notes that steps were taken, and on how many rows."""
        self._steps += steps
        self._rows += rows
        if self._quiet:
            return
        self._bar.update(steps)
        now = monotonic()
        seconds = now - self._started
        if not self._announced and (
            self._steps - self._initial >= (self._steps_per_epoch or _STEPS_TIMED)
            or seconds >= _INTERVAL
        ):
            self._announced = True
            self._announce(seconds / (self._steps - self._initial))
        if self._in_lines and now - self._written >= _INTERVAL:
            self._written = now
            state = self._state(seconds)
            LOG.info(self._description, **state, left=self._left(seconds))

    def note(self, *, least_left: Optional[int] = None, **numbers: float) -> None:
        """Notes numbers to be shown beside the bar, or in the next line.

        Args:
            least_left: Steps that will follow at least, where no total is known.
            **numbers: By name, such as ``epoch`` and ``holdout_error``.
        """
        self._least_left = least_left
        self._numbers = {
            name: value if isinstance(value, int) else float(f"{value:.4g}")
            for name, value in numbers.items()
        }
        if not self._bar.disable:
            seconds = monotonic() - self._started
            shown = {**self._numbers, **self._speed(seconds)}
            if self._total is None:
                shown["left"] = self._left(seconds)
            self._bar.set_postfix(shown)

    def say(self, text: str) -> None:
        """Says something at once, above the bar if there is one."""
        if self._in_lines:
            LOG.info(text)
        elif not self._quiet:
            self._bar.write(text)

    def _announce(self, pace: float) -> None:
        """Says how long it takes, given the seconds of a step."""
        if self._total is None:
            assert self._steps_per_epoch is not None
            epoch = duration(pace * self._steps_per_epoch)
            self.say(f"{self._description} takes about {epoch} per epoch. {self._ends}")
        elif pace * (self._total - self._initial) > _INTERVAL:
            longest = duration(pace * (self._total - self._initial))
            self.say(
                f"{self._description} takes at most about {longest} at this pace "
                f"({self._total:,} {self._unit})."
            )

    def _state(self, seconds: float) -> dict[str, Any]:
        steps = f"{self._steps:,}"
        if self._total is not None:
            steps += f" of {self._total:,}"
        return {
            self._unit: steps,
            **self._numbers,
            **self._speed(seconds),
            "elapsed": duration(seconds),
        }

    def _speed(self, seconds: float) -> dict[str, str]:
        if not self._rows or seconds <= 0:
            return {}
        return {"rows_per_second": f"{self._rows / seconds:,.0f}"}

    def _left(self, seconds: float) -> str:
        done = self._steps - self._initial
        if not done:
            return "unknown"
        pace = seconds / done
        if self._total is not None:
            return f"at most {duration(pace * (self._total - self._steps))}"
        if self._least_left is None:
            return "unknown"
        return f"at least {duration(pace * self._least_left)}"


def tracked(items: Iterable[T], description: str, total: int, unit: str) -> Iterator[T]:
    """Yields the items of a loop whose progress is shown."""
    with Progress(description, total=total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()


def duration(seconds: float) -> str:
    """Returns seconds in words that one reads at a glance: "2 h 05 min"."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"
