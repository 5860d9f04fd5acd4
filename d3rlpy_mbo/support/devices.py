"""d3rlpy's device argument, as a torch device name."""

from d3rlpy.base import DeviceArg

__all__ = ["device_name"]


def device_name(device: DeviceArg) -> str:
    """Returns the device that d3rlpy's `create(device)` would use.

    Args:
        device: False or None for the CPU, True for ``cuda:0``, a GPU's number, or
            a torch device name.
    """
    if device is None or device is False:
        return "cpu:0"
    if device is True:
        return "cuda:0"
    return f"cuda:{device}" if isinstance(device, int) else device
