"""Truths of the single-transition example, and what runs are worth by each of them."""

import statistics
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from d3rlpy_mbo.study.intervals import paired

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SETTINGS: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent / "settings" / "single_transition.toml").read_text()
)
GRID = np.linspace(-1, 1, 401, dtype=np.float32)[:, None]
COEFS = {f"rambo_{coef:g}": coef for coef in SETTINGS["coefs"]} | {"coef_0": 0.0}
METHODS = (*COEFS, "no_updater", "sac", "combo")
COMPARED = [(name, "coef_0") for name in COEFS if name != "coef_0"]
COMPARED += [(name, "combo") for name in COEFS if name != "coef_0"]


def true_mean(actions: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Returns E[s'] of actions, where the ranges are wider by margin on each side."""
    means = np.full(actions.shape, SETTINGS["elsewhere"])
    for low, high, mean in SETTINGS["ranges"]:
        means[(actions >= low - margin) & (actions <= high + margin)] = mean
    return means


def score(result: dict[str, Any], margin: float) -> float:
    """Returns the mean true reward of a run's last actions."""
    last = result["history"][-SETTINGS["scoring"]["n_last"] :]
    actions = np.array([evaluation["action"] for evaluation in last])
    return float(true_mean(actions, margin).mean())


def summary(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns for each method its scores by each truth, its actions, its model's errors."""
    table = {}
    for method in METHODS:
        runs = [result for result in results if result["method"] == method]
        table[method] = {
            "scores": {
                name: [score(run, margin) for run in runs]
                for name, margin in SETTINGS["scoring"]["margins"].items()
            },
            "actions": [run["history"][-1]["action"] for run in runs],
            "holdout_growth": [
                run["history"][-1]["model_holdout_error"] / run["first_holdout_error"]
                - 1
                for run in runs
                if run["first_holdout_error"] is not None
            ],
        }
    return table


def tables(table: dict[str, dict[str, Any]]) -> str:
    """Returns one table a truth, in Markdown: scores, then differences paired by seed."""
    lines = []
    for truth in SETTINGS["scoring"]["margins"]:
        scores = {method: row["scores"][truth] for method, row in table.items()}
        lines += [
            f"## The truth is {truth}",
            "",
            "| | score | 95 % | each seed | learned action | hold-out error |",
            "|---|---|---|---|---|---|",
        ]
        for method, row in table.items():
            of = scores[method]
            mean, low, high = paired(of)
            std = statistics.stdev(of) if len(of) > 1 else 0.0
            actions, growth = sorted(row["actions"]), sorted(row["holdout_growth"])
            cells = [method, f"{mean:.2f} ± {std:.2f}", f"{low:.2f} to {high:.2f}"]
            cells.append(" ".join(f"{each:.2f}" for each in of))
            cells.append(f"{actions[0]:.2f} to {actions[-1]:.2f}")
            cells.append(
                f"{100 * growth[0]:+.1f} % to {100 * growth[-1]:+.1f} %"
                if growth
                else "-"
            )
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", "| paired by seed | difference | 95 % |", "|---|---|---|"]
        for better, worse in COMPARED:
            pairs = zip(scores[better], scores[worse], strict=True)
            mean, low, high = paired([a - b for a, b in pairs])
            lines.append(
                f"| {better} - {worse} | {mean:+.2f} | {low:+.2f} to {high:+.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
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

    shown = [("as fitted", "0.45", "-", curves("coef_0", lambda r: r["fitted_model"]))]
    for method in COEFS:
        style = "-" if method == "coef_0" else "--"
        color = f"C{METHODS.index(method)}"
        shown.append((f"after {method}", color, style, curves(method, last)))
    for label, color, style, models in shown:
        left.plot(grid, models.mean(axis=0), style, color=color, label=f"model {label}")
        left.fill_between(
            grid, models.min(axis=0), models.max(axis=0), color=color, alpha=0.15, lw=0
        )
    left.set(
        xlabel="action (grey: data)", ylabel="mean s' = reward",
        title="The model, mean and range over seeds",
    )  # fmt: skip
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
    left.legend(frameon=False, ncols=3, **below)
    for i, method in enumerate(METHODS):
        runs = [r["history"] for r in results if r["method"] == method]
        for number, history in enumerate(runs):
            right.plot(
                [h["step"] for h in history],
                [h["action"] for h in history],
                color=f"C{i}",
                lw=0.9,
                alpha=0.7,
                label=method if number == 0 else None,
            )
    right.set(
        xlabel="learner steps", ylabel="learned action (grey: data)", ylim=(-1.05, 1.05),
        title="The learned action, each seed",
    )  # fmt: skip
    right.legend(frameon=False, ncols=4, **below)
    figure.savefig(path, dpi=130)
