"""The demo's picture, in the spirit of figure 3 of Wang et al. 2021."""

from pathlib import Path
from typing import Any

import d3rlpy
import numpy as np
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.tasks.pointmaze import PointMaze

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, RED, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"

DIRECTIONS: tuple[mbo.Direction, ...] = ("reverse", "forward")
N_DRAWN = 80  # rollouts of each direction


def imagine(
    folder: Path, direction: str, starts: mbo.Transitions, n_rollouts: int, length: int
) -> mbo.Transitions:
    """Returns rollouts of a given length from random ones of some transitions."""
    imagination = mbo.load_imagination(folder / f"{direction}.mbo")
    d3rlpy.seed(0)
    return imagination.imagine(starts, n_rollouts, rollout_length=length)


def inside_walls(maze: PointMaze, states: torch.Tensor) -> np.ndarray:
    """Returns (B,) whether the positions of states (B, 4) lie in a wall."""
    positions = states[:, :2].numpy()
    distances = np.abs(positions[:, None] - maze.walls).max(axis=2)
    return np.asarray((distances < 0.5).any(axis=1))


def wall_shares(
    folder: Path, transitions: mbo.Transitions, maze: PointMaze, length: int
) -> dict[str, float]:
    """Returns shares of imagined states that are in walls, by direction."""
    shares: dict[str, float] = {}
    for direction in DIRECTIONS:
        rows = imagine(folder, direction, transitions, 5_000, length)
        is_reverse = direction == "reverse"
        states = rows.observations if is_reverse else rows.next_observations
        shares[direction] = float(inside_walls(maze, states).mean())
    return shares


def draw(
    folder: Path,
    dataset: Any,
    maze: PointMaze,
    length: int,
    paths: list[list[np.ndarray]],
    lines: list[str],
    shares: dict[str, float],
) -> None:
    """Writes romi.png: data, rollouts both ways, and where the policies go.

    Args:
        folder: Holds the models, gets the picture.
        dataset: The walk.
        maze: Its walls, goal and rewards.
        length: ROMI's rollout length; what is drawn is what BCQ trained on.
        paths: Of each method, states (T + 1, 4) of three episodes.
        lines: The table of returns.
        shares: Of imagined states in walls, as `wall_shares` returns them.
    """
    from matplotlib.figure import Figure  # an optional extra, see main

    transitions = mbo.Transitions.from_dataset(dataset)
    chosen = np.random.default_rng(0).choice(len(transitions), N_DRAWN)
    starts = transitions[[int(row) for row in chosen]]
    figure = Figure(figsize=(14, 10.8), layout="constrained")
    panels = figure.subplots(2, 3)
    for axes in panels.flat[:5]:
        draw_maze(axes, maze)

    axes = panels[0, 0]
    for episode in dataset.episodes[:40]:
        axes.plot(*episode.observations[:, :2].T, color="black", lw=0.5, alpha=0.4)
    axes.set_title("Data: walks between random cells\nthat never stay at the goal")
    axes.set_xlabel(f"{min(40, dataset.size())} of {dataset.size()} episodes")

    titles = "lead to real states", "leave real states"
    for axes, direction, title in zip(panels[0, 1:], DIRECTIONS, titles, strict=True):
        draw_rollouts(axes, maze, imagine(folder, direction, starts, N_DRAWN, length))
        real = starts.given_observations(direction)[:, :2].numpy()
        axes.plot(*real.T, "o", color="black", ms=3, zorder=9, label="real state")
        axes.set_title(f"{direction.capitalize()} rollouts\n{title}")
        axes.set_xlabel(
            f"{N_DRAWN} rollouts of {length} steps, as long as those trained on;\n"
            f"imagined states in walls: {shares[direction]:.1%}"
        )

    for axes, title, driven in zip(
        panels[1],
        ("BCQ trained on the data alone", "BCQ trained on data and reverse rollouts"),
        paths,
        strict=False,
    ):
        draw_paths(axes, driven)
        axes.set_title(title)
        returns = [f"{maze.compute_rewards(path[1:]).sum():.0f}" for path in driven]
        axes.set_xlabel(f"three episodes, with returns {', '.join(returns)}")

    axes = panels[1, 2]
    axes.set_axis_off()
    handles = {
        label: handle
        for panel in panels.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    axes.legend(handles.values(), handles.keys(), loc="upper left", fontsize=12)
    text = "\n".join(["One seed: the difference can be noise.", "", *lines])
    axes.text(0.02, 0.3, text, family="monospace", fontsize=10.5)
    figure.savefig(folder / "romi.png", dpi=100, bbox_inches="tight")


def draw_maze(axes: Any, maze: PointMaze) -> None:
    """Draws walls, goal and the circle in which there is a reward."""
    square = 0.5 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    for i, center in enumerate(maze.walls):
        label = "wall" if i == 0 else None
        axes.fill(*(center + square).T, color="#cccccc", lw=0, label=label)
    angles = np.linspace(0, 2 * np.pi, 100)
    circle = maze.goal + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    axes.plot(*circle.T, "--", color=GREEN, lw=2, label="reward 1 inside")
    axes.plot(*maze.goal, "*", color=GREEN, ms=14, label="goal")
    axes.set(aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), xticks=[], yticks=[])


def draw_rollouts(axes: Any, maze: PointMaze, imagined: mbo.Transitions) -> None:
    """Draws every imagined step, and an arrow in the middle of each rollout."""
    in_wall = inside_walls(maze, imagined.observations) | inside_walls(
        maze, imagined.next_observations
    )
    before = imagined.observations[:, :2].numpy()
    after = imagined.next_observations[:, :2].numpy()
    gaps = np.full_like(before, np.nan)
    steps = np.stack([before, after, gaps], axis=1)
    for chosen, color, label in (
        (~in_wall, BLUE, "imagined step"),
        (in_wall, RED, "imagined step inside a wall"),
    ):
        axes.plot(*steps[chosen].reshape(-1, 2).T, color=color, lw=0.9, label=label)
    assert imagined.rollout_ids is not None  # as `imagine` returns them
    ids = imagined.rollout_ids.numpy()
    firsts = np.flatnonzero(np.diff(ids, prepend=-1))
    for middle in (firsts + np.append(firsts[1:], len(ids))) // 2:
        arrow = {
            "arrowstyle": "-|>",
            "mutation_scale": 8,
            "color": RED if in_wall[middle] else BLUE,
        }
        axes.annotate("", after[middle], before[middle], arrowprops=arrow)


def draw_paths(axes: Any, paths: list[np.ndarray]) -> None:
    """Draws episodes with their first and last states."""
    for path, color in zip(paths, (BLUE, ORANGE, PURPLE), strict=True):
        axes.plot(*path[:, :2].T, color=color, lw=1.5)
        axes.plot(*path[0, :2], "o", color=color, mfc="white", mew=2, ms=10)
        axes.plot(*path[-1, :2], "s", color=color, mec="black", ms=10)
    black = {"color": "black", "ls": "", "ms": 10}
    axes.plot([], [], marker="o", mfc="white", mew=2, **black, label="episode starts")
    axes.plot([], [], marker="s", **black, label="episode ends")
