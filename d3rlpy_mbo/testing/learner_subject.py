"""How a learner is trained and asked."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import ReplayBuffer, Transition

from ..buffer.mini_batch import ImaginedMiniBatch
from ..buffer.replay_buffer import ImaginedReplayBuffer
from .fitted_models import fitted_imagination
from .subjects import Subject

__all__ = ["N_LEARNER_STEPS", "LearnerSubject", "Losses", "Trained", "rows_of"]

N_LEARNER_STEPS = 5
_BATCH_SIZE = 256

Losses = list[Mapping[str, float]]


class Trained(NamedTuple):
    """A learner, and what each of its steps said.

    Attributes:
        learner: A d3rlpy algorithm.
        losses: By name, of each step.
    """

    learner: Any
    losses: Losses


class LearnerSubject(Subject):
    """A learner: trained for a few steps on real and imagined rows, asked for actions."""

    component: Any  # a config of d3rlpy's kind

    @functools.cached_property
    def dataset(self) -> ReplayBuffer:
        """Connected episodes."""
        return self.world.line_dataset()

    def elsewhere(self, device: str) -> "Subject":
        """Returns the same on another device, given the same batches."""
        there = super().elsewhere(device)
        there.fitted_on = self.fitted_on
        return there

    def data(self) -> list[ImaginedMiniBatch]:
        """Returns batches of real and imagined rows, always the same."""
        imagination, learner = fitted_imagination(self.world), self.created()
        buffer = ImaginedReplayBuffer(self.dataset, imagination, learner)
        d3rlpy.seed(0)
        return [
            buffer.sample_transition_batch(_BATCH_SIZE) for _ in range(N_LEARNER_STEPS)
        ]

    def created(self) -> Any:
        """Returns a new learner that has networks."""
        learner = self.component.create(self.device)
        learner.build_with_dataset(self.dataset)
        return learner

    def build(self, data: Any, seed: int = 0) -> Trained:
        """Returns a new one that was trained."""
        d3rlpy.seed(seed)
        learner = self.created()
        return Trained(learner, self.losses(learner, data))

    def losses(self, learner: Any, batches: Sequence[ImaginedMiniBatch]) -> Losses:
        """Trains a learner, and returns what it says of each batch."""
        return [learner.update(batch) for batch in batches]

    def inputs(self, n_rows: int = 31) -> tuple[Any, ...]:
        """Returns observations as d3rlpy's `predict` takes them."""
        return (self.world.line_transitions(n_rows).observations.numpy(),)

    def ask(self, ready: Trained, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
        """Returns its actions, and its losses on the way."""
        losses = {
            f"{name} of step {i + 1}": torch.as_tensor(float(value))
            for i, step in enumerate(ready.losses)
            for name, value in step.items()
        }
        return {"actions": torch.as_tensor(ready.learner.predict(*inputs)), **losses}

    @property
    def answers_at(self) -> str:
        """On the CPU: d3rlpy's algorithms answer in NumPy."""
        return "cpu"


def rows_of(batch: ImaginedMiniBatch, rows: npt.NDArray[np.int64]) -> ImaginedMiniBatch:
    """Returns some rows of a batch, in the order of their indices."""
    columns = {
        field.name: getattr(batch, field.name)[rows]
        for field in dataclasses.fields(batch)
        if field.name != "transitions"
    }
    return ImaginedMiniBatch(**columns, transitions=_Some(batch.transitions, rows))


class _Some(Sequence[Transition]):
    """Some of a batch's transitions, made when somebody asks, as those are."""

    def __init__(self, transitions: Sequence[Transition], rows: npt.NDArray[np.int64]):
        self._transitions, self._rows = transitions, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Transition]:
        every = list(self._transitions)
        return iter([every[row] for row in self._rows])

    @overload
    def __getitem__(self, index: int) -> Transition: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Transition]: ...
    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]
