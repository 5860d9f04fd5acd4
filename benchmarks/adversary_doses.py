"""What the adversary's doses did, from the files of `adversary.py`: judged, and shown."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from d3rlpy_mbo.study.intervals import paired

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FIRST_ACTIONS = ("data", "policy", "uniform")
_LEAST_EFFECT, _LARGEST_GROWTH = 0.01, 0.1


def file_of(out: Path, scale: str, seed: int, coef: float) -> Path:
    """Returns where a seed, scale and weight are written."""
    return out / f"{scale}-seed-{seed}-coef-{coef:g}.json"


@dataclasses.dataclass(frozen=True)
class Dose:
    """A weight against 0, over seeds.

    Args:
        effects: Of each quantity, by seed: difference as a share of its value at 0.
        growth: Of the hold-out error against weight 0's, mean over seeds.
        log_likelihood: Mean over seeds.
        lost: Of the log-likelihood against weight 0's, mean over seeds: what scales, where
            a weight means different things, are compared at.
        f: Mean over seeds.
        diverged: Seeds whose updates diverged: counted nowhere else.
    """

    effects: dict[str, list[float]]
    growth: float
    log_likelihood: float
    lost: float
    f: float
    diverged: int

    def interval(self, name: str) -> tuple[float, float, float]:
        """Returns mean and 95 % t-interval; NaN bounds for one seed."""
        return paired(self.effects[name])

    @property
    def works(self) -> bool:
        """Whether it does by the rule of the settings."""
        judged = [name for name in self.effects if "_data_" not in name]
        below = any(self.interval(name)[2] < -_LEAST_EFFECT for name in judged)
        return below and abs(self.growth) <= _LARGEST_GROWTH and not self.diverged


def doses(settings: dict[str, Any], out: Path) -> Iterator[tuple[str, float, Dose]]:
    """Yields each scale and weight above 0 that has seeds, compared with weight 0's."""
    for scale in settings["target_scales"]:
        ends = {coef: _ends(settings, out, scale, coef) for coef in settings["coefs"]}
        for coef in settings["coefs"]:
            both = [seed for seed in ends[coef] if seed in ends[0.0]]
            pairs = [(ends[coef][seed], ends[0.0][seed]) for seed in both]
            whole = [(a, b) for a, b in pairs if a["updates"] == b["updates"]]
            if coef == 0 or not whole:
                continue
            names = [name for name in whole[0][0] if name.startswith("value_")]
            growth = [a["holdout_error"] / b["holdout_error"] - 1 for a, b in whole]
            lost = [b["log_likelihood"] - a["log_likelihood"] for a, b in whole]
            dose = Dose(
                effects={
                    name: [(a[name] - b[name]) / abs(b[name]) for a, b in whole]
                    for name in names
                },
                growth=float(np.mean(growth)),
                log_likelihood=float(np.mean([a["log_likelihood"] for a, _ in whole])),
                lost=float(np.mean(lost)),
                f=float(np.mean([a["f"] for a, _ in whole])),
                diverged=len(pairs) - len(whole),
            )
            yield scale, coef, dose


def _ends(
    settings: dict[str, Any], out: Path, scale: str, coef: float
) -> dict[int, dict[str, float]]:
    """Returns what was measured last, by seed."""
    paths = {seed: file_of(out, scale, seed, coef) for seed in settings["seeds"]}
    return {
        seed: json.loads(path.read_text())["measured"][-1]
        for seed, path in paths.items()
        if path.exists()
    }


def report(settings: dict[str, Any], out: Path) -> str:
    """Returns the table, in Markdown."""
    names = [
        f"value_{first}_{h}" for first in FIRST_ACTIONS for h in settings["horizons"]
    ]
    head = [
        "scale",
        "lambda",
        "seeds",
        *names,
        "hold-out",
        "log-likelihood",
        "lost",
        "f",
        "diverged",
        "works",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for scale, coef, dose in doses(settings, out):
        cells = [scale, f"{coef:g}", str(len(dose.effects[names[0]]))]
        for name in names:
            mean, low, high = (100 * each for each in dose.interval(name))
            cells.append(f"{mean:+.2f} % [{low:+.2f}, {high:+.2f}]")
        cells += [f"{100 * dose.growth:+.1f} %", f"{dose.log_likelihood:.2f}"]
        cells += [f"{dose.lost:+.2f}", f"{dose.f:.3f}", str(dose.diverged)]
        cells.append("yes" if dose.works else "no")
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| critic alone | seed | mean Q after each block |", "|---|---|---|"]
    for scale in settings["target_scales"]:
        for seed in settings["seeds"]:
            if (path := file_of(out, scale, seed, 0.0)).exists():
                found = json.loads(path.read_text())["q_values"]
                shown = ", ".join(f"{value:.1f}" for value in found)
                lines.append(f"| {scale} | {seed} | {shown} |")
    return "\n".join(lines) + "\n"


def draw(settings: dict[str, Any], out: Path) -> None:
    """Draws effects over weights, and over the likelihood that they cost."""
    found = list(doses(settings, out))
    figure, rows = plt.subplots(
        2, len(FIRST_ACTIONS), figsize=(11, 6.6), sharey=True, layout="constrained"
    )
    for column, first in enumerate(FIRST_ACTIONS):
        for scale in settings["target_scales"]:
            of_scale = [(c, d) for s, c, d in found if s == scale]
            for horizon, style in zip(settings["horizons"], ("-", "--"), strict=False):
                name = f"value_{first}_{horizon}"
                means = [100 * d.interval(name)[0] for _, d in of_scale]
                at = [c for c, _ in of_scale], [d.lost for _, d in of_scale]
                for row, places in zip(rows, at, strict=True):
                    row[column].plot(
                        places,
                        means,
                        style,
                        marker="o",
                        color=f"C{settings['target_scales'].index(scale)}",
                        label=f"{scale}, {horizon} steps",
                    )
        for row in rows:
            row[column].axhline(-100 * _LEAST_EFFECT, color="0.6", linewidth=0.8)
        rows[0][column].set(
            xscale="log", title=f"first action: {first}", xlabel="lambda"
        )
        rows[1][column].set_xlabel("log-likelihood lost on rows held out")
    for row in rows:
        row[0].set_ylabel("change of the value, %")
    rows[0][-1].legend(fontsize=8)
    figure.savefig(out / "doses.png", dpi=110)
