"""Writing a local Minari dataset that is complete or absent."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import minari
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces

from ..data.minari_files import dataset_folder
from ..support.errors import DatasetError
from .places import REPLACED, exchange, staging, validate_room

__all__ = ["validate_free", "write_local_dataset"]


def validate_free(dataset_id: str, force: bool) -> None:
    """Refuses a dataset that may not be written, before hours go into collecting it.

    Args:
        dataset_id: Minari's ``namespace/name-v0``; the namespace is optional.
        force: Whether an existing dataset may be replaced.

    Raises:
        DatasetError: The id is none of Minari's, or the dataset exists and ``force``
            is false, or the id names a directory that is no dataset.
    """
    try:
        parse_dataset_id(dataset_id)
    # Minari converts a missing version to an integer without looking.
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{dataset_id!r} is no Minari dataset id: expected letters, digits, '-', "
            "'_' and a version, like 'pointmaze/umaze-sparse-v0'."
        ) from error
    path = dataset_folder(dataset_id)
    if not path.exists():
        return
    if not (path / "data").is_dir():
        raise DatasetError(
            f"{path} is in the way of dataset {dataset_id!r} and is no Minari dataset. "
            "Move it away, or choose another dataset id."
        )
    if not force:
        raise DatasetError(
            f"Dataset {dataset_id!r} already exists at {path}. Replace it with --force "
            "(force=True), or choose another dataset id."
        )


def write_local_dataset(
    dataset_id: str,
    episodes: Sequence[EpisodeBuffer],
    *,
    env: EnvSpec,
    eval_env: Optional[EnvSpec] = None,
    metadata: Optional[Mapping[str, Any]] = None,
    force: bool = False,
) -> Path:
    """Writes a dataset under Minari's local root, in one piece.

    It is written to a hidden directory beside its place and then renamed, so that a
    dataset is complete or absent even if the process is killed.

    Args:
        dataset_id: Minari's ``namespace/name-v0``; the namespace is optional.
        episodes: Each with T + 1 observations and T of everything else.
        env: The environment that the episodes come from; gives the spaces.
        eval_env: The environment to evaluate in; ``env`` if None.
        metadata: What else Minari shall keep: its own keys (``description``,
            ``algorithm_name``, ``ref_min_score``, ...; ``author`` is a set) or any
            other that JSON can hold.
        force: Replace an existing dataset, once the new one is complete.

    Returns:
        The dataset's directory.

    Raises:
        DatasetError: As ``validate_free`` does.
    """
    validate_free(dataset_id, force)
    path = dataset_folder(dataset_id)
    validate_room(sum(map(_size, episodes)), len(episodes))
    with staging(path) as folder:
        complete = folder / "complete"
        complete.mkdir()
        storage = MinariStorage.new(complete / "data", env_spec=env)
        storage.update_metadata(
            {
                **(metadata or {}),
                "dataset_id": dataset_id,
                "eval_env_spec": (eval_env or env).to_json(),
                "minari_version": minari.__version__,
            }
        )
        storage.update_episodes(episodes)
        _create_namespace(dataset_id)
        _move_into_place(complete, path, aside=folder / REPLACED)
    return path


def _size(episode: EpisodeBuffer) -> int:
    """Returns the bytes of an episode's arrays."""
    values = [episode.observations, episode.actions, episode.rewards]
    values += [episode.terminations, episode.truncations]
    return sum(each.nbytes for value in values for each in _arrays(value))


def _arrays(value: Any) -> Iterator[npt.NDArray[Any]]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple) or (
        isinstance(value, list) and value and isinstance(value[0], np.ndarray)
    ):
        for each in value:
            yield from _arrays(each)
    else:
        yield np.asarray(value)


def _create_namespace(dataset_id: str) -> None:
    namespace, _, _ = parse_dataset_id(dataset_id)
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)


def _move_into_place(complete: Path, path: Path, aside: Path) -> None:
    if not path.exists():
        complete.rename(path)
        return
    if exchange(complete, path):
        return
    # In two steps: whoever is killed between them leaves `aside`, and it is put back.
    try:
        path.rename(aside)
        complete.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise
