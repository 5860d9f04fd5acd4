"""Runs on a machine with a CUDA device by itself: right first, then how fast.

    python benchmarks/speed/gpu.py [--minutes 10] [--device cuda:0]
        [--offlinerl-kit PATH] [--out DIR] [--parts PART ...]

Four parts: `tests` are those in which CPU and GPU must agree; `waits` lists
the places where a piece of work waits for the device; `ours` is the table of our speed;
`peer` is OfflineRL-Kit's, from a checkout of its repository. A part that would begin after
the minutes are over is left out, by name. DIR gets gpu.json, anew after each row. Needs no
simulator: the data are of HalfCheetah's sizes, s' = 0.9 s + B a and noise.
"""

import argparse
import collections
import json
import logging
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import numpy as np
import structlog
import torch
from peer import OfflineRLKit, Silent
from task import ACTION, BATCH, OBSERVATION

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from d3rlpy_mbo_rambo import RAMBOConfig

ROOT = Path(__file__).parents[2]
AGREEMENT = "tests/support/test_cpu_and_gpu_agree.py"
PARTS = ["tests", "waits", "ours", "peer"]
EPISODES, STEPS = 100, 1000
N_ROLLOUTS, LENGTH = 50_000, 5
N_UPDATES, N_FIT, N_LEARNER = 300, 1000, 1000

Work = Callable[[], object]


def linear_dataset() -> d3rlpy.dataset.ReplayBuffer:
    """Returns 100,000 rows of a world that any model can learn and that never ends."""
    generator = np.random.default_rng(0)
    push = generator.normal(size=(ACTION, OBSERVATION)) / ACTION
    actions = generator.uniform(-1, 1, (EPISODES, STEPS, ACTION))
    noise = 0.01 * generator.normal(size=(EPISODES, STEPS, OBSERVATION))
    states = generator.normal(size=(EPISODES, STEPS, OBSERVATION))
    for step in range(1, STEPS):
        moved = 0.9 * states[:, step - 1] + actions[:, step - 1] @ push
        states[:, step] = moved + noise[:, step]
    rewards = states[..., :1] - 0.1 * np.square(actions).sum(axis=-1, keepdims=True)
    columns = [each.astype(np.float32) for each in (states, actions, rewards)]
    episodes = [
        d3rlpy.dataset.Episode(*(each[i] for each in columns), False)  # type: ignore
        for i in range(EPISODES)
    ]
    return d3rlpy.dataset.create_infinite_replay_buffer(episodes)


class Bench:
    """The pieces of work, each made once and ready to be done again.

    Args:
        device: A torch device name.
    """

    def __init__(self, device: str):
        self.device = device
        self.dataset = linear_dataset()
        self.real = mbo.RealData.of(self.dataset)
        self.rows = self.real.for_models

    def fitting(self, n_steps: int = N_FIT) -> Work:
        """An ensemble of 7 networks of 4 x 200, batches of 256, for some steps."""
        config = mbo.ProbabilisticEnsembleConfig(max_steps=n_steps)
        return lambda: config.create(self.device).fit(self.rows)

    def refreshing(
        self, penalty: Optional[mbo.Penalty], learner: Optional[mbo.Learner] = None
    ) -> Work:
        """50,000 x 5 rollouts, stored; uniform actions, or the learner's."""
        policy = mbo.LearnerPolicyConfig() if learner else mbo.UniformPolicyConfig()
        imagination = mbo.ImaginationConfig(
            dynamics=mbo.ProbabilisticEnsembleConfig(max_steps=200),
            rollout_policy=policy,
            penalty=penalty,
            rollout_batch_size=N_ROLLOUTS,
            rollout_length=LENGTH,
        ).create(self.device)
        imagination.fit(self.dataset)
        return mbo.ImaginedReplayBuffer(self.real, imagination, learner).refresh

    def updating(self, n_updates: int = N_UPDATES) -> Work:
        """RAMBO's updates of the dynamics, 256 rows for each elite."""
        settings = {"dynamics.max_steps": 200, "dynamics_updater.n_updates": n_updates}
        rambo = apply_settings(RAMBOConfig(), settings).create(self.device)
        rambo.fit(self.dataset)
        learner = self.sac()
        return lambda: rambo.update_dynamics(self.rows, learner)

    def pretraining(self, n_epochs: int = 1) -> Work:
        """Epochs of behaviour cloning of SAC's policy."""
        learner = self.sac()
        return lambda: mbo.pretrain_policy(learner, self.real, n_epochs=n_epochs)

    def sac(self, compiled: bool = False) -> Any:
        """Returns a SAC that is built."""
        config = d3rlpy.algos.SACConfig(batch_size=BATCH, compile_graph=compiled)
        learner = config.create(self.device)
        learner.build_with_dataset(self.dataset)
        return learner

    def learning(self, imagine: bool, compiled: bool, n_steps: int = N_LEARNER) -> Work:
        """A SAC on real rows alone, d3rlpy's way; or on MOPO's, all included."""
        if not imagine:
            return self._fit(self.sac(compiled), self.dataset, n_steps)
        dynamics = mbo.ProbabilisticEnsembleConfig(max_steps=200)
        config = MOPOConfig(dynamics=dynamics, rollout_length=LENGTH)
        mopo = config.create(self.device)
        mopo.fit(self.dataset)
        learner = self.sac(compiled)
        buffer = mbo.ImaginedReplayBuffer(self.real, mopo, learner)
        return self._fit(learner, buffer, n_steps)

    @staticmethod
    def _fit(learner: Any, data: Any, n_steps: int) -> Work:
        return lambda: learner.fit(
            data,
            n_steps=n_steps,
            n_steps_per_epoch=n_steps,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
        )


def seconds(work: Work, rounds: int = 3, warm: bool = True) -> list[float]:
    """Returns the seconds of each round; the device's queue is empty at both ends."""
    if warm:
        work()
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return found


def our_rows(bench: Bench) -> Iterator[dict[str, Any]]:
    """Yields the table's rows; the goals are those of one H100."""
    short, long = (seconds(bench.fitting(n)) for n in (N_FIT // 10, N_FIT))
    steps = [0.9 * N_FIT / (b - a) for a, b in zip(short, long, strict=True)]
    yield row("ensemble of 7 x (4 x 200), batches of 256", steps, "steps/s")
    for name, penalty in (("", None), (", max-aleatoric penalty", MaxAleatoric())):
        taken = seconds(bench.refreshing(penalty))
        yield row(f"rollouts of 50,000 x 5, stored{name}", taken, "s", at_most=0.3)
    taken = seconds(bench.refreshing(MaxAleatoric(), bench.sac()))
    yield row("rollouts of 50,000 x 5, SAC's actions, penalty", taken, "s", at_most=0.3)
    yield row("a refresh, rows", [N_ROLLOUTS * LENGTH / t for t in taken], "rows/s")
    updates = [N_UPDATES / t for t in seconds(bench.updating())]
    yield row("RAMBO, 256 rows", updates, "updates/s", at_least=300)
    batches = len(bench.rows) // BATCH
    taken = seconds(bench.pretraining())
    yield row("pretraining SAC's policy", [batches / t for t in taken], "steps/s")
    for compiled in (False, True):
        name = ", compile_graph" if compiled else ""
        alone, whole = (
            seconds(bench.learning(imagine, compiled), rounds=2)
            for imagine in (False, True)
        )
        rate = [N_LEARNER / t for t in alone]
        yield row(f"SAC on d3rlpy's own buffer{name}", rate, "updates/s")
        rate = [N_LEARNER / t for t in whole]
        goal = {"at_least": 1000.0} if compiled else {}
        work = f"MOPO with SAC, a refresh each 1000 updates{name}"
        yield row(work, rate, "updates/s", **goal)
        shares = [max(1 - a / w, 0) for a, w in zip(alone, whole, strict=True)]
        yield row(
            f"share of MOPO that imagination costs{name}", shares, "", at_most=0.1
        )
    peak = torch.cuda.max_memory_allocated() / 2**20
    yield row("memory of the device at most", [peak], "MiB")


def row(
    work: str,
    values: list[float],
    unit: str,
    at_least: Optional[float] = None,
    at_most: Optional[float] = None,
) -> dict[str, Any]:
    """Returns the median of some rounds and whether the goal is met."""
    median = statistics.median(values)
    goal = f">= {at_least:g}" if at_least else f"<= {at_most:g}" if at_most else ""
    met = median >= (at_least or 0) and median <= (at_most or float("inf"))
    return {
        "work": work,
        "median": median,
        "min": min(values),
        "max": max(values),
        "unit": unit,
        "goal": goal,
        "met": met if goal else None,
    }


def peer_rows(bench: Bench, path: Path) -> Iterator[dict[str, Any]]:
    """Yields the same work of OfflineRL-Kit, same networks and sizes."""
    kit, data = OfflineRLKit(path, bench.device), bench.rows
    dynamics = kit.dynamics(data, penalty_coef=1.0)
    n_steps = 200
    inputs, targets = dynamics.format_samples_for_training(kit.data(data))
    drawn = np.random.randint(len(inputs), size=(7, n_steps * BATCH))
    taken = seconds(lambda: dynamics.learn(inputs[drawn], targets[drawn], BATCH))
    yield row("OfflineRL-Kit: ensemble", [n_steps / t for t in taken], "steps/s")
    starts = data.observations[:N_ROLLOUTS].numpy()
    actions = np.random.uniform(-1, 1, (N_ROLLOUTS, ACTION)).astype(np.float32)

    def rollouts() -> None:
        observations = starts
        for _ in range(LENGTH):
            observations, *_ = dynamics.step(observations, actions)

    taken = seconds(rollouts)
    yield row("OfflineRL-Kit: rollouts of 50,000 x 5, penalty", taken, "s")
    adam = torch.optim.Adam(dynamics.model.parameters(), lr=3e-4)
    n_updates, real = 50, kit.real_buffer(data)
    policy = kit.policy(
        "rambo",
        data,
        dynamics=dynamics,
        dynamics_adv_optim=adam,
        adv_weight=3e-4,
        adv_train_steps=n_updates,
        adv_rollout_batch_size=BATCH,
        device=bench.device,
    )
    taken = seconds(lambda: policy.update_dynamics(real))
    yield row("OfflineRL-Kit: RAMBO", [n_updates / t for t in taken], "updates/s")
    silent, rollout = Silent(), (1000, N_ROLLOUTS, LENGTH)
    policy = kit.policy("mopo", data, dynamics=kit.dynamics(data, penalty_coef=1.0))
    trainer = kit.kit.policy_trainer.MBPolicyTrainer(
        policy,
        silent,
        real,
        kit.buffer(N_ROLLOUTS * LENGTH, data),
        silent,
        rollout,
        epoch=1,
        batch_size=BATCH,
        eval_episodes=0,
    )
    taken = seconds(trainer.train, rounds=2)
    yield row("OfflineRL-Kit: MOPO with SAC", [1000 / t for t in taken], "updates/s")


def waits(bench: Bench) -> dict[str, dict[str, float]]:
    """Returns, for each piece of work, the lines that wait for the device, per step."""
    n = 50
    works: dict[str, tuple[Work, int]] = {
        "an ensemble's step": (bench.fitting(n), n),
        "a refresh": (bench.refreshing(MaxAleatoric(), bench.sac()), 1),
        "a RAMBO update": (bench.updating(n), n),
        "a step of pretraining": (bench.pretraining(), len(bench.rows) // BATCH),
        "a SAC update on MOPO's buffer": (bench.learning(True, False, n), n),
    }
    found = {}
    for name, (work, steps) in works.items():
        work()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        places = collections.Counter(
            f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno}"
            for each in caught
            if "synchronizing" in str(each.message)
        )
        found[name] = {place: count / steps for place, count in places.most_common(12)}
    return found


def machine(device: str) -> dict[str, Any]:
    """Returns what this ran on and with."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name,
        "memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "d3rlpy": d3rlpy.__version__,
        "numpy": np.__version__,
    }


def text(row: dict[str, Any]) -> str:
    """Returns a row of the table, for reading."""
    goal = {None: "", True: "met", False: "NOT MET"}[row["met"]]
    spread = f"({row['min']:.4g} to {row['max']:.4g})"
    goal = f"  goal {row['goal']}: {goal}" if goal else ""
    return f"{row['work']}: {row['median']:.4g} {row['unit']} {spread}{goal}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--offlinerl-kit", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here.")
    until = time.monotonic() + 60 * arguments.minutes
    warnings.simplefilter("ignore")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    d3rlpy.seed(0)
    result: dict[str, Any] = {"machine": machine(arguments.device), "rows": []}
    print(json.dumps(result["machine"]), flush=True)

    def write() -> None:
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            path = arguments.out / "gpu.json"
            path.write_text(json.dumps(result, indent=1) + "\n")

    status, bench = 0, Bench(arguments.device)
    for part in arguments.parts:
        if time.monotonic() > until:
            print(f"{part}: left out, the minutes are over", flush=True)
        elif part == "tests":
            # Another torch may warn of other things: no errors here.
            command = [sys.executable, "-m", "pytest", "-W", "default"]
            tests = [*command, str(ROOT / AGREEMENT)]
            status = subprocess.run([*tests, "--durations=3"], check=False).returncode
            result["tests"] = "passed" if status == 0 else "FAILED"
            write()
        elif part == "waits":
            result["waits"] = waits(bench)
            for name, places in result["waits"].items():
                print(f"{name} waits:", flush=True)
                for place, times in places.items():
                    print(f"    {times:8.3g} times at {place}", flush=True)
            write()
        elif part == "ours" or arguments.offlinerl_kit is not None:
            rows = (
                our_rows(bench)
                if part == "ours"
                else peer_rows(bench, arguments.offlinerl_kit)
            )
            for each in rows:
                print(text(each), flush=True)
                result["rows"].append(each)
                write()
                if time.monotonic() > until:
                    print(f"{part}: cut here, the minutes are over", flush=True)
                    break
    return status


if __name__ == "__main__":
    sys.exit(main())
