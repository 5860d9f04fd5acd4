"""The fastest of several ways to do the same, measured once on a machine and remembered.

What a processor is good at cannot be read off its name. What was measured must stay,
however: two ways round differently, and the same seed gives the same result on a machine.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

import torch

from .errors import CompositionError
from .files import atomic_write

__all__ = ["about_processor", "cache_folder", "fastest"]

# On a busy EPYC 5 rounds found one way to take 0.83 to 0.92 of another's time, 15 rounds
# 0.81 to 0.83: what is remembered must not be what chance had next to _CLEARLY.
_ROUNDS = 15
_CLEARLY = 0.9  # of the first way's time, for another to take its place

_ABOUT_CPUS = Path("/proc/cpuinfo")
_OF_ARM = ("CPU implementer", "CPU variant", "CPU part")  # it has no other names


def cache_folder() -> Optional[Path]:
    """Returns where measurements are remembered: ``$XDG_CACHE_HOME`` or ``~/.cache``.

    None for a user without a home, as in a container.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the XDG specification has it
        base = os.path.expanduser("~/.cache")
    return Path(base) / "d3rlpy-mbo" if os.path.isabs(base) else None


def about_processor() -> dict[str, str]:
    """Returns what decides how fast torch's products are here, but for the threads."""
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = _ABOUT_CPUS.read_text("utf-8", "replace").splitlines()
    except OSError:  # no Linux
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "model name", *_OF_ARM)
    named = dict(line.split(":", 1) for line in lines if ":" in line)
    return " ".join(
        value.strip() for key, value in named.items() if key.strip() in wanted
    )


def fastest(
    name: str, about: Mapping[str, object], ways: Mapping[str, Callable[[], object]]
) -> str:
    """Returns the way that took the least time, here or when it was measured.

    The first one stays unless another takes a tenth less time.

    Args:
        name: Of the work, for the file's name.
        about: What the answer depends on: processor, versions, threads.
        ways: Each does the work once. Where nothing can be remembered, the first one is
            taken, unmeasured: noise must not decide anew in every process.
    """
    about = {**about, "rounds": _ROUNDS}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    first, folder = next(iter(ways)), cache_folder()
    if folder is None:
        return first
    path = folder / f"{name}-{digest.hexdigest()[:12]}.json"
    known = _read(path)
    if known in ways:
        return str(known)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return first
        if known is not None:
            path.unlink(missing_ok=True)  # of a way that is no more, or damaged
    except OSError:
        return first
    seconds = _seconds(ways)
    best = min(seconds, key=seconds.__getitem__)
    clearly = seconds[best] < _CLEARLY * seconds[first]
    found = {"fastest": best if clearly else first, "seconds": seconds}
    try:
        with atomic_write(path, replace=False) as file:
            file.write(json.dumps({**found, "about": about}, indent=1).encode())
    except FileExistsError:  # of two processes the first one decides
        other = _read(path)
        return str(other) if other in ways else first
    except (OSError, CompositionError):
        return first
    return str(found["fastest"])


def _read(path: Path) -> Optional[str]:
    """Returns the way that is remembered, an empty name for a damaged file, else None."""
    try:
        return str(json.loads(path.read_bytes())["fastest"])
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Returns the least seconds of each way, alternating, after a round of warming up.

    Of this thread: what else runs on the machine counts as little as it can.
    """
    least = dict.fromkeys(ways, float("inf"))
    for i in range(_ROUNDS + 1):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            if i:
                least[name] = min(least[name], time.thread_time() - started)
    return least
