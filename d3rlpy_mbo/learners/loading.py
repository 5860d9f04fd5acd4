"""load_learner(): d3rlpy's loader, for the learners of plugins too."""

import json
import pickle
from pathlib import Path
from typing import NoReturn, Union, cast

import d3rlpy

from ..registry.discovery import looked_again, refuse_unknown, registry
from ..registry.known_learners import known_learners
from ..support.devices import Device, device_name
from ..support.errors import D3RLPyMBOError, LoadError
from .reading import AnyLearner

__all__ = ["load_learner"]


def load_learner(path: Union[str, Path], device: Device = False) -> AnyLearner:
    """Loads what a learner's `save` wrote, be it a plugin's learner or one of d3rlpy's.

    `d3rlpy.load_learnable` knows a plugin's learner only once its module is imported
    and registered; here the plugins are asked first.

    Args:
        path: A ``.d3`` file.
        device: See `ImaginationConfig.create`.

    Returns:
        The algorithm with its networks and optimizers.

    Raises:
        LoadError: There is no such file, it is no saved learner, nothing installed
            provides the learner, or it cannot be rebuilt.
    """
    name = _saved_type(path)
    try:
        if _is_unknown(name) and (not looked_again() or _is_unknown(name)):
            refuse_unknown("learner", name, known_learners())
    except D3RLPyMBOError as error:
        raise LoadError(
            f"{str(path)!r} holds a learner of the type {name!r}. {error} Install the "
            "plugin that provides it, or import its module."
        ) from error
    try:
        found = d3rlpy.load_learnable(str(path), device_name(device))
    except Exception as error:
        raise LoadError(
            f"The learner {name!r} in {str(path)!r} cannot be rebuilt here "
            f"({type(error).__name__}: {error}). Was it saved by another version, or is "
            f"the device {device_name(device)!r} not there?"
        ) from error
    return cast(AnyLearner, found)


def _is_unknown(name: str) -> bool:
    return registry().get("learner", name) is None and name not in known_learners()


class _Plain(pickle.Unpickler):
    """Reads numbers, text and bytes: what d3rlpy writes, and nothing that could run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def _saved_type(path: Union[str, Path]) -> str:
    """Returns the name of the learner in a file."""
    try:
        with open(path, "rb") as file:
            content = _Plain(file).load()
        name = json.loads(content["config"])["config"]["type"]
    except FileNotFoundError as error:
        raise LoadError(f"There is no file {str(path)!r} to load.") from error
    except Exception as error:
        raise LoadError(
            f"{str(path)!r} is no saved learner, or it is damaged: expected a .d3 file "
            f"written by a d3rlpy algorithm's save ({type(error).__name__}: {error})."
        ) from error
    return str(name)
