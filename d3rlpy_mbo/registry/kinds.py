"""What a plugin can provide, its kind and its name: components, and d3rlpy's configs."""

from typing import Optional, TypeAlias, Union

from d3rlpy.base import LearnableConfig

from .component import Component

__all__ = ["LEARNER", "Provided", "key_of", "kind_of"]

LEARNER = "learner"  # the one kind whose base class is d3rlpy's

# A learner is the config of a d3rlpy algorithm, as d3rlpy itself has it.
Provided: TypeAlias = Union[Component, LearnableConfig]


def kind_of(value: object) -> Optional[str]:
    """Returns the kind of a class that a plugin can provide, or of an instance of it.

    None if it is nothing of that sort, or a base without a kind.
    """
    cls = value if isinstance(value, type) else type(value)
    if issubclass(cls, LearnableConfig):
        return LEARNER
    kind = getattr(cls, "kind", None)
    return kind if issubclass(cls, Component) and isinstance(kind, str) else None


def key_of(provided: type[Provided]) -> tuple[str, str]:
    """Returns the kind and the name under which a class is registered."""
    kind = kind_of(provided)
    assert kind is not None
    return kind, provided.get_type()
