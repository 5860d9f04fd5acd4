"""Alternating rounds of two ways to do the same work, and the row of the table."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Optional

Timed = Callable[[], float]  # does the work once, returns seconds


@dataclasses.dataclass(frozen=True)
class Goal:
    """What must be true: so many times as fast, or at most this share."""

    value: float
    kind: str = "times as fast"  # or "of theirs": of its time, or its memory

    def ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.kind == "times as fast" else ours / theirs

    def met(self, ratio: float) -> bool:
        fast = self.kind == "times as fast"
        return ratio >= self.value if fast else ratio <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.kind == 'times as fast' else '<='} {self.value:g}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. Without rounds it was skipped, and `note` says why."""

    work: str
    against: str
    goal: Goal
    ours: list[float] = dataclasses.field(default_factory=list)
    theirs: list[float] = dataclasses.field(default_factory=list)
    unit: str = "s"
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.theirs, strict=True)
        return [self.goal.ratio(ours, theirs) for ours, theirs in pairs]

    @property
    def ratio(self) -> Optional[float]:
        return statistics.median(self.ratios) if self.ours else None

    def noted(self, note: str) -> "Row":
        return dataclasses.replace(self, note=note)

    def as_dict(self) -> dict[str, object]:
        def summary(values: list[float]) -> Optional[dict[str, float]]:
            if not values:
                return None
            median = statistics.median(values)
            return {"median": median, "min": min(values), "max": max(values)}

        return {
            "work": self.work,
            "against": self.against,
            "goal": f"{self.goal} ({self.goal.kind})",
            "ratio": summary(self.ratios),
            "met": None if self.ratio is None else self.goal.met(self.ratio),
            "ours": summary(self.ours),
            "theirs": summary(self.theirs),
            "unit": self.unit,
            "rounds": len(self.ours),
            "note": self.note,
        }


def timed(work: Callable[[], object], repeat: int = 1) -> Timed:
    """Returns what measures the seconds of one piece of work, over some of them."""

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(repeat):
            work()
        return (time.perf_counter() - started) / repeat

    return measure


def compare(
    work: str,
    against: str,
    goal: Goal,
    ours: Timed,
    theirs: Timed,
    rounds: int,
    warm: bool = True,
    note: str = "",
) -> Row:
    """Measures both, alternately, after one round that does not count."""
    if warm:
        theirs()
        ours()
    row = Row(work, against, goal, note=note)
    for _ in range(rounds):
        row.theirs.append(theirs())
        row.ours.append(ours())
    return row
