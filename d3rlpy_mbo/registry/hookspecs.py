"""The one hook of d3rlpy-mbo: what a plugin implements to be found."""

from collections.abc import Iterable

import pluggy

__all__ = ["ENTRY_POINT_GROUP", "hookimpl", "register_components"]

ENTRY_POINT_GROUP = "d3rlpy_mbo"

hookspec = pluggy.HookspecMarker(ENTRY_POINT_GROUP)
hookimpl = pluggy.HookimplMarker(ENTRY_POINT_GROUP)


@hookspec
def register_components() -> Iterable[type]:  # type: ignore[empty-body]
    """Returns what a plugin provides.

    Called once, at the first look-up by name, never at import.

    Returns:
        Component classes: configs of learned components, the dataclasses
        themselves of stateless ones, tasks among them. And d3rlpy config classes,
        subclasses of `d3rlpy.base.LearnableConfig` whose `create` returns a d3rlpy
        algorithm: learners. The kind follows from the base class, the name from
        `get_type()`.
    """
