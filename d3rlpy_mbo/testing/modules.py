"""The components of a module, registered or not."""

import inspect
import sys
import warnings
from importlib.metadata import EntryPoint
from types import ModuleType

from ..configs import Component
from ..discovery import load_plugins
from ..errors import PluginError
from ..hookspecs import ENTRY_POINT_GROUP

__all__ = ["module_components"]


def module_components(name: str) -> list[type[Component]]:
    """Imports a module and returns its components, each once.

    Args:
        name: As in an import statement.

    Returns:
        What its `register_components` returns; without one, the component classes that
        the module or its submodules define and it holds.

    Raises:
        PluginError: It cannot be imported, its hook fails, or it has no components.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they say becomes the error
        (plugin,) = load_plugins([EntryPoint("check", name, ENTRY_POINT_GROUP)])
    if plugin.error is not None:
        raise PluginError(
            f"{name!r} cannot be checked: {type(plugin.error).__name__}: {plugin.error}. "
            "Expected the name of a module, as in an import statement."
        ) from plugin.error
    found = plugin.components or _defined(sys.modules[name])
    if not found:
        raise PluginError(
            f"The module {name!r} has no components: no register_components marked with "
            "@d3rlpy_mbo.hookimpl, and no subclass of a base class such as "
            "d3rlpy_mbo.Penalty with a get_type of its own."
        )
    return list(dict.fromkeys(found))


def _defined(module: ModuleType) -> list[type[Component]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Component)
        and f"{value.__module__}.".startswith(f"{module.__name__}.")
        and _has_name(value)
    ]


def _has_name(component: type[Component]) -> bool:
    try:
        component.get_type()
    except NotImplementedError:  # an abstract base
        return False
    return True
