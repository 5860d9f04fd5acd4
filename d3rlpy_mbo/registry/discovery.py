"""Finds components by name or by origin, among what is installed or imported.

What is installed decides only what can be found by name, never what runs.
"""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any, Literal, NoReturn, Optional, overload

from d3rlpy.base import LearnableConfig
from packaging.utils import canonicalize_name

from ..support.errors import (
    DuplicateComponentError,
    PluginError,
    UnknownComponentError,
    suggest,
)
from .component import Component, defined_components
from .entry_points import (
    DISABLE_VARIABLE,
    Plugin,
    component_name,
    disabled_names,
    installed_points,
    installed_since,
    load_plugins,
    normalised_name,
    plugin_of,
    plugins_of,
)
from .kinds import LEARNER, Provided, key_of, kind_of
from .known_learners import add_learner, known_learners

__all__ = [
    "NOT_INSTALLED",
    "Plugin",
    "Registry",
    "announced",
    "component_of",
    "get_component",
    "imported_names",
    "load_plugins",
    "looked_again",
    "origin",
    "refuse_unknown",
    "registry",
]

NOT_INSTALLED = "none (not installed)"


class Registry:
    """Every plugin found, and its components by kind and name."""

    def __init__(self, plugins: Iterable[Plugin]):
        self.plugins = tuple(plugins)
        self._providers: dict[tuple[str, str], dict[type[Provided], Plugin]] = {}
        for plugin in self.plugins:
            for component in plugin.components:
                claims = self._providers.setdefault(key_of(component), {})
                # One class that two plugins register is no conflict.
                claims.setdefault(component, plugin)

    def names(self, kind: str) -> list[str]:
        """Returns the registered names of a kind."""
        return sorted(name for known, name in self._providers if known == kind)

    def get(self, kind: str, name: str) -> Optional[type[Any]]:
        """Returns the registered class, None if there is none.

        Raises:
            DuplicateComponentError: Two plugins provide it.
        """
        claimants = self.duplicates().get((kind, name))
        if claimants is not None:
            raise DuplicateComponentError(
                f"The {kind} {name!r} is provided by {_who(claimants)}. Uninstall one of "
                f"them, or switch one off with {DISABLE_VARIABLE}, or import the class "
                "you mean."
            )
        return next(iter(self._providers.get((kind, name), ())), None)

    def duplicates(self) -> dict[tuple[str, str], tuple[Plugin, ...]]:
        """Returns the kinds and names that more than one plugin provides, and which."""
        return {
            key: tuple(claims.values())
            for key, claims in self._providers.items()
            if len(claims) > 1
        }

    def learners(self) -> list[type[LearnableConfig]]:
        """Returns the learners whose names no other plugin claims."""
        return [
            component
            for (kind, _), claims in self._providers.items()
            for component in claims
            if len(claims) == 1 and issubclass(component, LearnableConfig)
        ]

    def failures(self) -> list[Plugin]:
        """Returns the plugins that could not be loaded."""
        return [plugin for plugin in self.plugins if plugin.error is not None]


def _who(plugins: Iterable[Plugin]) -> str:
    return " and ".join(f"{p.name} ({p.version})" for p in plugins)


def announced(before: Callable[[str], None]) -> Registry:
    """Returns the `registry`; names each distribution before its plugins are imported.

    Args:
        before: Called with the name of each.
    """
    for name in _plugins_distributions():
        before(name)
        plugins_of(name)
    return registry()


def _plugins_distributions() -> list[str]:
    names = {plugin_of(point).distribution for point in installed_points()}
    return sorted({canonicalize_name(name) for name in names})


@functools.cache
def registry() -> Registry:
    """Returns what is installed; looked up once, at the first need, see `looked_again`.

    Warns once of plugins that claim the same names, and of each entry of
    ``D3RLPY_MBO_DISABLE`` that switches nothing off. Afterwards d3rlpy knows the plugins'
    learners.
    """
    known = [plugin_of(point) for point in installed_points()]
    names = {normalised_name(plugin.name): plugin.name for plugin in known}
    for normalised, entry in disabled_names().items():
        if normalised not in names:
            warnings.warn(
                f"{DISABLE_VARIABLE} names {entry!r}, but no such plugin is installed; "
                "expected distribution:entry_point. " + suggest(entry, names.values()),
                stacklevel=2,
            )
    found = Registry(p for name in _plugins_distributions() for p in plugins_of(name))
    claims: dict[str, list[str]] = {}
    for (kind, name), plugins in found.duplicates().items():
        claims.setdefault(_who(plugins), []).append(f"{kind} {name!r}")
    for claimants, claimed in claims.items():
        warnings.warn(
            f"{claimants} provide the same names: {', '.join(claimed)}. Asking for one of "
            "them is an error; everything else is available. Uninstall one plugin, or "
            f"switch one off with {DISABLE_VARIABLE}.",
            stacklevel=2,
        )
    for learner in found.learners():
        add_learner(learner)
    return found


def looked_again() -> bool:
    """Returns whether other plugins are installed than before; if so, forgets the old.

    Asked when something is missing: it may have been installed since.
    """
    if not installed_since():
        return False
    registry.cache_clear()
    _distributions.cache_clear()
    return True


@overload
def get_component(  # type: ignore[overload-overlap]
    kind: Literal["learner"], name: str
) -> type[LearnableConfig]: ...
@overload
def get_component(kind: str, name: str) -> type[Component]: ...
def get_component(kind: str, name: str) -> type[Provided]:
    """Returns the component class of a kind by its name.

    Every plugin is loaded, since any of them may claim the name.

    Args:
        kind: ``"dynamics"``, ``"rollout_policy"``, ``"termination"``,
            ``"reward_function"``, ``"penalty"``, ``"halt"``, ``"dynamics_updater"``,
            ``"imagination"``, ``"task"`` or ``"learner"``.
        name: What its `get_type()` returns.

    Returns:
        The class that a plugin registered, or else one that has been imported already;
        among learners also d3rlpy's own.

    Raises:
        UnknownComponentError: There is none, or no such kind; names the nearest.
        DuplicateComponentError: Two distributions provide it.
        PluginError: There is none, and a plugin that may have provided it failed, or
            is switched off by ``D3RLPY_MBO_DISABLE``.
    """
    imported: dict[str, type[Provided]] = {}
    for known, component in _imported(kind, besides=registry().failures()):
        imported.setdefault(known, component)
    found = registry().get(kind, name) or imported.get(name)
    if found is not None:
        return found
    if looked_again():
        return get_component(kind, name)
    names = {*registry().names(kind), *imported}
    if not names:
        kinds = {LEARNER, *filter(None, map(kind_of, defined_components()))}
        if kind not in kinds:
            raise UnknownComponentError(
                f"There is no kind of component named {kind!r}. {suggest(kind, kinds)}"
            )
    refuse_unknown(kind, name, names)


def refuse_unknown(kind: str, name: str, known: Iterable[str]) -> NoReturn:
    """Raises the error that says why nothing of that kind has this name.

    Args:
        kind: See `get_component`.
        name: See `get_component`.
        known: The names that there are.

    Raises:
        UnknownComponentError: Nothing provides it; names the nearest.
        PluginError: A plugin that may have provided it failed, or is switched off.
    """
    message = f"There is no {kind} named {name!r}. {suggest(name, known)}"
    _blame(message, registry().plugins)
    raise UnknownComponentError(message)


def _blame(message: str, plugins: Iterable[Plugin]) -> None:
    """Raises PluginError if one of these may have provided what was asked for."""
    failed = [plugin for plugin in plugins if plugin.error is not None]
    disabled = [plugin for plugin in plugins if plugin.disabled]
    if failed:
        message += " Plugins that failed to load may have provided it: " + "; ".join(
            f"{p.name} ({p.version}): {p.reason}" for p in failed
        )
    if disabled:
        message += f" Switched off by {DISABLE_VARIABLE}, and not asked: " + ", ".join(
            p.name for p in disabled
        )
    if failed or disabled:
        raise PluginError(message) from (failed[0].error if failed else None)


def component_of(distribution: str, kind: str, name: str) -> Optional[type[Any]]:
    """Returns a component of one distribution, None if it provides no such component.

    No other distribution's plugins are loaded, and its own only if the class has not
    been imported yet.

    Args:
        distribution: As `origin` names it, `NOT_INSTALLED` included.
        kind: See `get_component`.
        name: See `get_component`.

    Raises:
        PluginError: A plugin of that distribution failed, or is switched off.
    """
    wanted = canonicalize_name(distribution)
    for known, component in _imported(kind):
        if known == name and canonicalize_name(origin(component)[0]) == wanted:
            return component
    found = Registry(plugins_of(wanted)).get(kind, name)
    if found is None and looked_again():
        return component_of(distribution, kind, name)
    if found is None:
        message = f"{distribution} provides no {kind} named {name!r}."
        _blame(message, plugins_of(wanted))
    return found


def imported_names(kind: str) -> list[str]:
    """Returns the names of a kind's imported components: core's, and others in use."""
    return sorted({name for name, _ in _imported(kind)})


def _imported(
    kind: str, besides: Iterable[Plugin] = ()
) -> Iterator[tuple[str, type[Provided]]]:
    """Yields the imported classes of a kind with their names, the newest first.

    Not those of the given plugins, nor of those that are switched off.
    """
    hidden = {_package(plugin.module) for plugin in (*besides, *_disabled())}
    # d3rlpy lists the learners that are imported.
    learners = known_learners().values() if kind == LEARNER else ()
    for component in (*defined_components(), *learners):
        if kind_of(component) == kind:
            name = component_name(component)
            if name is not None and _package(component.__module__) not in hidden:
                yield name, component


def _disabled() -> list[Plugin]:
    names = disabled_names()
    if not names:
        return []
    known = map(plugin_of, installed_points())
    return [plugin for plugin in known if normalised_name(plugin.name) in names]


def origin(component: type[Any]) -> tuple[str, str]:
    """Returns the distribution that a component's class comes from, and its version."""
    package = _package(component.__module__)
    # Damaged metadata has no name.
    claimants = {name for name in _distributions().get(package, ()) if name}
    if len(claimants) != 1:
        # A namespace package, or an editable install whose metadata lists no packages.
        for point in installed_points():
            if f"{component.__module__}.".startswith(f"{point.module}."):
                claimants = {plugin_of(point).distribution}
    for distribution in sorted(claimants):
        try:
            return distribution, version(distribution)
        except PackageNotFoundError:  # pragma: no cover - metadata went away
            continue
    return NOT_INSTALLED, ""


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _package(module: str) -> str:
    return module.partition(".")[0]
