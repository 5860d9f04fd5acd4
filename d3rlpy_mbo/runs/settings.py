"""KEY=VALUE settings of configs, by dotted path into their JSON form."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from d3rlpy.serializable_config import SerializableConfig

from ..registry.json_form import decoding_to, parts
from ..support.errors import (
    CompositionError,
    D3RLPyMBOError,
    UnknownComponentError,
    suggest,
)

__all__ = ["apply_settings", "parse_settings"]

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
        path, equals, text = argument.partition("=")
        whose, dot, key = path.partition(".")
        if not (equals and dot and key):
            raise CompositionError(
                f"--set {argument!r} is not of the form learner.KEY=VALUE or "
                "imagination.KEY=VALUE."
            )
        if whose not in parsed:
            raise UnknownComponentError(
                f"--set {argument!r} sets something of {whose!r}. "
                f"{suggest(whose, parsed)}"
            )
        parsed[whose][key] = _value(text)
    return parsed


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
        CompositionError: A value of another type than the field's.
    """
    asked = [v.get("type") if isinstance(v, Mapping) else v for v in settings.values()]
    kept = [type(part) for part in parts(config) if part.get_type() not in asked]
    with decoding_to(kept):
        return _apply(config, settings)


def _apply(config: TConfig, settings: Mapping[str, Any]) -> TConfig:
    encoded = config.serialize_to_dict()
    for path, value in sorted(settings.items(), key=lambda item: item[0].count(".")):
        *parents, name = path.split(".")
        where = encoded
        for parent in parents:
            _check_known(encoded, where, parent, path)
            where = _parameters(where[parent])
        _check_known(encoded, where, name, path)
        current = where[name]
        typed = current is None or (isinstance(current, Mapping) and "type" in current)
        if typed and isinstance(value, str):
            where[name] = {"type": value, "params": {}}
            chosen = _decode(config, encoded, path, value)
            for step in (*parents, name):
                chosen = getattr(chosen, step)
            where[name]["params"] = _defaults(chosen)
        elif value is None:
            owner: Any = _decode(config, encoded, path, value)
            for parent in parents:
                owner = getattr(owner, parent)
            if type(None) not in get_args(get_type_hints(type(owner)).get(name)):
                raise CompositionError(
                    f"{path} cannot be left out, but null was given."
                )
            where[name] = None
        else:
            _check_type(path, current, value)
            where[name] = value
    return _decode(config, encoded, ", ".join(settings), "as given")


def _decode(config: TConfig, encoded: dict[str, Any], path: str, value: Any) -> TConfig:
    try:
        return type(config).deserialize_from_dict(encoded)
    except D3RLPyMBOError:
        raise
    except Exception as error:
        raise UnknownComponentError(
            f"{path} = {value!r} cannot be used: {error!r}. A component or factory is set "
            'by its name, or as {"type": name, "params": {...}}.'
        ) from error


def _defaults(chosen: Any) -> dict[str, Any]:
    try:
        defaults: dict[str, Any] = chosen.serialize_to_dict()
    except AttributeError:  # d3rlpy's scalers cannot be written before they are fitted
        return {}
    return defaults


def _check_known(
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


def _check_type(path: str, current: Any, value: Any) -> None:
    kinds = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        list: "a list",
    }
    expected = kinds.get(type(current))
    accepted = (int, float) if isinstance(current, float) else type(current)
    if expected and (
        not isinstance(value, accepted)
        or isinstance(value, bool) != isinstance(current, bool)
    ):
        raise CompositionError(f"{path} is {value!r}, expected {expected}.")
