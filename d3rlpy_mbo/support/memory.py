"""How much memory there is for this process: the machine's, or what it is given of it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

__all__ = ["memory_allowed"]

# Where Linux says what a process belongs to, and what that may use (man 7 cgroups).
_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def memory_allowed() -> Optional[int]:
    """Returns the bytes that this process may use; None where nobody says.

    They are the machine's, or fewer: a job of a cluster and a container are killed where
    they use more than their control group has.
    """
    known = list(_limits())
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has none
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(known, default=None)


def _limits() -> Iterator[int]:
    """Yields the limits of this process's groups, of both versions, and those above."""
    try:
        lines = _MEMBERSHIP.read_text("utf-8", "replace").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            root, name = _GROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _GROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / group.lstrip("/")
        for each in (folder, *folder.parents):
            # There may be no such group here, or its limit is "max".
            with contextlib.suppress(OSError, ValueError):
                yield int((each / name).read_text("utf-8"))
            if each == root:
                break
