"""Devices: d3rlpy's argument as torch's name, and how much goes through at once."""

from typing import TypeAlias, Union

import torch
from d3rlpy.base import DeviceArg

from .errors import CompositionError

__all__ = [
    "ROWS_COMPARED",
    "ROWS_IN_CACHE",
    "ROWS_IN_DOUBLE",
    "ROWS_OF_A_LEARNER",
    "ROWS_OF_A_TERMINATION",
    "ROWS_READ",
    "STATES_IN_CACHE",
    "Device",
    "device_name",
    "on_device",
    "rollouts_together",
    "validate_device",
]


# What d3rlpy's `create` takes, and what it does not: a torch device.
Device: TypeAlias = Union[DeviceArg, torch.device]


def device_name(device: Device) -> str:
    """Returns the device that d3rlpy's `create(device)` would use.

    Args:
        device: False or None for the CPU, True for ``cuda:0``, a GPU's number, or
            a torch device name; also what d3rlpy does not take: a torch device.
    """
    if isinstance(device, torch.device):
        return str(device)
    if device is None or device is False:
        return "cpu:0"
    if device is True:
        return "cuda:0"
    return f"cuda:{device}" if isinstance(device, int) else device


def on_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Returns a tensor on a device: itself if it is there.

    `Tensor.to` copies what is on the CPU when it is called ``"cpu:0"``, as d3rlpy does.
    """
    if tensor.device.type == "cpu" == torch.device(device).type:
        return tensor
    return tensor.to(device)


def validate_device(device: Device) -> None:
    """Raises CompositionError unless the device is one that is here."""
    name = device_name(device)
    try:
        place = torch.device(name)
    except (RuntimeError, TypeError):  # no name that torch knows, or no name
        raise CompositionError(
            f"device is {device!r}, which torch does not know. Expected 'cpu', "
            "'cuda:0', ..., or a GPU's number."
        ) from None
    if place.type == "cpu":
        return
    if place.type == "cuda":
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (place.index or 0) >= n_gpus:
            raise CompositionError(
                f"The device {name!r} is not here: torch sees {n_gpus} GPUs. Choose "
                "another device, 'cpu' for example."
            )
        return
    try:
        torch.zeros(1, device=name).cpu()  # "meta" takes numbers, and has none
    except Exception as error:  # each kind of device has its own
        said = str(error).partition("\n")[0]
        raise CompositionError(
            f"The device {name!r} is not here, or torch cannot compute on it ({said}). "
            "Choose another device, 'cpu' for example."
        ) from error


# Rollouts that go through the networks together. Ours: on a CPU so many columns stay
# in the cache (the networks cut smaller blocks); a GPU wants fewer launches.
_ROLLOUTS = {"cpu": 5_000, "cuda": 50_000}


# Rows of a member that pass all its layers together (ours: 1000 times 200 units, a
# layer's input and output, are about what a core's cache holds).
ROWS_IN_CACHE = 1000

# States that pass a learner's networks together on a CPU (ours: likewise, 256 units).
STATES_IN_CACHE = 1024

# Rows, times the actions sampled for each, that go through a learner at once (ours:
# 100,000 times 750 hidden units are 300 MB); as many through a learned termination.
ROWS_OF_A_LEARNER = 100_000
ROWS_OF_A_TERMINATION = 100_000

# Rows of a dataset that are read at once (ours: few enough that what reading needs is
# small beside them all).
ROWS_READ = 100_000

# Rows of the data that become float64 at once (ours: 8 MB for 60 columns).
ROWS_IN_DOUBLE = 16_384

# Rows of the data that a path is compared with at once (60 MB for a path of 300).
ROWS_COMPARED = 50_000


def rollouts_together(device: str) -> int:
    """Returns how many rollouts go through the networks of a device at once."""
    return _ROLLOUTS["cuda" if "cuda" in device else "cpu"]
