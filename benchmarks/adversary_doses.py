"""What the adversary's doses did, from the files of `adversary.py`: judged, and shown."""

import dataclasses
import json
import math
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
        growths: Of the hold-out error against weight 0's, by seed.
        log_likelihood: Mean over seeds.
        lost: Of the log-likelihood against weight 0's, mean over seeds: what scales, where
            a weight means different things, are compared at.
        f: Mean over seeds.
        diverged: Seeds whose updates diverged: counted nowhere else, as are those whose
            critic did not converge.
    """

    effects: dict[str, list[float]]
    growths: list[float]
    log_likelihood: float
    lost: float
    f: float
    diverged: int

    def interval(self, name: str) -> tuple[float, float, float]:
        """Returns mean and 95 % t-interval; NaN bounds for one seed, all NaN for none."""
        if not self.effects[name]:
            return math.nan, math.nan, math.nan
        return paired(self.effects[name])

    @property
    def n_seeds(self) -> int:
        """Returns how many have run, those that diverged among them."""
        return len(next(iter(self.effects.values()))) + self.diverged

    @property
    def growth(self) -> float:
        """Mean over seeds, in which a rise and a fall cancel."""
        return _mean(self.growths)

    @property
    def works(self) -> bool:
        """Whether it does by the rule of the settings."""
        judged = filter(_is_judged, self.effects)
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
            if coef == 0 or not pairs:
                continue
            names = _values_of(pairs[0][0])
            growths = [a["holdout_error"] / b["holdout_error"] - 1 for a, b in whole]
            lost = [b["log_likelihood"] - a["log_likelihood"] for a, b in whole]
            dose = Dose(
                effects={
                    name: [(a[name] - b[name]) / abs(b[name]) for a, b in whole]
                    for name in names
                },
                growths=growths,
                log_likelihood=_mean([a["log_likelihood"] for a, _ in whole]),
                lost=_mean(lost),
                f=_mean([a["f"] for a, _ in whole]),
                diverged=len(pairs) - len(whole),
            )
            yield scale, coef, dose


def _values_of(measured: dict[str, float]) -> list[str]:
    return [name for name in measured if name.startswith("value_")]


def _values(settings: dict[str, Any]) -> list[str]:
    return [f"value_{each}_{h}" for each in FIRST_ACTIONS for h in settings["horizons"]]


def _is_judged(name: str) -> bool:
    return "_data_" not in name


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _measured(
    settings: dict[str, Any], out: Path, scale: str, coef: float
) -> dict[int, list[dict[str, float]]]:
    """Returns what was measured, by seed; first what was before any update.

    Not of seeds whose critic did not converge.
    """
    found = _files(settings, out, scale, coef)
    return {
        seed: content["measured"]
        for seed, content in found.items()
        if content["critic"]["converged"]
    }


def _files(
    settings: dict[str, Any], out: Path, scale: str, coef: float
) -> dict[int, dict[str, Any]]:
    """Returns what there is, by seed."""
    paths = {seed: file_of(out, scale, seed, coef) for seed in settings["seeds"]}
    return {
        seed: json.loads(path.read_text())
        for seed, path in paths.items()
        if path.exists()
    }


def _ends(
    settings: dict[str, Any], out: Path, scale: str, coef: float
) -> dict[int, dict[str, float]]:
    """Returns what was measured last, by seed."""
    measured = _measured(settings, out, scale, coef)
    return {seed: of[-1] for seed, of in measured.items()}


def report(settings: dict[str, Any], out: Path) -> str:
    """Returns the table, in Markdown."""
    names = _values(settings)
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
            bounds = "" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
            cells.append(f"{mean:+.2f} %{bounds}")  # one seed has no interval
        cells += [f"{100 * dose.growth:+.1f} %", f"{dose.log_likelihood:.2f}"]
        cells += [f"{dose.lost:+.2f}", f"{dose.f:.3f}", str(dose.diverged)]
        seeds = settings["seeds"]
        whole = len(seeds) > 1 and dose.n_seeds == len(seeds)  # else nothing is said
        cells.append(("yes" if dose.works else "no") if whole else "-")
        lines.append("| " + " | ".join(cells) + " |")
    if "null" in settings:
        lines += ["", *_beside_the_null(settings, out)]
    else:
        lines += ["", *_rule(settings, out)]
    lines += [
        "",
        "| critic alone | seed | mean Q after each block | pays | converged |",
    ]
    lines += ["|---|---|---|---|---|"]
    for scale in settings["target_scales"]:
        for seed, content in _files(settings, out, scale, 0.0).items():
            critic = content["critic"]
            shown = ", ".join(f"{value:.1f}" for value in critic["q_values"])
            said = "yes" if critic["converged"] else "no: left out"
            cells = [scale, str(seed), shown, f"{critic['own_value']:.1f}", said]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _rule(settings: dict[str, Any], out: Path) -> Iterator[str]:
    """Yields by what rule a dose works, and what that rule lets through, in words."""
    n_chances = sum(map(_is_judged, _values(settings)))
    yield (
        f'A dose "works" if the interval of any of {n_chances} values, those of the '
        f"policy's or of uniform first actions, is below {-100 * _LEAST_EFFECT:g} %, which "
        f'is {n_chances} chances for each dose, if "hold-out" is within '
        f"{100 * _LARGEST_GROWTH:g} %, and if no seed diverged."
    )
    yield (
        '"hold-out" is a signed mean over seeds, as the rule was committed: a rise in one '
        "seed and a fall in another cancel."
    )
    for scale, coef, dose in doses(settings, out):
        beyond = any(abs(growth) > _LARGEST_GROWTH for growth in dose.growths)
        if beyond and abs(dose.growth) <= _LARGEST_GROWTH:
            each = ", ".join(f"{100 * growth:+.1f}" for growth in dose.growths)
            yield f"For {scale}, {coef:g} the seeds are {each} %, the mean is within."


def _beside_the_null(settings: dict[str, Any], out: Path) -> list[str]:
    """Returns a table of the long run, by the rule of the settings, in Markdown."""
    n_judged, null = settings["n_judged"], settings["null"]
    n_measured = 1 + settings["n_updates"] // settings["measured_every"]
    lines = [
        f"| scale | lambda | seed | value | mean of the first {n_judged} differences | "
        f"of the last {n_judged} | largest of lambda {null:g}: first {n_judged}, last "
        f"{n_judged} | adds up |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scale in settings["target_scales"]:
        found = {
            coef: _measured(settings, out, scale, coef) for coef in settings["coefs"]
        }
        for coef, by_seed in found.items():
            for seed, ours in by_seed.items():
                runs = [ours, found[0.0].get(seed, []), found[null].get(seed, [])]
                if coef in (0, null) or {len(run) for run in runs} != {n_measured}:
                    continue  # of one that diverged nothing is said
                for name in filter(_is_judged, _values_of(ours[0])):
                    shares = _shares(ours, runs[1], name)
                    nulls = np.abs(_shares(runs[2], runs[1], name))
                    first, last = _mean(shares[:n_judged]), _mean(shares[-n_judged:])
                    largest = [nulls[:n_judged].max(), nulls[-n_judged:].max()]
                    adds_up = last < -_LEAST_EFFECT and last < min(first, -max(largest))
                    cells = [scale, f"{coef:g}", str(seed), name]
                    cells += [f"{100 * share:+.2f} %" for share in (first, last)]
                    cells.append(", ".join(f"{100 * each:.2f} %" for each in largest))
                    cells.append("yes" if adds_up else "no")
                    lines.append("| " + " | ".join(cells) + " |")
    return lines


def _shares(
    run: list[dict[str, float]], zero: list[dict[str, float]], name: str
) -> list[float]:
    """Returns differences as shares of the value at weight 0, after each updates."""
    pairs = zip(run[1:], zero[1:], strict=True)
    return [(a[name] - b[name]) / abs(b[name]) for a, b in pairs]


def draw(settings: dict[str, Any], out: Path) -> None:
    """Draws effects over weights, and over the likelihood that they cost."""
    of_all = doses(settings, out)
    found = [each for each in of_all if each[2].n_seeds > each[2].diverged]
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
            xscale="log" if found else "linear",  # nothing has no logarithm
            title=f"first action: {first}",
            xlabel="lambda",
        )
        rows[1][column].set_xlabel("log-likelihood lost on rows held out")
    for row in rows:
        row[0].set_ylabel("change of the value, %")
    rows[0][-1].legend(fontsize=8)
    seeds = sorted({dose.n_seeds for _, _, dose in found})
    said = " to ".join(map(str, seeds if len(seeds) < 2 else (seeds[0], seeds[-1])))
    figure.suptitle(
        "Against weight 0 after as many updates: mean over "
        f"{said or 'no'} of {len(settings['seeds'])} seeds; grey: -1 %, where a dose works",
        fontsize=10,
    )
    figure.savefig(out / "doses.png", dpi=110)
