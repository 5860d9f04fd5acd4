"""Values of fields that hold components, or d3rlpy's scalers and factories."""

import dataclasses
import types
from collections.abc import Collection, Mapping
from typing import Any, Optional, Union, get_args, get_origin, get_type_hints

from d3rlpy.preprocessing.base import Scaler
from d3rlpy.serializable_config import CONFIG_STORAGE, SerializableConfig

from ..registry.component import Component
from ..support.errors import CompositionError, UnknownComponentError, suggest

__all__ = [
    "is_component",
    "json_form",
    "needed_parameters",
    "types_of_fields",
    "written",
]


def written(config: SerializableConfig) -> dict[str, Any]:
    """Returns the fields of a config in JSON.

    As d3rlpy writes it; but it cannot write scalers before they are fitted. What these
    will find is left out.
    """
    if isinstance(config, Scaler) and not config.built:
        known = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {name: value for name, value in known.items() if value is not None}
    unfitted = {
        field.name: value
        for field in dataclasses.fields(config)
        if isinstance(value := getattr(config, field.name), Scaler) and not value.built
    }
    if unfitted:
        config = dataclasses.replace(config, **dict.fromkeys(unfitted))
    fields: dict[str, Any] = config.serialize_to_dict()
    for name, scaler in unfitted.items():
        fields[name] = {"type": scaler.get_type(), "params": written(scaler)}
    return fields


def types_of_fields(owner: type[Any]) -> dict[str, tuple[Any, ...]]:
    """Returns what each field of a config may hold: types, without their arguments."""
    found = {}
    for name, hint in get_type_hints(owner).items():
        of_several = get_origin(hint) in (Union, types.UnionType)
        several = get_args(hint) if of_several else [hint]
        found[name] = tuple(get_origin(each) or each for each in several)
    return found


def json_form(path: str, value: Any, types: Collection[Any]) -> dict[str, Any]:
    """Returns a component's or factory's JSON form, with parameters if it had none.

    Raises:
        CompositionError: It is none.
        UnknownComponentError: The field can hold none of that name, or that has no
            parameter of a name.
    """
    form = value if isinstance(value, Mapping) else {}
    name, params = form.get("type"), form.get("params", {})
    of_form = set(form) <= {"type", "params"} and isinstance(params, Mapping)
    if not (of_form and isinstance(name, str)):
        raise CompositionError(
            f"{path} is {value!r}, expected the name of a component or factory, or "
            '{"type": name, "params": {...}}.'
        )
    given, known = dict(params), _d3rlpy_type(path, name, types)
    if known is not None:
        fields = types_of_fields(known)
        for each, of_field in given.items():
            below = f"{path}.{each}"
            if each not in fields:
                raise UnknownComponentError(
                    f"There is no setting {below!r}: {known.__name__} has no parameter "
                    f"{each!r}. {suggest(each, fields)}"
                )
            if of_field is not None and any(map(is_component, fields[each])):
                given[each] = json_form(below, of_field, fields[each])
        _validate_needed(path, known, given)
    return {"type": name, "params": given}


def needed_parameters(
    path: str, name: str, types: Collection[Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what one of d3rlpy's scalers or factories cannot be made without.

    Raises:
        UnknownComponentError: The field can hold none of that name.
        CompositionError: It is not set.
    """
    known = _d3rlpy_type(path, name, types)
    if known is None:
        return {}
    before = f"{path}."
    given = {
        each.removeprefix(before): value
        for each, value in settings.items()
        if each.startswith(before)
    }
    return {each: given[each] for each in _validate_needed(path, known, given)}


def is_component(type_: Any) -> bool:
    """Whether values of a field's type are components of ours, scalers or factories."""
    ours = isinstance(type_, type) and issubclass(type_, Component)
    return ours or type_ in CONFIG_STORAGE


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
