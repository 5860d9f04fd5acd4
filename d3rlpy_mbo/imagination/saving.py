"""Files of fitted components: they can run no code, and say what they need."""

import json
import os
from pathlib import Path
from typing import Any, Union

import torch

from ..registry import discovery
from ..registry.component import Component
from ..registry.json_form import decode, decoding_to, encode, parts
from ..support.errors import D3RLPyMBOError, LoadError, UnknownComponentError
from ..support.files import atomic_write
from ..support.version import __version__, installed_versions
from .file_content import (
    digest_of,
    validate_archive,
    validate_content,
    validate_state,
)

__all__ = ["read_component", "write_component"]

_FORMAT = "d3rlpy-mbo component, format 1"


def write_component(
    path: Union[str, Path], config: Component, state: dict[str, Any]
) -> None:
    """Writes a config and a fitted state, whole or not at all.

    Args:
        path: The file; replaced if it exists.
        config: Its components' distributions and versions are recorded too.
        state: Tensors, numbers, strings, lists and dicts.
    """
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": __version__,
        "config": json.dumps(encode(config)),
        "components": [_provenance(part) for part in parts(config)],
        "state": state,
    }
    content["digest"] = digest_of(content)
    with atomic_write(path) as file:
        torch.save(content, file)


def read_component(
    path: Union[str, Path], kind: str
) -> tuple[Component, dict[str, Any], str]:
    """Reads what `write_component` wrote, without running any code of the file.

    Returns:
        The config, the state on the CPU, and who saved it, for messages.

    Raises:
        LoadError: See `load_imagination`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise LoadError(
            f"A {type(path).__name__} was given to load, expected the path of a file "
            "written by save."
        )
    if Path(path).is_dir():
        raise LoadError(f"{str(path)!r} is a folder, expected a file written by save.")
    validate_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise LoadError(f"There is no file {str(path)!r} to load.") from error
    except Exception as error:
        raise LoadError(
            f"{str(path)!r} is no saved {kind}, or it is damaged: expected a file written "
            f"by save ({type(error).__name__})."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content)
        raise LoadError(
            f"{str(path)!r} holds no {kind} that this version reads: expected the format "
            f"{_FORMAT!r}, found {found!r}."
        )
    validate_content(path, content)
    if kind == "imagination":
        validate_state(path, content)
    saved_by = "; ".join(
        f"{part['kind']} {part['type']!r} from {part['distribution']} {part['version']}"
        for part in content["components"]
    )
    try:
        with decoding_to([_component_of(part) for part in content["components"]]):
            config = decode(kind, json.loads(content["config"]))
        assert config is not None
    except D3RLPyMBOError as error:
        raise LoadError(f"{error} {str(path)!r} was saved with: {saved_by}.") from error
    except Exception as error:
        raise LoadError(
            f"The config in {str(path)!r} is damaged: {error!r}."
        ) from error
    return config, content["state"], saved_by


def _provenance(component: Component) -> dict[str, str]:
    distribution, version = discovery.origin(type(component))
    return {
        "kind": component.kind,
        "type": component.get_type(),
        "distribution": distribution,
        "version": version,
    }


def _component_of(part: dict[str, str]) -> type[Component]:
    """Returns the class that a file means: of the distribution it was saved with.

    No other plugin is loaded: it neither costs anything nor can stand in by its name.

    Raises:
        UnknownComponentError: That distribution is not installed.
        D3RLPyMBOError: It does not provide the component any more, nor does another.
    """
    kind, name, distribution = part["kind"], part["type"], part["distribution"]
    found = discovery.component_of(distribution, kind, name)
    if found is not None:
        return found
    if distribution != discovery.NOT_INSTALLED and not installed_versions(
        [distribution]
    ):
        raise UnknownComponentError(
            f"The {kind} {name!r} is from {distribution} {part['version']}, which is not "
            f"installed. Run: pip install '{distribution}=={part['version']}'."
        )
    return discovery.get_component(kind, name)  # it moved, or nobody published it
