"""Truths of the single-transition example, and what runs are worth by each of them."""

import json
import statistics
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

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


def score(result: dict[str, Any], margin: float) -> Optional[float]:
    """Returns the mean true reward of a run's last actions; none if it diverged.

    That is: it ended in an error, or one of these actions is not finite.
    """
    last = result["history"][-SETTINGS["scoring"]["n_last"] :]
    actions = [evaluation["action"] for evaluation in last]
    if "error" in result or None in actions:
        return None
    return float(true_mean(np.array(actions), margin).mean())


def holdout_growth(result: dict[str, Any]) -> Optional[float]:
    """Returns how much the model's error grew; none if it is not finite."""
    first = result["first_holdout_error"]
    last = result["history"][-1]["model_holdout_error"] if result["history"] else None
    return None if first is None or last is None else last / first - 1


def refuse_unshared_models(results: list[dict[str, Any]]) -> None:
    """Refuses runs of a seed whose models differ: their difference says nothing else.

    Raises:
        SystemExit: It names them, and what each model's hold-out error was.
    """
    differing = []
    for seed in sorted({run["seed"] for run in results}):
        models: dict[str, list[str]] = {}
        for run in results:
            if run["seed"] == seed and run["method"] != "sac":
                model = json.dumps([run["first_holdout_error"], run["fitted_model"]])
                models.setdefault(model, []).append(run["method"])
        if len(models) > 1:
            each = [
                f"{', '.join(methods)} ({json.loads(model)[0]})"
                for model, methods in models.items()
            ]
            differing.append(f"seed {seed}: {' | '.join(each)}")
    if differing:
        raise SystemExit(
            "Runs of one seed have different fitted models, by their hold-out errors:\n"
            + "\n".join(differing)
            + "\nExpected one model a seed for all methods but sac, as one machine and one "
            "set of versions fits. Remove the files of such a seed, and run it again."
        )


def summary(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns for each method its scores by each truth, its actions, its model's errors.

    By seed, in the order of the results; None where something is not finite.
    """
    table = {}
    for method in METHODS:
        runs = [result for result in results if result["method"] == method]
        table[method] = {
            "scores": {
                name: [score(run, margin) for run in runs]
                for name, margin in SETTINGS["scoring"]["margins"].items()
            },
            "actions": [
                run["history"][-1]["action"] if run["history"] else None for run in runs
            ],
            "holdout_growth": (
                [] if method == "sac" else [holdout_growth(run) for run in runs]
            ),
        }
    return table


def tables(table: dict[str, dict[str, Any]]) -> str:
    """Returns one table a truth, in Markdown: scores, then differences paired by seed.

    A run that diverged has no score. It is counted, and its pairs are left out.
    """
    lines = []
    for truth in SETTINGS["scoring"]["margins"]:
        scores = {method: row["scores"][truth] for method, row in table.items()}
        lines += [
            f"## The truth is {truth}",
            "",
            "| | score | 95 % | each seed | diverged | learned action | hold-out error |",
            "|---|---|---|---|---|---|---|",
        ]
        for method, row in table.items():
            of = [each for each in scores[method] if each is not None]
            std = statistics.stdev(of) if len(of) > 1 else 0.0
            cells = [method, "-", "-"]
            if of:
                mean, low, high = paired(of)
                cells[1:] = [f"{mean:.2f} ± {std:.2f}", f"{low:.2f} to {high:.2f}"]
            cells += [
                " ".join(
                    "-" if each is None else f"{each:.2f}" for each in scores[method]
                ),
                str(len(scores[method]) - len(of)),
                extremes(row["actions"], "{:.2f}"),
                extremes(row["holdout_growth"], "{:+.1%}").replace("%", " %"),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += [
            "",
            "| paired by seed | difference | 95 % | pairs |",
            "|---|---|---|---|",
        ]
        for better, worse in COMPARED:
            pairs = zip(scores[better], scores[worse], strict=True)
            both = [a - b for a, b in pairs if a is not None and b is not None]
            found = "- | -"
            if both:
                mean, low, high = paired(both)
                found = f"{mean:+.2f} | {low:+.2f} to {high:+.2f}"
            lines.append(f"| {better} - {worse} | {found} | {len(both)} |")
        lines += [
            "",
            "A run that diverged has no score: it is counted, and its pairs are left out.",
            "",
        ]
    return "\n".join(lines)


def extremes(values: list[Optional[float]], form: str) -> str:
    """Returns the least and the greatest, and how many are not finite."""
    known = sorted(value for value in values if value is not None)
    parts = [f"{form.format(known[0])} to {form.format(known[-1])}"] if known else []
    if len(known) < len(values):
        parts.append(f"not finite in {len(values) - len(known)}")
    return ", ".join(parts) or "-"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draws what the models say, and below one another what each method's runs do."""
    half = -(-len(METHODS) // 2)
    above, below = METHODS[:half], METHODS[half:]
    rows: list[Any] = [["model", "model", *above], ["model", "model", *below]]
    rows[1] += ["."] * (len(above) - len(below))
    figure, panels = plt.subplot_mosaic(rows, figsize=(14, 5.2), layout="constrained")
    for axes in panels.values():
        axes.spines[["top", "right"]].set_visible(False)
    _draw_models(results, panels["model"])
    for i, method in enumerate(METHODS):
        axes = panels[method]
        for low, high, _ in SETTINGS["ranges"]:
            axes.axhspan(low, high, color="0.88", zorder=0)
        for run in results:
            if run["method"] == method:
                history = run["history"]
                steps, actions = ([h[k] for h in history] for k in ("step", "action"))
                axes.plot(steps, actions, color=f"C{i}", lw=0.9, alpha=0.7)
        axes.set(ylim=(-1.05, 1.05), xlim=(0, SETTINGS["n_steps"]))
        axes.set_title(_shown(method), color=f"C{i}", fontsize=10)
        axes.set_xticks([0, SETTINGS["n_steps"]])
        if i % half:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("learned action")
        if i + half >= len(METHODS):
            axes.set_xlabel("learner steps")
    figure.suptitle("One line a seed; grey: data", x=0.99, ha="right", fontsize=9)
    figure.savefig(path, dpi=130)


def _draw_models(results: list[dict[str, Any]], axes: Any) -> None:
    grid = GRID[:, 0]
    for low, high, _ in SETTINGS["ranges"]:
        axes.axvspan(low, high, color="0.88", zorder=0)

    def curves(method: str, read: Callable[[dict[str, Any]], list[float]]) -> Any:
        found = [read(r) for r in results if r["method"] == method and "error" not in r]
        return np.array(found, dtype=float)  # null, which is not finite, as NaN

    def last(result: dict[str, Any]) -> list[float]:
        model: list[float] = result["history"][-1]["model"]
        return model

    fitted = curves("coef_0", lambda r: r["fitted_model"])
    shown = [("as fitted", "0.45", "-", fitted)]
    for method in COEFS:
        style = "-" if method == "coef_0" else "--"
        color = f"C{METHODS.index(method)}"
        shown.append((f"after {_shown(method)}", color, style, curves(method, last)))
    for label, color, style, models in shown:
        if not len(models):
            continue  # all of them diverged
        axes.plot(grid, models.mean(axis=0), style, color=color, label=label)
        axes.fill_between(
            grid, models.min(axis=0), models.max(axis=0), color=color, alpha=0.1, lw=0
        )
    truth = true_mean(grid)
    axes.plot(grid, truth, color="black", lw=1, ls=":", label="truth")
    # What an adversary broke would leave nothing else to see.
    least, most = (f(np.append(fitted, truth)) for f in (np.nanmin, np.nanmax))
    axes.set_ylim(least - 0.5 * (most - least), most + 0.5 * (most - least))
    axes.set(
        xlabel="action (grey: data)", ylabel="mean s' = reward",
        title="The model, mean and range over seeds", xticks=[-1, -0.5, 0, 0.5, 1],
    )  # fmt: skip
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
    axes.legend(frameon=False, ncols=2, fontsize=9, **place)


def _shown(method: str) -> str:
    return {"sac": "SAC", "combo": "COMBO"}.get(
        method, method.replace("rambo_", "RAMBO, ").replace("_", " ")
    )
