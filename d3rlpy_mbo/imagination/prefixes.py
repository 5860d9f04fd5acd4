"""What the numbers of imaginations are called in d3rlpy's logs."""

from collections.abc import Sequence

from ..support.errors import CompositionError
from .imagination import Imagination

__all__ = ["log_prefixes", "numbered", "validate_name"]


def log_prefixes(imaginations: Sequence[Imagination]) -> list[str]:
    """Returns each one's type, with its place where several have the same."""
    return numbered([each.config.get_type() for each in imaginations])


def numbered(types: Sequence[str]) -> list[str]:
    """Returns types with their places where several are the same."""
    return [
        name if types.count(name) == 1 else f"{name}_{i}"
        for i, name in enumerate(types)
    ]


def validate_name(imagination: Imagination, name: str) -> None:
    """Raises CompositionError for a number that d3rlpy's logger cannot write."""
    if "/" in name:
        raise CompositionError(
            f"A component of {imagination.config.get_type()!r} reports {name!r}, but "
            'd3rlpy\'s logger makes a file of each name: it must not contain "/".'
        )
