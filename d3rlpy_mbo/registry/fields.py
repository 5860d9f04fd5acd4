"""Fields of configs: each says once what it may hold."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import numpy as np
from dataclasses_json import config as json_field

from .component import DECLARATION, Component, Declaration, defined_components
from .entry_points import component_name
from .json_form import decode, encode
from .kinds import kind_of

__all__ = [
    "COUNT",
    "SEED",
    "Number",
    "choice",
    "component_field",
    "flag",
    "interval",
    "number",
    "number_list",
    "text",
]


@dataclasses.dataclass(frozen=True)
class Number(Declaration):
    """A finite number, never a truth value; see `number`."""

    at_least: Optional[float] = None
    more_than: Optional[float] = None
    at_most: Optional[float] = None
    less_than: Optional[float] = None
    whole: bool = False
    optional: bool = False

    @property
    def allowed(self) -> str:
        """See `Declaration.allowed`."""
        return self._kind + (", or None" if self.optional else "")

    @property
    def _kind(self) -> str:
        bounds = [
            f"{words} {bound:.10g}"  # a seed's bound has ten digits
            for words, bound in (
                ("at least", self.at_least),
                ("more than", self.more_than),
                ("at most", self.at_most),
                ("less than", self.less_than),
            )
            if bound is not None
        ]
        kind = "a whole number" if self.whole else "a number"
        return f"{kind}, {' and '.join(bounds)}" if bounds else kind

    def plain(self, value: Any) -> Any:
        """See `Declaration.plain`."""
        if value is None and self.optional:
            return None
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
            raise ValueError
        to_python: Any = int if self.whole else float
        try:
            found: Union[int, float] = to_python(value)
        except OverflowError:
            raise ValueError from None
        if not (self.whole or math.isfinite(found)):
            raise ValueError
        fits = (
            (self.at_least is None or found >= self.at_least)
            and (self.more_than is None or found > self.more_than)
            and (self.at_most is None or found <= self.at_most)
            and (self.less_than is None or found < self.less_than)
        )
        if not fits:
            raise ValueError
        return found

    def advice(self, value: Any) -> str:
        """See `Declaration.advice`: for 1e6, a float, where steps are counted."""
        if not (self.whole and isinstance(value, float) and value.is_integer()):
            return ""
        try:
            return f" Write {self.plain(int(value)):_}."
        except ValueError:
            return ""


# Of steps, rows or episodes: a whole number, at least one.
COUNT = Number(at_least=1, whole=True)

# What every generator takes: numpy's is the narrowest.
SEED = Number(at_least=0, at_most=2**32 - 1, whole=True)


@dataclasses.dataclass(frozen=True)
class _NumberList(Declaration):
    entry: Number
    optional: bool

    @property
    def allowed(self) -> str:
        without = "None, or " if self.optional else ""
        return f"{without}a list, each entry {self.entry.allowed}"

    def plain(self, value: Any) -> Any:
        if value is None and self.optional:
            return None
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise ValueError
        return [self.entry.plain(entry) for entry in value]


@dataclasses.dataclass(frozen=True)
class _Interval(Declaration):
    infinite: bool

    @property
    def allowed(self) -> str:
        kind = "numbers, infinite ones included" if self.infinite else "finite numbers"
        return f"a pair of {kind}, the lower one first"

    def plain(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != 2:
            raise ValueError
        low, high = (self._bound(bound) for bound in value)
        if not low < high:
            raise ValueError
        return low, high

    def _bound(self, value: Any) -> float:
        infinite = isinstance(value, numbers.Real) and math.isinf(float(value))
        if infinite and self.infinite:
            return float(value)
        bound: float = Number().plain(value)
        return bound


@dataclasses.dataclass(frozen=True)
class _Choice(Declaration):
    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(map(repr, self.options))

    def plain(self, value: Any) -> Any:
        if not isinstance(value, str) or value not in self.options:
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class _Flag(Declaration):
    @property
    def allowed(self) -> str:
        return "True or False"

    def plain(self, value: Any) -> Any:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError
        return bool(value)


@dataclasses.dataclass(frozen=True)
class _Text(Declaration):
    optional: bool

    @property
    def allowed(self) -> str:
        return "text that is not empty" + (", or None" if self.optional else "")

    def plain(self, value: Any) -> Any:
        if not (
            (isinstance(value, str) and value) or (value is None and self.optional)
        ):
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class _Part(Declaration):
    kind: str
    required: bool

    @property
    def allowed(self) -> str:
        without = "" if self.required else ", or None"
        return f"a component of kind {self.kind!r}{without}"

    def advice(self, value: Any) -> str:
        """See `Declaration.advice`: for a name, which files and the shell have."""
        if not isinstance(value, str):
            return ""
        for known in defined_components():
            if kind_of(known) == self.kind and component_name(known) == value:
                return f" Write {known.__name__}()."
        return " Names are for files and the command line: give the component itself."

    def plain(self, value: Any) -> Any:
        if value is None and not self.required:
            return None
        if isinstance(value, type) and issubclass(value, Component):
            raise ValueError(f"the class {value.__name__}, not {value.__name__}()")
        if callable(value) and not isinstance(value, Component):
            raise ValueError(
                f"the function {getattr(value, '__name__', value)!r}, which no file holds "
                f"(docs/components/{self.kind}.md makes a component of it in a few lines)"
            )
        if not isinstance(value, Component):
            raise ValueError
        kind = getattr(value, "kind", None)  # a base of the user's own may have none
        if kind != self.kind:
            raise ValueError(f"{value!r}, a component of kind {kind!r}")
        return value


def component_field(
    kind: str,
    default_factory: Optional[Callable[[], Optional[Component]]] = None,
    *,
    required: bool = False,
) -> Any:
    """Returns a dataclass field that holds a component of a kind, or None.

    Args:
        kind: ``"penalty"``, ``"dynamics"``, ...; a component of another kind, a class or
            a name is refused when the config is made.
        default_factory: Makes the default; without it the default is None.
        required: Whether None is refused too.

    Returns:
        A field in which any component of that kind, from any distribution, can
        stand, because its JSON form is ``{"type": name, "params": {...}}``.
    """
    return dataclasses.field(
        default_factory=default_factory or (lambda: None),
        metadata={
            **json_field(
                encoder=encode,
                # Of a file older than the field it is handed the field's default.
                decoder=lambda encoded: (
                    encoded if isinstance(encoded, Component) else decode(kind, encoded)
                ),
            ),
            DECLARATION: _Part(kind, required),
        },
    )


def number(
    default: Optional[float],
    *,
    at_least: Optional[float] = None,
    more_than: Optional[float] = None,
    at_most: Optional[float] = None,
    less_than: Optional[float] = None,
    whole: bool = False,
) -> Any:
    """Returns a dataclass field that holds a finite number in a range.

    Truth values, NaN, infinity and other types are refused with a `CompositionError`
    that names field, value and range; NumPy's numbers become Python's.

    Args:
        default: Of the field; if it is None, None is allowed too.
        at_least: The least number allowed.
        more_than: Numbers must be greater than this.
        at_most: The greatest number allowed.
        less_than: Numbers must be less than this.
        whole: Whether it must be a whole number of type int; 3.0 is refused.
    """
    optional = default is None
    declaration = Number(at_least, more_than, at_most, less_than, whole, optional)
    return dataclasses.field(default=default, metadata={DECLARATION: declaration})


def number_list(
    default: Optional[Sequence[float]],
    *,
    at_least: Optional[float] = None,
    more_than: Optional[float] = None,
    at_most: Optional[float] = None,
    less_than: Optional[float] = None,
    whole: bool = False,
) -> Any:
    """Returns a dataclass field that holds a list of numbers, each as in `number`.

    Args:
        default: Of the field; if it is None, None is allowed too.
        at_least: For each entry; see `number`.
        more_than: See `number`.
        at_most: See `number`.
        less_than: See `number`.
        whole: See `number`.
    """
    entry = Number(at_least, more_than, at_most, less_than, whole)
    return dataclasses.field(
        default_factory=lambda: None if default is None else list(default),
        metadata={DECLARATION: _NumberList(entry, optional=default is None)},
    )


def interval(low: float, high: float, *, infinite: bool = False) -> Any:
    """Returns a dataclass field that holds two numbers, the lower one first.

    Args:
        low: Default of the lower one.
        high: Default of the higher one.
        infinite: Whether they may be infinite; JSON has no infinity, and holds null.
    """
    return dataclasses.field(
        default=(low, high),
        metadata={
            **json_field(encoder=_encode_interval, decoder=_decode_interval),
            DECLARATION: _Interval(infinite),
        },
    )


def choice(default: str, options: Sequence[str]) -> Any:
    """Returns a dataclass field that holds one of the given words."""
    declaration = _Choice(tuple(options))
    return dataclasses.field(default=default, metadata={DECLARATION: declaration})


def flag(default: bool) -> Any:
    """Returns a dataclass field that holds True or False."""
    return dataclasses.field(default=default, metadata={DECLARATION: _Flag()})


def text(default: Optional[str]) -> Any:
    """Returns a dataclass field that holds text, such as the name of an environment.

    Args:
        default: Of the field; if it is None, None is allowed too.
    """
    declaration = _Text(optional=default is None)
    return dataclasses.field(default=default, metadata={DECLARATION: declaration})


def _encode_interval(pair: tuple[float, float]) -> list[Optional[float]]:
    return [None if math.isinf(bound) else bound for bound in pair]


def _decode_interval(encoded: Any) -> Any:
    if not isinstance(encoded, (list, tuple)) or len(encoded) != 2:
        return encoded  # refused where it is set
    low, high = encoded
    return -math.inf if low is None else low, math.inf if high is None else high
