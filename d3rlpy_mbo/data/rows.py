"""What a user's arrays say, row by row, in one form and validated."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from ..support.errors import DatasetError
from .choices import validate_choices, validated_n_actions
from .time_axis import validate_time_axis
from .values import float32_values, lost_by_float32, numbers, zero_or_one

__all__ = ["Rows"]


@dataclasses.dataclass(frozen=True)
class Rows:
    """N steps in their order, episode after episode.

    Args:
        observations: (N, D) float32.
        actions: (N, A) float32; of choices their indices, (N, 1) int64.
        rewards: (N, 1) float32.
        next_observations: (N, D) float32 as they were given, or None.
        terminals: (N,) bool.
        timeouts: (N,) bool: ends of episodes that are not terminal.
        marked: Whether anything says where episodes end.
        timeouts_given: Whether anybody said which rows are timeouts, be it none.
        lost: What float32 loses of the values, as sentences.
        by_episode: Whether episodes were given one by one, so that their ends are known.
        complete: Whether each of these had the observation after its last action, so that
            every outcome is known too.
        n_actions: How many choices there are; None where actions are continuous.
    """

    observations: npt.NDArray[np.float32]
    actions: npt.NDArray[Any]
    rewards: npt.NDArray[np.float32]
    next_observations: Optional[npt.NDArray[np.float32]]
    terminals: npt.NDArray[np.bool_]
    timeouts: npt.NDArray[np.bool_]
    marked: bool
    timeouts_given: bool
    lost: list[str]
    by_episode: bool = False
    complete: bool = False
    n_actions: Optional[int] = None

    @classmethod
    def of(
        cls, columns: Mapping[str, Any], whose: str, n_actions: Optional[int] = None
    ) -> "Rows":
        """Reads columns that may have one more dimension, episodes first.

        Args:
            columns: The arguments of `dataset_from_arrays` by name; None is not given.
            whose: For messages.
            n_actions: How many choices there are; None where actions are continuous.

        Raises:
            DatasetError: Values, shapes or lengths that do not fit.
        """
        if n_actions is not None:
            n_actions = validated_n_actions(n_actions, whose)
        given = {
            name: _without_objects(value)
            for name, value in columns.items()
            if value is not None
        }
        missing = [name for name in _NUMBERS if name not in given]
        if missing:
            raise DatasetError(f"{', '.join(missing)} of {whose} are None.")
        by_episode = _is_by_episode(given["observations"], whose)
        complete = False
        if by_episode:
            validate_time_axis(given, whose)
            alone = "next_observations" not in given
            given = _joined(given, whose)
            complete = alone and "next_observations" in given
        read = {name: float32_values(given[name], name, whose) for name in _NUMBERS}
        if "next_observations" in given:
            read["next_observations"] = float32_values(
                given["next_observations"], "next_observations", whose
            )
        flags = {
            name: zero_or_one(given[name], name, whose)
            for name in _FLAGS
            if name in given
        }
        if n_actions is not None and read["actions"].ndim == 1:
            read["actions"] = read["actions"][:, None]
        _validate_shapes({**read, **flags}, whose)
        if n_actions is not None:
            validate_choices(read["actions"], n_actions, f"actions of {whose}")
        n_rows = len(read["observations"])
        terminals, timeouts = (
            flags[name].reshape(n_rows) if name in flags else np.zeros(n_rows, bool)
            for name in _FLAGS
        )
        return cls(
            read["observations"],
            read["actions"] if n_actions is None else read["actions"].astype(np.int64),
            read["rewards"].reshape(n_rows, 1),
            read.get("next_observations"),
            terminals,
            timeouts & ~terminals,
            by_episode or bool(terminals.any() or timeouts.any()),
            "timeouts" in flags,
            [
                note
                for name in read
                for note in lost_by_float32(given[name], name, whose)
            ],
            by_episode,
            complete,
            n_actions,
        )


_NUMBERS = ("observations", "actions", "rewards")
_FLAGS = ("terminals", "timeouts")


def _without_objects(value: Any) -> Any:
    """Returns an array of arrays as the list that NumPy could not stack, else the value."""
    is_objects = isinstance(value, np.ndarray) and value.dtype == object
    return list(value) if is_objects and any(map(np.ndim, value[:1])) else value


def _is_by_episode(observations: Any, whose: str) -> bool:
    if isinstance(observations, Mapping):
        raise DatasetError(
            f"observations of {whose} are a dictionary with the keys "
            f"{sorted(observations)}, expected vectors. Concatenate the parts that "
            "learners should see, along their last axis."
        )
    if isinstance(observations, (list, tuple)):
        first: Any = observations[:1]
    else:
        rows = numbers(observations, "observations", whose)
        first = rows[:1] if rows.ndim else rows
    if not np.size(numbers(first, "observations", whose)):
        raise DatasetError(f"observations of {whose} hold no rows.")
    return np.ndim(first) == 3


def _validate_shapes(columns: Mapping[str, npt.NDArray[Any]], whose: str) -> None:
    for name in ("observations", "actions"):
        shape = columns[name].shape
        if len(shape) != 2:
            advice = {
                1: "Reshape it with reshape(-1, 1) if each row is one number. "
                "(Discrete actions: n_actions of mbo.dataset_from_arrays.)",
            }.get(len(shape), "Images, stacks and tuples are not supported.")
            raise DatasetError(
                f"{name} of {whose} has shape {shape}, expected (rows, size). {advice}"
            )
    n_rows = len(columns["observations"])
    for name, column in columns.items():
        expected: list[tuple[int, ...]] = [
            (n_rows, column.shape[-1] if column.ndim > 1 else 1)
        ]
        if name == "next_observations":
            expected = [columns["observations"].shape]
        elif name not in ("observations", "actions"):
            expected = [(n_rows,), (n_rows, 1)]
        if column.shape not in expected:
            shapes = " or ".join(map(str, expected))
            raise DatasetError(
                f"{name} of {whose} has shape {column.shape}, expected {shapes} beside "
                f"observations of shape {columns['observations'].shape}."
            )


def _joined(given: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Returns the same columns row after row; the last row of an episode is an end."""
    n_episodes = len(given["observations"])
    # By their place: a pandas Series is indexed by its labels.
    given = {
        name: value.to_numpy() if hasattr(value, "to_numpy") else value
        for name, value in given.items()
    }
    for name, value in given.items():
        if np.ndim(value[:0]) == 0 or len(value) != n_episodes:
            raise DatasetError(
                f"observations of {whose} are given episode by episode, {n_episodes} of "
                f"them, so {name} needs one entry for each episode too; found "
                f"{len(value) if hasattr(value, '__len__') else value!r}."
            )
    episodes = [
        _episode({name: value[i] for name, value in given.items()}, i, whose)
        for i in range(n_episodes)
    ]
    names = episodes[0].keys()
    try:
        return {
            name: np.concatenate([episode[name] for episode in episodes])
            for name in names
        }
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"The episodes of {whose} do not fit together ({error}). Expected the same "
            "sizes in each, and either each or none with one observation more than "
            "actions."
        ) from error


def _episode(given: Mapping[str, Any], index: int, whose: str) -> dict[str, Any]:
    whose = f"episode {index} of {whose}"
    columns = {
        name: numbers(value, name, whose)
        for name, value in given.items()
        if name not in _FLAGS
    }
    for name, column in columns.items():
        if not column.ndim:
            raise DatasetError(
                f"{name} of {whose} is a single number, {column}, expected one entry per "
                "step. (Observations of three dimensions, or a list of matrices, are "
                "taken for episodes; images and stacks of frames are not supported.)"
            )
    observations, n_steps = columns["observations"], len(columns["actions"])
    if not n_steps:
        raise DatasetError(f"actions of {whose} hold no rows. Leave that episode out.")
    if len(observations) == n_steps + 1 and "next_observations" not in columns:
        columns["observations"] = observations[:-1]
        columns["next_observations"] = observations[1:]
    for name, column in columns.items():
        if len(column) != n_steps:
            alone = name == "observations" and "next_observations" not in columns
            more = " or one more" if alone else ""
            raise DatasetError(
                f"{name} of {whose} has {len(column)} rows beside {n_steps} actions, "
                f"expected as many{more}."
            )
    if columns["rewards"].ndim == 2 and columns["rewards"].shape[1] == 1:
        columns["rewards"] = columns["rewards"][:, 0]
    for name in _FLAGS:
        flags = np.zeros(n_steps, dtype=bool)
        if name in given:
            flags = _episode_flags(given[name], n_steps, name, whose)
        columns[name] = flags
    columns["timeouts"][-1] = True  # what ends without being terminal was cut
    return columns


def _episode_flags(
    values: Any, n_steps: int, name: str, whose: str
) -> npt.NDArray[np.bool_]:
    """One flag for the whole episode, or one per step, only the last of them 1."""
    flags = zero_or_one(values, name, whose)
    if flags.size == 1:
        return np.append(np.zeros(n_steps - 1, dtype=bool), flags.reshape(1))
    if flags.shape not in ((n_steps,), (n_steps, 1)):
        raise DatasetError(
            f"{name} of {whose} has shape {flags.shape} beside {n_steps} actions, expected "
            f"one flag, or {n_steps}."
        )
    flags = flags.reshape(n_steps)
    if flags[:-1].any():
        raise DatasetError(
            f"{name} of {whose} is 1 at step {int(np.argmax(flags))}, and the episode goes "
            "on. Split it there."
        )
    return flags
