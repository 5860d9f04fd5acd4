"""Loads plugins: entry points, one by one, each failure its own.

pluggy isolates nothing, so each entry point gets a plugin manager of its own, and cannot
affect those of others.
"""

import contextlib
import dataclasses
import functools
import importlib
import os
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Optional

import pluggy
from d3rlpy.base import LearnableConfig
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..support.errors import PluginError
from ..support.version import __version__
from . import hookspecs
from .hookspecs import ENTRY_POINT_GROUP
from .importing import blamed
from .kinds import Provided, key_of, kind_of
from .known_learners import refuse_taken_name

__all__ = [
    "DISABLE_VARIABLE",
    "NothingProvidedError",
    "Plugin",
    "component_name",
    "disabled_names",
    "installed_points",
    "installed_since",
    "load_plugins",
    "normalised_name",
    "plugin_of",
    "plugins_of",
    "provided_components",
]

DISABLE_VARIABLE = "D3RLPY_MBO_DISABLE"


class NothingProvidedError(PluginError):
    """A plugin's module could be imported, but registers no components."""


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One entry point and what became of it.

    Args:
        distribution: Name of the installed distribution.
        version: Its version.
        entry_point: Name of the entry point.
        components: What it provides; empty if it failed or is disabled.
        error: What it raised, None if it loaded.
        disabled: Whether ``D3RLPY_MBO_DISABLE`` names it: it was not imported.
        module: What the entry point names, dotted.
    """

    distribution: str
    version: str
    entry_point: str
    components: tuple[type[Provided], ...] = ()
    error: Optional[BaseException] = None
    disabled: bool = False
    module: str = ""

    @property
    def name(self) -> str:
        """``distribution:entry_point``."""
        return f"{self.distribution}:{self.entry_point}"

    @property
    def reason(self) -> str:
        """Why it failed, for messages."""
        if isinstance(self.error, PluginError):
            return str(self.error)
        return f"{type(self.error).__name__}: {self.error}"


def plugin_of(point: EntryPoint) -> Plugin:
    """Returns an entry point as a plugin that has not been loaded."""
    # Damaged metadata has neither name nor version.
    distribution = (point.dist and point.dist.name) or "unknown"
    version = (point.dist and point.dist.version) or "unknown"
    return Plugin(distribution, version, point.name, module=point.module)


@functools.cache
def installed_points() -> tuple[EntryPoint, ...]:
    """Returns the entry points of all installed plugins; imports none of them."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def installed_since() -> bool:
    """Returns whether plugins came or went since the last look; if so, looks anew.

    They do if a notebook runs ``%pip install`` after this process has looked.
    """
    importlib.invalidate_caches()
    if tuple(entry_points(group=ENTRY_POINT_GROUP)) == installed_points():
        return False
    installed_points.cache_clear()
    plugins_of.cache_clear()
    return True


@functools.cache
def plugins_of(distribution: str) -> tuple[Plugin, ...]:
    """Returns the plugins of one distribution, loaded at the first need of them.

    Args:
        distribution: Its name, normalised (PEP 503).
    """
    points = installed_points()
    return tuple(
        load_plugins(
            p for p in points if _normalised(plugin_of(p).distribution) == distribution
        )
    )


def load_plugins(points: Iterable[EntryPoint]) -> Iterator[Plugin]:
    """Loads entry points singly, in sorted order, except those switched off.

    A failure is one warning naming the plugin; the others are unaffected.
    """
    disabled = disabled_names()
    for point in sorted(points, key=lambda p: (plugin_of(p).distribution, p.name)):
        plugin = plugin_of(point)
        if normalised_name(plugin.name) in disabled:
            yield dataclasses.replace(plugin, disabled=True)
            continue
        try:
            _validate_requirements(point)
            known = f"{plugin.name} ({plugin.version})"
            with blamed(known, f"{DISABLE_VARIABLE}={plugin.name}"):
                components = provided_components(point.load())
            loaded = dataclasses.replace(plugin, components=components)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it is: it is the plugin's
            loaded = dataclasses.replace(plugin, error=error)
            warnings.warn(
                f"Plugin {plugin.name} ({plugin.version}) could not be loaded: "
                f"{loaded.reason}. Its components are not available. Update or uninstall "
                f"it, or switch it off: {DISABLE_VARIABLE}={plugin.name}.",
                stacklevel=2,
            )
        yield loaded


def disabled_names() -> dict[str, str]:
    """Returns what ``D3RLPY_MBO_DISABLE`` lists, by normalised name."""
    entries = os.environ.get(DISABLE_VARIABLE, "").split(",")
    return {normalised_name(e): e.strip() for e in entries if e.strip()}


def normalised_name(name: str) -> str:
    """Returns ``distribution:entry_point`` with the distribution as PEP 503 has it."""
    distribution, _, entry_point = name.partition(":")
    return f"{_normalised(distribution.strip())}:{entry_point.strip()}"


def _normalised(distribution: str) -> str:
    return str(canonicalize_name(distribution))


def _validate_requirements(point: EntryPoint) -> None:
    """Raises PluginError if the distribution requires another d3rlpy-mbo than this."""
    for line in (point.dist and point.dist.requires) or ():
        with contextlib.suppress(InvalidRequirement):  # an installer's business
            wanted = Requirement(line)
            if _normalised(wanted.name) != "d3rlpy-mbo":
                continue
            applies = wanted.marker is None or wanted.marker.evaluate()
            if applies and not wanted.specifier.contains(__version__, prereleases=True):
                raise PluginError(
                    f"it requires d3rlpy-mbo{wanted.specifier}, installed is {__version__}"
                )


def provided_components(plugin: Any) -> tuple[type[Provided], ...]:
    """Returns what a plugin's hook provides: all of it, or it raises.

    Args:
        plugin: A module, or an object with the hook.

    Raises:
        NothingProvidedError: It has no hook, or one that provides nothing.
        PluginError: It provides something that is no component or has no name, or a
            learner whose name d3rlpy has for another.
    """
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    found: dict[tuple[str, str], type[Provided]] = {}
    for implementation in manager.hook.register_components.get_hookimpls():
        for component in _returned(implementation.function()):
            _refuse_unusable(component)
            kind, name = key_of(component)
            if found.setdefault((kind, name), component) is not component:
                raise PluginError(
                    f"it provides two different {kind} components named {name!r}"
                )
    if not found:
        raise NothingProvidedError(
            "it provides no components: its register_components returns none, is missing, "
            "or is not decorated with d3rlpy_mbo.hookimpl"
        )
    return tuple(found.values())


def _returned(value: Any) -> list[Any]:
    if isinstance(value, type) or not isinstance(value, Iterable):
        raise PluginError(
            f"register_components returned {value!r}, expected a list of component classes"
        )
    return list(value)


def _refuse_unusable(component: Any) -> None:
    """Raises PluginError unless it is a class of a kind, with a name of its own."""
    if not isinstance(component, type) or kind_of(component) is None:
        raise PluginError(
            f"register_components returned {component!r}, expected subclasses of a "
            "component base class such as d3rlpy_mbo.Penalty, or of "
            "d3rlpy.base.LearnableConfig"
        )
    try:
        name: Any = component.get_type()  # type: ignore[attr-defined]
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{component.__name__} has no name, its get_type() raised {error!r}; expected "
            "a static method that returns a string"
        ) from error
    if not isinstance(name, str) or not name:
        raise PluginError(
            f"{component.__name__}.get_type() returned {name!r}, expected a name"
        )
    if issubclass(component, LearnableConfig):
        if component.create is LearnableConfig.create:
            raise PluginError(
                f"{component.__name__} has no create() of its own, expected one that "
                "returns a d3rlpy algorithm"
            )
        refuse_taken_name(component)


def component_name(component: type[Provided]) -> Optional[str]:
    """Returns the name of a component class, None if it has no name."""
    try:
        name: Any = component.get_type()
    except (Exception, SystemExit):  # an abstract base, or a broken plugin's
        return None
    return name if isinstance(name, str) else None
