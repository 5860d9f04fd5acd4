"""A small maze, one learner without and with ROMI, one picture: `make demo`.

Collects a walk through PointMaze's U, fits a reverse model (and a forward one, to
look at), trains BCQ on the walk alone and on the walk plus what the reverse model
imagines, prints both returns, writes a page about the reverse model,
`demo/model.html`, and draws `demo/romi.png` in the spirit of figure 3 of Wang et al.
2021. About seven minutes on two cores; everything is left in `demo/`.
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
import gymnasium
import minari
import numpy as np
import structlog
import torch
from d3rlpy.dataset import ReplayBuffer

from d3rlpy_mbo.tasks.pointmaze import PointMaze
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze
from d3rlpy_mbo_romi import ROMIConfig
from demo_picture import DIRECTIONS, draw, wall_shares

TASK = "pointmaze-umaze-sparse"
DATASET = "pointmaze/umaze-sparse-v0"
METHODS = ("BCQ", "BCQ + ROMI")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes, chosen by the seven minutes they take, not by what comes out."""

    folder: Path = Path(__file__).resolve().parents[1] / "demo"
    seed: int = 0
    n_rows: int = 100_000  # a tenth of D4RL's
    n_reference_episodes: int = 1_000
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


def main(settings: Settings) -> None:
    """Runs the demo, two processes of one thread each doing the long parts."""
    needed = ("matplotlib", "altair", "vl_convert", "gymnasium_robotics", "mujoco")
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(
            f"The demo needs {' and '.join(missing)}. Install what it draws and "
            "simulates with: pip install 'd3rlpy-mbo[mujoco,plot,report]'"
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
    sys.stderr = log.open("a", buffering=1, encoding="utf-8")


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
    list(parallel_map(functools.partial(fit_model, settings), DIRECTIONS))
    say(f"Training {METHODS[0]} and {METHODS[1]} side by side (about five minutes).")
    results = list(parallel_map(functools.partial(train, settings), METHODS))

    evaluations = [result["evaluations"] for result in results]
    lines = table(settings, evaluations)
    dataset, env, maze = load_walk()
    page = settings.folder / "model.html"
    mbo.diagnose(
        mbo.load_imagination(settings.folder / "reverse.mbo"), dataset, env=env
    ).save_html(page)
    length = settings.rollout_length
    transitions = mbo.Transitions.from_dataset(dataset)
    shares = wall_shares(settings.folder, transitions, maze, length)
    paths = [result["paths"] for result in results]
    draw(settings.folder, dataset, maze, length, paths, lines, shares)
    print("", *lines, "", *explanation(settings, shares), "", sep="\n")
    summary = {
        "settings": {**dataclasses.asdict(settings), "folder": str(settings.folder)},
        "returns": dict(zip(METHODS, evaluations, strict=True)),
        "imagined_states_inside_walls": shares,
        "table": lines,
        "seconds": time.perf_counter() - started,
    }
    (settings.folder / "result.json").write_text(json.dumps(summary, indent=1), "utf-8")
    say(f"Wrote {settings.folder / 'romi.png'} and result.json beside it.")
    say(f"Is the reverse model any good? Open {page} in a browser.")
    return lines


def load_walk() -> tuple[ReplayBuffer, gymnasium.Env[Any, Any], PointMaze]:
    """Returns the dataset, its environment, and the maze inside of that."""
    dataset, env = mbo.load_minari(DATASET)
    assert env is not None
    assert isinstance(env.unwrapped, PointMaze)
    return dataset, env, env.unwrapped


def fit_model(settings: Settings, direction: mbo.Direction) -> None:
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
    reward = imagination.metrics["model_reward_error"]
    print(
        f"  {direction} model: hold-out error {error:.3f}, reward's {reward:.3f}",
        flush=True,
    )


def train(settings: Settings, method: str) -> dict[str, Any]:
    """Trains BCQ, with ROMI if the method says so; evaluates it and drives paths."""
    dataset, env, maze = load_walk()
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
    starts = [(*center, 0.0, 0.0) for center in maze.free_cells[2::2]]
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
        mean = float(np.mean(final))
        ours, d4rl = (mbo.metrics.normalized_score(mean, scale) for scale in scales)
        spread = f"{mean:.1f} ± {np.std(final):.1f}"
        lines.append(f"{method:12}{spread:>16}{ours:8.1f}{d4rl:12.1f}")
    return lines


def explanation(settings: Settings, shares: dict[str, float]) -> list[str]:
    """Returns what a reader of the table must know."""
    return [
        f"Raw return: mean ± spread of the last {settings.n_final_epochs} evaluations of "
        f"{settings.n_trials} episodes, same starts for both.",
        "Score: 0 is uniform actions, 100 a controller that plans in each episode. D4RL "
        "score: D4RL's own 0 and 100.",
        "One seed and few steps: the difference can be noise. The study with several seeds "
        "is in benchmarks/.",
        f"Imagined states inside walls in {settings.rollout_length} steps, ROMI's length: "
        f"{shares['reverse']:.1%} of reverse and {shares['forward']:.1%} of forward ones.",
    ]


if __name__ == "__main__":
    main(Settings())
