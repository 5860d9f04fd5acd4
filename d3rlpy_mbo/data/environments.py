"""The environment that a dataset names, without running code that only it names."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any, Optional

import farama_notifications
import gymnasium
import minari
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from .goals import one_vector

__all__ = ["evaluation_environment", "simulator_advice", "trusted_spec"]

# Exactly these: what a dataset names is called with arguments that it names too.
_OURS = {
    "d3rlpy_mbo.tasks.hiv:HIV",
    "d3rlpy_mbo.tasks.icu_sepsis:ICUSepsis",
    "d3rlpy_mbo.tasks.pointmaze:PointMaze",
    "d3rlpy_mbo.tasks.relabel:RelabelledEnvironment",
}
# Gymnasium's own, which read and write nothing and call nothing they are given.
_WRAPPERS = {
    f"{wrapper.__module__}:{wrapper.__name__}"
    for wrapper in (
        gymnasium.wrappers.ClipAction,
        gymnasium.wrappers.FlattenObservation,
        gymnasium.wrappers.OrderEnforcing,
        gymnasium.wrappers.PassiveEnvChecker,
        gymnasium.wrappers.RecordEpisodeStatistics,
        gymnasium.wrappers.RescaleAction,
        gymnasium.wrappers.TimeAwareObservation,
        gymnasium.wrappers.TimeLimit,
    )
}


def evaluation_environment(
    source: minari.MinariDataset, trust_environment: bool = False, stacklevel: int = 2
) -> Optional[gymnasium.Env[Any, Any]]:
    """Makes the environment to evaluate in, or warns and returns None.

    Minari's ``recover_environment`` imports and calls whatever the metadata name. This
    makes an environment that is registered with Gymnasium, from the code registered there
    and not from what the dataset names, or one of ours. Settings, time limit and wrappers
    are the dataset's.

    Args:
        source: The dataset.
        trust_environment: Whether to make whatever the dataset names.
        stacklevel: Of the warning, as `warnings.warn` has it.
    """
    try:
        if trust_environment:
            environment: gymnasium.Env[Any, Any] = source.recover_environment(
                eval_env=True
            )
        else:
            # `eval_env_spec` is private in Minari 0.5.
            spec = source._eval_env_spec or source.env_spec
            if spec is None:
                raise ValueError("the dataset records none")
            trusted, why = trusted_spec(spec)
            if trusted is None:
                warnings.warn(
                    f"The evaluation environment of {source.id!r} was not made, and None "
                    f"is returned for it: {why}",
                    stacklevel=stacklevel + 1,
                )
                return None
            environment = gymnasium.make(trusted)
        if isinstance(environment.observation_space, spaces.Dict):
            environment = one_vector(environment, source)
    except Exception as error:
        warnings.warn(
            f"The evaluation environment of {source.id!r} is not available "
            f"({type(error).__name__}: {error}), so None is returned for it."
            f"{simulator_advice(error)}",
            stacklevel=stacklevel + 1,
        )
        return None
    space = environment.action_space
    if isinstance(space, spaces.Discrete) and space.start:
        environment = _ChoicesFromZero(environment)
    return environment


class _ChoicesFromZero(gymnasium.ActionWrapper[Any, Any, Any]):
    """Takes indices from 0 on, as learners give them, for the environment's numbers."""

    def __init__(self, environment: gymnasium.Env[Any, Any]):
        super().__init__(environment)
        space: Any = environment.action_space
        self.action_space = spaces.Discrete(int(space.n))
        self._start = int(space.start)

    def action(self, action: Any) -> int:
        return int(action) + self._start


def trusted_spec(spec: EnvSpec) -> tuple[Optional[EnvSpec], str]:
    """Returns a spec that runs no code which only the dataset names, or None and why.

    Args:
        spec: As the dataset has it; not changed.

    Raises:
        ImportError: It is of gymnasium-robotics, which is not installed.
    """
    point = spec.entry_point
    if ":" in spec.id:
        return None, f"its id {spec.id!r} would import a module. {_HOW}"
    strings = [text for text in _strings(spec.kwargs) if ":" in text]
    if strings:
        return None, (
            f"the argument {strings[0]!r} of {spec.id!r} may name code to import. {_HOW}"
        )
    trusted = copy.deepcopy(spec)
    trusted.vector_entry_point = None
    registered: tuple[WrapperSpec, ...] = ()
    if point not in _OURS:
        if spec.id not in gymnasium.registry:
            _register_robotics(spec)
        known = gymnasium.registry.get(spec.id)
        if known is None:
            return None, (
                f"{spec.id!r} is not registered with Gymnasium, and the dataset names "
                f"{point!r} to import and call. Import the package that registers it "
                f"before loading. {_HOW}"
            )
        trusted.entry_point = known.entry_point
        registered = known.additional_wrappers
    for wrapper in spec.additional_wrappers:
        if wrapper.entry_point not in _WRAPPERS and wrapper not in registered:
            return None, (
                f"it is wrapped in {wrapper.name!r}, and the dataset names "
                f"{wrapper.entry_point!r} to import and call for that. {_HOW}"
            )
    return trusted, ""


_HOW = (
    "If you know who made the dataset, pass trust_environment=True "
    "(--trust-environment; in a study's file trust_environment = true)."
)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.items():
            yield from _strings(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _strings(part)


def _register_robotics(spec: EnvSpec) -> None:
    """Imports the package that most of Minari's D4RL datasets come from."""
    if str(spec.entry_point).split(".")[0] == "gymnasium_robotics":
        # What it would print at import is about other environments.
        farama_notifications.notifications.pop("gymnasium_robotics", None)
        import gymnasium_robotics  # noqa: F401


def simulator_advice(error: Exception) -> str:
    """Returns how to install the simulator that is missing, "" if none is."""
    missing = isinstance(
        error, (ImportError, gymnasium.error.DependencyNotInstalled)
    ) and any(name in str(error).lower() for name in ("mujoco", "robotics"))
    if missing:
        return " Install what it needs with: pip install 'd3rlpy-mbo[mujoco]'."
    return ""
