"""Values as JSON may hold them: it knows no NaN, though Python writes one."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["of_python", "one_or_all", "plain"]


def plain(value: Any) -> Any:
    """Returns dataclasses as dictionaries, and None for what is no finite number.

    Within dictionaries and lists likewise.
    """
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def of_python(value: Any) -> Any:
    """Returns a value with Python's numbers in the place of NumPy's, which no file has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: of_python(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        every = map(of_python, value)
        return type(value)(*every) if hasattr(value, "_fields") else type(value)(every)
    return value


def one_or_all(values: Sequence[Any]) -> Any:
    """Returns what a result holds of its imaginations: None, the one, or a list."""
    return list(values) if len(values) > 1 else next(iter(values), None)
