"""termination_for(): the termination that belongs to an environment."""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any, Union

import gymnasium
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from ...support.errors import TerminationRequiredError
from .classic_control import (
    AcrobotTermination,
    CartPoleTermination,
    MountainCarTermination,
)
from .gymnasium import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from .icu_sepsis import ICUSepsisTermination
from .interface import NoTermination, Termination

__all__ = ["termination_for"]

_MUJOCO: dict[str, type[Termination]] = {
    "ant": AntTermination,
    "half_cheetah": NoTermination,
    "hopper": HopperTermination,
    "humanoid": HumanoidTermination,
    "humanoidstandup": NoTermination,
    "inverted_double_pendulum": InvertedDoublePendulumTermination,
    "inverted_pendulum": InvertedPendulumTermination,
    "pusher": NoTermination,
    "reacher": NoTermination,
    "swimmer": NoTermination,
    "walker2d": Walker2dTermination,
}

# By module, exactly: each holds one environment. Names would send AntMaze to Ant's rule.
_BY_MODULE: dict[str, type[Termination]] = {
    "gymnasium.envs.classic_control.acrobot": AcrobotTermination,
    "gymnasium.envs.classic_control.cartpole": CartPoleTermination,
    "gymnasium.envs.classic_control.mountain_car": MountainCarTermination,
    "gymnasium.envs.classic_control.pendulum": NoTermination,
    "gymnasium_robotics.envs.maze.point_maze": NoTermination,
    "d3rlpy_mbo.tasks.hiv": NoTermination,
    "d3rlpy_mbo.tasks.icu_sepsis": ICUSepsisTermination,
    "d3rlpy_mbo.tasks.pointmaze": NoTermination,
    "d3rlpy_mbo.tasks.relabel": NoTermination,
    **{
        f"gymnasium.envs.mujoco.{name}_{version}": rule
        for name, rule in _MUJOCO.items()
        for version in ("v4", "v5")  # their rules are the same; v2 and v3 are unchecked
    },
}

_KNOWN = (
    "Known are Gymnasium's Ant, Hopper, Humanoid, InvertedDoublePendulum, "
    "InvertedPendulum and Walker2d (AntTermination and so on), and HalfCheetah, "
    "HumanoidStandup, Pusher, Reacher and Swimmer (NoTermination), all of them in v4 and "
    "v5, Acrobot, CartPole and MountainCar (AcrobotTermination and so on), Pendulum-v1 "
    "and PointMaze-v3 (NoTermination). Otherwise write a Termination, learn one from "
    "data with LearnedTerminationConfig(), or pass NoTermination() if the task only "
    "times out."
)


def termination_for(env: Union[gymnasium.Env[Any, Any], str]) -> Termination:
    """Returns the termination of an environment, with that environment's parameters.

    Args:
        env: An environment, wrapped or not, or the id of a registered one such as
            ``"Hopper-v5"``. An id needs no simulator.

    Returns:
        The rule; `NoTermination` if the environment only times out, by nature or because
        it was made with ``terminate_when_unhealthy=False``.

    Raises:
        TerminationRequiredError: No rule is known for it, or it does not show the
            observations that the rule reads.
    """
    if isinstance(env, str):
        name, module, settings = _registered(env)
    elif isinstance(env, gymnasium.Env):
        module = type(env.unwrapped).__module__
        name = f"{module}.{type(env.unwrapped).__qualname__}"
        settings = {
            key.lstrip("_"): value for key, value in vars(env.unwrapped).items()
        }
    else:
        raise TerminationRequiredError(
            f"Expected an environment or its id, found {env!r}. {_KNOWN}"
        )
    if module not in _BY_MODULE:
        raise TerminationRequiredError(f"No termination is known for {name}. {_KNOWN}")
    if not settings.get("continuing_task", True):
        raise TerminationRequiredError(
            f"{name} was made with continuing_task=False and ends at its goal, and for "
            f"that there is no rule. {_KNOWN}"
        )
    rule = _BY_MODULE[module]
    if rule is NoTermination or not settings.get("terminate_when_unhealthy", True):
        return NoTermination()
    if not settings.get("exclude_current_positions_from_observation", True):
        raise TerminationRequiredError(
            f"{name} was made with exclude_current_positions_from_observation=False. "
            f"{rule.__name__} reads the default observations, which begin elsewhere. "
            "Write a Termination that cuts the first columns off and calls this one."
        )
    if not isinstance(env, str):
        _validate_wrappers(env, rule)
    names = [field.name for field in dataclasses.fields(rule) if field.name in settings]
    return rule(**{name: _plain(settings[name]) for name in names})


def _plain(value: Any) -> Union[float, tuple[float, ...]]:
    """Returns a number, or an interval's two, as a config holds it."""
    return float(value) if isinstance(value, Real) else tuple(map(float, value))


def _registered(env_id: str) -> tuple[str, str, Mapping[str, Any]]:
    """Returns name, module and settings of a registered environment."""
    try:
        spec = gymnasium.spec(env_id)
    except gymnasium.error.Error as error:
        raise TerminationRequiredError(
            f"Gymnasium has no environment {env_id!r} ({error}). {_KNOWN}"
        ) from error
    point = spec.entry_point
    module = (
        point.partition(":")[0] if isinstance(point, str) else str(point.__module__)
    )
    return repr(env_id), module, spec.kwargs


def _validate_wrappers(env: gymnasium.Env[Any, Any], rule: type[Termination]) -> None:
    """Raises unless s' reaches the dataset as the simulator shows it."""
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        changes = isinstance(layer, gymnasium.ObservationWrapper) and not isinstance(
            layer, FlattenObservation | DtypeObservation
        )
        if (
            changes
            or layer.observation_space.shape != layer.env.observation_space.shape
        ):
            raise TerminationRequiredError(
                f"The wrapper {type(layer).__name__} changes the observations that "
                f"{rule.__name__} reads. Pass env.unwrapped if the dataset's observations "
                "are the simulator's own, else write a Termination that undoes the change."
            )
        layer = layer.env
