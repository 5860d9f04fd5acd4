"""Dataclasses of plain values, read back from JSON."""

import dataclasses
import math
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ...support.errors import CompositionError

__all__ = ["read_as"]

_T = TypeVar("_T")


def read_as(kind: type[_T], value: Any, where: str) -> _T:
    """Returns a dataclass, and those within it, from what JSON makes of one.

    What a newer version wrote besides is passed over. Null is NaN where a number must be:
    `json_values.plain` makes it of what is not finite.

    Args:
        kind: The dataclass; annotations of numbers, texts, lists, dataclasses and
            `Optional` of them say what an entry must be.
        value: As `json.loads` returns it.
        where: Begins messages.

    Raises:
        CompositionError: An entry is missing, or of another type.
    """
    found: _T = _built(kind, value, where)
    return found


def _built(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is Union:  # Optional, the only one
        return None if value is None else _built(get_args(hint)[0], value, where)
    if get_origin(hint) is list:
        if not isinstance(value, list):
            raise _other(value, "a list", where)
        inner = get_args(hint)[0]
        return [_built(inner, each, f"{where}[{i}]") for i, each in enumerate(value)]
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where)
    if hint is float and value is None:
        return math.nan
    if hint is float and type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            raise _other(value, "float", where) from None
        if math.isfinite(number):
            return number
    if hint is not float and type(value) is hint:
        return value
    raise _other(value, hint.__name__, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _other(value, f"the fields of {kind.__name__}", where)
    hints, entries = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            name = f"{where}.{field.name}"
            entries[field.name] = _built(hints[field.name], value[field.name], name)
        elif (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            raise CompositionError(f"{where} lacks {field.name!r}.")
    return kind(**entries)


def _other(value: Any, expected: str, where: str) -> CompositionError:
    return CompositionError(f"{where} is {value!r:.60}, expected {expected}.")
