"""The learners that can be asked for by name."""

from typing import Any

import d3rlpy
from d3rlpy.base import LearnableConfig

from ..registry.discovery import looked_again, refuse_unknown, registry
from ..registry.known_learners import is_of_d3rlpy, known_learners

__all__ = ["learner_config", "learner_configs"]


def learner_configs() -> dict[str, type[LearnableConfig]]:
    """Returns the configs that ``--learner`` knows, by their type's name.

    d3rlpy's algorithms, and whatever plugins or imported modules
    have added to d3rlpy's list. A name that two plugins claim is not among them.
    """
    registry()  # adds the plugins'
    return {
        name: config
        for name, config in known_learners().items()
        if not is_of_d3rlpy(config) or _trains(config)
    }


def learner_config(name: str) -> type[LearnableConfig]:
    """Returns a learner's config by its type's name.

    Plugins are loaded only if d3rlpy has no such learner: they cannot claim its names.

    Raises:
        UnknownComponentError: There is none; names the nearest.
        DuplicateComponentError: Two plugins provide it.
        PluginError: There is none, and a plugin that may have provided it failed, or
            is switched off.
    """
    own = known_learners().get(name)
    if own is not None and is_of_d3rlpy(own) and _trains(own):
        return own
    registry().get("learner", name)  # refuses a name that two claim
    configs = learner_configs()
    if name not in configs and looked_again():
        return learner_config(name)
    if name not in configs:
        refuse_unknown("learner", name, configs)
    return configs[name]


def _trains(config: type[LearnableConfig]) -> bool:
    """Whether one of d3rlpy's is an algorithm that learns."""
    try:
        algo: Any = config().create()
    except (NotImplementedError, TypeError):
        return False  # it evaluates another, which it has to be given
    kinds = d3rlpy.algos.QLearningAlgoBase, d3rlpy.algos.TransformerAlgoBase
    return isinstance(algo, kinds) and not isinstance(
        algo, (d3rlpy.algos.RandomPolicy, d3rlpy.algos.DiscreteRandomPolicy)
    )
