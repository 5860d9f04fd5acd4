"""A small maze, one learner without and with ROMI, one picture: `make demo`.

Collects a walk through PointMaze's U, fits a reverse model (and a forward one, to
look at), trains BCQ on the walk alone and on the walk plus what the reverse model
imagines, prints both returns and draws `demo/romi.png` in the spirit of figure 3 of
Wang et al. 2021. About seven minutes on two cores; everything is left in `demo/`.
"""

import dataclasses
import functools
import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Before d3rlpy, so that gym, which d3rlpy imports, advises nobody to migrate.
import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
import minari
import numpy as np
import structlog
import torch
from d3rlpy_mbo_romi import ROMIConfig

from d3rlpy_mbo.tasks.pointmaze import PointMaze, collect_pointmaze

TASK = "pointmaze-umaze-sparse"
DATASET = "pointmaze/umaze-sparse-v0"
METHODS = ("BCQ", "BCQ + ROMI")

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, RED, GREEN, ORANGE, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes, chosen by the seven minutes they take, not by what comes out."""

    folder: Path = Path(__file__).resolve().parents[1] / "demo"
    seed: int = 0
    n_rows: int = 100_000  # a tenth of D4RL's
    n_reference_episodes: int = 500  # 100 gave 36 to 52 as the score's 0
    # Paper: 7 and 5, without a limit. The error hardly falls after so many steps.
    n_models: int = 5
    n_elites: int = 3
    max_model_steps: int = 4_000
    rollout_length: int = 5  # paper
    rollout_batch_size: int = 80_000  # four imagined rows for a real one, as the paper
    hidden_units: tuple[int, ...] = (256, 256)  # paper: 400, 300; imitator 750, 750
    n_steps: int = 15_000  # five minutes at 20 ms; paper: a million
    n_steps_per_epoch: int = 2_500
    n_trials: int = 40  # one start in seven is at the goal, so returns differ a lot
    n_final_epochs: int = 3  # their mean is reported, never the best one
    # Five steps are 0.15 of a cell here; these many can be seen, and reach the walls.
    drawn_rollout_length: int = 40


def main(settings: Settings) -> None:
    """Runs the demo, two processes of one thread each doing the long parts."""
    needed = ("matplotlib", "gymnasium_robotics", "mujoco")
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(
            f"The demo needs {' and '.join(missing)}. Install what it draws and "
            "simulates with: pip install 'd3rlpy-mbo[mujoco,plot]'"
        )
    silence()
    settings.folder.mkdir(parents=True, exist_ok=True)
    log = settings.folder / "workers.log"
    log.unlink(missing_ok=True)
    with ProcessPoolExecutor(
        max_workers=2,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=prepare_worker,
        initargs=(log,),
    ) as pool:
        run(settings, pool.map)


def silence() -> None:
    """Keeps d3rlpy's log lines, but for its warnings, off the terminal."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )


def prepare_worker(log: Path) -> None:
    """Leaves the second core to the other worker and the terminal to the results."""
    torch.set_num_threads(1)
    silence()
    # Two workers' progress bars would overwrite each other; warnings are kept.
    sys.stderr = log.open("a", buffering=1)


def run(settings: Settings, parallel_map: Callable[..., Iterable[Any]]) -> list[str]:
    """Collects, fits, trains, prints and draws; returns the lines of the table."""
    started = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - started:3.0f} s] {text}", flush=True)

    # The user's own Minari datasets stay as they are.
    os.environ["MINARI_DATASETS_PATH"] = str(settings.folder / "datasets")
    say(f"Collecting {settings.n_rows:,} steps of {TASK} and its reference scores.")
    collect_pointmaze(
        TASK,
        n_steps=settings.n_rows,
        seed=settings.seed,
        dataset_id=DATASET,
        force=True,
        n_reference_episodes=settings.n_reference_episodes,
    )
    say("Fitting a reverse and a forward model side by side (about a minute).")
    list(parallel_map(functools.partial(fit_model, settings), ("reverse", "forward")))
    say(f"Training {METHODS[0]} and {METHODS[1]} side by side (about five minutes).")
    results = list(parallel_map(functools.partial(train, settings), METHODS))

    evaluations = [result["evaluations"] for result in results]
    lines = table(settings, evaluations)
    shares = wall_shares(settings)
    draw(settings, [result["paths"] for result in results], lines, shares)
    print("", *lines, "", *explanation(settings, shares), "", sep="\n")
    summary = {
        "settings": {**dataclasses.asdict(settings), "folder": str(settings.folder)},
        "returns": dict(zip(METHODS, evaluations, strict=True)),
        "imagined_states_inside_walls": shares,
        "table": lines,
        "seconds": time.perf_counter() - started,
    }
    (settings.folder / "result.json").write_text(json.dumps(summary, indent=1))
    say(f"Wrote {settings.folder / 'romi.png'} and result.json beside it.")
    return lines


def fit_model(settings: Settings, direction: str) -> None:
    """Fits ROMI's imagination, or its forward twin, and saves it."""
    d3rlpy.seed(settings.seed)
    dataset, _ = mbo.load_minari(DATASET)
    imagination = ROMIConfig(
        dynamics=mbo.ProbabilisticEnsembleConfig(
            n_models=settings.n_models,
            n_elites=settings.n_elites,
            max_steps=settings.max_model_steps,
        ),
        direction=direction,
        rollout_policy=mbo.UniformPolicyConfig(),  # paper, table 6: mazes
        rollout_length=settings.rollout_length,
        rollout_batch_size=settings.rollout_batch_size,
        real_ratio=0.3,  # paper, table 6: 1 - eta of umaze
    ).create()
    imagination.fit(dataset)
    imagination.save(settings.folder / f"{direction}.mbo")
    error = imagination.metrics["model_holdout_error"]
    print(f"  {direction} model: hold-out error {error:.3f}", flush=True)


def train(settings: Settings, method: str) -> dict[str, Any]:
    """Trains BCQ, with ROMI if the method says so; evaluates it and drives paths."""
    dataset, env = mbo.load_minari(DATASET)
    reverse = mbo.load_imagination(settings.folder / "reverse.mbo")
    # Last, so that both methods begin with the same networks and evaluation starts.
    d3rlpy.seed(settings.seed)
    encoder = d3rlpy.models.VectorEncoderFactory(list(settings.hidden_units))
    learner = d3rlpy.algos.BCQConfig(  # the paper's, but for the encoders
        batch_size=100,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
        imitator_learning_rate=1e-3,
        actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        imitator_encoder_factory=encoder,
        lam=0.75,
        beta=0.5,
        action_flexibility=0.05,
        n_action_samples=10,
        rl_start_step=0,
    ).create()
    epochs = mbo.fit(
        learner,
        dataset,
        reverse if method == "BCQ + ROMI" else [],
        settings.n_steps,
        n_steps_per_epoch=settings.n_steps_per_epoch,
        env=env,
        n_trials=settings.n_trials,
        logger_adapter=ReturnPrinter(method),
        show_progress=False,
    )
    evaluations = [float(metrics["environment"]) for _, metrics in epochs]
    # At rest, two, six and four cells from the goal.
    starts = [(*center, 0.0, 0.0) for center in env.unwrapped.free_cells[2::2]]
    return {
        "evaluations": evaluations,
        "paths": [drive(learner, env, np.array(start)) for start in starts],
    }


class ReturnPrinter(d3rlpy.logging.NoopAdapter):
    """Prints each evaluation instead of writing log files; is its own factory."""

    def __init__(self, method: str):
        self._method = method

    def create(self, *_: Any) -> "ReturnPrinter":
        return self

    def write_metric(self, epoch: int, step: int, name: str, value: float) -> None:
        if name == "environment":
            print(f"  {step:6,} steps, {self._method}: return {value:.1f}", flush=True)


def drive(learner: Any, env: Any, start: np.ndarray) -> np.ndarray:
    """Returns the states (T + 1, 4) of one episode from a given state."""
    env.reset()
    env.unwrapped.set_state(start)
    path, truncated = [start], False
    while not truncated:
        action = learner.predict(path[-1][None].astype(np.float32))[0]
        observation, _, _, truncated, _ = env.step(action)
        path.append(observation)
    return np.array(path)


def table(settings: Settings, evaluations: list[list[float]]) -> list[str]:
    """Returns the lines of the result's table."""
    metadata = minari.load_dataset(DATASET).storage.metadata
    scales = [
        (metadata[f"{whose}ref_min_score"], metadata[f"{whose}ref_max_score"])
        for whose in ("", "d4rl_")
    ]
    lines = [f"{'':12}{'raw return':>16}{'score':>8}{'D4RL score':>12}"]
    for method, every in zip(METHODS, evaluations, strict=True):
        final = every[-settings.n_final_epochs :]
        ours, d4rl = (mbo.metrics.normalized_score(np.mean(final), s) for s in scales)
        spread = f"{np.mean(final):.1f} ± {np.std(final):.1f}"
        lines.append(f"{method:12}{spread:>16}{ours:8.1f}{d4rl:12.1f}")
    return lines


def explanation(settings: Settings, shares: dict[str, list[float]]) -> list[str]:
    """Returns what a reader of the table must know."""
    reverse, forward = shares["reverse"], shares["forward"]
    return [
        f"Raw return: mean ± spread of the last {settings.n_final_epochs} evaluations of "
        f"{settings.n_trials} episodes, same starts for both.",
        "Score: 0 is uniform actions, 100 a controller that plans in each episode. D4RL "
        "score: D4RL's own 0 and 100.",
        "One seed and few steps: the difference can be noise. The study with several seeds "
        "is in benchmarks/.",
        f"Imagined states inside walls, reverse and forward: {reverse[0]:.1%} and "
        f"{forward[0]:.1%} in {settings.rollout_length} steps,",
        f"as ROMI trains on; {reverse[1]:.1%} and {forward[1]:.1%} in the "
        f"{settings.drawn_rollout_length} steps of the picture.",
    ]


def imagine(
    settings: Settings, direction: str, dataset: Any, n_rollouts: int, length: int
) -> mbo.Transitions:
    """Returns rollouts of a given length from random rows of a dataset."""
    imagination = mbo.load_imagination(settings.folder / f"{direction}.mbo")
    imagination.config.rollout_length = length
    d3rlpy.seed(settings.seed)
    return imagination.imagine(dataset, n_rollouts)


def inside_walls(maze: PointMaze, states: torch.Tensor) -> np.ndarray:
    """Returns (B,) whether the positions of states (B, 4) lie in a wall."""
    positions = states[:, :2].numpy()
    return (np.abs(positions[:, None] - maze.walls).max(axis=2) < 0.5).any(axis=1)


def wall_shares(settings: Settings) -> dict[str, list[float]]:
    """Returns shares of imagined states in walls, at ROMI's length and as drawn."""
    dataset, env = mbo.load_minari(DATASET)
    shares: dict[str, list[float]] = {"reverse": [], "forward": []}
    for length in (settings.rollout_length, settings.drawn_rollout_length):
        for direction, of_direction in shares.items():
            rows = imagine(settings, direction, dataset, 5_000, length)
            is_reverse = direction == "reverse"
            states = rows.observations if is_reverse else rows.next_observations
            of_direction.append(float(inside_walls(env.unwrapped, states).mean()))
    return shares


def one_transition_per_cell(dataset: Any, maze: PointMaze, seed: int) -> Any:
    """Returns a dataset of one random real transition from each free cell."""
    places = [
        (episode, step)
        for episode in dataset.episodes
        for step in range(len(episode.actions) - 1)
    ]
    positions = np.array([episode.observations[step, :2] for episode, step in places])
    rng, pairs = np.random.default_rng(seed), []
    for center in maze.free_cells:
        in_cell = np.flatnonzero(np.abs(positions - center).max(axis=1) < 0.5)
        episode, step = places[rng.choice(in_cell)]
        # Two steps: the second is there for the first one's outcome and next action.
        columns = (episode.observations, episode.actions, episode.rewards)
        pair = [column[step : step + 2] for column in columns]
        pairs.append(d3rlpy.dataset.Episode(*pair, terminated=False))
    return d3rlpy.dataset.create_infinite_replay_buffer(pairs)


def draw(
    settings: Settings,
    paths: list[list[np.ndarray]],
    lines: list[str],
    shares: dict[str, list[float]],
) -> None:
    """Writes romi.png: data, rollouts both ways, and where the policies go."""
    from matplotlib.figure import Figure  # an optional extra, see main

    dataset, env = mbo.load_minari(DATASET)
    maze = env.unwrapped
    starts = one_transition_per_cell(dataset, maze, settings.seed)
    figure = Figure(figsize=(14, 10.8), layout="constrained")
    panels = figure.subplots(2, 3)
    for axes in panels.flat[:5]:
        draw_maze(axes, maze)

    axes = panels[0, 0]
    for episode in dataset.episodes[:40]:
        axes.plot(*episode.observations[:, :2].T, color="black", lw=0.5, alpha=0.4)
    axes.set_title("Data: walks between random cells\nthat never stay at the goal")
    axes.set_xlabel(f"{min(40, dataset.size())} of {dataset.size()} episodes")

    length = settings.drawn_rollout_length
    for axes, direction, title in (
        (panels[0, 1], "reverse", "lead to real states:\npaths come out of walls"),
        (panels[0, 2], "forward", "leave real states:\npaths run into walls"),
    ):
        draw_rollouts(axes, maze, imagine(settings, direction, starts, 60, length))
        end = 0 if direction == "forward" else 1
        real = np.array([each.observations[end, :2] for each in starts.episodes])
        axes.plot(*real.T, "o", color="black", ms=8, zorder=9, label="real state")
        axes.set_title(f"{direction.capitalize()} rollouts {title}")
        in_training, drawn = shares[direction]
        axes.set_xlabel(
            f"imagined states in walls: {drawn:.0%} in {length} steps (drawn),\n"
            f"{in_training:.1%} in {settings.rollout_length} steps (what ROMI trains on)"
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
    axes.text(0.02, 0.05, text, family="monospace", fontsize=9.5)
    figure.savefig(settings.folder / "romi.png", dpi=100, bbox_inches="tight")


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
    ids = imagined.rollout_ids.numpy()
    firsts = np.flatnonzero(np.diff(ids, prepend=-1))
    for middle in (firsts + np.append(firsts[1:], len(ids))) // 2:
        arrow = {
            "arrowstyle": "-|>",
            "mutation_scale": 14,
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


if __name__ == "__main__":
    main(Settings())
