"""What every component has in common: a kind, a name, and fields that are declared."""

import dataclasses
import reprlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Optional

from d3rlpy.serializable_config import SerializableConfig

from ..support.errors import CompositionError

__all__ = ["DECLARATION", "Component", "Declaration", "defined_components"]

DECLARATION = "d3rlpy_mbo"  # in a dataclass field's metadata

_KNOWN = "_declarations_of_fields"  # in a class, once it was asked for

_ACTION_SPACES = ("continuous", "discrete")

# Every class that was defined, the newest last. `__subclasses__` would forget those that
# the garbage collector has met, and keep those that a notebook defined anew.
_defined: dict[tuple[str, str], type["Component"]] = {}


class Declaration(ABC):
    """What a field, or an argument, may hold; stated once and validated everywhere."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """In words, after "expected"."""

    @abstractmethod
    def plain(self, value: Any) -> Any:
        """Returns the value as JSON can hold it.

        Raises:
            ValueError: It is not allowed. Its message, if any, follows the value.
        """

    def validated(self, name: str, value: Any) -> Any:
        """Returns the value, NumPy's numbers as Python's.

        Args:
            name: Whose value it is, for the message.
            value: Anything.

        Raises:
            CompositionError: It is not allowed; names field, value and what is allowed.
        """
        try:
            return self.plain(value)
        except ValueError as error:
            found = str(error) or reprlib.repr(value)
            raise CompositionError(
                f"{name} is {found}, expected {self.allowed}.{self.advice(value)}"
            ) from None

    def advice(self, value: Any) -> str:
        """Returns a sentence, after a space, that says what to write instead, if any."""
        return ""


class Component(SerializableConfig):
    """Base of everything that a plugin can provide, except learners.

    A subclass is a dataclass with defaults for every field. Learned components
    are configs with `create(device)`; stateless ones (penalties, terminations,
    reward functions, tasks) are the dataclass itself. Fields made by `component_field`,
    `number`, `number_list`, `interval`, `choice`, `flag` and `text` refuse what they
    cannot hold, both when the component is made and when they are assigned; a subclass
    that only changes a default keeps what its base declares.

    Attributes:
        action_spaces: Which actions it works with, a tuple, list or set: by default
            ``"continuous"`` ones only; ``"discrete"`` ones are indices of choices. Data
            with other actions is refused before anything is fitted, any other value of
            this attribute when the class is defined.
    """

    kind: ClassVar[str]
    action_spaces: ClassVar[tuple[str, ...]] = ("continuous",)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        spaces = vars(cls).get("action_spaces", _ACTION_SPACES)
        # What gives each instance its own is validated when it does.
        if not isinstance(spaces, dataclasses.Field) and not hasattr(spaces, "__get__"):
            _validate_action_spaces(cls, spaces)
        name = cls.__module__, cls.__qualname__
        # Defined anew, as by a notebook's cell, it becomes the newest.
        _defined.pop(name, None)
        _defined[name] = cls

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "action_spaces":
            _validate_action_spaces(type(self), value)
        for declaration in _declarations(type(self)).get(name, ()):
            value = declaration.validated(f"{type(self).__name__}.{name}", value)
        super().__setattr__(name, value)

    @staticmethod
    def get_type() -> str:
        """Returns the name under which files and the CLI know this component."""
        raise NotImplementedError


def _validate_action_spaces(component: type[Component], spaces: Any) -> None:
    """Raises CompositionError unless they are one or both of the two that there are.

    A string would pass unnoticed: ``"discrete" in "discrete"`` is true.
    """
    collection = isinstance(spaces, (tuple, list, set, frozenset))
    if not collection or not spaces or any(s not in _ACTION_SPACES for s in spaces):
        raise CompositionError(
            f"{component.__name__}.action_spaces is {spaces!r}, expected a tuple of "
            "'continuous' and 'discrete', or of one of them: (\"discrete\",), with its "
            "comma."
        )


def _declarations(component: type[Component]) -> dict[str, list[Declaration]]:
    """Returns what is declared of each field, by the bases first."""
    known: Optional[dict[str, list[Declaration]]] = vars(component).get(_KNOWN)
    if known is not None:
        return known
    found: dict[str, list[Declaration]] = {}
    for base in reversed(component.__mro__):
        for name, field in base.__dict__.get("__dataclass_fields__", {}).items():
            declaration = field.metadata.get(DECLARATION)
            if declaration is not None and declaration not in found.get(name, ()):
                found.setdefault(name, []).append(declaration)
    setattr(component, _KNOWN, found)
    return found


def defined_components() -> Iterator[type[Component]]:
    """Yields the component classes of imported modules, the newest first.

    A subclass that goes by its base's name does not stand in for it.
    """
    for (module, _), component in reversed(tuple(_defined.items())):
        named = next(base for base in component.__mro__ if "get_type" in vars(base))
        if module in sys.modules and named in (component, Component):
            yield component
