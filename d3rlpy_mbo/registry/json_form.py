"""The JSON form of configs: a component is its name and its parameters."""

import contextlib
import contextvars
import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from d3rlpy.serializable_config import SerializableConfig

from ..support.errors import LoadError, suggest
from .component import Component
from .discovery import get_component

__all__ = ["decode", "decoding_to", "encode", "parts"]


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
    """Makes `decode` take these classes for their names, whatever else is installed.

    JSON holds only names; the caller may know which classes they stand for.
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
        LoadError: The component has no such parameter.
    """
    if encoded is None or encoded["type"] == "none":  # as d3rlpy writes its scalers
        return None
    name = encoded["type"]
    component = _decoding_to.get({}).get((kind, name)) or get_component(kind, name)
    known = inspect.signature(component).parameters
    for name in encoded["params"]:
        if name not in known:
            raise LoadError(
                f"{component.__name__} has no parameter {name!r}. {suggest(name, known)}"
            )
    decoded: Component = component.deserialize_from_dict(dict(encoded["params"]))
    return decoded
