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
from ..registry.kinds import Provided
from ..support.errors import PluginError

__all__ = ["module_components"]


def module_components(name: str) -> list[type[Provided]]:
    """Imports a module and returns its components, each once.

    Args:
        name: As in an import statement.

    Returns:
        What its `register_components` returns; without one, the component classes that
        are defined in the module, or in its submodules and imported into it.

    Raises:
        PluginError: It cannot be imported, its hook fails, or it has no components.
    """
    try:
        module = importlib.import_module(name)
        found = list(provided_components(module))
    except NothingProvidedError:
        found = _defined(module)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{name!r} cannot be checked: {type(error).__name__}: {error}. Expected the "
            "name of a module, as in an import statement."
        ) from error
    if not found:
        raise PluginError(
            f"The module {name!r} has no components: no register_components marked with "
            "@d3rlpy_mbo.hookimpl, and no subclass of a base class such as "
            "d3rlpy_mbo.Penalty with a get_type of its own."
        )
    return list(dict.fromkeys(found))


def _defined(module: ModuleType) -> list[type[Provided]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, (Component, LearnableConfig))
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
        and component_name(value) is not None
    ]
