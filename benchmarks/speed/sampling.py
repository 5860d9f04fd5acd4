"""Times one batch: d3rlpy's ReplayBuffer against ImaginedReplayBuffer, in one run.

    python benchmarks/speed/sampling.py [--out FILE]

Rounds alternate between the two; medians and the ratio are printed and written.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import d3rlpy
import numpy as np
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.transitions import Transitions

N_REAL, N_IMAGINED = 200_000, 250_000
OBSERVATION, ACTION, BATCH = 17, 6, 256  # HalfCheetah's sizes
EPISODE, ROUNDS, BATCHES = 1000, 15, 100


def real_dataset() -> d3rlpy.dataset.ReplayBuffer:
    def column(size: int) -> np.ndarray:
        return np.random.uniform(-1, 1, (EPISODE, size)).astype(np.float32)

    episodes = [
        d3rlpy.dataset.Episode(column(OBSERVATION), column(ACTION), column(1), False)
        for _ in range(N_REAL // EPISODE)
    ]
    return d3rlpy.dataset.create_infinite_replay_buffer(episodes)


def mixed_buffer(dataset: d3rlpy.dataset.ReplayBuffer) -> mbo.ImaginedReplayBuffer:
    """Imagines with an ensemble of one small member: only the batches are timed."""
    imagination = mbo.ImaginationConfig(
        dynamics=mbo.ProbabilisticEnsembleConfig(
            n_models=1, n_elites=1, hidden_units=[8], weight_decays=[0, 0], max_steps=1
        ),
        rollout_batch_size=N_IMAGINED // 5,
        real_ratio=0.05,
    ).create()
    imagination.fit(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    buffer.refresh()
    return buffer


def microseconds(sample: Callable[[int], object]) -> float:
    started = time.perf_counter()
    for _ in range(BATCHES):
        sample(BATCH)
    return (time.perf_counter() - started) / BATCHES * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    d3rlpy.seed(0)
    dataset = real_dataset()
    mixed = mixed_buffer(dataset)
    samplers = {
        "d3rlpy ReplayBuffer": dataset.sample_transition_batch,
        "ImaginedReplayBuffer, real alone": mbo.ImaginedReplayBuffer(
            dataset, []
        ).sample_transition_batch,
        "ImaginedReplayBuffer, 5 % real": mixed.sample_transition_batch,
    }
    rounds: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(ROUNDS):
        for name, sample in samplers.items():
            rounds[name].append(microseconds(sample))
    baseline = rounds["d3rlpy ReplayBuffer"]
    result = {
        "rows": {
            "real": len(Transitions.from_dataset(dataset)),
            "imagined": N_IMAGINED,
        },
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "d3rlpy": d3rlpy.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "microseconds": {},
    }
    print(f"{'a batch of 256':36} {'median':>10} {'min':>8} {'max':>8} {'ratio':>7}")
    for name, times in rounds.items():
        ratios = [b / t for b, t in zip(baseline, times, strict=True)]
        row = {
            "median": statistics.median(times),
            "min": min(times),
            "max": max(times),
            "times_faster": statistics.median(ratios),
        }
        result["microseconds"][name] = row
        print(
            f"{name:36} {row['median']:7.1f} us {row['min']:8.1f} {row['max']:8.1f} "
            f"{row['times_faster']:6.1f}x"
        )
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
