"""Twenty thousand batches with refreshes take no more memory at their end."""

import os
from pathlib import Path

from hardship import HARD, small_imagination

import d3rlpy_mbo as mbo
from toys import line_dataset

pytestmark = HARD

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_memory_does_not_grow_over_20_000_batches_and_2_000_refreshes():
    dataset = line_dataset(n_episodes=4)
    imagination = small_imagination(dataset)
    imagination.config.rollout_interval = 10
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    for _ in range(2000):
        buffer.sample_transition_batch(64)
    before = resident()
    for _ in range(20_000):
        buffer.sample_transition_batch(64)
    assert resident() - before < 5_000_000
