"""Learning curves, and what goes on in a maze."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # a file, whatever screen there is

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from .results import Task


def draw_curves(task: Task, n_last: int, path: Path) -> None:
    """Draws the mean return of each method, and the range over its seeds.

    Args:
        task: The dataset and its runs.
        n_last: Evaluations that count for the score; they are shaded.
        path: A PNG.
    """
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    last_steps: list[int] = []
    for i, (method, rows) in enumerate(task.methods.items()):
        steps = rows[0].steps
        last_steps = max(last_steps, steps[-n_last:])
        returns = np.array([row.returns for row in rows])
        seeds = "1 seed" if len(rows) == 1 else f"{len(rows)} seeds"
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
                lambda value: 100 * (value - low) / (high - low),
                lambda score: low + score * (high - low) / 100,
            ),
        )
        scale.set_ylabel("normalised score")
    figure.legend(loc="outside lower center", ncols=min(len(task.methods), 4))
    figure.savefig(path, dpi=130)
    plt.close(figure)


@dataclasses.dataclass(frozen=True)
class CaseStudy:
    """What is drawn of one maze.

    Args:
        dataset: Its id.
        walls: (M, 2) centres of unit squares.
        goal: (2,).
        data: (N, 2) positions of some of its rows, in time order.
        behaviors: (episodes, H + 1, 2) positions by method, of its first seed.
        rollouts: Positions (h + 1, 2) of imagined rollouts, by method.
        runs: Of every method and seed: return, discrepancy, share in the goal.
    """

    dataset: str
    walls: npt.NDArray[Any]
    goal: npt.NDArray[Any]
    data: npt.NDArray[np.float32]
    behaviors: dict[str, npt.NDArray[np.float32]]
    rollouts: dict[str, Sequence[npt.NDArray[np.float32]]]
    runs: list[dict[str, Any]]


def draw_case_study(study: CaseStudy, path: Path) -> None:
    """Draws behaviours above, and imagined rollouts and two numbers below.

    Args:
        study: What to draw.
        path: A PNG.
    """
    n_columns = max(1 + len(study.behaviors), 2 + len(study.rollouts))
    figure, grid = plt.subplots(
        2, n_columns, figsize=(3 * n_columns, 6.6), layout="constrained", squeeze=False
    )
    colors = {method: f"C{i}" for i, method in enumerate(study.behaviors)}
    mazes: list[tuple[str, Callable[[Any], None]]] = [
        ("the data", lambda axes: axes.plot(*study.data.T, color="0.45", linewidth=0.5))
    ]
    for method, episodes in study.behaviors.items():
        mazes.append((method, _lines(episodes, colors[method], 1.0)))
    for axes, (title, draw) in zip(grid[0], mazes, strict=False):
        _draw_maze(axes, study, title)
        draw(axes)
    for axes, (method, rollouts) in zip(grid[1], study.rollouts.items(), strict=False):
        _draw_maze(axes, study, f"imagined for {method}")
        _lines(rollouts, colors[method], 0.7)(axes)
    numbers = [
        ("trajectory_discrepancy", "distance to the data\non the way"),
        ("goal_share_after_entry", "share of steps in the goal\nonce entered"),
    ]
    for axes, (name, title) in zip(
        grid[1, len(study.rollouts) :], numbers, strict=False
    ):
        _draw_runs(axes, study, name, title, colors)
    for axes in [
        *grid[0, len(mazes) :],
        *grid[1, len(study.rollouts) + len(numbers) :],
    ]:
        axes.set_axis_off()
    n_episodes = len(next(iter(study.behaviors.values())))
    figure.suptitle(
        f"{study.dataset}: {n_episodes} episodes of each method's first seed above, "
        "rollouts it learned from below",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _lines(paths: Any, color: str, width: float) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        axes.add_collection(
            LineCollection(list(paths), colors=color, linewidths=width, alpha=0.6)
        )

    return draw


def _draw_maze(axes: Any, study: CaseStudy, title: str) -> None:
    for x, y in study.walls:
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color="0.88", zorder=0))
    axes.add_patch(
        Circle(tuple(study.goal), 0.5, fill=False, color="black", linewidth=1, zorder=5)
    )
    low, high = study.walls.min(axis=0), study.walls.max(axis=0)  # half of the outer
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[])
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=10)


def _draw_runs(
    axes: Any, study: CaseStudy, name: str, title: str, colors: dict[str, str]
) -> None:
    """One point a run."""
    for i, (method, color) in enumerate(colors.items()):
        values = [run[name] for run in study.runs if run["method"] == method]
        known = [value for value in values if value is not None]
        axes.plot([i] * len(known), known, "o", color=color, alpha=0.7)
    axes.set_xticks(range(len(colors)), list(colors), fontsize=8)
    axes.tick_params("x", rotation=30)
    plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(colors) - 0.5)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=10)
