"""Whether an environment can be evaluated in, said before anything is trained."""

import warnings
from typing import Any

import gymnasium
from gymnasium import spaces

from ..data.real_data import RealData
from ..support.errors import CompositionError

__all__ = ["validate_environment"]


def validate_environment(env: Any, real: RealData) -> None:
    """Refuses an environment that does not fit the data, or whose episodes never end.

    Args:
        env: To evaluate in.
        real: The learner trains on.

    Raises:
        CompositionError: No Gymnasium environment, other observations or actions than
            the data's, or no step limit where nothing terminates.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise CompositionError(
            "env is a vector environment, expected a single one: d3rlpy evaluates one "
            "episode after the other. Pass gymnasium.make(...)."
        )
    if not isinstance(env, gymnasium.Env):
        raise CompositionError(
            f"env is {type(env).__name__}, expected a gymnasium.Env or None."
        )
    if isinstance(env.observation_space, spaces.Dict):
        raise CompositionError(
            f"The environment's observations are a Dict of {list(env.observation_space)}, "
            "expected one vector. Wrap a goal-conditioned one in "
            "d3rlpy.envs.GoalConcatWrapper, another in gymnasium's FlattenObservation."
        )
    rows = real.transitions
    for name, space, size in (
        ("observations", env.observation_space, rows.observation_size),
        ("actions", env.action_space, rows.action_size),
    ):
        if getattr(space, "shape", None) != (size,):
            raise CompositionError(
                f"The environment's {name} are {space}, but the dataset's have size "
                f"{size}, shape ({size},). Pass the environment that the data is from."
            )
    _validate_limit(env, terminates=bool(rows.terminals.any()))


def _validate_limit(env: gymnasium.Env[Any, Any], terminates: bool) -> None:
    if _has_limit(env):
        return
    message = (
        "The environment has no step limit: an evaluation ends only if an episode "
        "terminates. Wrap it in gymnasium.wrappers.TimeLimit(env, max_episode_steps), or "
        "register it with max_episode_steps."
    )
    if not terminates:
        raise CompositionError(f"{message} In this dataset no episode does.")
    warnings.warn(message, stacklevel=4)


def _has_limit(env: gymnasium.Env[Any, Any]) -> bool:
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return True
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            return True
        layer = layer.env
    # Ours, and others that count their own steps, say so.
    return getattr(layer, "max_episode_steps", None) is not None
