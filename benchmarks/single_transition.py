"""RAMBO's single-transition example (Rigter et al. 2022, section 6 and Table 3).

    python benchmarks/single_transition.py [--out FILE] [--n-jobs N]

One step from one state, an action in [-1, 1], the reward is where it leads. The data
covers four narrow ranges of actions; everywhere else the truth is poor, which a model
that only fits the data cannot know. Trained on it: SAC with RAMBO's adversary, with its
weight set to 0 (the model keeps fitting the data), without an updater, and without a
model; and COMBO, without an updater. A score is the
true mean reward of the learned action, over the last evaluations; the paper's is 1.49 +-
0.04, of COMBO 1.34 +- 0.14 (Table 3), the best there is is 1.5.

The paper's appendix, which defines the ranges, is not in the text we work from; they
are stated in `settings/single_transition.toml` with everything else.

FILE gets the scores as JSON; FILE with the suffix .png a picture of what the adversary
does to the model, and the folder FILE with the suffix .runs what happened in each run.
Runs that are there are not repeated.
"""

import argparse
import dataclasses
import json
import statistics
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import joblib
import matplotlib
import numpy as np
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode, CompleteTransitionPicker
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo_combo import COMBOConfig
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SETTINGS = tomllib.loads(
    (Path(__file__).parent / "settings" / "single_transition.toml").read_text()
)
GRID = np.linspace(-1, 1, 401, dtype=np.float32)[:, None]
METHODS = ("rambo", "coef_0", "no_updater", "sac", "combo")


def true_mean(actions: np.ndarray) -> np.ndarray:
    """Returns E[s'] of actions."""
    means = np.full(actions.shape, SETTINGS["elsewhere"])
    for low, high, mean in SETTINGS["ranges"]:
        means[(actions >= low) & (actions <= high)] = mean
    return means


def collect() -> d3rlpy.dataset.ReplayBuffer:
    """Returns the data: equally many actions, drawn uniformly, in each range."""
    each = SETTINGS["rows"] // len(SETTINGS["ranges"])
    actions = np.concatenate(
        [np.random.uniform(low, high, (each, 1)) for low, high, _ in SETTINGS["ranges"]]
    )
    # The start is drawn too, a little: a column that never changes is no input.
    starts = np.random.normal(0, SETTINGS["start_deviation"], actions.shape)
    reached = np.random.normal(true_mean(actions), SETTINGS["deviation"])
    columns = np.stack([starts, actions, reached]).astype(np.float32)
    episodes = [
        CompleteEpisode(np.stack([s, after]), a[None], after[None], True)
        for s, a, after in zip(*columns, strict=True)
    ]
    return d3rlpy.dataset.create_infinite_replay_buffer(
        episodes, transition_picker=CompleteTransitionPicker()
    )


@dataclasses.dataclass()
class OneStep(mbo.Termination):
    """Every step is the last."""

    @staticmethod
    def get_type() -> str:
        return "one_step"

    def __call__(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        return torch.ones(len(actions), 1, dtype=torch.bool, device=actions.device)


def imagination(method: str, dataset: Any) -> list[mbo.Imagination]:
    if method == "sac":
        return []
    config = apply_settings(RAMBOConfig(termination=OneStep()), SETTINGS["imagination"])
    if method in ("no_updater", "combo"):
        config.dynamics_updater = None
    else:
        assert isinstance(config.dynamics_updater, AdversarialUpdaterConfig)
        config.dynamics_updater.coef = SETTINGS["coef"] if method == "rambo" else 0.0
    created = config.create()
    created.fit(dataset)
    created.action_range = mbo.ActionRange(torch.tensor([-1.0]), torch.tensor([1.0]))
    return [created]


def learner_of(method: str) -> Any:
    if method == "combo":
        config = apply_settings(COMBOConfig(), SETTINGS["combo"])
        return apply_settings(config, SETTINGS["learner"]).create()
    return apply_settings(d3rlpy.algos.SACConfig(), SETTINGS["learner"]).create()


def rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]


def model_curve(imagined: list[mbo.Imagination]) -> list[float]:
    """Returns the elites' mean s' for each action of the grid; nothing without a model."""
    if not imagined:
        return []
    dynamics: Any = imagined[0].dynamics
    actions = torch.from_numpy(GRID)
    prediction = dynamics.predict(actions * 0, actions, all_members=True)
    n_elites = dynamics.config.n_elites  # the first of all members
    return rounded(prediction.means[:n_elites].mean(dim=0)[:, 0])


def run(method: str, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    d3rlpy.seed(seed)
    dataset = collect()
    imagined = imagination(method, dataset)
    fitted = model_curve(imagined)
    first_error = imagined[0].metrics["model_holdout_error"] if imagined else None
    learner = learner_of(method)
    history: list[dict[str, Any]] = []

    def watch(algo: Any, epoch: int, step: int) -> None:
        action = float(algo.predict(np.zeros((1, 1), np.float32))[0, 0])
        numbers = imagined[0].metrics if imagined else {}
        history.append(
            {
                "step": step,
                "action": action,
                "score": float(true_mean(np.array([action]))[0]),
                "q_values": rounded(algo.predict_value(np.zeros_like(GRID), GRID)),
                "model": model_curve(imagined),
                **{k: v if np.isfinite(v) else None for k, v in numbers.items()},
            }
        )

    mbo.fit(
        learner,
        dataset,
        imagined,
        SETTINGS["n_steps"],
        n_steps_per_epoch=SETTINGS["n_steps_per_epoch"],
        epoch_callback=watch,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    return {
        "method": method,
        "seed": seed,
        "fitted_model": fitted,
        "first_holdout_error": first_error,
        "history": history,
    }


def run_once(method: str, seed: int, folder: Optional[Path]) -> dict[str, Any]:
    """Runs, or reads the run that is there."""
    path = folder / f"{method}-seed{seed}.json" if folder else None
    if path is not None and path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    result = run(method, seed)
    if path is not None:
        with atomic_write(path) as file:
            file.write(json.dumps(result, allow_nan=False).encode())
    return result


def summary(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    table = {}
    for method in METHODS:
        runs = [result for result in results if result["method"] == method]
        scores = [
            statistics.mean(h["score"] for h in run["history"][-SETTINGS["n_last"] :])
            for run in runs
        ]
        table[method] = {
            "scores": scores,
            "mean": statistics.mean(scores),
            "std": statistics.stdev(scores),
            "actions": [run["history"][-1]["action"] for run in runs],
            "holdout_growth": [
                run["history"][-1]["model_holdout_error"] / run["first_holdout_error"]
                - 1
                for run in runs
                if run["first_holdout_error"] is not None
            ],
        }
    return table


def draw(results: list[dict[str, Any]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    grid = GRID[:, 0]
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    for low, high, _ in SETTINGS["ranges"]:
        left.axvspan(low, high, color="0.88", zorder=0)
        right.axhspan(low, high, color="0.88", zorder=0)
    left.plot(grid, true_mean(grid), color="black", lw=1, ls=":", label="truth")

    def curves(method: str, read: Callable[[dict[str, Any]], list[float]]) -> Any:
        return np.array([read(r) for r in results if r["method"] == method])

    def last(result: dict[str, Any]) -> list[float]:
        model: list[float] = result["history"][-1]["model"]
        return model

    shown = [
        ("as fitted", "0.45", "-", curves("rambo", lambda r: r["fitted_model"])),
        ("after coef 0", "C0", "-", curves("coef_0", last)),
        ("after RAMBO", "C3", "--", curves("rambo", last)),
    ]
    for label, color, style, models in shown:
        left.plot(grid, models.mean(axis=0), style, color=color, label=f"model {label}")
        left.fill_between(
            grid, models.min(axis=0), models.max(axis=0), color=color, alpha=0.15, lw=0
        )
    left.set(
        xlabel="action (grey: data)", ylabel="mean s' = reward",
        title="The model, mean and range over seeds",
    )  # fmt: skip
    left.legend(frameon=False)
    for i, method in enumerate(METHODS):
        runs = [r["history"] for r in results if r["method"] == method]
        for number, history in enumerate(runs):
            right.plot(
                [h["step"] for h in history],
                [h["action"] for h in history],
                color=f"C{(3, 0, 1, 2, 4)[i]}",
                lw=0.9,
                alpha=0.7,
                label=method if number == 0 else None,
            )
    right.set(
        xlabel="learner steps", ylabel="learned action (grey: data)", ylim=(-1.05, 1.05),
        title="The learned action, each seed",
    )  # fmt: skip
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.16), ncols=3)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.out.with_suffix(".runs") if arguments.out else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    first = SETTINGS["first_seed"]
    seeds = range(first, first + SETTINGS["n_seeds"])
    results = joblib.Parallel(n_jobs=arguments.n_jobs, verbose=10)(
        joblib.delayed(run_once)(method, seed, folder)
        for seed in seeds
        for method in METHODS
    )
    table = summary(results)
    for method, row in table.items():
        scores = " ".join(f"{score:.2f}" for score in row["scores"])
        growth = "".join(f"{100 * g:+.1f}% " for g in row["holdout_growth"])
        print(
            f"{method:11} {row['mean']:.2f} +- {row['std']:.2f}   {scores}   {growth}"
        )
    if arguments.out is not None:
        draw(results, arguments.out.with_suffix(".png"))
        with atomic_write(arguments.out) as file:
            file.write(json.dumps(table, indent=1).encode())


if __name__ == "__main__":
    main()
