"""The learners that can be asked for by name."""

from typing import Any

import d3rlpy
from d3rlpy.base import LearnableConfig
from d3rlpy.constants import ActionSpace

__all__ = ["learner_configs"]


def learner_configs() -> dict[str, type[LearnableConfig]]:
    """Returns d3rlpy's continuous Q-learning configs by their type's name."""
    found: dict[str, type[LearnableConfig]] = {}
    for value in vars(d3rlpy.algos).values():
        if not (isinstance(value, type) and issubclass(value, LearnableConfig)):
            continue
        try:
            algo: Any = value().create()
        except (NotImplementedError, TypeError):
            continue  # abstract bases
        learns = isinstance(algo, d3rlpy.algos.QLearningAlgoBase) and not isinstance(
            algo, d3rlpy.algos.RandomPolicy
        )
        if learns and algo.get_action_type() == ActionSpace.CONTINUOUS:
            found[value.get_type()] = value
    return found
