"""Reading a study's TOML file: what is no study's is refused by name."""

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..support.errors import CompositionError, suggest

__all__ = ["build", "read_toml", "require", "require_known"]

T = TypeVar("T")

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


def read_toml(path: Path) -> dict[str, Any]:
    """Returns the entries of a TOML file; one that begins with a BOM is read too.

    Raises:
        CompositionError: There is no such file, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CompositionError(f"{path} cannot be read: {error}.") from error


def build(kind: type[T], entries: Mapping[str, Any], where: str) -> T:
    """Returns a dataclass with entries of a file as its fields.

    Args:
        kind: The dataclass; its annotations say what each entry must be.
        entries: Values by field.
        where: File and table, for messages.

    Raises:
        CompositionError: An entry is unknown (names the nearest), missing or mistyped.
    """
    require(entries, dict[str, Any], where)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    require_known(entries, fields, f"{where} has an entry")
    missing = [
        name
        for name, field in fields.items()
        if name not in entries
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise CompositionError(f"{where} lacks {', '.join(missing)}.")
    hints = get_type_hints(kind)
    for name, value in entries.items():
        require(value, hints[name], f"{where}, {name}")
    return kind(**entries)


def require(value: Any, hint: Any, where: str) -> None:
    """Refuses a value that is not of a type, all the way down.

    Args:
        value: As TOML or JSON has it.
        hint: A class, ``list[...]``, ``dict[str, ...]``, ``Any``, or one that may be left
            out, ``Optional[...]``: files have no word for nothing.
        where: File and entry, for messages.

    Raises:
        CompositionError: It is of another type.
    """
    if hint is Any:
        return
    if get_origin(hint) is Union:
        hint = get_args(hint)[0]
    kind = get_origin(hint) or hint
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (
        isinstance(value, bool) and kind is not bool
    ):
        raise CompositionError(f"{where} is {value!r}, expected {_words(hint)}.")
    if isinstance(value, list):
        for each in value:
            require(each, get_args(hint)[0], f"{where}: an entry")
    elif isinstance(value, dict):
        for name, each in value.items():
            require(each, get_args(hint)[1], f"{where}.{name}")


def _words(hint: Any) -> str:
    """Returns a type as words: "a list (of each: a whole number)"."""
    kind = get_origin(hint) or hint
    words = _WORDS.get(kind, kind.__name__)
    inner = [each for each in get_args(hint)[-1:] if each is not Any]
    return f"{words} (each: {_words(inner[0])})" if inner else words


def require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuses a name that is not among the known ones.

    Args:
        names: As the file has them.
        known: What there can be.
        what: Begins the message; the name follows.

    Raises:
        CompositionError: One is unknown; names the nearest.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise CompositionError(f"{what} {name!r}. {suggest(name, known)}")
