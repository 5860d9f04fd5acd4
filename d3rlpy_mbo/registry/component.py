"""What every component has in common: a kind, a name, and a JSON form."""

import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from d3rlpy.serializable_config import SerializableConfig

__all__ = ["Component", "defined_components"]

# Every class that was defined, the newest last. `__subclasses__` would forget those that
# the garbage collector has met, and keep those that a notebook defined anew.
_defined: dict[tuple[str, str], type["Component"]] = {}


class Component(SerializableConfig):
    """Base of everything that a plugin can provide.

    A subclass is a dataclass with defaults for every field. Learned components
    are configs with `create(device)`; stateless ones (penalties, terminations,
    reward functions) are the dataclass itself.
    """

    kind: ClassVar[str]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        name = cls.__module__, cls.__qualname__
        _defined.pop(
            name, None
        )  # defined anew, as by a notebook's cell: now the newest
        _defined[name] = cls

    @staticmethod
    def get_type() -> str:
        """Returns the name under which files and the CLI know this component."""
        raise NotImplementedError


def defined_components() -> Iterator[type[Component]]:
    """Yields the component classes of imported modules, the newest first."""
    for (module, _), component in reversed(tuple(_defined.items())):
        if module in sys.modules:
            yield component
