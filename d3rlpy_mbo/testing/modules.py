"""The components of a module, registered or not."""

import importlib
import inspect
from types import ModuleType

from d3rlpy.base import LearnableConfig

from ..registry.component import Component
from ..registry.entry_points import (
    NothingProvidedError,
    component_name,
    provided_components,
)
from ..registry.hookspecs import ENTRY_POINT_GROUP
from ..registry.kinds import Provided, kind_of
from ..support.errors import PluginError

__all__ = ["module_components"]

# What a component defines that is more than a base: one of these.
_WORKS = ("__call__", "create", "collect", "get_type")


def module_components(name: str) -> list[type[Provided]]:
    """Imports a module and returns its components, each once.

    Args:
        name: As in an import statement.

    Returns:
        What its `register_components` returns; without one, the component classes that
        are defined in the module, or in its submodules and imported into it. Those that
        lack nothing but a name are among them, and fail the check of it.

    Raises:
        PluginError: It cannot be imported, its hook fails or is not marked as one, or it
            has no components.
    """
    try:
        module = importlib.import_module(name)
        found = list(provided_components(module))
    except NothingProvidedError:
        if hasattr(module, "register_components"):
            raise _unloadable(name, module.register_components) from None
        found = _defined(module)
    except (Exception, SystemExit) as error:
        why = str(error).rstrip(".")
        raise PluginError(
            f"{name!r} cannot be checked: {type(error).__name__}: {why}. "
            "Expected the name of a module, as in an import statement."
        ) from error
    if not found:
        raise PluginError(
            f"The module {name!r} has no components: no register_components marked with "
            "@d3rlpy_mbo.hookimpl, and no subclass of a base class such as "
            "d3rlpy_mbo.Penalty with a get_type of its own."
        )
    return list(dict.fromkeys(found))


def _unloadable(name: str, hook: object) -> PluginError:
    marked = hasattr(hook, f"{ENTRY_POINT_GROUP}_impl")  # where pluggy notes it
    found = "returns no components" if marked else "is not decorated"
    return PluginError(
        f"The register_components of the module {name!r} {found}, so that as a plugin it "
        "would not be loaded. Expected a function that returns component classes, with "
        "@d3rlpy_mbo.hookimpl above it."
    )


def _defined(module: ModuleType) -> list[type[Provided]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, (Component, LearnableConfig))
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
        and (component_name(value) is not None or _lacks_its_name_alone(value))
    ]


def _lacks_its_name_alone(component: type[Provided]) -> bool:
    """Whether it was meant to be one: it works, or has a name that cannot be asked for.

    What others are made from, and what is private, are bases.
    """
    if component.__name__.startswith("_") or component.__subclasses__():
        return False
    for base in component.__mro__:
        if base is LearnableConfig or "kind" in vars(base):  # of d3rlpy, or of ours
            return False
        if any(name in vars(base) for name in _WORKS):
            return kind_of(component) is not None
    return False
