"""d3rlpy's own list of learners, by which it reads its files, and what we add to it.

d3rlpy has no function to look into it, and `register_learnable` refuses any name that is
in it, whoever brings it.
"""

import contextlib
from collections.abc import Iterator, Mapping

from d3rlpy.base import LearnableConfig, register_learnable
from d3rlpy.serializable_config import CONFIG_STORAGE

from ..support.errors import PluginError

__all__ = [
    "add_learner",
    "is_of_d3rlpy",
    "known_learners",
    "refuse_taken_name",
    "with_learner",
]

_added: dict[str, type[LearnableConfig]] = {}


def known_learners() -> Mapping[str, type[LearnableConfig]]:
    """Returns what d3rlpy can build by name: its own learners, and those added."""
    found: dict[str, type[LearnableConfig]] = {}
    for name, config in CONFIG_STORAGE[LearnableConfig].config_list.items():
        assert issubclass(config, LearnableConfig)  # d3rlpy's types say less
        found[name] = config
    return found


def is_of_d3rlpy(config: type[LearnableConfig]) -> bool:
    """Returns whether d3rlpy itself defines a learner."""
    return config.__module__.partition(".")[0] == "d3rlpy"


def refuse_taken_name(config: type[LearnableConfig]) -> None:
    """Refuses a learner whose name d3rlpy has for another one that is not a plugin's.

    Raises:
        PluginError: Names both.
    """
    name = config.get_type()
    other = known_learners().get(name, config)
    if other is not config and _added.get(name) is not other:
        raise PluginError(
            f"its learner {_path(config)} is named {name!r}, as is {_path(other)}, which "
            "d3rlpy knows already. d3rlpy's files hold only the name: get_type() must "
            "return another one"
        )


def _path(config: type[LearnableConfig]) -> str:
    return f"{config.__module__}.{config.__qualname__}"


def add_learner(config: type[LearnableConfig]) -> None:
    """Registers a plugin's learner with d3rlpy, once, so that it reads its files.

    A class that its module has registered already stays as it is. One that was added
    under this name before, as by a module that was imported anew since, is replaced.

    Raises:
        PluginError: See `refuse_taken_name`.
    """
    refuse_taken_name(config)
    name, listed = config.get_type(), CONFIG_STORAGE[LearnableConfig].config_list
    if listed.get(name) is not config:
        listed.pop(name, None)
        register_learnable(config)
        _added[name] = config


@contextlib.contextmanager
def with_learner(config: type[LearnableConfig]) -> Iterator[None]:
    """Registers a learner with d3rlpy for a while, whether or not it is installed.

    What is added meanwhile stays: plugins are loaded once, and perhaps just then.

    Raises:
        PluginError: See `refuse_taken_name`.
    """
    listed = CONFIG_STORAGE[LearnableConfig].config_list
    name = config.get_type()
    listed_before, added_before = listed.get(name), _added.get(name)
    add_learner(config)
    try:
        yield
    finally:
        listed.pop(name, None)
        _added.pop(name, None)
        if listed_before is not None:
            listed[name] = listed_before
        if added_before is not None:
            _added[name] = added_before
