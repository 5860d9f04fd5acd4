"""What components that learn have in common: fitting, and a state to save."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

import torch
from d3rlpy.base import DeviceArg

from ..registry.component import Component
from ..support.devices import device_name, on_device
from ..support.errors import DivergedError, NotFittedError
from ..support.progress import Progress
from ..support.resuming import Loop, TorchState
from .history import FitRecord, plain, records

if TYPE_CHECKING:
    from .context import Context

__all__ = ["LearnedComponent"]

# Losses that a fit by gradient keeps (ours: a curve, and no wait for a GPU each step).
_N_KEPT = 100


class LearnedComponent(ABC):
    """Base of the objects that learned components' configs create.

    Args:
        config: What it was created from.
        device: As d3rlpy's `create`: False, True, a GPU's number or a torch name.

    Attributes:
        context: What `attach` was told of the imagination that it belongs to.
    """

    context: Optional["Context"] = None

    def __init__(self, config: Component, device: DeviceArg = False):
        self.config = config
        self.device = device_name(device)
        self.metrics: dict[str, float] = {}  # numbers for d3rlpy's logs, no "/"
        # (epoch, step, name, value) that the last fit measured while it ran, for the same
        # logs; not saved.
        self.history: list[FitRecord] = []

    def attach(self, context: "Context") -> None:
        """Tells the component about the imagination that it belongs to.

        Called when the imagination is created, with None as ``context.action_set``, and
        again when the action set is settled: in `Imagination.fit`, before the component
        is fitted, on loading a file, and on assignment; and before rollouts, if a rule was
        put into the config since. By default the context is kept as `context`. A
        component that several imaginations share is told by each of them.

        Args:
            context: What the component may ask: the parts that the imagination asks.
        """
        self.context = context

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what fitting determined: tensors, numbers, strings, lists, dicts.

        Nothing else: files are read by a loader that can run no code.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned; afterwards the component is fitted.

        In a state from a file all tensors are on the CPU: move them to `device`.
        """

    def restore(self, state: dict[str, Any], metrics: Mapping[str, float]) -> None:
        """Takes over a state, see `load_state_dict`, and the metrics beside it."""
        self.load_state_dict(state)
        self.metrics = dict(metrics)

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns what a killed run needs to go on: `state_dict`, metrics and history."""
        return {
            "state": self.state_dict(),
            "metrics": dict(self.metrics),
            "history": plain(self.history),
        }

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""
        self.restore(state["state"], state["metrics"])
        self.history = records(state["history"])

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether it can be used."""

    def check_fitted(self) -> None:
        """Raises NotFittedError unless it can be used."""
        if not self.fitted:
            raise NotFittedError(
                f"{type(self).__name__} is not fitted. Call imagination.fit(dataset), "
                "or load_imagination(path), before using it."
            )

    def fit_by_gradient(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Callable[..., torch.Tensor],
        columns: tuple[torch.Tensor, ...],
        *,
        n_steps: int,
        batch_size: int,
        description: str,
        also: Sequence[TorchState] = (),
    ) -> float:
        """Takes gradient steps on random batches and shows its progress.

        The mean loss of each hundredth of the steps is kept in `history`. A run that is
        killed and resumed goes on at its last hundredth.

        Args:
            optimizer: Holds the parameters.
            loss: Called with a batch of each column, returns a scalar.
            columns: (B, ...) tensors; moved to this component's device.
            n_steps: Gradient steps.
            batch_size: Rows in each, drawn with replacement.
            description: Shown beside the progress bar.
            also: What else the steps change, besides the optimizer and its parameters:
                schedulers, modules with buffers.

        Returns:
            Mean loss of the last tenth of the steps.

        Raises:
            DivergedError: That mean is not finite; or that of a hundredth is NaN, and so
                are parameters.
        """
        columns = tuple(on_device(column, self.device) for column in columns)
        n_tail = max(1, n_steps // 10)
        tail = torch.zeros((), device=self.device)
        recent, n_recent = torch.zeros((), device=self.device), 0
        n_kept, history = min(n_steps, _N_KEPT), list[FitRecord]()
        parameters = _Parameters(optimizer)
        loop = Loop(
            parameters=parameters,
            optimizer=optimizer,
            **{f"also_{i}": each for i, each in enumerate(also)},
        )
        at = loop.go_on(step=0, tail=tail, history=[])
        first, tail = at["step"], at["tail"].to(self.device)
        history += records(at["history"])
        with Progress(description, total=n_steps, initial=first) as progress:
            for step in range(first, n_steps):
                rows = torch.randint(len(columns[0]), (batch_size,), device=self.device)
                value = loss(*(column[rows] for column in columns))
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if step >= n_steps - n_tail:
                    tail += value.detach()
                recent += value.detach()
                n_recent += 1
                n_done = (step + 1) * n_kept // n_steps
                if n_done > len(history):
                    average = float(recent) / n_recent
                    # For good only if parameters are: a mean over none of a batch's rows
                    # is NaN too, and changes nothing.
                    if math.isnan(average) and parameters.lost:
                        raise _diverged(description, average)
                    history.append(FitRecord(n_done, step + 1, "loss", average))
                    progress.note(loss=average)
                    recent, n_recent = torch.zeros_like(recent), 0
                    loop.reached(step=step + 1, tail=tail, history=plain(history))
                progress.advance(rows=batch_size)
        self.history = history
        mean = float(tail) / n_tail
        if not math.isfinite(mean):
            raise _diverged(description, mean)
        return mean


def _diverged(description: str, loss: float) -> DivergedError:
    return DivergedError(
        f"{description}: the loss became {loss}. Lower the learning_rate, or look for "
        "outliers in the dataset."
    )


class _Parameters:
    """The parameters that an optimizer changes, as a loop keeps them."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        groups = optimizer.param_groups
        self._parameters = [each for group in groups for each in group["params"]]

    @property
    def lost(self) -> bool:
        """Whether one of them is NaN, as all that follows from it will be."""
        return any(bool(each.isnan().any()) for each in self._parameters)

    def state_dict(self) -> list[torch.Tensor]:
        return [parameter.detach() for parameter in self._parameters]

    @torch.no_grad()
    def load_state_dict(self, state: list[torch.Tensor]) -> None:
        for parameter, saved in zip(self._parameters, state, strict=True):
            parameter.copy_(saved)
