"""Numbers and flags that a user gives: what float32 cannot hold is refused by name."""

from collections.abc import Iterator
from numbers import Real
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from ..support.devices import ROWS_IN_DOUBLE
from ..support.errors import DatasetError

__all__ = [
    "float32_holds",
    "float32_values",
    "lost_by_float32",
    "numbers",
    "zero_or_one",
]

# Ours: a thousandth of a column's deviation is below what models tell apart.
_LOST_SHARE = 1e-3
# Ours: beside smaller offsets what float32 loses is noise of resting bodies.
_LARGE = 1e3
_SHOWN = 40  # characters of what is no number (ours)


def numbers(values: Any, name: str, whose: str) -> npt.NDArray[Any]:
    """Returns values as an array of real numbers or booleans.

    Args:
        values: Anything that NumPy reads. The columns of a table may be of several types.
        name: Of the column, for messages.
        whose: Of what dataset, for messages.

    Raises:
        DatasetError: Ragged rows, objects, text, dates, dictionaries, complex numbers;
            names a table's column and the first row that is none.
    """
    if _is_mixed(values):
        parts = [
            numbers(values.iloc[:, i], f"column {column!r} in {name}", whose)
            for i, column in enumerate(values.columns)
        ]
        return np.stack(parts, axis=1) if parts else np.empty((len(values), 0))
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DatasetError(
            f"{name} of {whose} is no array ({error}). Expected rows of equal length."
        ) from error
    if array.dtype.kind not in "biuf":
        found = _no_number(array)
        if found is None:
            return array.astype(np.float64)
        advice = _OF_NUMBERS if array.dtype.kind == "c" else _OF_OTHERS
        raise DatasetError(f"{name} of {whose} holds {found}. {advice}")
    return array


def _is_mixed(values: Any) -> bool:
    """Returns whether it is a table that NumPy would not read as numbers at once."""
    if not (hasattr(values, "iloc") and hasattr(values, "columns")):
        return False
    kinds = set(values.dtypes)
    plain = all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in kinds)
    return len(kinds) != 1 or not plain


_OF_NUMBERS = "Expected real numbers."
_OF_OTHERS = (
    "Expected real numbers: make columns of 0 and 1 of categories, flags of words "
    "(column == 'yes'), numbers of dates and durations, fill in what is missing "
    '(docs/own-data.md, "A table"), concatenate the parts of a dictionary into one vector.'
)


def _no_number(array: npt.NDArray[Any]) -> Optional[str]:
    """Returns what stands in the place of a number and where, None if all are numbers."""
    if array.dtype.kind == "c":
        return f"complex numbers ({array.dtype})"
    for where, value in np.ndenumerate(array):
        if not isinstance(value, (Real, np.bool_)) or array.dtype.kind == "m":
            row = f" at row {where[0]}" if where else ""
            column = f", column {where[1]}" if len(where) > 1 else ""
            found = str(value)[:_SHOWN]
            return f"{found!r} ({type(value).__name__}){row}{column}"
    return None if array.dtype.kind == "O" else f"no values, of dtype {array.dtype}"


def float32_values(values: Any, name: str, whose: str) -> npt.NDArray[np.float32]:
    """Returns values as float32, whatever their shape.

    Args:
        values: Numbers, rows first.
        name: Of the column, for messages.
        whose: Of what dataset, for messages.

    Raises:
        DatasetError: No numbers, NaN, infinite, or too large for float32; names the row.
    """
    array = numbers(values, name, whose)
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        converted = np.asarray(array, dtype=np.float32)
    bad = ~np.isfinite(converted)
    if bad.any():
        where = np.argwhere(bad)[0]
        found = array[tuple(where)]
        fault = "too large for float32" if np.isfinite(found) else "NaN or infinite"
        column = ""
        if len(where) > 1:
            names = getattr(values, "columns", None)
            named = where[1] if names is None else repr(names[where[1]])
            column = f", column {named}"
        row = f"row {where[0]}{column}" if len(where) else "the only value"
        raise DatasetError(
            f"{name} of {whose} has {int(bad.sum())} values that cannot be used, the first "
            f"at {row}: {found} is {fault}. Remove or repair those rows."
        )
    return converted


def float32_holds(dtype: np.dtype[Any]) -> bool:
    """Returns whether float32 holds every value of a type: of int32 it does not."""
    return bool(np.can_cast(dtype, np.float32, "safe"))


def lost_by_float32(values: Any, name: str, whose: str) -> list[str]:
    """Says where rounding to float32 loses what tells a column's values apart.

    Args:
        values: Finite numbers, rows first.
        name: Of the column, for messages.
        whose: Of what dataset, for messages.

    Returns:
        One sentence, or none.
    """
    array = numbers(values, name, whose)
    if float32_holds(array.dtype) or not len(array):
        return []
    lost = large = total = squares = np.zeros(1)
    for exact in _in_double(array):
        lost = np.maximum(lost, np.abs(exact - exact.astype(np.float32)).max(axis=0))
        large = np.maximum(large, np.abs(exact).max(axis=0))
        total = total + exact.sum(axis=0)
    mean = total / len(array)
    for exact in _in_double(array):
        squares = squares + np.square(exact - mean).sum(axis=0)
    spread = np.sqrt(squares / len(array))
    # float64's own rounding leaves a constant column this deviation.
    varies = spread > 1e-14 * large
    wrong = np.flatnonzero(varies & (large > _LARGE) & (lost > _LOST_SHARE * spread))
    if not len(wrong):
        return []
    first = wrong[0]
    return [
        f"float32 loses up to {lost[first]:.3g} in column {first} of {name} of {whose}, "
        f"whose values differ by {spread[first]:.3g} (standard deviation): subtract its "
        f"mean, {mean[first]:.6g}, before."
    ]


def _in_double(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    """Yields some rows after the other, (n, size): all of them would be several copies."""
    for start in range(0, len(array), ROWS_IN_DOUBLE):
        some = array[start : start + ROWS_IN_DOUBLE]
        yield some.reshape(len(some), -1).astype(np.float64)


def zero_or_one(values: Any, name: str, whose: str) -> npt.NDArray[np.bool_]:
    """Returns flags as booleans of the same shape.

    Raises:
        DatasetError: Anything else than False and True, 0 and 1; names the row.
    """
    array = numbers(values, name, whose)
    wrong = ~((array == 0) | (array == 1))
    if wrong.any():
        where = np.argwhere(wrong)[0]
        raise DatasetError(
            f"{name} of {whose} has {int(wrong.sum())} values other than 0 and 1, the "
            f"first at row {where[0] if len(where) else 0}: {array[tuple(where)]}. "
            "Expected 1 where an episode ended, else 0."
        )
    return array.astype(bool)
