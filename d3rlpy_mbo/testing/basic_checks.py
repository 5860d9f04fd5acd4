"""Checks of what every component is: a dataclass with defaults, JSON form and name."""

import inspect
from collections.abc import Iterator
from typing import Any, Optional

from ..components.penalties import LearnedPenaltyConfig
from ..components.terminations.learned import LearnedTerminationConfig
from ..registry import discovery
from ..registry.component import Component
from ..registry.kinds import LEARNER, Provided, kind_of
from ..registry.known_learners import known_learners
from .running import EVERY_KIND, conformance_check
from .subjects import Subject, default_constructed

__all__ = [
    "check_default_construction",
    "check_json_round_trip",
    "check_unique_type_name",
]

# Kinds that an imagination asks as they are, and what to do where one has to learn.
_ASKED_ITSELF = {
    "penalty": "derive the config from LearnedPenaltyConfig",
    "reward_function": "a reward that is learned belongs in the dynamics, around another "
    "model if need be",
    "termination": "LearnedTerminationConfig is the only one that is created",
}
_CREATED = (LearnedPenaltyConfig, LearnedTerminationConfig)


@conformance_check(*EVERY_KIND)
def check_default_construction(subject: Subject) -> None:
    """Checks that its class can be made without arguments, and that `create` then works.

    What imaginations ask as it is, without creating anything, must have none.
    """
    component = default_constructed(type(subject.component))
    if not subject.learned:
        return
    kind = str(kind_of(component))
    if kind in _ASKED_ITSELF and not isinstance(component, _CREATED):
        raise subject.violation(
            f"a {kind} is asked itself, whatever its create would return",
            "a create, which no imagination calls",
            f"it is meant to learn from data: {_ASKED_ITSELF[kind]}",
        )
    component.create()  # type: ignore[union-attr]


@conformance_check(*EVERY_KIND)
def check_json_round_trip(subject: Subject) -> None:
    """Checks that its JSON form gives an equal component back."""
    component = subject.component
    for base in type(component).__mro__:
        fields = _annotated_fields(base)
        if fields and "__dataclass_params__" not in vars(base):
            raise subject.violation(
                f"{base.__name__} must be a dataclass, for the JSON form of its fields",
                f"the fields {fields} of a plain class",
                "@dataclasses.dataclass() is missing above the class",
            )
    decoded = type(component).deserialize(component.serialize())
    before, after = vars(component), vars(decoded)
    for name in before:
        if name not in after or after[name] != before[name]:
            raise subject.violation(
                f"its JSON form must give the same {name} back",
                f"{before[name]!r} before, {after.get(name)!r} after",
                "a field whose type JSON does not have; give it an encoder, as "
                "component_field does",
            )


def _annotated_fields(base: type[Any]) -> list[str]:
    annotations = inspect.get_annotations(base)
    return [k for k, v in annotations.items() if "ClassVar" not in str(v)]


@conformance_check(*EVERY_KIND)
def check_unique_type_name(subject: Subject) -> None:
    """Checks that `get_type()` is a name that no other component of its kind has."""
    component = type(subject.component)
    try:
        name: Any = component.get_type()
    except Exception as error:
        raise subject.violation(
            f"{component.__name__}.get_type() must return a name, called on the class",
            f"{type(error).__name__}: {error}".rstrip(": "),
            "get_type is missing, or @staticmethod above it",
        ) from error
    if not isinstance(name, str) or not name:
        raise subject.violation(
            "get_type() must return a name", repr(name), "an empty name or no string"
        )
    for other in _rivals(component):
        # A subclass that inherits the name is to blame itself.
        if not issubclass(other, component) and _name(other) == name:
            raise subject.violation(
                f"its name must be its own among components of kind {kind_of(component)}",
                f"{name!r}, which is {other.__module__}.{other.__qualname__}'s too",
                "get_type() is inherited, or copied from another component",
            )


def _rivals(component: type[Provided]) -> Iterator[type[Provided]]:
    """Yields what may be confused with it: registered, inherited, or from its package."""
    kind = kind_of(component)
    for plugin in discovery.registry().plugins:
        yield from (c for c in plugin.components if kind_of(c) == kind)
    if kind == LEARNER:
        yield from known_learners().values()
    package = component.__module__.partition(".")[0]
    pending = list(Component.__subclasses__())
    while pending:
        other = pending.pop()
        pending += other.__subclasses__()
        related = other in component.__mro__ or (
            other.__module__.partition(".")[0] == package
        )
        if related and kind_of(other) == kind:
            yield other


def _name(component: type[Provided]) -> Optional[str]:
    try:
        return component.get_type()
    except Exception:  # an abstract base, or somebody else's mistake
        return None
