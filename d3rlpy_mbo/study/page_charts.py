"""Charts of a dataset's runs, over gradient steps."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from ..runs.pages.charts import Point, curves
from ..runs.pages.parts import Chart
from .results import Row

__all__ = ["learning_curves", "metric_charts"]

# Of each chart: what it is called, its axis, and its metrics by name, each with the
# words for its kind of line. A name that begins with an underscore follows the
# imagination's.
_CHARTS: list[tuple[str, str, dict[str, str]]] = [
    (
        "What the learner believes",
        "mean Q",
        {"q_real_mean": "real rows", "q_imagined_mean": "imagined rows"},
    ),
    (
        "The model on its hold-out rows",
        "error",
        {"_model_holdout_error": "all columns", "_model_reward_error": "reward"},
    ),
    (
        "Imagined rewards against real ones",
        "mean reward",
        {"real_reward_mean": "real", "_reward_mean": "imagined"},
    ),
    ("Penalty on imagined rows", "mean penalty", {"_penalty_mean": ""}),
    (
        "Imagined rows inside walls",
        "share",
        {"imagined_in_wall_share": ""},
    ),
    (
        "Imagined rows dropped, actions clipped",
        "share",
        {"_dropped_share": "dropped", "_clipped_share": "clipped"},
    ),
]

# What a reader must know of one.
_CAPTIONS = {
    "Imagined rewards against real ones": (
        " Imagined ones as they are kept: with what a halt pays, after a penalty that is "
        "subtracted when they are imagined, before one that is subtracted when they are "
        "drawn."
    )
}

_WHOLE = {name for *_, metrics in _CHARTS for name in metrics if name[0] != "_"}

_Series = list[tuple[int, float]]
_Read = Callable[[Row], _Series]


def learning_curves(
    finished: dict[str, list[Row]],
    begun: dict[str, list[Row]],
    title: str,
    most: int,
) -> Optional[Chart]:
    """Draws returns: of finished runs the mean, and the range over seeds.

    Args:
        finished: By method.
        begun: Runs that are not finished, a line each.
        title: Of the chart.
        most: Points of a line at most.

    Returns:
        None if nothing was evaluated.
    """

    def returns(row: Row) -> _Series:
        return list(zip(row.steps, row.returns, strict=True))

    points = [*_means(finished, returns, "finished", most)]
    points += _lines(begun, returns, "not finished", most)
    order = [*finished, *begun]
    several = any(len(rows) > 1 for rows in finished.values())
    caption = "Mean and range over seeds." if several else ""
    if begun:
        caption += " Dashed: runs that are not finished, each by itself."
    n_gaps = sum(row.has_gaps for rows in finished.values() for row in rows)
    if n_gaps:
        caption += (
            f" In {n_gaps} of the finished runs returns are not finite: where one "
        )
        caption += "seed's is not, its method has neither mean nor range."
    if not any(math.isfinite(point.y) for point in points):
        return None
    return curves(
        title,
        points,
        "gradient steps",
        "return of an evaluation",
        caption.strip(),
        order=order,
    )


def metric_charts(
    finished: dict[str, list[Row]], begun: dict[str, list[Row]], most: int
) -> Iterator[Chart]:
    """Yields what was logged besides returns, a chart for each kind of number.

    Args: See `learning_curves`.
    """
    order = [*finished, *begun]
    for title, axis, metrics in _CHARTS:
        points: list[Point] = []
        for name, style in _of_each(metrics, finished, begun).items():
            points += _means(finished, _reader(name), style, most)
            points += _lines(begun, _reader(name), style, most)
        if any(math.isfinite(point.y) for point in points):
            caption = (
                "Means over seeds, and their range, where every seed has a number."
                + _CAPTIONS.get(title, "")
            )
            yield curves(title, points, "gradient steps", axis, caption, order=order)


def _of_each(metrics: dict[str, str], *groups: dict[str, list[Row]]) -> dict[str, str]:
    """Returns metrics of the imaginations that there are, if a run has several."""
    runs = [
        row.metric_names for group in groups for rows in group.values() for row in rows
    ]
    found: dict[str, str] = {}
    for name, style in metrics.items():
        each = [{n for n in names if _follows(n, name)} for names in runs]
        if max(map(len, each), default=0) <= 1:
            found[name] = style
            continue
        for its in sorted(set().union(*each)):
            found[its] = ", ".join(filter(None, (style, its.removesuffix(name))))
    return found


def _follows(name: str, end: str) -> bool:
    """Whether a metric is an imagination's, by the end of its name."""
    return end.startswith("_") and name.endswith(end) and name not in _WHOLE


def _reader(name: str) -> _Read:
    def read(row: Row) -> _Series:
        found: _Series = []
        its = name
        if name.startswith("_"):  # once for all epochs: there may be a thousand
            its = next((each for each in row.metric_names if _follows(each, name)), "")
        for step, metrics in zip(_steps(row), row.content["metrics"], strict=False):
            if its in metrics:
                value = metrics[its]
                found.append((step, math.nan if value is None else value))
        return found

    return read


def _steps(row: Row) -> list[int]:
    """Returns after how many steps each epoch's metrics were measured."""
    if "steps" in row.content:
        return list(row.content["steps"])
    if row.steps:
        return row.steps
    fields = row.content["experiment"]
    each = min(fields["n_steps_per_epoch"], fields["n_steps"])
    return [each * (i + 1) for i in range(len(row.content["metrics"]))]


def _means(
    methods: dict[str, list[Row]], read: _Read, style: str, most: int
) -> Iterator[Point]:
    """Yields a line for each method: means over seeds, with their range."""
    for method, rows in methods.items():
        by_step: dict[int, list[float]] = {}
        for row in rows:
            for step, value in read(row):
                by_step.setdefault(step, []).append(value)
        for step in _thinned(sorted(by_step), most):
            values = by_step[step]
            low, high = (min(values), max(values)) if len(rows) > 1 else (None, None)
            mean = statistics.mean(values)
            yield Point(method, step, mean, low, high, style, style)


def _lines(
    methods: dict[str, list[Row]], read: _Read, style: str, most: int
) -> Iterator[Point]:
    """Yields a line for each run."""
    for method, rows in methods.items():
        for row in rows:
            found = dict(read(row))
            for step in _thinned(sorted(found), most):
                line = f"{style}, seed {row.seed}"
                yield Point(method, step, found[step], line=line, style=style)


def _thinned(steps: Sequence[int], most: int) -> list[int]:
    """Returns at most so many of the steps, evenly spread, the last one among them."""
    if len(steps) <= most:
        return list(steps)
    every = math.ceil(len(steps) / most)
    return list(steps[::-1][::every][::-1])
