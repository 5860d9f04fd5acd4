"""Many rows, short episodes: reading them, and the memory of reading, buffer and fit."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import d3rlpy
import numpy as np
from measuring import Goal, Row, compare, timed
from sampling import _resident_bytes
from task import ACTION, BATCH, EPISODE, OBSERVATION, random_rows

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.progress import progress_shown

SHORT, LONG, ROUNDS = 1_000_000, 10_000_000, 15


def rows() -> Iterator[Row]:
    yield from _short_episodes()
    yield from _ten_millions()


def _short_episodes() -> Iterator[Row]:
    dataset = _dataset(SHORT, 2)
    before = _resident_bytes()
    _forget_peak()
    started = time.process_time()
    real = mbo.RealData.of(dataset)
    seconds = time.process_time() - started
    peak = _peak_bytes() - before
    yield Row(
        "reading 1,000,000 rows in episodes of two",
        "five seconds (of the processor)",
        Goal(1, "of theirs"),
        [seconds],
        [5.0],
    )
    yield _memory("reading 1,000,000 rows in episodes of two", peak, real)


def _ten_millions() -> Iterator[Row]:
    dataset = _dataset(LONG, EPISODE)
    before = _resident_bytes()
    _forget_peak()
    real = mbo.RealData.of(dataset)
    buffer = mbo.ImaginedReplayBuffer(real, [])
    kept = _resident_bytes() - before
    imagination = mbo.ImaginationConfig(
        dynamics=mbo.ProbabilisticEnsembleConfig(max_steps=30),
        rollout_policy=mbo.UniformPolicyConfig(),
        termination=mbo.NoTermination(),
    ).create()
    with progress_shown(False):
        imagination.fit(real)
    peak = _peak_bytes() - before
    work = "reading 10,000,000 rows, a buffer, a fit of 30 steps"
    yield _memory(work, peak, real).noted(
        f"kept by dataset and buffer {kept / real.packed.nbytes:.2f}"
    )
    few = mbo.ImaginedReplayBuffer(random_rows(100), [])
    yield compare(
        "a batch of 256 of 10,000,000 real rows",
        "of 100,000",
        Goal(2, "of theirs"),
        timed(lambda: buffer.sample_transition_batch(BATCH), 100),
        timed(lambda: few.sample_transition_batch(BATCH), 100),
        ROUNDS,
    )


def _memory(work: str, peak: int, real: mbo.RealData) -> Row:
    return Row(
        f"peak memory of {work}",
        "their packed float32 bytes (48 columns)",
        Goal(2.2, "of theirs"),
        [peak / 1e6],
        [real.packed.nbytes / 1e6],
        unit="MB",
    )


def _dataset(n_rows: int, length: int) -> d3rlpy.dataset.ReplayBuffer:
    """Returns noise in episodes that keep the observation after their last action."""
    n_episodes = n_rows // length
    rng = np.random.default_rng(0)
    dataset = mbo.dataset_from_arrays(
        rng.standard_normal((n_episodes, length + 1, OBSERVATION), dtype=np.float32),
        rng.uniform(-1, 1, (n_episodes, length, ACTION)).astype(np.float32),
        rng.standard_normal((n_episodes, length), dtype=np.float32),
    )
    gc.collect()
    return dataset


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
