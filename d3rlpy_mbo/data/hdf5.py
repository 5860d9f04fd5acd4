"""HDF5 files, D4RL's and those of d3rlpy 1, as datasets of d3rlpy 2."""

import os
from pathlib import Path
from typing import Any, Optional, Union

import h5py
import numpy as np
from d3rlpy.dataset import ReplayBuffer

from ..support.errors import DatasetError
from .arrays import dataset_of_rows
from .minari_files import unless_locked
from .rows import Rows
from .values import float32_values, zero_or_one

__all__ = ["load_hdf5"]

_LISTED = 10  # names of many (ours)
_NEEDED = ("observations", "actions", "rewards", "terminals")
_OF_D3RLPY_1 = ("episode_terminals", "discrete_action", "version")
_OPTIONAL = ("next_observations", "timeouts", *_OF_D3RLPY_1)

# d3rlpy/dataset.pyx up to 1.0.0: transition i has observations i, i + 1, reward i + 1.
_BEFORE_1_1 = (
    "the file names no version, like all that d3rlpy wrote before 1.1: in those a row's "
    "reward is that of the step that led to it, and the last row of an episode is no step. "
    "Rewards are taken to be the rows' own, as since 1.1. If it is older, pass each "
    "episode's observations, actions[:-1] and rewards[1:] to mbo.dataset_from_arrays "
    "(docs/from-d3rlpy-1.md)."
)


def load_hdf5(
    path: Union[str, "os.PathLike[str]"], max_episode_steps: Optional[int] = None
) -> ReplayBuffer:
    """Loads an HDF5 file with D4RL's layout, v0 to v2, or one that d3rlpy 1 wrote.

    Reads ``observations``, ``actions``, ``rewards``, ``terminals``, and
    ``next_observations`` and ``timeouts`` if the file has them; ``infos`` and
    ``metadata`` are not read. From files of d3rlpy 1's `MDPDataset.dump` it also reads
    ``episode_terminals`` and ``discrete_action``; the number of choices is then the
    greatest index plus one. Before 1.1 such files had each reward a row later, and named
    no ``version``: a file without one is read as it is, with a warning. Rows mean what
    they mean to `dataset_from_arrays`: a terminal row's outcome is kept if the file has
    it, and never taken from the following row, which begins another episode. One warning
    says what was assumed.

    Args:
        path: Of the file.
        max_episode_steps: The environment's time limit, for files without ``timeouts``
            or with none set: an episode is cut after this many rows, as in D4RL's own
            loaders. 1000 in Gym-MuJoCo.

    Raises:
        DatasetError: There is no such file, it is damaged or has another layout, or see
            `dataset_from_arrays`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DatasetError(
            f"load_hdf5 was given a {type(path).__name__}, expected the path of a file. "
            "For arrays, such as those of an open file, use mbo.dataset_from_arrays."
        )
    whose = repr(str(path))
    columns = _read(Path(path), whose)
    if max_episode_steps is not None and (
        isinstance(max_episode_steps, bool)
        or not isinstance(max_episode_steps, (int, np.integer))
        or max_episode_steps < 1
    ):
        raise DatasetError(
            f"max_episode_steps is {max_episode_steps!r}, expected a whole number of at "
            "least 1."
        )
    n_actions, notes = _of_d3rlpy_1(columns, whose)
    if not np.any(columns.get("timeouts", False)):
        columns.pop("timeouts", None)  # a column of zeros says no more than none
    if max_episode_steps is not None and "timeouts" not in columns:
        terminals = zero_or_one(columns["terminals"], "terminals", whose).ravel()
        columns["timeouts"] = _time_limits(terminals, int(max_episode_steps))
        notes.append(
            "there are no timeouts: assumed where an episode reaches "
            f"{max_episode_steps} rows."
        )
    elif max_episode_steps is not None:
        notes.append(
            f"max_episode_steps ({max_episode_steps}) was not used: the file itself says "
            "which rows are timeouts."
        )
    elif "timeouts" not in columns and "next_observations" in columns:
        notes.append(
            "there are no timeouts: episodes end at terminals, and where a next "
            "observation is not the following row's observation."
        )
    return dataset_of_rows(Rows.of(columns, whose, n_actions), whose, notes)


def _of_d3rlpy_1(
    columns: dict[str, Any], whose: str
) -> tuple[Optional[int], list[str]]:
    """Turns what only d3rlpy 1 writes into D4RL's columns.

    Args:
        columns: Changed.
        whose: For messages.

    Returns:
        How many choices there are, None where actions are continuous; and what was
        assumed, as sentences.
    """
    ends, discrete, version = (columns.pop(name, None) for name in _OF_D3RLPY_1)
    if np.ndim(discrete) or not isinstance(discrete, (bool, np.bool_)):
        return None, []  # somebody else's columns of these names
    if ends is not None:
        ends = zero_or_one(ends, "episode_terminals", whose).ravel()
        terminals = zero_or_one(columns["terminals"], "terminals", whose).ravel()
        if ends.shape != terminals.shape:
            raise DatasetError(
                f"episode_terminals of {whose} have shape {ends.shape}, expected "
                f"{terminals.shape} as its terminals."
            )
        columns["timeouts"] = ends & ~terminals
    notes = [] if version is not None else [_BEFORE_1_1]
    if not discrete:
        return None, notes
    actions = float32_values(columns["actions"], "actions", whose)
    n_actions = int(actions.max(initial=1)) + 1  # one choice is none, as everywhere
    return n_actions, [
        *notes,
        f"actions are choices, and the file does not say of how many: assumed to be "
        f"{n_actions}, by the greatest index. If there are more, pass the arrays to "
        "mbo.dataset_from_arrays with n_actions.",
    ]


def _read(path: Path, whose: str) -> dict[str, Any]:
    if not path.is_file():
        raise DatasetError(
            f"There is no file {whose} (from {os.getcwd()!r}). For a Minari id use "
            "mbo.load_minari."
        )
    try:
        with h5py.File(path, "r") as file:
            found = {
                name: file[name]
                for name in (*_NEEDED, *_OPTIONAL)
                if isinstance(file.get(name), h5py.Dataset)
            }
            missing = [name for name in _NEEDED if name not in found]
            if missing:
                names = sorted(file)
                more = f" and {len(names) - _LISTED} more" * (len(names) > _LISTED)
                raise DatasetError(
                    f"{whose} has no {', '.join(missing)}; expected D4RL's layout, or that "
                    f"of d3rlpy 1. {_advice(file)} It has "
                    f"{', '.join(names[:_LISTED]) or 'nothing'}{more}."
                )
            return {name: dataset[()] for name, dataset in found.items()}
    except DatasetError:
        raise
    except Exception as error:  # whatever h5py makes of damaged bytes
        raise DatasetError(
            f"{whose} cannot be read ({error}). "
            + unless_locked(
                error,
                "It is no HDF5 file, or is damaged: an interrupted download? Get it again.",
            )
        ) from error


def _advice(file: Any) -> str:
    if "episode_0" in file:
        return "This is Minari's: use mbo.load_minari with the dataset's id."
    if "observations_0" in file:
        return (
            "This is a dump of d3rlpy 2's ReplayBuffer: d3rlpy.dataset.ReplayBuffer.load("
            "file, d3rlpy.dataset.InfiniteBuffer()) reads it."
        )
    return "Read the arrays yourself and pass them to mbo.dataset_from_arrays."


def _time_limits(terminals: Any, limit: int) -> Any:
    """(N,) bool: the rows that are the `limit`-th of their episode."""
    rows = np.arange(len(terminals))
    starts = np.where(np.append(True, terminals[:-1]), rows, 0)
    steps = rows - np.maximum.accumulate(starts)
    return (steps + 1) % limit == 0
