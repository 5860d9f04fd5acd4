"""The imaginations of a run by name: one, none, or several in one buffer, "romi+mopo"."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

from ..imagination.imagination import ImaginationConfig
from ..imagination.prefixes import numbered
from ..registry.discovery import get_component, imported_names, registry
from ..support.errors import CompositionError, UnknownComponentError, told_of
from .settings import apply_settings

__all__ = ["Mixture", "mixture_of", "parts_of", "paths_to"]

_OF_BUFFER = ("real_ratio", "shares")


@dataclasses.dataclass(frozen=True)
class Mixture:
    """What a buffer imagines with.

    Args:
        configs: By their names in logs; none for ``"none"``.
        settings: What the user set of each, by the path in its own config.
        real_ratio: Of the buffer; None where that of the one imagination counts.
        shares: Of the buffer; None for equal ones.
    """

    configs: dict[str, ImaginationConfig]
    settings: dict[str, dict[str, Any]]
    real_ratio: Optional[float] = None
    shares: Optional[list[float]] = None


def parts_of(imagination: str) -> dict[str, str]:
    """Returns the type of each imagination, by its name in logs and settings.

    Args:
        imagination: ``"romi"``, ``"none"``, or several joined by ``+``. Two of one type
            are told apart by their places: ``"romi+romi"`` are romi_0 and romi_1.
    """
    types = [imagination]
    if imagination == "none":
        types = []
    elif "+" in imagination and not _is_type(imagination):
        types = imagination.split("+")
    return dict(zip(numbered(types), types, strict=True))


def _is_type(name: str) -> bool:
    """Whether one imagination has this name, of a plugin's or of a class in use."""
    known = registry().names("imagination"), imported_names("imagination")
    return any(name in names for names in known)


def paths_to(imagination: str, field: str) -> dict[str, str]:
    """Returns the dotted path of a field of each imagination, by the imagination's name."""
    names = list(parts_of(imagination))
    return {name: field if len(names) == 1 else f"{name}.{field}" for name in names}


def mixture_of(imagination: str, settings: Mapping[str, Any]) -> Mixture:
    """Returns the configs of a run's imaginations, and how the buffer divides its batches.

    Args:
        imagination: See `parts_of`.
        settings: Fields of the one imagination by dotted path. Of several, each path
            begins with the imagination's name, ``"romi.rollout_length"``, and
            ``"real_ratio"`` and ``"shares"`` are the buffer's.

    Raises:
        UnknownComponentError: There is no such imagination or field.
        CompositionError: There are settings, but no imagination; or several imaginations,
            but no real_ratio, or one of their own.
    """
    parts = parts_of(imagination)
    if not parts and settings:
        raise CompositionError(
            f"imagination is 'none', so its {sorted(settings)} cannot be set. Choose an "
            "imagination, or leave them out."
        )
    divided = {name: dict(settings) for name in parts}
    of_buffer: dict[str, Any] = {}
    if len(parts) > 1:
        divided, of_buffer = _divided(imagination, settings)
    configs: dict[str, ImaginationConfig] = {}
    for name, type_name in parts.items():
        config: Any = get_component("imagination", type_name)()
        with told_of(f"Settings of the imagination {name!r}"):
            configs[name] = apply_settings(config, divided[name])
    if len(parts) > 1 and of_buffer.get("real_ratio") is None:
        own = [config.real_ratio for config in configs.values()]
        raise CompositionError(
            f"The imaginations of {imagination!r} have {own} as their own real_ratio. Set "
            "the buffer's: --set imagination.real_ratio=0.5, or real_ratio = 0.5 among the "
            "imagination_settings of a study's method."
        )
    return Mixture(configs, divided, **of_buffer)


def _divided(
    imagination: str, settings: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Returns the settings of each imagination, and those of the buffer."""
    divided: dict[str, dict[str, Any]] = {name: {} for name in parts_of(imagination)}
    of_buffer = {}
    for path, value in settings.items():
        # The longest, as types may have points in their names.
        whose = max(
            (n for n in divided if path.startswith(f"{n}.")), key=len, default=""
        )
        if path == f"{whose}.real_ratio":
            raise CompositionError(
                f"{path} would change nothing: {imagination!r} fills one buffer. Set the "
                "buffer's real_ratio, and by shares how the rest is divided."
            )
        if whose:
            divided[whose][path.removeprefix(f"{whose}.")] = value
        elif path in _OF_BUFFER:
            of_buffer[path] = value
        else:
            names = " or ".join(f"{name}.KEY" for name in divided)
            raise UnknownComponentError(
                f"There is no setting {path!r} of {imagination!r}. Say whose it is, "
                f"{names}; real_ratio and shares are the buffer's."
            )
    return divided, of_buffer
