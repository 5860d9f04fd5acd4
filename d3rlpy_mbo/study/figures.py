"""Learning curves of a study."""

from typing import BinaryIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .results import Task

__all__ = ["draw_curves"]


def draw_curves(task: Task, n_last: int, file: BinaryIO) -> None:
    """Draws the mean return of each method, and the range over its seeds.

    There is none where a seed's return is not finite, and the legend says how many are.

    Args:
        task: The dataset and its runs.
        n_last: Evaluations that count for the score; they are shaded.
        file: Gets a PNG.
    """
    # Not by pyplot, whose backend is the caller's: a file, whatever screen there is.
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    last_steps: list[int] = []
    for i, (method, rows) in enumerate(task.methods.items()):
        steps = rows[0].steps
        last_steps = max(last_steps, steps[-n_last:])
        returns = np.array([row.returns for row in rows])
        seeds = "1 seed" if len(rows) == 1 else f"{len(rows)} seeds"
        n_gaps = sum(row.has_gaps for row in rows)
        if n_gaps:
            seeds += f", {n_gaps} with gaps: not finite"
        color = f"C{i}"
        axes.plot(
            steps,
            returns.mean(axis=0),
            color=color,
            marker="o",
            markersize=3,
            label=f"{method} ({seeds})",
        )
        axes.fill_between(
            steps,
            returns.min(axis=0),
            returns.max(axis=0),
            color=color,
            alpha=0.15,
            linewidth=0,
        )
    axes.axvspan(last_steps[0], last_steps[-1], color="0.94", zorder=0)
    several = any(len(rows) > 1 for rows in task.methods.values())
    what = "mean and range over seeds" if several else "one seed"
    axes.set_title(
        f"{task.dataset}\n{what}; shaded: the {len(last_steps)} evaluations that count",
        fontsize=10,
    )
    axes.set_xlabel("gradient steps")
    axes.set_ylabel("return of an evaluation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlim(left=0)
    axes.set_axisbelow(True)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if task.scores is not None:
        low, high = task.scores
        scale = axes.secondary_yaxis(
            "right",
            functions=(
                lambda values: 100 * (np.asarray(values, float) - low) / (high - low),
                lambda scores: low + np.asarray(scores, float) * (high - low) / 100,
            ),
        )
        scale.set_ylabel("normalised score")
    _legend(figure, len(task.methods))
    figure.savefig(file, format="png", dpi=130)


def _legend(figure: Figure, n_methods: int) -> None:
    """Puts the legend below, with as many columns as its names leave room for."""
    for n_columns in range(min(n_methods, 4), 0, -1):
        legend = figure.legend(loc="outside lower center", ncols=n_columns)
        if n_columns == 1 or legend.get_window_extent().width < figure.bbox.width:
            return
        legend.remove()
