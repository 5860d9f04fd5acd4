"""OfflineRL-Kit's own MOPO on one of our datasets, evaluated as our runs are.

    python benchmarks/peer_mopo.py CHECKOUT DIR [--settings FILE]

CHECKOUT holds github.com/yihaosun1124/OfflineRL-Kit; it is imported, and what it needs of
loggers and simulators is stood in for. Its models learn from the rows that ours learn from,
its learner from the rows that ours sees; it makes as many steps, and its policy is played
from the starts of our evaluations and of our final episodes. Settings, with what is asked,
stand in `settings/peer_mopo.toml`.

DIR gets seed-N.json for each seed: evaluations, final episodes, and Q minus Monte Carlo as
`pessimism.py` has it. Seeds that are there are skipped, and refused if they were made with
other settings or another commit of the kit.
"""

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.evaluation import FIRST_FINAL_SEED, EnvironmentEvaluations
from d3rlpy_mbo.runs.experiment import versions
from d3rlpy_mbo.support.files import atomic_write

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from peer import OfflineRLKit, Silent

from pessimism import EPISODES, Column, judge, play, time_limit

_BATCH = 256  # of the kit's models, its default and ours
_GAMMA = 0.99  # of its learner, likewise
_SETTINGS = Path(__file__).parent / "settings" / "peer_mopo.toml"


@dataclasses.dataclass(frozen=True)
class KitLearner:
    """The kit's policy, with the methods that our evaluations ask for.

    Args:
        policy: Its MOPOPolicy.
    """

    policy: Any

    def predict(self, observations: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Returns (B, A) greedy actions."""
        return self._act(observations, greedy=True)

    def sample_action(self, observations: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Returns (B, A) actions of the policy that its critics judge."""
        return self._act(observations, greedy=False)

    def _act(
        self, observations: npt.NDArray[Any], greedy: bool
    ) -> npt.NDArray[np.float32]:
        asked = np.asarray(observations, dtype=np.float32)
        actions: npt.NDArray[np.float32] = self.policy.select_action(asked, greedy)
        return actions

    @torch.no_grad()
    def values(self, observations: torch.Tensor, actions: torch.Tensor) -> Column:
        """Returns (B,) the least of its two critics."""
        critics = self.policy.critic1, self.policy.critic2
        both = torch.cat([q(observations, actions) for q in critics], dim=1)
        least: Column = both.min(dim=1).values.double().numpy()
        return least

    @torch.no_grad()
    def entropy_rewards(self, observations: torch.Tensor) -> Column:
        """Returns (B,) what its Q counts as reward for entropy, from one action each."""
        _, log_prob = self.policy.actforward(observations)
        bonus: Column = (-self.policy._alpha * log_prob)[:, 0].double().numpy()
        return bonus


def trained(
    kit: OfflineRLKit, settings: dict[str, Any], dataset: Any, env: Any, seed: int
) -> tuple[KitLearner, list[dict[str, float]]]:
    """Fits its model, trains its policy; returns it and its evaluations."""
    real = mbo.RealData.of(dataset)
    models, rows = real.for_models, mbo.Transitions.from_dataset(dataset).for_learners()
    d3rlpy.seed(seed)
    first_seed = int(np.random.randint(2**31))  # drawn as our runs draw theirs
    dynamics = kit.dynamics(models, settings["penalty_coef"])
    dynamics.terminal_fn = kit.termination(env.spec.id)
    logger = Silent()
    per_epoch = math.ceil((len(models) - held_out(len(models))) / _BATCH)
    epochs = max(1, round(settings["max_model_steps"] / per_epoch))
    dynamics.train(kit.data(models), logger, max_epochs=epochs)
    rate = settings["learning_rate"]
    policy = kit.policy(
        "mopo", rows, learning_rate=rate, alpha_learning_rate=rate, dynamics=dynamics
    )
    size = settings["rollout_batch_size"] * settings["rollout_length"]
    trainer = kit.kit.policy_trainer.MBPolicyTrainer(
        policy,
        logger,  # in the place of its environment: we evaluate
        kit.real_buffer(rows),
        kit.buffer(size * settings["retained_refreshes"], rows),
        logger,
        (
            settings["rollout_interval"],
            settings["rollout_batch_size"],
            settings["rollout_length"],
        ),
        epoch=settings["n_steps"] // settings["n_steps_per_epoch"],
        step_per_epoch=settings["n_steps_per_epoch"],
        batch_size=settings["batch_size"],
        real_ratio=settings["real_ratio"],
    )
    learner, evaluations = KitLearner(policy), list[dict[str, float]]()
    evaluates = EnvironmentEvaluations(
        env, d3rlpy.metrics.EnvironmentEvaluator(env, settings["n_trials"]), first_seed
    )

    def evaluate() -> dict[str, list[float]]:
        policy.eval()
        step = (len(evaluations) + 1) * settings["n_steps_per_epoch"]
        value = evaluates(learner, dataset)
        evaluations.append({"step": step, "return": value})
        return {"eval/episode_reward": [value], "eval/episode_length": [0.0]}

    trainer._evaluate = evaluate
    trainer.train()
    return learner, evaluations


def held_out(n_rows: int) -> int:
    """Returns how many rows the kit holds out of its models' data."""
    return min(int(0.2 * n_rows), 1000)


def judged(learner: KitLearner, settings: dict[str, Any], env: Any) -> dict[str, Any]:
    """Returns final episodes, and Q minus Monte Carlo as pessimism.py has it."""
    episodes = [
        play(env, learner.predict, FIRST_FINAL_SEED + i)
        for i in range(settings["n_final_trials"])
    ]
    d3rlpy.seed(0)
    some = [
        play(env, learner.sample_action, FIRST_FINAL_SEED + i) for i in range(EPISODES)
    ]
    observations = [torch.as_tensor(each.observations) for each in some]
    actions = [torch.as_tensor(each.actions) for each in some]
    values = [learner.values(*each) for each in zip(observations, actions, strict=True)]
    entropies = [learner.entropy_rewards(each) for each in observations]
    limit = time_limit(env, some)
    return {
        "final": {"returns": [float(each.rewards.sum()) for each in episodes]},
        "start": judge(some, values, entropies, _GAMMA, limit, only_starts=True),
        "on_the_way": judge(some, values, entropies, _GAMMA, limit),
    }


def run(kit: OfflineRLKit, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Returns what seed-N.json holds."""
    started = time.perf_counter()
    dataset, env = mbo.load_minari(settings["dataset"])
    if env is None:
        raise mbo.DatasetError(f"{settings['dataset']} has no environment to play in.")
    learner, evaluations = trained(kit, settings, dataset, env, seed)
    return {
        "seed": seed,
        "settings": settings,
        "evaluations": evaluations,
        **judged(learner, settings, env),
        "seconds": time.perf_counter() - started,
        "versions": versions(),
    }


def commit(checkout: Path) -> Optional[str]:
    """Returns the commit of a checkout, None where git does not know."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def require_same(path: Path, asked: dict[str, Any]) -> None:
    """Refuses a seed-N.json that something else than what is asked has made.

    Args:
        path: It need not exist.
        asked: Its `settings`, but for `seeds`, its `seed` and the `kit`'s commit.

    Raises:
        CompositionError: Names what differs.
    """
    if not path.exists():
        return
    found = json.loads(path.read_text())
    theirs, ours = (
        {**each["settings"], "seeds": None, "seed": each["seed"], "kit": each["kit"]}
        for each in (found, asked)
    )
    changed = [
        f"{name} is {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if changed:
        raise mbo.CompositionError(
            f"{path} was made otherwise: {'; '.join(changed)}. Choose another DIR, or move "
            "it away."
        )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--settings", type=Path, default=_SETTINGS)
    given = parser.parse_args(arguments)
    settings = tomllib.loads(given.settings.read_text())
    asked = {"settings": settings, "kit": commit(given.checkout)}
    paths = {seed: given.out / f"seed-{seed}.json" for seed in settings["seeds"]}
    try:
        for seed, path in paths.items():
            require_same(path, {**asked, "seed": seed})
    except mbo.CompositionError as error:
        print(error, file=sys.stderr)
        return 1
    torch.set_num_threads(1)
    kit = OfflineRLKit(given.checkout.resolve())
    given.out.mkdir(parents=True, exist_ok=True)
    scores = []
    for seed, path in paths.items():
        if not path.exists():
            result = {**run(kit, settings, seed), "kit": asked["kit"]}
            with atomic_write(path) as file:
                file.write(json.dumps(result, indent=1).encode())
        evaluations = json.loads(path.read_text())["evaluations"]
        last = [each["return"] for each in evaluations[-settings["n_last"] :]]
        scores.append(statistics.mean(last))
        print(f"seed {seed}: {scores[-1]:.1f}")
    if len(scores) > 1:
        print(f"{statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
