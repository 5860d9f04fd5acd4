"""What every component has in common: a name, a kind, and a JSON form."""

import contextlib
import contextvars
import dataclasses
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg
from d3rlpy.serializable_config import SerializableConfig
from dataclasses_json import config as json_field
from tqdm.auto import trange

from ..registry.discovery import get_component
from ..support.devices import device_name
from ..support.errors import DivergedError, LoadError, NotFittedError, suggest

__all__ = [
    "Component",
    "LearnedComponent",
    "component_field",
    "decode",
    "decoding_to",
    "encode",
    "parts",
]


class Component(SerializableConfig):
    """Base of everything that a plugin can provide.

    A subclass is a dataclass with defaults for every field. Learned components
    are configs with `create(device)`; stateless ones (penalties, terminations,
    reward functions) are the dataclass itself.
    """

    kind: ClassVar[str]

    @staticmethod
    def get_type() -> str:
        """Returns the name under which files and the CLI know this component."""
        raise NotImplementedError


def component_field(
    kind: str, default_factory: Optional[Callable[[], Optional[Component]]] = None
) -> Any:
    """Returns a dataclass field that holds a component of a kind, or None.

    Args:
        kind: ``"penalty"``, ``"dynamics"``, ...
        default_factory: Makes the default; without it the default is None.

    Returns:
        A field in which any component of that kind, from any distribution, can
        stand, because its JSON form is ``{"type": name, "params": {...}}``.
    """
    return dataclasses.field(
        default_factory=default_factory or (lambda: None),
        metadata=json_field(
            encoder=encode, decoder=lambda encoded: decode(kind, encoded)
        ),
    )


def encode(component: Optional[Component]) -> Optional[dict[str, Any]]:
    """Returns the JSON form of a component."""
    if component is None:
        return None
    return {"type": component.get_type(), "params": component.serialize_to_dict()}


def parts(config: SerializableConfig) -> Iterator[Component]:
    """Yields a config if it is a component, and the components in its fields."""
    if isinstance(config, Component):
        yield config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Component):
            yield from parts(value)


_decoding_to: contextvars.ContextVar[dict[tuple[str, str], type[Component]]] = (
    contextvars.ContextVar("_decoding_to")
)


@contextlib.contextmanager
def decoding_to(components: Iterable[type[Component]]) -> Iterator[None]:
    """Has `decode` take these classes for their names, whatever else is installed.

    JSON says names alone; who decodes it may know whose they are.
    """
    token = _decoding_to.set({(c.kind, c.get_type()): c for c in components})
    try:
        yield
    finally:
        _decoding_to.reset(token)


def decode(kind: str, encoded: Optional[Mapping[str, Any]]) -> Optional[Component]:
    """Returns the component of a JSON form.

    Raises:
        UnknownComponentError: No component of that kind has the type's name.
        LoadError: A parameter that the component does not have.
    """
    if encoded is None or encoded["type"] == "none":  # as d3rlpy writes its scalers
        return None
    name = encoded["type"]
    component = _decoding_to.get({}).get((kind, name)) or get_component(kind, name)
    known = inspect.signature(component).parameters
    for name in encoded["params"]:
        if name not in known:
            raise LoadError(
                f"{component.__name__} has no parameter {name!r}. {suggest(name, known)} "
                "Was it saved by another version?"
            )
    decoded: Component = component.deserialize_from_dict(dict(encoded["params"]))
    return decoded


class LearnedComponent(ABC):
    """Base of the objects that learned components' configs create.

    Args:
        config: What it was created from.
        device: As d3rlpy's `create`: False, True, a GPU's number or a torch name.
    """

    def __init__(self, config: Component, device: DeviceArg = False):
        self.config = config
        self.device = device_name(device)
        self.metrics: dict[str, float] = {}  # numbers for d3rlpy's logs, no "/"

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what fitting determined: tensors, numbers, strings, lists, dicts.

        Nothing else: files are read by a loader that can run no code.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned; afterwards it is fitted."""

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
    ) -> float:
        """Takes gradient steps on random batches, with a progress bar on a terminal.

        Args:
            optimizer: Holds the parameters.
            loss: Called with a batch of each column, returns a scalar.
            columns: (B, ...) tensors; moved to this component's device.
            n_steps: Gradient steps.
            batch_size: Rows in each, drawn with replacement.
            description: Shown beside the bar.

        Returns:
            Mean loss of the last tenth of the steps.

        Raises:
            DivergedError: That mean is not finite.
        """
        columns = tuple(column.to(self.device) for column in columns)
        n_tail = max(1, n_steps // 10)
        tail = torch.zeros((), device=self.device)
        for step in trange(n_steps, desc=description, unit=" steps", disable=None):
            rows = torch.randint(len(columns[0]), (batch_size,), device=self.device)
            value = loss(*(column[rows] for column in columns))
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step >= n_steps - n_tail:
                tail += value.detach()
        mean = float(tail) / n_tail
        if not math.isfinite(mean):
            raise DivergedError(
                f"{description}: the loss became {mean}. Lower the learning_rate, or "
                "look for outliers in the dataset."
            )
        return mean
