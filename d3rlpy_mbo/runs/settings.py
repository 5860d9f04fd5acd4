"""KEY=VALUE settings of configs, by dotted path into their JSON form."""

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from d3rlpy.serializable_config import SerializableConfig

from ..registry.component import Component
from ..registry.json_form import decoding_to, parts
from ..support.errors import (
    CompositionError,
    D3RLPyMBOError,
    LoadError,
    UnknownComponentError,
    suggest,
)
from ..support.json_values import of_python
from .typed_values import is_d3rlpys, json_form, types_of_fields, written

__all__ = ["apply_settings", "parse_fields", "parse_settings", "with_open_ends"]

TConfig = TypeVar("TConfig", bound=SerializableConfig)


def parse_settings(arguments: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Reads ``learner.KEY=VALUE`` and ``imagination.KEY=VALUE``.

    Args:
        arguments: VALUE is JSON where it parses as JSON, else a string.

    Returns:
        Values by KEY, for ``"learner"`` and for ``"imagination"``.

    Raises:
        CompositionError: Not of that form.
        UnknownComponentError: KEY begins with something else.
    """
    parsed: dict[str, dict[str, Any]] = {"learner": {}, "imagination": {}}
    for argument in arguments:
        path, value = _assignment(argument)
        whose, dot, key = path.partition(".")
        if not (dot and key):
            raise CompositionError(
                f"--set {argument!r} is not of the form learner.KEY=VALUE or "
                "imagination.KEY=VALUE."
            )
        if whose not in parsed:
            raise UnknownComponentError(
                f"--set {argument!r} sets something of {whose!r}. "
                f"{suggest(whose, parsed)}"
            )
        parsed[whose][key] = value
    return parsed


def parse_fields(arguments: Iterable[str]) -> dict[str, Any]:
    """Reads ``KEY=VALUE`` for a single config, which KEY need not name.

    Args:
        arguments: VALUE is JSON where it parses as JSON, else a string.

    Returns:
        Values by KEY.

    Raises:
        CompositionError: Not of that form.
    """
    return dict(map(_assignment, arguments))


def _assignment(argument: str) -> tuple[str, Any]:
    key, equals, text = argument.partition("=")
    if not (equals and key):
        raise CompositionError(f"--set {argument!r} is not of the form KEY=VALUE.")
    try:
        return key, with_open_ends(json.loads(text))
    except json.JSONDecodeError:
        return key, text


def with_open_ends(value: Any) -> Any:
    """Returns a setting whose lists have null in the place of infinities.

    So are open intervals written where a file can hold no infinity.
    """
    if isinstance(value, Mapping):
        return {name: with_open_ends(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [
            None
            if isinstance(each, float) and math.isinf(each)
            else with_open_ends(each)
            for each in value
        ]
    return value


def apply_settings(config: TConfig, settings: Mapping[str, Any]) -> TConfig:
    """Returns a config with some fields set.

    A path leads through nested components and factories: ``rollout_policy=uniform``,
    then ``rollout_policy.n_steps=100``, or
    ``actor_encoder_factory={"type": "vector", "params": {"hidden_units": [256]}}``.

    Args:
        config: One of ours or of d3rlpy's.
        settings: Values by dotted path. Shorter paths are set first, so that a type is
            there before its parameters.

    Raises:
        UnknownComponentError: There is no such field or type; names the nearest.
        CompositionError: A value of another type than the field's, or a number that is
            not finite: a result's file can hold none.
    """
    settings = of_python(settings)
    for path, value in settings.items():
        _validate_finite(path, value)
    asked = [v.get("type") if isinstance(v, Mapping) else v for v in settings.values()]
    kept = [type(part) for part in parts(config) if part.get_type() not in asked]
    with decoding_to(kept):
        return _apply(config, settings)


def _validate_finite(path: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise CompositionError(
            f"{path} is {value!r}, expected a finite number (an open end of an interval is "
            "null)."
        )
    if isinstance(value, Mapping):
        for name, each in value.items():
            _validate_finite(f"{path}.{name}", each)
    elif isinstance(value, (list, tuple)):
        for i, each in enumerate(value):
            _validate_finite(f"{path}[{i}]", each)


def _apply(config: TConfig, settings: Mapping[str, Any]) -> TConfig:
    encoded = written(config)
    for path, value in sorted(settings.items(), key=lambda item: item[0].count(".")):
        *parents, name = path.split(".")
        where = encoded
        for i, parent in enumerate(parents):
            _validate_known(encoded, where, parent, path)
            if _is_empty(where[parent]):
                _validate_empty(config, encoded, ".".join(parents[: i + 1]), path)
            where = _parameters(where[parent])
        _validate_known(encoded, where, name, path)
        current = where[name]
        types = _types(config, encoded, path) if _is_typed(current) else ()
        is_ours = _holds_parts(types) and not _plain(types)
        if is_ours and isinstance(value, Mapping) and set(value) == {"type"}:
            value = value["type"]  # with its defaults, as by its name
        if is_ours and not (value is None or isinstance(value, str) or _is_form(value)):
            raise CompositionError(
                f"{path} is {value!r}, expected the name of a component, or "
                '{"type": name, "params": {...}}.'
            )
        allowed: tuple[Any, ...] = ()
        if None in (current, value) or _mistyped(current, value):
            allowed = types or _types(config, encoded, path)
        if value is None:
            if type(None) not in allowed:
                raise CompositionError(
                    f"{path} cannot be left out, but null was given."
                )
            where[name] = None
        elif _is_typed(current) and is_d3rlpys(types):
            where[name] = json_form(path, value, types, settings)
        elif isinstance(value, str) and _is_typed(current) and not _plain(allowed):
            if value == "none" and type(None) in types:
                where[name] = None
                continue
            where[name] = {"type": value, "params": {}}
            chosen = _decode(config, encoded, {path: value})
            for step in (*parents, name):
                chosen = getattr(chosen, step)
            if isinstance(chosen, SerializableConfig):
                where[name]["params"] = written(chosen)
        else:
            _validate_type(path, _plain(allowed) or [type(current)], value)
            where[name] = copy.deepcopy(value)  # longer paths are set in it
    return _decode(config, encoded, settings)


def _holds_parts(types: Iterable[Any]) -> bool:
    """Whether a field of these types holds components of ours."""
    return any(isinstance(each, type) and issubclass(each, Component) for each in types)


def _is_form(value: Any) -> bool:
    """Whether it is a component's form, of a name and parameters and nothing else."""
    return (
        isinstance(value, Mapping)
        and set(value) == {"type", "params"}
        and isinstance(value["type"], str)
        and isinstance(value["params"], Mapping)
    )


def _is_empty(form: Any) -> bool:
    """Whether it is the JSON form of no component, as ours or d3rlpy's are written."""
    return form is None or (isinstance(form, Mapping) and form.get("type") == "none")


def _validate_empty(
    config: Any, encoded: dict[str, Any], parent: str, path: str
) -> None:
    """Refuses parameters of a component or factory that is not there.

    Raises:
        UnknownComponentError: Says what has to be set first.
    """
    types = _types(config, encoded, parent)
    if _holds_parts(types) or is_d3rlpys(types):
        raise UnknownComponentError(
            f"There is no setting {path!r} yet: {parent} is empty. Set it by its name too: "
            f"{parent}=NAME."
        )


def _mistyped(current: Any, value: Any) -> bool:
    """Whether a plain value is of another type than the one there.

    The field's annotation then says what it may hold: d3rlpy writes a number as ``0``.
    """
    return type(current) in _NAMES and not _is_of(type(current), value)


def _is_typed(current: Any) -> bool:
    """Whether a field's JSON form is that of a component or factory, or may become it."""
    return current is None or (isinstance(current, Mapping) and "type" in current)


def _plain(types: Iterable[Any]) -> list[Any]:
    """Returns those of a field's types that are no component's: text for it is text."""
    return [each for each in types if each in _NAMES]


def _types(config: Any, encoded: dict[str, Any], path: str) -> tuple[Any, ...]:
    """Returns what a field may hold: one of these types, without their arguments."""
    *parents, name = path.split(".")
    owner, where = config, encoded
    for parent in parents:
        owner, where = getattr(owner, parent), where[parent]
        if not (isinstance(where, Mapping) and _is_of_type(owner, where)):
            # Set since; else what is set half is not looked at as a whole.
            owner = _decode(config, encoded, {path: None})
            for step in parents:
                owner = getattr(owner, step)
            break
        where = _parameters(where)
    return types_of_fields(type(owner)).get(name, ())


def _is_of_type(owner: Any, form: Mapping[str, Any]) -> bool:
    """Whether a form is of an object's type, or of none by name."""
    has = getattr(owner, "get_type", None)
    return has is not None and form.get("type", has()) == has()


def _decode(
    config: TConfig, encoded: dict[str, Any], settings: Mapping[str, Any]
) -> TConfig:
    """Returns the config of a JSON form.

    Args:
        config: One of its type.
        encoded: Its fields.
        settings: What was set of it, for messages.
    """
    try:
        return type(config).deserialize_from_dict(encoded)
    except LoadError as error:  # no file's: one of the forms that were given
        forms = [path for path, value in settings.items() if isinstance(value, Mapping)]
        whose = f"{', '.join(forms)}: " if forms else ""
        raise UnknownComponentError(f"{whose}{error}") from error
    except D3RLPyMBOError:
        raise
    except Exception as error:
        given = ", ".join(f"{path} = {value!r}" for path, value in settings.items())
        raise UnknownComponentError(
            f"{given} cannot be used: {error!r}. A component or factory is set by its "
            'name, or as {"type": name, "params": {...}}.'
        ) from error


def _validate_known(
    encoded: dict[str, Any], where: dict[str, Any], name: str, path: str
) -> None:
    if name not in where:
        elsewhere = [found for found in _paths(encoded) if found.endswith(f".{name}")]
        raise UnknownComponentError(
            f"There is no setting {path!r}: {name!r} is not a field here. "
            + suggest(path if elsewhere else name, elsewhere or where)
        )


def _paths(fields: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Yields the dotted path of every field."""
    for name, field in fields.items():
        yield f"{before}{name}"
        yield from _paths(_parameters(field), f"{before}{name}.")


def _parameters(field: Any) -> dict[str, Any]:
    if isinstance(field, dict) and "params" in field:
        parameters: dict[str, Any] = field["params"]
        return parameters
    return field if isinstance(field, dict) else {}


_NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
}


def _validate_type(path: str, wanted: list[type[Any]], value: Any) -> None:
    names = [_NAMES[each] for each in wanted if each in _NAMES]
    if names and not any(_is_of(each, value) for each in wanted):
        raise CompositionError(f"{path} is {value!r}, expected {' or '.join(names)}.")


def _is_of(wanted: type[Any], value: Any) -> bool:
    accepted = (int, float) if wanted is float else wanted
    return isinstance(value, accepted) and isinstance(value, bool) == (wanted is bool)
