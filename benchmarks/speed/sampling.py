"""Batches: against d3rlpy's buffer, at ten million rows, and the memory of the rows."""

import ctypes
import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import torch
from d3rlpy.torch_utility import TorchMiniBatch
from measuring import Goal, Row, Timed, compare, timed
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
    reverse = _mixed_buffer(dataset, 250_000, NoiseConfig(direction="reverse"), 0.5)
    reverse.refresh()
    yield compare(
        "a batch of 256 as Cal-QL takes it, half imagined, returns-to-go included",
        "d3rlpy's ReplayBuffer",
        Goal(1),
        _with_returns(reverse),
        _with_returns(dataset),
        ROUNDS,
    )
    yield compare(
        "64 trajectories of 20 steps, half led into by imagined ones",
        "d3rlpy's ReplayBuffer",
        Goal(10),
        _trajectories(reverse),
        _trajectories(dataset),
        ROUNDS,
    )
    yield _memory(dataset)


def _with_returns(buffer: d3rlpy.dataset.ReplayBufferBase) -> Timed:
    def batch() -> None:
        TorchMiniBatch.from_batch(
            buffer.sample_transition_batch(BATCH), 0.99, True, "cpu:0"
        )

    return timed(batch, BATCHES // 10)


def _trajectories(buffer: d3rlpy.dataset.ReplayBufferBase) -> Timed:
    return timed(lambda: buffer.sample_trajectory_batch(64, 20), BATCHES)


def _batches(buffer: d3rlpy.dataset.ReplayBufferBase) -> Timed:
    return timed(lambda: buffer.sample_transition_batch(BATCH), BATCHES)


def _mixed_buffer(
    dataset: d3rlpy.dataset.ReplayBuffer,
    n_imagined: int,
    dynamics: Optional[mbo.DynamicsConfig] = None,
    real_ratio: float = 0.05,
) -> mbo.ImaginedReplayBuffer:
    imagination = mbo.ImaginationConfig(
        dynamics=dynamics or tiny_ensemble(),
        rollout_batch_size=n_imagined // 5,
        real_ratio=real_ratio,
    ).create()
    imagination.fit(dataset)
    return mbo.ImaginedReplayBuffer(dataset, imagination)


def _filled_buffer(
    dataset: d3rlpy.dataset.ReplayBuffer, n_imagined: int
) -> mbo.ImaginedReplayBuffer:
    """Imagines noise: a network would take long for ten million rows."""
    buffer = _mixed_buffer(dataset, n_imagined, NoiseConfig())
    buffer.sample_transition_batch(1)  # it imagines once, now
    return buffer


@dataclasses.dataclass()
class NoiseConfig(mbo.DynamicsConfig):
    """Config of dynamics that forget everything."""

    @staticmethod
    def get_type() -> str:
        return "noise"

    def create(self, device: Any = False) -> "Noise":
        return Noise(self, device)


class Noise(mbo.Dynamics):
    """Leads anywhere, for any reward."""

    fitted = True

    def fit(self, transitions: mbo.Transitions) -> None:
        pass

    def predict(
        self, observations: torch.Tensor, actions: torch.Tensor, all_members: bool
    ) -> mbo.Prediction:
        anywhere = torch.rand_like(observations)
        return mbo.Prediction(observations, actions, anywhere, anywhere[:, :1])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def _memory(dataset: d3rlpy.dataset.ReplayBuffer) -> Row:
    buffer = _mixed_buffer(dataset, 1_000_000)
    before = _resident_bytes()
    buffer.refresh()
    (source,) = buffer.sources
    one = buffer.sample_imagined(1)
    columns = (
        *(one.observations, one.actions, one.rewards),
        *(one.next_observations, one.next_actions, one.terminals),
    )
    raw = source.metrics["rows"] * sum(column.nbytes for column in columns)
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
