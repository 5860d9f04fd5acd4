"""Whether an environment can be evaluated in, said before anything is trained."""

import warnings
from typing import Any

import gymnasium
from gymnasium import spaces

from ..data.real_data import RealData
from ..support.errors import CompositionError

__all__ = ["validate_environment", "validate_single_environment"]


def validate_single_environment(env: Any) -> None:
    """Refuses what is no environment, or several at once.

    Raises:
        CompositionError: Names it.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise CompositionError(
            "env is a vector environment, expected a single one: d3rlpy evaluates one "
            "episode after the other. Pass gymnasium.make(...)."
        )
    if not isinstance(env, gymnasium.Env):
        kind = f"{type(env).__module__}.{type(env).__qualname__}"
        old = ""
        if any(base.__module__.split(".")[0] == "gym" for base in type(env).__mro__):
            old = (
                " It is one of gym, which is no longer maintained (d3rlpy.datasets' "
                "get_cartpole and get_pendulum return such). Pass gymnasium.make(...)."
            )
        raise CompositionError(f"env is {kind}, expected a gymnasium.Env or None.{old}")


def validate_environment(env: Any, real: RealData) -> None:
    """Refuses an environment that does not fit the data; warns of one without a limit.

    Args:
        env: To evaluate in.
        real: What the learner trains on.

    Raises:
        CompositionError: It is no Gymnasium environment, or has other observations or
            actions than the data.
    """
    validate_single_environment(env)
    if isinstance(env.observation_space, spaces.Dict):
        raise CompositionError(
            f"The environment's observations are a Dict of {list(env.observation_space)}, "
            "expected one vector. Pass the one that mbo.load_minari returns, which shows "
            "what the data holds; or wrap a goal-conditioned one in "
            "d3rlpy.envs.GoalConcatWrapper (without what was achieved, which data of "
            "AntMaze holds too), another in gymnasium's FlattenObservation."
        )
    rows = real.transitions
    vectors = [("observations", env.observation_space, rows.observation_size)]
    if rows.n_actions is None:
        vectors.append(("actions", env.action_space, rows.action_size))
    else:
        _validate_choices(env.action_space, rows.n_actions)
    for name, space, size in vectors:
        if getattr(space, "shape", None) != (size,):
            raise CompositionError(
                f"The environment's {name} are {space}, but the dataset's have size "
                f"{size}, shape ({size},). Pass the environment that the data is from."
            )
    _warn_without_limit(env, terminates=bool(rows.terminals.any()))


def _validate_choices(space: Any, n_actions: int) -> None:
    if not isinstance(space, spaces.Discrete) or space.n != n_actions:
        raise CompositionError(
            f"The environment's actions are {space}, but the dataset's are {n_actions} "
            "choices. Pass the environment that the data is from."
        )
    if space.start:
        raise CompositionError(
            f"The environment's actions are counted from {space.start}, but learners "
            "count from 0. The environment that mbo.load_minari returns does too; "
            "wrap another in gymnasium.wrappers.TransformAction(env, lambda a: a + "
            f"{space.start}, gymnasium.spaces.Discrete({n_actions}))."
        )


def _warn_without_limit(env: gymnasium.Env[Any, Any], terminates: bool) -> None:
    """Only a warning: an environment may count its steps by itself without saying so."""
    if _has_limit(env):
        return
    does = "some do" if terminates else "none does"
    warnings.warn(
        "The environment declares no step limit (max_episode_steps): an evaluation ends "
        f"only if every episode ends by itself, and in this dataset {does}. Wrap it in "
        "gymnasium.wrappers.TimeLimit(env, max_episode_steps), or give it an attribute "
        "max_episode_steps if it counts its steps.",
        stacklevel=5,
    )


def _has_limit(env: gymnasium.Env[Any, Any]) -> bool:
    if env.spec is not None and env.spec.max_episode_steps is not None:
        return True
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            return True
        layer = layer.env
    return getattr(layer, "max_episode_steps", None) is not None
