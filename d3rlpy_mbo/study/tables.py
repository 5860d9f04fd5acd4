"""Tables of a study's datasets, for Markdown and for pages alike."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Optional

from ..runs.pages.parts import Cell, Table
from .intervals import LEAST_SEEDS, interquartile_mean, mean, welch
from .results import Row, Task, normalized

__all__ = ["aggregate_of", "differences_of_returns", "evidence", "scores"]

# What may explain the returns, from the last epoch's metrics, by name. One that begins
# with an underscore follows the imagination's name, which a run with several shows too.
_EVIDENCE = {
    "q_real_mean": "Q, real rows",
    "q_value_mean": "Q, real rows",
    "q_imagined_mean": "Q, imagined rows",
    "imagined_in_wall_share": "imagined in walls",
    "_model_holdout_error": "model's hold-out error",
    "_model_reward_error": "of it, the reward's",
    "_penalty_mean": "penalty",
    "_dropped_share": "dropped",
    "_clipped_share": "clipped",
}


def scores(task: Task, paper: dict[str, float]) -> Table:
    """Returns the returns of each method.

    Args:
        task: At least one finished run.
        paper: The paper's D4RL scores, by method.
    """
    enough = any(len(rows) >= LEAST_SEEDS for rows in task.methods.values())
    head = ["method", "seeds", "return"]
    head += ["interquartile mean [95 %]"] if enough else []
    head += ["score"] if task.scores else []
    head += ["D4RL score"] if task.d4rl_scores else []
    head += ["paper's D4RL score"] if paper else []
    head += ["last evaluation", "final episodes", "per seed"]
    table, places = [], _places(task)
    for method, rows in task.methods.items():
        values = [row.score for row in rows]
        cells = [Cell(method), Cell(str(len(rows)), len(rows)), _spread(values, places)]
        if enough:
            cells.append(_interval(values, interquartile_mean, places))
        for references in (task.scores, task.d4rl_scores):
            if references:
                cells.append(_spread(normalized(values, references) or []))
        if paper:
            its = paper.get(method)
            cells.append(Cell("-" if its is None else f"{its:.1f}", its))
        finals = [row.final_return for row in rows if row.final_return is not None]
        cells += [_spread([row.returns[-1] for row in rows], places)]
        cells += [_spread(finals, places)]
        table.append([*cells, _each(values, places)])
    return Table("Returns", head, table)


def differences_of_returns(
    task: Task, pairs: Sequence[Sequence[str]]
) -> Optional[Table]:
    """Returns differences of methods in pairs of the same seed; None without a pair."""
    table, places = [], _places(task)
    for first, second in pairs:
        ours = {row.seed: row.score for row in task.methods.get(first, [])}
        theirs = {row.seed: row.score for row in task.methods.get(second, [])}
        values = [ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs]
        if values:
            table.append(
                [
                    Cell(f"{first} - {second}"),
                    Cell(str(len(values)), len(values)),
                    _spread(values, places),
                    _interval(values, mean, places),
                    _welch(list(ours.values()), list(theirs.values()), places),
                    _each(values, places, "+"),
                ]
            )
    head = ["difference of returns", "seeds", "mean", "mean [95 %]"]
    head += ["Welch's [95 %]", "per seed"]
    return Table("Differences in pairs of one seed", head, table) if table else None


def evidence(task: Task) -> Optional[Table]:
    """Returns what the last epochs measured, means over seeds; None if nothing did."""
    split = _of_several(task)
    # By the title, and the imagination's name where a run has several.
    columns: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method, rows in task.methods.items():
        for row in rows:
            metrics = _last_metrics(row)
            for name, kind in _kinds(metrics).items():
                title, value = _EVIDENCE[kind], metrics[name]
                whose = name.removesuffix(kind) if kind in split else ""
                found = columns.setdefault((title, whose), {}).setdefault(method, [])
                found.append(math.nan if value is None else value)
    order = [*dict.fromkeys(_EVIDENCE.values())]
    shown = [
        column
        for column in sorted(columns, key=lambda each: order.index(each[0]))
        if any(map(math.isfinite, itertools.chain(*columns[column].values())))
    ]
    table = [
        [Cell(method), *(_mean(columns[column].get(method, [])) for column in shown)]
        for method in task.methods
    ]
    if not shown:
        return None
    head = [f"{title}, {whose}" if whose else title for title, whose in shown]
    return Table("What may explain the returns", ["at the end", *head], table)


def _of_several(task: Task) -> set[str]:
    """Returns the entries of `_EVIDENCE` that several imaginations of a run measured."""
    rows = (row for rows in task.methods.values() for row in rows)
    counts = (Counter(_kinds(_last_metrics(row)).values()) for row in rows)
    return {kind for count in counts for kind, n in count.items() if n > 1}


def _kinds(names: Iterable[str]) -> dict[str, str]:
    """Returns the entry of `_EVIDENCE` that each metric is, if it is one."""
    found = {}
    for name in names:
        ends = (end for end in _EVIDENCE if end[0] == "_" and name.endswith(end))
        kind = name if name in _EVIDENCE else next(ends, None)
        if kind is not None:
            found[name] = kind
    return found


def _last_metrics(row: Row) -> dict[str, Optional[float]]:
    """Returns the numbers of the last epoch; without an epoch there are none."""
    last: dict[str, Optional[float]] = (row.content["metrics"] or [{}])[-1]
    return last


def aggregate_of(tasks: Sequence[Task]) -> Optional[Table]:
    """Returns all datasets together, for methods with enough seeds on each."""
    table = []
    for method in dict.fromkeys(name for task in tasks for name in task.methods):
        rows: list[list[Row]] = [task.methods.get(method, []) for task in tasks]
        found = [
            normalized([row.score for row in some], task.scores)
            for some, task in zip(rows, tasks, strict=True)
        ]
        complete = [each for each in found if each]
        least = min(map(len, rows))
        if len(complete) == len(found) and least >= LEAST_SEEDS:
            by_seed = [list(seeds) for seeds in zip(*complete, strict=False)]
            shown = _within(interquartile_mean(by_seed), 1)
            table.append([Cell(method), Cell(str(least), least), shown])
    head = ["all datasets", "seeds", "interquartile mean of scores [95 %]"]
    return Table("All datasets together", head, table) if table else None


def _places(task: Task) -> int:
    """Returns decimal places for returns: more where they are shares, such as survival.

    0 where they are so large that they are grouped by thousands, such as HIV's.
    """
    scores = [row.score for rows in task.methods.values() for row in rows]
    largest = max(map(abs, filter(math.isfinite, scores)), default=0.0)
    return 4 if largest <= 1 else 1 if largest < 100_000 else 0


def _text(value: float, places: int, sign: str = "") -> str:
    if not math.isfinite(value):
        return "not finite"
    grouped = "" if places else ","
    return f"{value:{sign}{grouped}.{places}f}"


def _each(values: list[float], places: int, sign: str = "") -> Cell:
    apart = ", " if places else "; "
    return Cell(apart.join(_text(value, places, sign) for value in values))


def _not_finite(values: list[float]) -> Optional[Cell]:
    """Returns how many seeds have no finite number; None if all have one.

    A mean of the others would be better than what the method did: runs that diverge are
    the worst ones.
    """
    n_missing = len(values) - sum(map(math.isfinite, values))
    if not n_missing:
        return None
    return Cell(f"not finite in {n_missing} of {len(values)}")


def _spread(values: list[float], places: int = 1) -> Cell:
    if not values:
        return Cell("-")
    missing = _not_finite(values)
    if missing:
        return missing
    if len(values) == 1:
        return Cell(_text(values[0], places), values[0])
    center, deviation = statistics.mean(values), statistics.stdev(values)
    return Cell(f"{_text(center, places)} ± {_text(deviation, places)}", center)


def _interval(
    values: list[float],
    estimate: Callable[[list[list[float]]], tuple[float, float, float]],
    places: int,
) -> Cell:
    if len(values) < LEAST_SEEDS:
        return Cell("-")
    missing = _not_finite(values)
    if missing:
        return missing
    return _within(estimate([[value] for value in values]), places)


def _within(found: tuple[float, float, float], places: int) -> Cell:
    if not math.isfinite(found[0]):
        return Cell("not finite")
    point, low, high = (_text(value, places) for value in found)
    return Cell(f"{point} [{low}, {high}]", found[0])


def _welch(first: list[float], second: list[float], places: int) -> Cell:
    """Returns the difference of all seeds' means, pairs or not, by Welch's interval."""
    if min(len(first), len(second)) < LEAST_SEEDS:
        return Cell("-")
    return _within(welch(first, second), places)


def _mean(values: list[float]) -> Cell:
    """Returns the mean; a dash where nothing was measured, a number that is none too."""
    if not any(map(math.isfinite, values)):
        return Cell("-")
    missing = _not_finite(values)
    if missing:
        return missing
    return Cell(f"{statistics.mean(values):.3g}", statistics.mean(values))
