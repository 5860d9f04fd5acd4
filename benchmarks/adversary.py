"""What RAMBO's adversary does to a model, dose by dose, while the critic stands still.

    python benchmarks/adversary.py DIR [--long] [--n-jobs N] [--settings FILE]

For each seed and target scale: an ensemble is fitted, with RAMBO's settings but for those
that the file has, a SAC is trained with rollouts of it, its policy is frozen, its critic is
trained on until it says what it said before and what the model pays, and for each weight of
the adversary a copy of the model gets its updates. Along the way are measured: the
discounted return of rollouts whose first action is the data's, the policy's or uniform, and
whose later ones are the policy's greedy ones; the hold-out error and likelihood; and the
share f of the advantage's variance that the sampled outcome explains. Doses of a seed, 0
among them, share model, critic and every draw, mini-batches included, so they are compared
in pairs. What is asked, and by which rule a dose works, stands in
`settings/adversary.toml`, and what it costs.

DIR gets a file for each seed, scale and weight, and is gone on from: a model and its critic
from their last checkpoint, a dose from what was measured last; then doses.md and doses.png.
"""

import argparse
import copy
import dataclasses
import json
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import joblib
import structlog
import torch

import d3rlpy_mbo as mbo
from adversary_doses import FIRST_ACTIONS, draw, file_of, report
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.learners import entropy_reward
from d3rlpy_mbo.runs.experiment import versions
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.study.stages import backend
from d3rlpy_mbo.support.fastest import about_processor
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.support.generators import generator_states, set_generator_states
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig

_SETTINGS = Path(__file__).parent / "settings" / "adversary.toml"
# Weight 0 as the others' draws have it: the updater itself, with 0, makes no rollouts and
# sees other mini-batches. Beside the supervised gradient float32 does not see this.
_ZERO = 1e-12


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What doses of a seed share.

    Args:
        imagination: Fitted; its model is copied.
        learner: The critic and the policy.
        real: The data.
        critic: What is known of the critic, see `convergence`.
    """

    imagination: mbo.Imagination
    learner: Any
    real: mbo.RealData
    critic: dict[str, Any]


def trained(
    settings: dict[str, Any], scale: str, seed: int, begun: Path
) -> tuple[mbo.Imagination, Any]:
    """Fits the model, trains SAC; goes on from the checkpoints in `begun`."""
    dataset, env = mbo.load_minari(settings["dataset"])
    config = RAMBOConfig(
        dynamics_updater=None,
        termination=mbo.termination_for(env) if env is not None else None,
        rollout_length=settings["rollout_length"],
        rollout_batch_size=settings["rollout_batch_size"],
    )
    of_dynamics = {"target_scale": scale, **settings.get("dynamics", {})}
    config = apply_settings(
        config, {f"dynamics.{key}": each for key, each in of_dynamics.items()}
    )
    d3rlpy.seed(seed)
    real, imagination = mbo.RealData.of(dataset), config.create()
    config_of_learner = apply_settings(d3rlpy.algos.SACConfig(), settings["learner"])
    learner: Any = config_of_learner.create()
    train(learner, real, imagination, settings, settings["n_critic_steps"], begun)
    return imagination, learner


def convergence(
    imagination: mbo.Imagination,
    learner: Any,
    real: mbo.RealData,
    settings: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Trains the critic alone, until it is that of the policy that stands still.

    Its targets are the mean of the target critics, not the least of them: there is no
    maximum here to be careful of, and the least costs half of their difference at every
    step, a quarter of the value in all. It learns from long rollouts, or what it says of
    the states that short ones end in is anything, and passed on.

    Returns:
        `q_values`, mean Q at real states and the policy's actions after each block of
        steps, the first before any; `own_value`, what the model pays there; `converged`.
    """
    d3rlpy.seed(100 + seed)
    modules = learner.impl.modules
    for optimizer in (modules.actor_optim, modules.temp_optim):
        for group in optimizer.optim.param_groups:
            group["lr"] = 0.0  # the policy stands still, its critic goes on
    frozen = settings["frozen"]
    learner.impl._tau = frozen["tau"]
    lengths = {name: frozen[name] for name in ("rollout_length", "rollout_batch_size")}
    config = dataclasses.replace(imagination.config, **lengths)
    long = config.create(dynamics=imagination.dynamics)
    long.fit(real)  # the model is there
    targets = learner.impl._targ_q_func_forwarder
    of_the_least = targets.compute_target

    def of_the_mean(x: Any, action: Any = None, reduction: str = "min") -> Any:
        return of_the_least(x, action, "mean")

    targets.compute_target = of_the_mean
    states = real.for_models.observations[:: max(1, len(real.for_models) // 2_000)]
    q_values = [mean_q(learner, states)]
    own = own_value(imagination, learner, states)
    converged = False
    while not converged and len(q_values) <= settings["n_blocks"]:
        n_steps = settings["n_steps_per_block"]
        train(learner, real, long, {**settings, **frozen}, n_steps)
        q_values.append(mean_q(learner, states))
        print(f"critic of seed {seed}: {q_values}, its model pays {own}", flush=True)
        stands = abs(q_values[-1] / q_values[-2] - 1) < settings["converged"]
        converged = stands and abs(q_values[-1] / own - 1) < settings["near_own_value"]
    targets.compute_target = of_the_least
    return {"q_values": q_values, "own_value": own, "converged": converged}


def own_value(
    imagination: mbo.Imagination, learner: Any, states: torch.Tensor
) -> float:
    """Returns what Q means: rewards and entropy that the model pays, discounted.

    The first action is the greedy one, the later ones are sampled; until a hundredth is
    left to come.
    """
    observations, alive = states, torch.ones(len(states), 1)
    total, gamma, weight = (
        torch.zeros(len(states), 1),
        mbo.learners.discount(learner),
        1.0,
    )
    actions = mbo.learners.predict_action(learner, observations)
    while weight >= 0.01:
        actions = imagination.action_set.project(actions)
        prediction = imagination.dynamics.predict(observations, actions, False)
        total += weight * alive * prediction.rewards
        if imagination.termination is not None:
            ends = imagination.termination(
                observations, actions, prediction.observations
            )
            alive = alive * (~ends).float()
        observations = torch.where(alive > 0, prediction.observations, observations)
        weight *= gamma
        total += weight * alive * entropy_reward(learner, observations)
        actions = mbo.learners.sample_action(learner, observations)
    return float(total.mean())


def train(
    learner: Any,
    real: mbo.RealData,
    imagination: mbo.Imagination,
    settings: dict[str, Any],
    n_steps: int,
    checkpoint: Optional[Path] = None,
) -> None:
    """Trains the learner with rollouts of the model, which is fitted if it is not."""
    mbo.fit(
        learner,
        real,
        imagination,
        n_steps=n_steps,
        n_steps_per_epoch=settings["n_steps_per_block"],
        checkpoint=checkpoint,
        real_ratio=settings["real_ratio"],
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )


def mean_q(learner: Any, states: torch.Tensor) -> float:
    """Returns the mean Q at states, of the policy's actions."""
    actions = mbo.learners.predict_action(learner, states)
    return float(mbo.learners.q_value(learner, states, actions).mean())


def kept(settings: dict[str, Any], folder: Path, scale: str, seed: int) -> Frozen:
    """Returns the model and the critic of a folder, which gets what it has not."""
    model, learner = folder / "imagination.mbo", folder / "learner.d3"
    critic, about = folder / "critic.d3", folder / "critic.json"
    if not learner.exists():
        folder.mkdir(exist_ok=True)
        imagination, sac = trained(settings, scale, seed, folder / "begun")
        imagination.save(model)
        save(sac, learner)
        shutil.rmtree(folder / "begun")
    dataset, _ = mbo.load_minari(settings["dataset"])
    real, imagination = mbo.RealData.of(dataset), mbo.load_imagination(model)
    if not about.exists():  # written last: where it is, all is
        sac = mbo.load_learner(learner)
        found = convergence(imagination, sac, real, settings, seed)
        save(sac, critic)
        with atomic_write(about) as file:
            file.write(json.dumps({"settings": settings, **found}).encode())
    known = json.loads(about.read_text())
    known.pop("settings")
    return Frozen(imagination, mbo.load_learner(critic), real, known)


def save(learner: Any, path: Path) -> None:
    """Writes a learner, whole or not at all."""
    part = path.with_suffix(".part")
    learner.save(str(part))
    part.replace(path)


def dosed(
    frozen: Frozen, settings: dict[str, Any], coef: float, seed: int, begun: Path
) -> list[dict[str, float]]:
    """Returns what is measured between the updates of one dose.

    Fewer than the settings ask for where the updates diverged.

    Args:
        frozen: What the doses of the seed share.
        settings: The file's.
        coef: The weight.
        seed: Decides the draws.
        begun: Where everything stands after each measurement, for the next call to go on
            from, to the bit: a long dose takes more than an hour.
    """
    imagination = frozen.imagination
    dynamics = copy.deepcopy(imagination.dynamics)
    updater = AdversarialUpdaterConfig(
        coef=coef or _ZERO, n_updates=settings["measured_every"]
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
    measured = list[dict[str, float]]()
    d3rlpy.seed(1000 + seed)
    if begun.exists():
        content = torch.load(begun, map_location="cpu", weights_only=True)
        measured = content["measured"]
        dynamics.load_state_dict(content["dynamics"])
        updater.load_state_dict(content["updater"])
        # Last: networks are drawn to be built.
        set_generator_states(content["generators"])
    every = settings["measured_every"]
    for done in range(every, settings["n_updates"] + 1, every)[len(measured) :]:
        try:
            updater.update(dynamics, frozen.real.for_models, frozen.learner)
            # To measure draws too: the updates go on as if nobody had looked.
            generators = generator_states()
            now = measure(dynamics, frozen, settings, seed)
        except mbo.DivergedError as error:
            print(f"seed {seed}, weight {coef:g}: {error}", file=sys.stderr)
            break
        measured.append({"updates": float(done), **now})
        set_generator_states(generators)
        content = {
            "measured": measured,
            "dynamics": dynamics.state_dict(),
            "updater": updater.state_dict(),
            "generators": generators,
        }
        with atomic_write(begun) as file:
            torch.save(content, file)
    return measured


def measure(
    dynamics: mbo.Dynamics, frozen: Frozen, settings: dict[str, Any], seed: int
) -> dict[str, float]:
    """Returns values, errors, likelihood and f; the same draws for every dose."""
    rows = frozen.real.for_models
    d3rlpy.seed(2000 + seed)
    starts = rows[torch.randint(len(rows), (settings["n_states"],))]
    found = {
        f"value_{first}_{horizon}": found_value
        for first in FIRST_ACTIONS
        for horizon, found_value in values(
            dynamics, frozen, starts, first, settings["horizons"]
        ).items()
    }
    held_out = rows[dynamics.holdout_indices]
    with torch.no_grad():
        found["log_likelihood"] = float(dynamics.log_prob(held_out).mean())
    found["holdout_error"] = dynamics.holdout_errors(rows)["model_holdout_error"]
    found["f"] = explained(dynamics, frozen, starts, settings["n_outcomes"])
    return found


def values(
    dynamics: mbo.Dynamics,
    frozen: Frozen,
    starts: mbo.Transitions,
    first: str,
    horizons: Sequence[int],
) -> dict[int, float]:
    """Returns the mean discounted return of rollouts of the model, by their length."""
    d3rlpy.seed(3000)
    imagination, learner = frozen.imagination, frozen.learner
    observations, alive = starts.observations, torch.ones(len(starts), 1)
    total, gamma = torch.zeros(len(starts), 1), mbo.learners.discount(learner)
    actions = {
        "data": lambda: starts.actions,
        "policy": lambda: mbo.learners.predict_action(learner, observations),
        "uniform": lambda: imagination.action_set.sample(len(starts)),
    }[first]()
    found = {}
    for step in range(max(horizons)):
        if alive.any():
            actions = imagination.action_set.project(actions)
            prediction = dynamics.predict(observations, actions, False)
            total += gamma**step * alive * prediction.rewards
            if imagination.termination is not None:
                ends = imagination.termination(
                    observations, actions, prediction.observations
                )
                alive = alive * (~ends).float()
            # Those that have ended stay where they are, so that the draws of the others
            # are the same for every dose; nothing of theirs counts.
            observations = torch.where(alive > 0, prediction.observations, observations)
            actions = mbo.learners.predict_action(learner, observations)
        if step + 1 in horizons:
            found[step + 1] = float(total.mean())
    return found


def explained(
    dynamics: mbo.Dynamics, frozen: Frozen, starts: mbo.Transitions, n_outcomes: int
) -> float:
    """Returns the share of the advantage's variance that outcomes explain.

    Of actions as the adversary proposes them: sampled, here once a state.
    """
    learner, termination = frozen.learner, frozen.imagination.termination
    observations = starts.observations.repeat(n_outcomes, 1)
    sampled = mbo.learners.sample_action(learner, starts.observations)
    actions = frozen.imagination.action_set.project(sampled).repeat(n_outcomes, 1)
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
        coef
        for coef in settings["coefs"]
        if not file_of(out, scale, seed, coef).exists()
    ]
    if not missing:
        return
    frozen = kept(settings, out / f"{scale}-seed-{seed}", scale, seed)
    before = measure(frozen.imagination.dynamics, frozen, settings, seed)
    for coef in missing:
        path = file_of(out, scale, seed, coef)
        begun = path.with_suffix(".begun")
        content = {
            "settings": settings,
            "made_with": {**versions(), **about_processor()},
            "critic": frozen.critic,
            "measured": [
                {"updates": 0.0, **before},
                *dosed(frozen, settings, coef, seed, begun),
            ],
        }
        with atomic_write(path) as file:
            file.write(json.dumps(content, indent=1).encode())
        begun.unlink(missing_ok=True)  # none is there if the first updates diverged


def refuse_other_settings(settings: dict[str, Any], out: Path) -> None:
    """Refuses a folder that was begun with other settings; it may get more seeds.

    Raises:
        CompositionError: It was, as by the usual run where this is the long one.
    """
    grows = ("seeds", "target_scales", "coefs")
    ours = {key: value for key, value in settings.items() if key not in grows}
    for path in sorted([*out.glob("*/critic.json"), *out.glob("*-coef-*.json")]):
        theirs = json.loads(path.read_text())["settings"]
        differing = sorted(
            key
            for key in {*ours, *theirs} - {*grows}
            if ours.get(key) != theirs.get(key)
        )
        if differing:
            raise mbo.CompositionError(
                f"{path} was made with other settings ({', '.join(differing)}). Expected "
                "the same in one folder: give another DIR."
            )


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
        refuse_other_settings(settings, given.out)
        with backend("loky"):
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
