"""Values of fields that hold d3rlpy's scalers and factories."""

import contextlib
import dataclasses
import types
from collections.abc import Collection, Mapping
from typing import Any, Literal, Optional, Union, get_args, get_origin, get_type_hints

from d3rlpy.preprocessing.base import Scaler
from d3rlpy.serializable_config import CONFIG_STORAGE, SerializableConfig

from ..support.errors import CompositionError, UnknownComponentError, suggest

__all__ = ["is_d3rlpys", "json_form", "types_of_fields", "written"]


def written(config: SerializableConfig) -> dict[str, Any]:
    """Returns the fields of a config in JSON.

    As d3rlpy writes it; but it cannot write scalers before they are fitted.
    """
    if isinstance(config, Scaler) and not config.built:
        known = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {name: _in_json(value) for name, value in known.items()}
    unfitted = {
        field.name: value
        for field in dataclasses.fields(config)
        if isinstance(value := getattr(config, field.name), Scaler) and not value.built
    }
    if unfitted:
        config = dataclasses.replace(config, **dict.fromkeys(unfitted))
    fields: dict[str, Any] = config.serialize_to_dict()
    return {**fields, **{name: _in_json(each) for name, each in unfitted.items()}}


def _in_json(value: Any) -> Any:
    """Returns the form of a scaler, of a list of some, or a plain value."""
    if isinstance(value, Scaler):
        return {"type": value.get_type(), "params": written(value)}
    return [_in_json(each) for each in value] if isinstance(value, list) else value


def types_of_fields(owner: type[Any]) -> dict[str, tuple[Any, ...]]:
    """Returns what each field of a config may hold: types, without their arguments."""
    found = {}
    for name, hint in get_type_hints(owner).items():
        of_several = get_origin(hint) in (Union, types.UnionType)
        several = get_args(hint) if of_several else [hint]
        found[name] = tuple(type_ for each in several for type_ in _origins(each))
    return found


def _origins(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return tuple({type(value) for value in get_args(hint)})
    return (get_origin(hint) or hint,)


def is_d3rlpys(types: Collection[Any]) -> bool:
    """Whether a field holds scalers or factories of d3rlpy, or nothing, and no else."""
    others = [t for t in types if t not in CONFIG_STORAGE and t is not type(None)]
    return not others and any(t in CONFIG_STORAGE for t in types)


def json_form(
    path: str, value: Any, types: Collection[Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the whole JSON form of a scaler or factory of d3rlpy.

    d3rlpy drops a parameter that it does not know, and raises KeyError for a name.

    Args:
        path: The field's.
        value: A form, whose parameters may be left out, or a name.
        types: What the field may hold.
        settings: Parameters that are set by longer paths count as given.

    Raises:
        CompositionError: It is neither, or something is missing that has no default.
        UnknownComponentError: The field can hold none of that name, or that has no
            parameter of a name.
    """
    form: Any = {"type": value} if isinstance(value, str) else value
    name: Any = None
    params: Any = {}
    if isinstance(form, Mapping) and set(form) <= {"type", "params"}:
        name, params = form.get("type"), form.get("params", {})
    if not (isinstance(name, str) and isinstance(params, Mapping)):
        raise CompositionError(
            f"{path} is {value!r}, expected the name of a scaler or factory of d3rlpy, or "
            '{"type": name, "params": {...}}.'
        )
    known = _d3rlpy_type(path, name, types)
    if known is None:
        return {"type": name, "params": dict(params)}
    given, fields = dict(params), types_of_fields(known)
    for each, of_field in given.items():
        below = f"{path}.{each}"
        if each not in fields:
            raise UnknownComponentError(
                f"There is no setting {below!r}: {known.__name__} has no parameter "
                f"{each!r}. {suggest(each, fields)}"
            )
        if of_field is not None and is_d3rlpys(fields[each]):
            given[each] = json_form(below, of_field, fields[each], settings)
    longer = _below(path, settings)
    for each in _validate_needed(path, known, {**longer, **given}):
        given.setdefault(each, longer.get(each))
    # With its defaults, so that longer paths find their fields; what cannot be made is
    # said where all of the config is.
    with contextlib.suppress(Exception):
        given = written(known.deserialize_from_dict(given))
    return {"type": name, "params": given}


def _below(path: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is set of a field's parameters."""
    before = f"{path}."
    return {
        each.removeprefix(before): value
        for each, value in settings.items()
        if each.startswith(before)
    }


def _d3rlpy_type(path: str, name: str, types: Collection[Any]) -> Optional[type[Any]]:
    """Returns which of d3rlpy's has a name; None for "none" and for one of ours.

    Raises:
        UnknownComponentError: The field can hold none of that name.
    """
    if name == "none" and type(None) in types:  # as d3rlpy writes it
        return None
    for base in types:
        if base in CONFIG_STORAGE:
            known = CONFIG_STORAGE[base].config_list
            if name in known:
                found: type[Any] = known[name]
                return found
            raise UnknownComponentError(
                f"{path} is {name!r}, no {base.__name__}. {suggest(name, known)}"
            )
    return None


def _validate_needed(
    path: str, known: type[Any], given: Mapping[str, Any]
) -> list[str]:
    """Returns the parameters that one of d3rlpy's cannot be made without.

    Raises:
        CompositionError: One of them is not given.
    """
    needed = [
        field.name
        for field in dataclasses.fields(known)
        if field.default is field.default_factory is dataclasses.MISSING
    ]
    missing = [each for each in needed if each not in given]
    if missing:
        raise CompositionError(
            f"{path} = {known.get_type()!r} needs {', '.join(missing)}: set "
            f"{path}.{missing[0]} too."
        )
    return needed
