"""Opening Minari's datasets: local before remote, no code of theirs, errors by name."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import minari
from minari.dataset.minari_storage import MinariStorage
from minari.storage import get_dataset_path, hosting

from ..support.errors import DatasetError, suggest

__all__ = [
    "dataset_folder",
    "open_minari",
    "reference_scores",
    "stored_episodes",
    "unless_locked",
]

_SPACES = {"action_space", "observation_space"}


def dataset_folder(dataset_id: Optional[str] = None) -> Path:
    """Returns where Minari keeps a dataset, or all of them; it need not be there.

    Raises:
        DatasetError: Minari's folder does not exist, and cannot be made; or the user has
            no home directory, and Minari would make a folder named "~" here.
    """
    named = os.environ.get("MINARI_DATASETS_PATH") is not None
    if not named and not os.path.isabs(os.path.expanduser("~")):
        raise DatasetError(
            "This user has no home directory, where Minari keeps its datasets. Name a "
            "folder in the environment variable MINARI_DATASETS_PATH."
        )
    try:
        return Path(get_dataset_path(dataset_id))
    except OSError as error:
        raise DatasetError(
            "Minari's folder does not exist, and its place cannot be written to: "
            f"{error}. Name a folder in the environment variable MINARI_DATASETS_PATH; "
            "by default Minari uses ~/.minari/datasets."
        ) from error


def open_minari(
    dataset_id: str, trust_environment: bool = False
) -> minari.MinariDataset:
    """Opens a dataset, downloaded if it is not local.

    Args:
        dataset_id: Such as ``"mujoco/hopper/medium-v0"``.
        trust_environment: Whether Minari may make an environment that the dataset
            names to find out its spaces, where the dataset does not say them.

    Raises:
        DatasetError: No such dataset, or a damaged one.
    """
    metadata = _metadata(dataset_id)
    if not trust_environment and not set(metadata) >= _SPACES:
        raise DatasetError(
            f"The metadata of {dataset_id!r} have no {' and '.join(sorted(_SPACES))}; to "
            "find out, Minari would make the environment that they name. If you know who "
            "made the dataset, pass trust_environment=True (--trust-environment; in a "
            "study's file trust_environment = true)."
        )
    try:
        return minari.MinariDataset(dataset_folder(dataset_id) / "data")
    except Exception as error:
        raise _damaged(dataset_id, error) from error


def reference_scores(
    dataset_id: str, prefix: str = ""
) -> Optional[tuple[float, float]]:
    """Returns the returns that score 0 and 100, None if the dataset has none.

    None also if both are equal, as such a scale would tell nothing apart.

    Args:
        dataset_id: Id of a Minari dataset.
        prefix: ``"d4rl_"`` for D4RL's, if the dataset keeps them beside its own.

    Raises:
        DatasetError: There is no such dataset, it is damaged, or a score is no number.
    """
    metadata = _metadata(dataset_id)
    names = (f"{prefix}ref_min_score", f"{prefix}ref_max_score")
    low, high = (metadata.get(name) for name in names)
    if low is None or high is None:
        return None
    for name, value in zip(names, (low, high), strict=True):
        if not _is_finite_number(value):
            raise DatasetError(
                f"{name} of {dataset_id!r} is {value!r}, expected a finite number. Correct "
                "or remove it in the dataset's metadata.json."
            )
    return None if low == high else (float(low), float(high))


def _metadata(dataset_id: str) -> dict[str, Any]:
    """Returns what the dataset says of itself, after downloading it if it is not here."""
    root, path = dataset_folder(), dataset_folder(dataset_id)
    # Minari asks its server first unless the dataset is known to be here.
    if not (path / "data").exists():
        try:
            hosting.download_dataset(dataset_id)
        except Exception as error:
            known = [
                data.parent.relative_to(root).as_posix() for data in root.rglob("data")
            ]
            raise DatasetError(
                f"The dataset {dataset_id!r} is not in {str(root)!r} and could not be "
                f"downloaded ({type(error).__name__}: {error}). Locally: "
                f"{suggest(dataset_id, known)} {_advice(dataset_id)}"
            ) from error
    try:
        return dict(MinariStorage.read_raw_metadata(path / "data"))
    except Exception as error:
        raise _damaged(dataset_id, error) from error


def _advice(name: str) -> str:
    """Returns what to do about a name that is no dataset's id."""
    if Path(name).is_file():
        return (
            "This is a file: mbo.load_hdf5 reads D4RL's and d3rlpy 1's in Python; for the "
            "command line and studies make a Minari dataset of it once (docs/own-data.md, "
            '"For the command line").'
        )
    if "/" not in name and re.search(r"-v\d+$", name):
        return (
            "If this is D4RL's name: Minari has datasets of its own, such as "
            "'mujoco/hopper/medium-v0' and 'D4RL/antmaze/umaze-v1', and mbo.load_hdf5 "
            "reads D4RL's files."
        )
    return "Mazes and replays are not downloaded, `d3rlpy-mbo collect` makes them."


def _damaged(dataset_id: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"The dataset {dataset_id!r} in {str(dataset_folder())!r} cannot be read "
        f"({type(error).__name__}: {error}). "
        + unless_locked(
            error,
            "It is damaged, or was written by another version of Minari. Move it away, "
            "and download or collect it again.",
        )
    )


def unless_locked(error: Exception, otherwise: str) -> str:
    """Returns what an error of HDF5 tells the user to do: a locked file is whole."""
    if "unable to lock file" not in str(error):
        return otherwise
    return (
        "Another process is writing the file, or its file system has no locks: for that "
        "set the environment variable HDF5_USE_FILE_LOCKING=FALSE."
    )


def _is_finite_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def stored_episodes(
    source: minari.MinariDataset, n_episodes: Optional[int] = None
) -> Iterator[minari.EpisodeData]:
    """Yields a dataset's episodes, the first n of them or all.

    Raises:
        DatasetError: One cannot be read.
    """
    try:
        yield from source.iterate_episodes(source.episode_indices[:n_episodes])
    except Exception as error:  # the storage's: what a reader raises, it raises itself
        raise DatasetError(
            f"An episode of {source.id!r} cannot be read ({type(error).__name__}: "
            f"{error}). "
            + unless_locked(
                error,
                "The dataset is damaged: move it away, and download or collect it again.",
            )
        ) from error
