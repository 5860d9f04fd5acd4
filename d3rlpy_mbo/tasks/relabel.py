"""MOPO's out-of-distribution tasks: a replay with the rewards of another task."""

from dataclasses import dataclass
from typing import Any, Optional

import gymnasium
import minari
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.envs.registration import EnvSpec
from minari.data_collector.episode_buffer import EpisodeBuffer

from ..components.known_rewards import AntAngleReward, HalfCheetahJumpReward
from ..components.rewards import RewardFunction
from ..data.minari_files import open_minari
from ..support.errors import DatasetError, UnknownComponentError, suggest
from .local_datasets import validate_free, write_local_dataset
from .places import write_alone

__all__ = ["RELABELLED_TASKS", "RelabelledEnvironment", "relabel", "relabelled_id"]


@dataclass(frozen=True)
class _Task:
    environment: str  # where the source was collected
    name: str  # of the relabelled one
    settings: dict[str, Any]  # of the environment, whatever the source had
    reward_function: RewardFunction
    note: str


_TASKS = {
    "halfcheetah-jump": _Task(
        environment="HalfCheetah-v5",
        name="HalfCheetahJump",
        settings={},
        reward_function=HalfCheetahJumpReward(),
        note=(
            "min(v_x, 3) - 0.1 ||a||^2 + 15 z, with the simulator's mean velocity over "
            "the step and the height after it. The paper prints max(v_x, 3) beside the "
            'words "maximum velocity 3": a misprint for min'
        ),
    ),
    "ant-angle": _Task(
        environment="Ant-v5",
        name="AntAngle",
        settings={"terminate_when_unhealthy": False},
        reward_function=AntAngleReward(),
        note=(
            "v_x cos 30 + v_y sin 30 - 0.5 ||a||^2, degrees, with the mean of the "
            "velocities observed before and after the step. No healthy and contact "
            "terms; nothing terminates: what terminated in the source is truncated"
        ),
    ),
}

RELABELLED_TASKS = tuple(_TASKS)


def relabelled_id(task: str) -> str:
    """Returns the id of a task's dataset, by default: ``mopo/ant-angle-v0``."""
    return f"mopo/{task}-v0"


class RelabelledEnvironment(
    gymnasium.Env[npt.NDArray[np.float64], npt.NDArray[np.float32]]
):
    """The environment of a relabelled dataset, with the dataset's rewards.

    Nothing terminates. The time limit is the spec's, not this class's.

    Args:
        task: One of ``RELABELLED_TASKS``.
        settings: Keyword arguments of HalfCheetah-v5 or Ant-v5.
        render_mode: "human", "rgb_array", "depth_array" or None.

    Raises:
        UnknownComponentError: There is no such task.
        DatasetError: mujoco is missing.

    Source: Yu et al. 2020, appendix G.1.
    """

    metadata = {  # noqa: RUF012, as gymnasium declares it
        "render_modes": ["human", "rgb_array", "depth_array"],
        "render_fps": 20,
    }

    def __init__(
        self,
        task: str,
        settings: Optional[dict[str, Any]] = None,
        render_mode: Optional[str] = None,
    ):
        _validate_task(task)
        self.render_mode = render_mode
        self._task = task
        self._settings = {**(settings or {}), **_TASKS[task].settings}
        self._settings.pop("render_mode", None)  # the source's, which is not ours
        self._original = _make_original(
            _TASKS[task].environment, render_mode=render_mode, **self._settings
        )
        self.observation_space = self._original.observation_space
        self.action_space = self._original.action_space

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[dict[str, Any]] = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Starts an episode as the original environment does.

        Args:
            seed: Determines the start; None goes on with the current generator.
            options: As the original environment's.

        Returns:
            Observation with shape (D,), and the original environment's dictionary.
        """
        super().reset(seed=seed)
        self._observation, info = self._original.reset(seed=seed, options=options)
        return self._observation, info

    def step(
        self, action: npt.NDArray[np.floating[Any]]
    ) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Takes a step of 0.05 s.

        Args:
            action: Torques with shape (A,).

        Returns:
            Observation with shape (D,), the relabelled reward, twice False, the
            original environment's dictionary.
        """
        observation, reward, _, _, info = self._original.step(action)
        rewards = _relabelled_rewards(
            self._task,
            self._settings,
            observations=np.stack([self._observation, observation]),
            actions=np.asarray(action)[None],
            rewards=np.array([reward]),
        )
        self._observation = observation
        return observation, float(rewards[0]), False, False, info

    def render(self) -> Any:
        """Returns an image (height, width, 3), or None in the "human" mode."""
        return self._original.render()

    def close(self) -> None:
        """Closes the window, if there is one."""
        self._original.close()


def relabel(
    task: str, source: str, *, dataset_id: Optional[str] = None, force: bool = False
) -> str:
    """Makes a local Minari dataset of another task from one that is there.

    - ``halfcheetah-jump``, from HalfCheetah-v5: min(v_x, 3) - 0.1 ||a||^2 + 15 z. v_x
      is exact, from the old reward; z is the height of s'.
    - ``ant-angle``, from Ant-v5: v_x cos 30 + v_y sin 30 - 0.5 ||a||^2, in degrees. Each
      velocity is the mean of those at s and s', as datasets do not hold the
      simulator's. Terminations become truncations. MOPO's code lets its environment's
      height be anything too, but ends imagined rollouts by Ant's rule
      (``mopo/static/antangle.py``): here ``termination=AntTermination()``.

    The rewards that go with them, where imagined transitions need them, are
    ``HalfCheetahJumpReward`` and ``AntAngleReward``. The environment that Minari
    recovers has the relabelled rewards. There are no reference scores.

    MOPO collected its sources with min(v_x, 3) - 0.1 ||a||^2 and v_x - control cost as
    reward; gymnasium's HalfCheetah-v5 has no limit, and its Ant-v5 pays for health.

    Args:
        task: One of ``RELABELLED_TASKS``.
        source: Id of a local Minari dataset.
        dataset_id: Minari's ``namespace/name-v0``; ``mopo/ant-angle-v0`` and the like
            if None.
        force: Replace an existing dataset.

    Returns:
        The dataset's id.

    Raises:
        UnknownComponentError: There is no such task.
        DatasetError: The source is not here or of another environment, the dataset
            exists or its id is malformed, or mujoco is missing.

    Source: Yu et al. 2020, appendix G.1.
    """
    _validate_task(task)
    dataset_id = dataset_id or relabelled_id(task)
    with write_alone(dataset_id):
        validate_free(dataset_id, force)
        dataset = _open_local(source)
        spec = _validated_spec(task, source, dataset.env_spec)
        metadata = dataset.storage.metadata
        write_local_dataset(
            dataset_id,
            [
                _relabelled_episode(task, spec.kwargs, episode)
                for episode in dataset.iterate_episodes()
            ],
            env=EnvSpec(
                id=f"d3rlpy_mbo/{_TASKS[task].name}-v0",
                entry_point="d3rlpy_mbo.tasks.relabel:RelabelledEnvironment",
                max_episode_steps=spec.max_episode_steps,
                disable_env_checker=True,
                kwargs={"task": task, "settings": spec.kwargs},
            ),
            metadata={
                "description": (
                    f"{source}, relabelled for MOPO's {task} (Yu et al. 2020, appendix "
                    f"G.1): {_TASKS[task].note}."
                ),
                "algorithm_name": metadata.get("algorithm_name", "unknown"),
                "source_dataset_id": source,
            },
            force=force,
        )
    return dataset_id


def _validate_task(task: str) -> None:
    if task not in _TASKS:
        raise UnknownComponentError(
            f"There is no relabelled task {task!r}. {suggest(task, _TASKS)}"
        )


def _make_original(environment: str, **settings: Any) -> Any:
    try:
        return gymnasium.make(environment, **settings).unwrapped
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise DatasetError(
            f"{environment} needs mujoco ({error}). Install it with: "
            "pip install 'd3rlpy-mbo[mujoco]'"
        ) from error


def _open_local(source: str) -> minari.MinariDataset:
    known = minari.list_local_datasets()
    if source not in known:
        raise DatasetError(
            f"There is no local dataset {source!r} to relabel. {suggest(source, known)} "
            "Collect one with `d3rlpy-mbo collect replay`, or fetch one with "
            "`minari download`."
        )
    return open_minari(source)


def _validated_spec(task: str, source: str, spec: Optional[EnvSpec]) -> EnvSpec:
    expected = _TASKS[task].environment
    if spec is None:
        raise DatasetError(
            f"{task} relabels data of {expected}; {source!r} does not say which "
            "environment it is of."
        )
    if spec.id != expected:
        raise DatasetError(
            f"{task} relabels data of {expected}; {source!r} is of {spec.id}. Choose "
            f"another source, such as `d3rlpy-mbo collect replay --env {expected}`."
        )
    changed = [wrapper.name for wrapper in spec.additional_wrappers]
    if not spec.kwargs.get("exclude_current_positions_from_observation", True):
        changed.append("exclude_current_positions_from_observation=False")
    if changed:
        raise DatasetError(
            f"{task} relabels data of {expected} as gymnasium makes it; that of "
            f"{source!r} has {', '.join(changed)}, so its columns may mean something "
            "else. Choose another source."
        )
    return spec


def _relabelled_episode(
    task: str, settings: dict[str, Any], episode: minari.EpisodeData
) -> EpisodeBuffer:
    truncations = np.array(episode.truncations, dtype=bool)
    truncations[-1:] = True
    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions,
        rewards=_relabelled_rewards(
            task, settings, episode.observations, episode.actions, episode.rewards
        ),
        terminations=np.zeros(len(episode), dtype=bool),
        truncations=truncations,
    )


def _relabelled_rewards(
    task: str,
    settings: dict[str, Any],
    observations: npt.NDArray[Any],
    actions: npt.NDArray[Any],
    rewards: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """Returns (T,) rewards of T + 1 observations, T actions and T old rewards."""
    function = _TASKS[task].reward_function
    before, after, taken = (
        torch.from_numpy(np.asarray(column, dtype=np.float64))
        for column in (observations[:-1], observations[1:], actions)
    )
    if isinstance(function, HalfCheetahJumpReward):
        # half_cheetah_v5.py: forward_reward_weight v_x - ctrl_cost_weight ||a||^2.
        control_costs = settings.get("ctrl_cost_weight", 0.1) * np.square(actions).sum(
            axis=1
        )
        x_velocities = (rewards + control_costs) / settings.get(
            "forward_reward_weight", 1.0
        )
        relabelled = function.with_velocities(
            torch.from_numpy(x_velocities)[:, None], taken, after
        )
    else:
        relabelled = function(before, taken, after)
    return relabelled[:, 0].numpy()
