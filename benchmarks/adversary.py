"""What RAMBO's adversary does to a model, dose by dose, while the critic stands still.

    python benchmarks/adversary.py DIR [--long] [--n-jobs N] [--settings FILE]

For each seed and target scale: an ensemble with RAMBO's settings is fitted to its patience,
a SAC is trained with rollouts of it and then frozen, and for each weight of the adversary a
copy of the model gets its updates. Along the way are measured: the discounted return of
rollouts whose first action is the data's, the policy's or uniform, and whose later ones are
the policy's; the hold-out error and likelihood; and the share f of the advantage's variance
that the sampled outcome explains. Doses of a seed share model, critic and random numbers,
so they are compared in pairs. What is asked, and by which rule a dose works, stands in
`settings/adversary.toml`.

DIR gets a file for each seed, scale and weight, and is gone on from; then doses.md and
doses.png. About six hours of a core; `--long`, the settings' one long run, two more.
"""

import argparse
import copy
import dataclasses
import json
import math
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import joblib
import matplotlib
import numpy as np
import structlog
import torch
from scipy import stats

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_SETTINGS = Path(__file__).parent / "settings" / "adversary.toml"
FIRST_ACTIONS = ("data", "policy", "uniform")
_LEAST_EFFECT, _LARGEST_GROWTH = 0.01, 0.1


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What doses of a seed share.

    Args:
        imagination: Fitted; its model is copied.
        learner: The critic and the policy.
        real: The data.
    """

    imagination: mbo.Imagination
    learner: Any
    real: mbo.RealData


def prepared(settings: dict[str, Any], scale: str, seed: int) -> Frozen:
    """Fits the model, trains the critic."""
    dataset, env = mbo.load_minari(settings["dataset"])
    config = RAMBOConfig(
        dynamics_updater=None,
        termination=mbo.termination_for(env) if env is not None else None,
        rollout_batch_size=settings.get("rollout_batch_size", 50_000),
    )
    of_dynamics = {"target_scale": scale, **settings.get("dynamics", {})}
    config = apply_settings(
        config, {f"dynamics.{key}": each for key, each in of_dynamics.items()}
    )
    d3rlpy.seed(seed)
    real, imagination = mbo.RealData.of(dataset), config.create()
    imagination.fit(real)
    learner = d3rlpy.algos.SACConfig(batch_size=256).create()
    mbo.fit(
        learner,
        real,
        imagination,
        n_steps=settings["n_critic_steps"],
        n_steps_per_epoch=settings["n_critic_steps"],
        real_ratio=settings["real_ratio"],
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    return Frozen(imagination, learner, real)


def dosed(
    frozen: Frozen, settings: dict[str, Any], coef: float, seed: int
) -> list[dict[str, float]]:
    """Returns what is measured before and between the updates of one dose."""
    imagination = frozen.imagination
    dynamics = copy.deepcopy(imagination.dynamics)
    updater = AdversarialUpdaterConfig(
        coef=coef, n_updates=settings["measured_every"]
    ).create()
    updater.attach(
        mbo.Context(
            direction="forward",
            rollout_policy=imagination.rollout_policy,
            termination=imagination.termination,
            reward_function=None,
            rollout_length=imagination.config.rollout_length,
            action_set=imagination.action_set,
        )
    )
    measured = [{"updates": 0.0, **measure(dynamics, frozen, settings, seed)}]
    d3rlpy.seed(1000 + seed)
    for done in range(
        settings["measured_every"],
        settings["n_updates"] + 1,
        settings["measured_every"],
    ):
        updater.update(dynamics, frozen.real.for_models, frozen.learner)
        # To measure draws too: the updates go on as if nobody had looked.
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
        now = measure(dynamics, frozen, settings, seed)
        measured.append({"updates": float(done), **now})
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
    return measured


def measure(
    dynamics: mbo.Dynamics, frozen: Frozen, settings: dict[str, Any], seed: int
) -> dict[str, float]:
    """Returns values, errors, likelihood and f; the same draws for every dose."""
    rows = frozen.real.for_models
    d3rlpy.seed(2000 + seed)
    starts = rows[torch.randint(len(rows), (settings["n_states"],))]
    found = {
        f"value_{first}_{horizon}": value(dynamics, frozen, starts, first, horizon)
        for first in FIRST_ACTIONS
        for horizon in settings["horizons"]
    }
    held_out = rows[dynamics.holdout_indices]
    with torch.no_grad():
        found["log_likelihood"] = float(dynamics.log_prob(held_out).mean())
    found["holdout_error"] = dynamics.holdout_errors(rows)["model_holdout_error"]
    found["f"] = explained(dynamics, frozen, starts, settings["n_outcomes"])
    return found


def value(
    dynamics: mbo.Dynamics,
    frozen: Frozen,
    starts: mbo.Transitions,
    first: str,
    horizon: int,
) -> float:
    """Returns the mean discounted return of rollouts of the model."""
    d3rlpy.seed(3000)
    imagination, learner = frozen.imagination, frozen.learner
    observations, alive = starts.observations, torch.ones(len(starts), 1)
    total, gamma = torch.zeros(len(starts), 1), mbo.learners.discount(learner)
    actions = {
        "data": lambda: starts.actions,
        "policy": lambda: mbo.learners.predict_action(learner, observations),
        "uniform": lambda: imagination.action_set.sample(len(starts)),
    }[first]()
    for step in range(horizon):
        prediction = dynamics.predict(observations, actions, False)
        total += gamma**step * alive * prediction.rewards
        if imagination.termination is not None:
            ends = imagination.termination(
                observations, actions, prediction.observations
            )
            alive = alive * (~ends).float()
        # Those that have ended stay where they are: nothing of theirs counts.
        observations = torch.where(alive > 0, prediction.observations, observations)
        actions = mbo.learners.predict_action(learner, observations)
        actions = imagination.action_set.project(actions)
    return float(total.mean())


def explained(
    dynamics: mbo.Dynamics, frozen: Frozen, starts: mbo.Transitions, n_outcomes: int
) -> float:
    """Returns the share of the advantage's variance that outcomes explain."""
    learner, termination = frozen.learner, frozen.imagination.termination
    observations = starts.observations.repeat(n_outcomes, 1)
    actions = mbo.learners.predict_action(learner, observations)
    prediction = dynamics.predict(observations, actions, False)
    reached = prediction.observations
    terminals = torch.zeros(len(reached), 1)
    if termination is not None:
        terminals = termination(observations, actions, reached).float()
    following = mbo.learners.predict_action(learner, reached)
    ahead = mbo.learners.q_value(learner, reached, following)
    baseline = mbo.learners.q_value(learner, observations, actions)
    gamma = mbo.learners.discount(learner)
    advantages = prediction.rewards + gamma * (1 - terminals) * ahead - baseline
    by_state = advantages.view(n_outcomes, len(starts))
    return float(by_state.var(dim=0).mean() / advantages.var())


def run(settings: dict[str, Any], out: Path, scale: str, seed: int) -> None:
    """Writes what is missing of a seed and a scale."""
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    missing = [
        coef for coef in settings["coefs"] if not _file(out, scale, seed, coef).exists()
    ]
    if not missing:
        return
    frozen = prepared(settings, scale, seed)
    for coef in missing:
        measured = dosed(frozen, settings, coef, seed)
        with atomic_write(_file(out, scale, seed, coef)) as file:
            file.write(json.dumps(measured, indent=1).encode())


def _file(out: Path, scale: str, seed: int, coef: float) -> Path:
    return out / f"{scale}-seed-{seed}-coef-{coef:g}.json"


@dataclasses.dataclass(frozen=True)
class Dose:
    """A weight against 0, over seeds.

    Args:
        effects: Of each quantity, by seed: difference as a share of its value at 0.
        growth: Of the hold-out error against weight 0's, mean over seeds.
        log_likelihood: Mean over seeds.
        f: Mean over seeds.
    """

    effects: dict[str, list[float]]
    growth: float
    log_likelihood: float
    f: float

    def interval(self, name: str) -> tuple[float, float, float]:
        """Returns mean and 95 % t-interval; NaN bounds for one seed."""
        values = np.array(self.effects[name])
        if len(values) < 2:
            return float(values.mean()), math.nan, math.nan
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        return (
            float(values.mean()),
            float(values.mean() - half),
            float(values.mean() + half),
        )

    @property
    def works(self) -> bool:
        """Whether it does by the rule of the settings."""
        judged = [name for name in self.effects if "_data_" not in name]
        below = any(self.interval(name)[2] < -_LEAST_EFFECT for name in judged)
        return below and abs(self.growth) <= _LARGEST_GROWTH


def doses(settings: dict[str, Any], out: Path) -> Iterator[tuple[str, float, Dose]]:
    """Yields each scale and weight above 0 that has its seeds."""
    for scale in settings["target_scales"]:
        ends = {
            coef: [
                json.loads(_file(out, scale, seed, coef).read_text())[-1]
                for seed in settings["seeds"]
                if _file(out, scale, seed, coef).exists()
                and _file(out, scale, seed, 0.0).exists()
            ]
            for coef in settings["coefs"]
        }
        for coef in settings["coefs"]:
            pairs = list(zip(ends[coef], ends[0.0], strict=False))
            if coef == 0 or not pairs:
                continue
            names = [name for name in pairs[0][0] if name.startswith("value_")]
            yield (
                scale,
                coef,
                Dose(
                    {
                        name: [(a[name] - b[name]) / abs(b[name]) for a, b in pairs]
                        for name in names
                    },
                    float(
                        np.mean(
                            [
                                a["holdout_error"] / b["holdout_error"] - 1
                                for a, b in pairs
                            ]
                        )
                    ),
                    float(np.mean([a["log_likelihood"] for a, _ in pairs])),
                    float(np.mean([a["f"] for a, _ in pairs])),
                ),
            )


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
        "f",
        "works",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for scale, coef, dose in doses(settings, out):
        cells = [scale, f"{coef:g}", str(len(dose.effects[names[0]]))]
        for name in names:
            mean, low, high = (100 * each for each in dose.interval(name))
            cells.append(f"{mean:+.2f} % [{low:+.2f}, {high:+.2f}]")
        cells += [f"{100 * dose.growth:+.1f} %", f"{dose.log_likelihood:.2f}"]
        cells += [f"{dose.f:.3f}", "yes" if dose.works else "no"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(settings: dict[str, Any], out: Path) -> None:
    """Draws effects over weights, a panel for each first action."""
    found = list(doses(settings, out))
    figure, panels = plt.subplots(1, len(FIRST_ACTIONS), figsize=(11, 3.6), sharey=True)
    for panel, first in zip(panels, FIRST_ACTIONS, strict=True):
        for scale in settings["target_scales"]:
            for horizon, style in zip(settings["horizons"], ("-", "--"), strict=False):
                of_scale = [(c, d) for s, c, d in found if s == scale]
                name = f"value_{first}_{horizon}"
                means = [100 * d.interval(name)[0] for _, d in of_scale]
                panel.plot(
                    [c for c, _ in of_scale],
                    means,
                    style,
                    marker="o",
                    color=f"C{settings['target_scales'].index(scale)}",
                    label=f"{scale}, {horizon} steps",
                )
        panel.axhline(-100 * _LEAST_EFFECT, color="0.6", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_title(f"first action: {first}")
        panel.set_xlabel("lambda")
    panels[0].set_ylabel("change of the value, %")
    panels[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out / "doses.png", dpi=110)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--settings", type=Path, default=_SETTINGS)
    given = parser.parse_args(arguments)
    settings = tomllib.loads(given.settings.read_text())
    long = settings.pop("long", {})
    if given.long:
        settings |= long
    try:
        evaluation_environment(open_minari(settings["dataset"]))
        given.out.mkdir(parents=True, exist_ok=True)
        joblib.Parallel(n_jobs=given.n_jobs)(
            joblib.delayed(run)(settings, given.out, scale, seed)
            for seed in settings["seeds"]
            for scale in settings["target_scales"]
        )
        with atomic_write(given.out / "doses.md") as file:
            file.write(report(settings, given.out).encode())
        draw(settings, given.out)
    except (mbo.D3RLPyMBOError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report(settings, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
