"""The components of a module, registered or not."""

import importlib
import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any, cast

import pluggy

from .. import hookspecs
from ..configs import Component
from ..errors import PluginError
from ..hookspecs import ENTRY_POINT_GROUP

__all__ = ["module_components"]


def module_components(name: str) -> list[type[Component]]:
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
        found = _registered(module) or _defined(module)
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


def _registered(module: ModuleType) -> list[type[Component]]:
    manager = pluggy.PluginManager(ENTRY_POINT_GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    implementations = manager.hook.register_components.get_hookimpls()
    returned: list[Any] = []
    for implementation in implementations:
        returned += cast(Iterable[Any], implementation.function())
    for component in returned:
        if not (inspect.isclass(component) and issubclass(component, Component)):
            raise PluginError(
                f"register_components returned {component!r}, expected subclasses of a "
                "component base class such as d3rlpy_mbo.Penalty"
            )
    return returned


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
