"""Collects PointMaze datasets by D4RL's maze2d recipe, with their reference scores."""

from typing import Optional

import numpy as np
import numpy.typing as npt
from minari.data_collector.episode_buffer import EpisodeBuffer

from ..support.errors import DatasetError, UnknownComponentError, suggest
from ..support.version import installed_versions
from .local_datasets import validate_free, write_local_dataset
from .places import write_alone
from .pointmaze import LAYOUTS, REWARDS, PointMaze, pointmaze_spec
from .waypoints import mean_return, walk

__all__ = ["POINTMAZE_TASKS", "collect_pointmaze", "pointmaze_id"]

POINTMAZE_TASKS = {
    f"pointmaze-{layout}-{reward}": (layout, reward)
    for layout in LAYOUTS
    for reward in REWARDS
}

# D4RL, d4rl/infos.py, version 1: its random policy, and its controller, which plans
# in the first episode only.
_D4RL_SCORES = {
    "pointmaze-umaze-sparse": (23.85, 161.86),
    "pointmaze-medium-sparse": (13.13, 277.39),
    "pointmaze-large-sparse": (6.7, 273.99),
    "pointmaze-umaze-dense": (68.54, 193.66),
    "pointmaze-medium-dense": (44.26, 297.46),
    "pointmaze-large-dense": (30.57, 303.49),
}

_PACKAGES = ("gymnasium-robotics", "mujoco")  # what decides the physics


def pointmaze_id(task: str) -> str:
    """Returns the id of a task's dataset, by default: ``pointmaze/umaze-sparse-v0``."""
    layout, reward = POINTMAZE_TASKS[task]
    return f"pointmaze/{layout}-{reward}-v0"


def collect_pointmaze(
    task: str,
    *,
    n_steps: int = 1_000_000,
    seed: int = 0,
    dataset_id: Optional[str] = None,
    force: bool = False,
    n_reference_episodes: int = 1000,
) -> str:
    """Makes a local Minari dataset by D4RL's maze2d recipe.

    One walk between random cells, never reset, cut into truncated episodes of the
    layout's time limit: each begins where the one before ends. Rewards are of the
    state *before* the step, as in D4RL's datasets; in the environment that Minari
    recovers they are of the state after it, as in D4RL's environments.

    Minari's reference scores are mean returns of the uniform policy and of a controller
    that plans in each episode; D4RL's are kept as ``d4rl_ref_min_score`` and
    ``d4rl_ref_max_score``.

    Args:
        task: One of ``POINTMAZE_TASKS``.
        n_steps: Number of transitions.
        seed: Determines all of the dataset.
        dataset_id: Minari's ``namespace/name-v0``; ``pointmaze/umaze-sparse-v0`` and
            the like if None.
        force: Replace an existing dataset.
        n_reference_episodes: Episodes behind each reference score.

    Returns:
        The dataset's id.

    Raises:
        UnknownComponentError: There is no such task.
        DatasetError: A number is out of range, the dataset exists or its id is
            malformed, or gymnasium-robotics or mujoco is missing.

    Source: D4RL, ``generate_maze2d_datasets.py`` and ``relabel_maze2d_rewards.py``,
    without their repeated rows after a target is reached.
    """
    if task not in POINTMAZE_TASKS:
        raise UnknownComponentError(
            f"There is no task {task!r}. {suggest(task, POINTMAZE_TASKS)}"
        )
    for name, value, least in (
        ("n_steps", n_steps, 1),
        ("seed", seed, 0),
        ("n_reference_episodes", n_reference_episodes, 1),
    ):
        if value < least:
            raise DatasetError(f"{task}: {name} is {value}, expected at least {least}.")
    layout, reward = POINTMAZE_TASKS[task]
    dataset_id = dataset_id or pointmaze_id(task)
    with write_alone(dataset_id):
        validate_free(dataset_id, force)

        env = PointMaze(layout, reward)
        spec = pointmaze_spec(layout, reward)
        max_steps = LAYOUTS[layout].max_episode_steps
        walk_rng, uniform_rng, controller_rng = (
            np.random.default_rng(child)
            for child in np.random.SeedSequence(seed).spawn(3)
        )
        observations, actions = walk(env, n_steps, max_steps, walk_rng)
        uniform_return = mean_return(
            env, "uniform", n_reference_episodes, max_steps, uniform_rng
        )
        controller_return = mean_return(
            env, "controller", n_reference_episodes, max_steps, controller_rng
        )
        d4rl_min, d4rl_max = _D4RL_SCORES[task]
        write_local_dataset(
            dataset_id,
            _cut(
                observations, actions, env.compute_rewards(observations[:-1]), max_steps
            ),
            env=spec,
            metadata={
                "description": (
                    f"D4RL's maze2d recipe on PointMaze, {layout}, {reward} reward: one "
                    "continuous walk between random cells, cut into truncated episodes; "
                    "rewards are of the state before the step. ref_max_score is the mean "
                    "return of a controller that plans in each episode; D4RL's own scores "
                    f"are {d4rl_min} and {d4rl_max} (d4rl_ref_min_score and "
                    "d4rl_ref_max_score), from one that plans in the first only."
                ),
                "algorithm_name": "waypoint controller",
                "ref_min_score": uniform_return,
                "ref_max_score": controller_return,
                "num_episodes_average_score": n_reference_episodes,
                "d4rl_ref_min_score": d4rl_min,
                "d4rl_ref_max_score": d4rl_max,
                "seed": seed,
                "versions": installed_versions(_PACKAGES),
            },
            force=force,
        )
    return dataset_id


def _cut(
    observations: npt.NDArray[np.float64],
    actions: npt.NDArray[np.float32],
    rewards: npt.NDArray[np.float64],
    max_steps: int,
) -> list[EpisodeBuffer]:
    episodes = []
    for start in range(0, len(actions), max_steps):
        stop = min(start + max_steps, len(actions))
        truncations = np.zeros(stop - start, dtype=bool)
        truncations[-1] = True
        episodes.append(
            EpisodeBuffer(
                observations=observations[start : stop + 1],
                actions=actions[start:stop],
                rewards=rewards[start:stop],
                terminations=np.zeros(stop - start, dtype=bool),
                truncations=truncations,
            )
        )
    return episodes
