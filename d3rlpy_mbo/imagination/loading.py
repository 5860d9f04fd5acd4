"""Reads what `Imagination.save` wrote."""

from pathlib import Path
from typing import Union

from ..support.devices import Device, validate_device
from ..support.errors import D3RLPyMBOError, LoadError
from .file_content import bounded
from .imagination import Imagination, ImaginationConfig
from .saving import read_component

__all__ = ["load_imagination"]


def load_imagination(path: Union[str, Path], device: Device = False) -> Imagination:
    """Loads what `Imagination.save` wrote. No code in the file can run.

    Args:
        path: The file.
        device: See `ImaginationConfig.create`.

    Returns:
        A fitted imagination.

    Raises:
        CompositionError: There is no such device.
        LoadError: No such file, no saved imagination, a damaged one, or one with a
            component that is not installed (its distribution and version are named).
    """
    validate_device(device)
    config, state, saved_by = read_component(path, "imagination")
    assert isinstance(config, ImaginationConfig)
    try:
        with bounded(path, state):
            imagination = config.create(device)
            imagination.load_state_dict(state)
    except D3RLPyMBOError:
        raise
    except Exception as error:
        raise LoadError(
            f"{str(path)!r} is damaged, or does not fit this version of its components "
            f"({error!r}). It was saved by {saved_by}."
        ) from error
    return imagination
