"""Many rows, short episodes: reading them, and the memory of reading, buffer and fit."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import d3rlpy
import numpy as np
from measuring import Goal, Row, compare, timed
from sampling import _resident_bytes
from task import ACTION, BATCH, EPISODE, OBSERVATION

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.progress import progress_shown

ROUNDS = 15
SECONDS = 5.0  # to read a million narrow rows in


class Sizes(NamedTuple):
    """Of the rows: how many in episodes of two, in long ones and in few, how wide."""

    short: int
    long: int
    few: int
    observation: int
    action: int

    @property
    def columns(self) -> int:
        """Of a packed row: s, a, r, terminal, s', a'."""
        return 2 * (self.observation + self.action + 1)


NARROW = Sizes(1_000_000, 10_000_000, 100_000, OBSERVATION, ACTION)
# As Humanoid's of Gym: fewer rows, of which long ones take 1.6 GB.
WIDE = Sizes(250_000, 500_000, 5_000, 376, 17)


def rows() -> Iterator[Row]:
    yield from _short_episodes(NARROW)
    yield from _long_episodes(NARROW)


def wide_rows() -> Iterator[Row]:
    yield from _short_episodes(WIDE)
    yield from _long_episodes(WIDE)


def _short_episodes(sizes: Sizes) -> Iterator[Row]:
    dataset = _dataset(sizes, sizes.short, 2)
    before = _resident_bytes()
    _forget_peak()
    started = time.process_time()
    real = mbo.RealData.of(dataset)
    seconds = time.process_time() - started
    peak = _peak_bytes() - before
    work = f"reading {sizes.short:,} rows{_wide(sizes)} in episodes of two"
    # As long a number, wherever it stands.
    n_numbers = sizes.short * sizes.columns / (NARROW.short * NARROW.columns)
    allowed = SECONDS * n_numbers
    yield Row(
        work,
        "five seconds (of the processor)"
        if sizes is NARROW
        else "five seconds for as many numbers as a million narrow rows (of the processor)",
        Goal(1, "of theirs"),
        [seconds],
        [allowed],
    )
    yield _memory(work, peak, real, sizes)


def _long_episodes(sizes: Sizes) -> Iterator[Row]:
    dataset = _dataset(sizes, sizes.long, EPISODE)
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
    work = f"reading {sizes.long:,} rows{_wide(sizes)}, a buffer, a fit of 30 steps"
    yield _memory(work, peak, real, sizes).noted(
        f"kept by dataset and buffer {kept / real.packed.nbytes:.2f}"
    )
    few = mbo.ImaginedReplayBuffer(_dataset(sizes, sizes.few, EPISODE), [])
    yield compare(
        f"a batch of 256 of {sizes.long:,} real rows{_wide(sizes)}",
        f"of {sizes.few:,}",
        Goal(2, "of theirs"),
        timed(lambda: buffer.sample_transition_batch(BATCH), 100),
        timed(lambda: few.sample_transition_batch(BATCH), 100),
        ROUNDS,
    )


def _wide(sizes: Sizes) -> str:
    return (
        "" if sizes is NARROW else f" of {sizes.observation} + {sizes.action} numbers"
    )


def _memory(work: str, peak: int, real: mbo.RealData, sizes: Sizes) -> Row:
    return Row(
        f"peak memory of {work}",
        f"their packed float32 bytes ({sizes.columns} columns)",
        Goal(2.2, "of theirs"),
        [peak / 1e6],
        [real.packed.nbytes / 1e6],
        unit="MB",
    )


def _dataset(sizes: Sizes, n_rows: int, length: int) -> d3rlpy.dataset.ReplayBuffer:
    """Returns noise in episodes that keep the observation after their last action."""
    n_episodes = n_rows // length
    rng = np.random.default_rng(0)
    observations = (n_episodes, length + 1, sizes.observation)
    dataset = mbo.dataset_from_arrays(
        rng.standard_normal(observations, dtype=np.float32),
        rng.uniform(-1, 1, (n_episodes, length, sizes.action)).astype(np.float32),
        rng.standard_normal((n_episodes, length), dtype=np.float32),
    )
    gc.collect()
    return dataset


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
