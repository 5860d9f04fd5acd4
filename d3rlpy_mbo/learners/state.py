"""The state of a learner, as a checkpoint keeps it: nothing that decides is left out."""

import dataclasses
import io
from typing import Any, Optional

import numpy as np
import torch

from ..data.real_data import RealData
from .building import build
from .reading import AnyLearner

__all__ = ["LearnerState", "read_networks", "written_networks"]

_SCALERS = ("observation_scaler", "action_scaler", "reward_scaler")

# What an implementation counts besides its networks and optimizers:
# DiscreteDecisionTransformer's learning rate follows the tokens seen.
_COUNTERS = ("_tokens",)


class LearnerState:
    """Networks, optimizers, schedulers, step count and scalers of a learner.

    Args:
        learner: Any d3rlpy algorithm.
        real: The data; a learner that has no networks yet is built for it.
    """

    def __init__(self, learner: AnyLearner, real: RealData):
        self._learner = learner
        self._real = real

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns all of it; ``networks`` is None for a learner that is not built."""
        impl: Any = self._learner.impl
        return {
            "networks": None if impl is None else _networks(self._learner),
            "counters": {n: getattr(impl, n) for n in _COUNTERS if hasattr(impl, n)},
            "grad_step": self._learner.grad_step,
            "scalers": {name: _numbers(self._scaler(name)) for name in _SCALERS},
        }

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""
        for name, numbers in state["scalers"].items():
            for field, value in numbers.items():
                if isinstance(value, torch.Tensor):
                    value = value.numpy()
                setattr(self._scaler(name), field, value)
        self._learner.set_grad_step(state["grad_step"])
        if state["networks"] is None:  # what a call that failed built is another run's
            self._learner._impl = None
            return
        if self._learner.impl is None:
            build(self._learner, self._real.dataset)
        impl: Any = self._learner.impl
        content = io.BytesIO()
        torch.save(state["networks"], content)
        read_networks(self._learner, content.getvalue())
        for name, value in state["counters"].items():
            setattr(impl, name, value)

    def _scaler(self, name: str) -> Optional[Any]:
        return getattr(self._learner.config, name, None)


def written_networks(learner: AnyLearner) -> bytes:
    """Returns what `learner.save_model` writes, without a file: /tmp may have no room."""
    impl: Any = learner.impl
    content = io.BytesIO()
    impl.save_model(content)
    return content.getvalue()


def read_networks(learner: AnyLearner, content: bytes) -> None:
    """Takes over what `written_networks` returned, as `learner.load_model` does."""
    impl: Any = learner.impl
    impl.load_model(io.BytesIO(content))


def _networks(learner: AnyLearner) -> dict[str, Any]:
    networks: dict[str, Any] = torch.load(
        io.BytesIO(written_networks(learner)), map_location="cpu", weights_only=True
    )
    return networks


def _numbers(scaler: Optional[Any]) -> dict[str, Any]:
    """Returns what fitting determined of a scaler, with its own precision."""
    if scaler is None:
        return {}
    numbers: dict[str, Any] = {}
    for field in dataclasses.fields(scaler):
        value = getattr(scaler, field.name)
        if isinstance(value, np.ndarray):
            numbers[field.name] = torch.from_numpy(value.copy())
        elif isinstance(value, np.generic):
            numbers[field.name] = value.item()
        elif value is None or isinstance(value, bool | int | float):
            numbers[field.name] = value
    return numbers
