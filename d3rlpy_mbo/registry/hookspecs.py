"""The one hook of d3rlpy-mbo: what a plugin implements to be found."""

from collections.abc import Iterable

import pluggy

from .component import Component

__all__ = ["ENTRY_POINT_GROUP", "hookimpl", "register_components"]

ENTRY_POINT_GROUP = "d3rlpy_mbo"

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)


@hookspec
def register_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Returns the components that a plugin provides.

    Called once, at the first look-up by name, never at import.

    Returns:
        Component classes: configs of learned components, the dataclasses
        themselves of stateless ones. The kind follows from the base class, the
        name from `get_type()`.
    """
