"""Batches: against d3rlpy's buffer, at ten million rows, and the memory of the rows."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import d3rlpy
import numpy as np
from measuring import Goal, Row, compare, timed
from task import BATCH, random_rows, tiny_ensemble

import d3rlpy_mbo as mbo

BATCHES, ROUNDS = 100, 15


def rows() -> Iterator[Row]:
    dataset = random_rows(200)
    mixed = _mixed_buffer(dataset, 250_000)
    mixed.refresh()
    yield compare(
        "a batch of 256, 200,000 real + 250,000 imagined rows",
        "d3rlpy's ReplayBuffer",
        Goal(25),
        _batches(mixed),
        _batches(dataset),
        ROUNDS,
    )
    yield compare(
        "a batch of 256 at 10 million rows",
        "at 100 thousand",
        Goal(2, "of theirs"),
        _batches(_filled_buffer(dataset, 10_000_000)),
        _batches(_filled_buffer(dataset, 100_000)),
        ROUNDS,
    )
    yield _memory(dataset)


def _batches(buffer: d3rlpy.dataset.ReplayBufferBase):
    return timed(lambda: buffer.sample_transition_batch(BATCH), BATCHES)


def _mixed_buffer(
    dataset: d3rlpy.dataset.ReplayBuffer, n_imagined: int
) -> mbo.ImaginedReplayBuffer:
    imagination = mbo.ImaginationConfig(
        dynamics=tiny_ensemble(),
        rollout_batch_size=n_imagined // 5,
        real_ratio=0.05,
    ).create()
    imagination.fit(dataset)
    return mbo.ImaginedReplayBuffer(dataset, imagination)


def _filled_buffer(
    dataset: d3rlpy.dataset.ReplayBuffer, n_imagined: int
) -> mbo.ImaginedReplayBuffer:
    """Fills the store with noise: ten million rows would take long to imagine."""
    buffer = _mixed_buffer(dataset, n_imagined)
    (source,) = buffer.sources
    width = sum(each.stop - each.start for each in buffer._layout.slices.values())
    noise = np.random.rand(100_000, width).astype(np.float32)
    source.ring.begin_refresh()
    for _ in range(n_imagined // len(noise)):
        source.ring.append(noise)
    source._refreshed = 0  # it imagines once, and did
    return buffer


def _memory(dataset: d3rlpy.dataset.ReplayBuffer) -> Row:
    buffer = _mixed_buffer(dataset, 1_000_000)
    before = _resident_bytes()
    buffer.refresh()
    (source,) = buffer.sources
    raw = source.ring.rows().nbytes
    return Row(
        "resident memory of 1,000,000 imagined rows",
        "their raw float32 bytes",
        Goal(1.15, "of theirs"),
        [(_resident_bytes() - before) / 1e6],
        [raw / 1e6],
        unit="MB",
    )


def _resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
