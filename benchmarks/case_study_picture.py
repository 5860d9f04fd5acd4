"""What goes on in a maze, as a picture."""

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
