"""Locks that die with their process, however it dies."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import CompositionError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["held_alone", "held_if_free"]


@contextlib.contextmanager
def held_alone(path: Path, what: str) -> Iterator[None]:
    """Holds a lock on a file; the system lets go of it when the process ends.

    Args:
        path: The lock's own file, in a folder that exists; removed afterwards.
        what: It is held for, for the message.

    Raises:
        CompositionError: Another process holds it.
    """
    if fcntl is None:
        yield
        return
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            by = f" (process {holder})" if holder.isdigit() else ""
            raise CompositionError(
                f"Another process{by} is writing {what}. Wait until it has ended, or "
                "choose another place."
            ) from error
        if _is_the_file(descriptor, path):
            break
        os.close(descriptor)  # its holder has just removed it: another may have it
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextlib.contextmanager
def held_if_free(folder: Path) -> Iterator[bool]:
    """Holds a folder until its process ends; yields False if another one holds it.

    Where nothing is locked, nothing is known: False.
    """
    if fcntl is None:
        yield False
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # it has just been removed
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise CompositionError(
            f"{str(path.parent)!r} cannot be written: {error.strerror}. Choose a folder "
            "that you may write to."
        ) from error


def _is_the_file(descriptor: int, path: Path) -> bool:
    """Returns whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
