"""Where datasets are written: one process at a time, and nothing left of dead ones."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..data.minari_files import dataset_folder
from ..support.errors import CompositionError, DatasetError
from ..support.locks import held_alone, held_if_free

__all__ = ["REPLACED", "exchange", "staging", "validate_room", "write_alone"]

# Minari's listing passes over hidden directories.
_STAGING = ".d3rlpy-mbo-writing-"
_TARGET, REPLACED = "target", "replaced"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h

# What HDF5 and Minari write beside the arrays of an episode (ours, generous: a dataset
# of 10,000 episodes of one step has 5,800 bytes for each).
_BYTES_OF_AN_EPISODE = 10_000
_BYTES_BESIDE = 1_000_000


@contextlib.contextmanager
def write_alone(dataset_id: str) -> Iterator[None]:
    """Holds the place of a dataset alone, and removes what dead processes left there.

    Raises:
        DatasetError: Another process collects it, or the folder cannot be written to.
    """
    root = dataset_folder()
    try:
        with tempfile.TemporaryDirectory(prefix=_STAGING, dir=root):
            pass
    except OSError as error:
        raise DatasetError(
            f"Minari's folder cannot be written to: {error}. Choose another by the "
            "environment variable MINARI_DATASETS_PATH."
        ) from error
    _sweep(root)
    lock = root / f".d3rlpy-mbo-{dataset_id.replace('/', '--')}.lock"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held_alone(lock, f"the dataset {dataset_id!r}"))
        except CompositionError as error:
            raise DatasetError(str(error)) from error
        yield


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Yields a folder beside a dataset's, which a killed process does not leave for long.

    Args:
        path: The dataset's.
    """
    root = dataset_folder()
    folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=root))
    try:
        with held_if_free(folder):
            (folder / _TARGET).write_bytes(os.fsencode(path))
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Removes the folders of dead processes; what one was replacing is put back."""
    for folder in root.glob(f"{_STAGING}*"):
        with held_if_free(folder) as held:
            if not held:
                continue
            with contextlib.suppress(OSError, ValueError):  # or it is torn
                path = Path(os.fsdecode((folder / _TARGET).read_bytes()))
                if (folder / REPLACED).exists() and not path.exists():
                    (folder / REPLACED).rename(path)
        # No longer held: where NFS has an open file to remove, its folder stays.
        shutil.rmtree(folder, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not Linux
        return False
    names = os.fsencode(one), os.fsencode(other)
    failed = rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return bool(failed == 0)


def validate_room(n_bytes: int, n_episodes: int) -> None:
    """Refuses to write more than the disk holds: HDF5 ends the process where it is full.

    Raises:
        DatasetError: Says how much is needed, and how much there is.
    """
    root = dataset_folder()
    needed = n_bytes + _BYTES_OF_AN_EPISODE * n_episodes + _BYTES_BESIDE
    free = shutil.disk_usage(root).free
    if needed > free:
        raise DatasetError(
            f"The dataset needs up to {needed / 1e6:,.1f} MB, and {str(root)!r} has "
            f"{free / 1e6:,.1f} MB left. Make room, or choose another folder by the "
            "environment variable MINARI_DATASETS_PATH."
        )
