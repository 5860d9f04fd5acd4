"""Finds components: pluggy entry points, one by one, each failure its own.

What is installed decides only what can be found by name, never what runs.
"""

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import (
    EntryPoint,
    PackageNotFoundError,
    entry_points,
    packages_distributions,
    version,
)
from typing import TYPE_CHECKING, Any, Optional, cast

import pluggy

from . import hookspecs
from .errors import (
    DuplicateComponentError,
    PluginError,
    UnknownComponentError,
    suggest,
)
from .hookspecs import ENTRY_POINT_GROUP

if TYPE_CHECKING:
    from .configs import Component

__all__ = ["Plugin", "Registry", "get_component", "load_plugins", "origin", "registry"]


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One entry point and what became of it.

    Args:
        distribution: Name of the installed distribution.
        version: Its version.
        entry_point: Name of the entry point.
        components: What it provides; empty if it failed.
        error: What it raised, None if it loaded.
    """

    distribution: str
    version: str
    entry_point: str
    components: tuple[type["Component"], ...] = ()
    error: Optional[BaseException] = None

    @property
    def name(self) -> str:
        """``distribution:entry_point``."""
        return f"{self.distribution}:{self.entry_point}"


class Registry:
    """Every plugin found, and its components by kind and name."""

    def __init__(self, plugins: Iterable[Plugin]):
        self.plugins = tuple(plugins)
        self._providers: dict[tuple[str, str], list[Plugin]] = {}
        for plugin in self.plugins:
            for component in plugin.components:
                key = (component.kind, component.get_type())
                self._providers.setdefault(key, []).append(plugin)

    def names(self, kind: str) -> list[str]:
        """Returns the registered names of a kind."""
        return sorted(name for known, name in self._providers if known == kind)

    def get(self, kind: str, name: str) -> Optional[type["Component"]]:
        """Returns the registered component, None if there is none.

        Raises:
            DuplicateComponentError: Two plugins provide it.
        """
        plugins = self._providers.get((kind, name), [])
        if len(plugins) > 1:
            raise DuplicateComponentError(
                f"The {kind} {name!r} is provided by "
                + " and ".join(f"{p.name} ({p.version})" for p in plugins)
                + ". Uninstall one of them, or import the class you mean."
            )
        if not plugins:
            return None
        for component in plugins[0].components:
            if (component.kind, component.get_type()) == (kind, name):
                return component
        return None

    def failures(self) -> list[Plugin]:
        """Returns the plugins that could not be loaded."""
        return [plugin for plugin in self.plugins if plugin.error is not None]


def load_plugins(points: Iterable[EntryPoint]) -> Iterator[Plugin]:
    """Loads entry points singly, in sorted order.

    A failure is one warning naming the plugin; the others are unaffected.
    """
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(hookspecs)
    for point in sorted(points, key=lambda p: (_distribution(p)[0], p.name)):
        distribution, release = _distribution(point)
        plugin = Plugin(distribution, release, point.name)
        try:
            components = _register(manager, plugin.name, point)
        except (Exception, SystemExit) as error:
            if manager.has_plugin(plugin.name):
                manager.unregister(name=plugin.name)
            warnings.warn(
                f"Plugin {plugin.name} ({release}) could not be loaded: "
                f"{type(error).__name__}: {error}. Its components are not available.",
                stacklevel=2,
            )
            yield dataclasses.replace(plugin, error=error)
        else:
            yield dataclasses.replace(plugin, components=components)


def _register(
    manager: pluggy.PluginManager, name: str, point: EntryPoint
) -> tuple[type["Component"], ...]:
    manager.register(point.load(), name=name)
    manager.check_pending()
    components: list[type[Component]] = []
    for implementation in manager.hook.register_components.get_hookimpls():
        if implementation.plugin_name == name:
            components.extend(cast(Iterable[Any], implementation.function()))
    for component in components:
        _check_component_class(component)
    if not components:
        warnings.warn(f"Plugin {name} provides no components.", stacklevel=3)
    return tuple(components)


def _check_component_class(component: Any) -> None:
    kind = getattr(component, "kind", None)
    if not (isinstance(component, type) and isinstance(kind, str)):
        raise PluginError(
            f"register_components returned {component!r}, expected subclasses of a "
            "component base class such as d3rlpy_mbo.Penalty"
        )
    component.get_type()  # type: ignore[attr-defined]


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "unknown", "unknown"
    return point.dist.name, point.dist.version


@functools.cache
def registry() -> Registry:
    """Returns what is installed; looked up once, at the first need."""
    return Registry(load_plugins(entry_points(group=ENTRY_POINT_GROUP)))


def get_component(kind: str, name: str) -> type["Component"]:
    """Returns the component class of a kind by its name.

    Args:
        kind: ``"dynamics"``, ``"rollout_policy"``, ``"termination"``,
            ``"reward_function"``, ``"penalty"``, ``"dynamics_updater"`` or
            ``"imagination"``.
        name: What its `get_type()` returns.

    Returns:
        The class, registered by a plugin or else imported by somebody already.

    Raises:
        UnknownComponentError: There is none; names the nearest.
        DuplicateComponentError: Two distributions provide it.
        PluginError: There is none, and a plugin that may have provided it failed.
    """
    found = registry().get(kind, name) or _imported(kind).get(name)
    if found is not None:
        return found
    known = {*registry().names(kind), *_imported(kind)}
    message = f"There is no {kind} named {name!r}. {suggest(name, known)}"
    failures = registry().failures()
    if failures:
        raise PluginError(
            f"{message} Plugins that failed to load may have provided it: "
            + "; ".join(f"{p.name} ({p.version}): {p.error!r}" for p in failures)
        ) from failures[0].error
    raise UnknownComponentError(message)


def _imported(kind: str) -> dict[str, type["Component"]]:
    """Returns the component classes of a kind that have been imported, by name."""
    from .configs import Component  # configs imports this module

    found: dict[str, type[Component]] = {}
    pending = list(Component.__subclasses__())
    while pending:
        component = pending.pop()
        pending.extend(component.__subclasses__())
        if getattr(component, "kind", None) == kind:
            try:
                found[component.get_type()] = component
            except NotImplementedError:  # an abstract base of a kind
                continue
    return found


def origin(component: type[Any]) -> tuple[str, str]:
    """Returns the distribution that a component's class comes from, and its version."""
    package = component.__module__.partition(".")[0]
    for distribution in packages_distributions().get(package, []):
        try:
            return distribution, version(distribution)
        except PackageNotFoundError:  # pragma: no cover - metadata went away
            continue
    return "none (not installed)", ""
