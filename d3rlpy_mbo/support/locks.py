"""Locks that die with their process, however it dies."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from .errors import CompositionError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["held_alone", "held_if_free", "is_the_file", "lock"]

# Paths that this process holds. The number in a lock's file does not tell whose it is:
# processes of two containers may have the same.
_held_here: set[str] = set()

_LOCK = ".lock"  # in a folder that is held

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


def lock(file: int, wait: bool = False) -> Optional[bool]:
    """Locks an open file until it is closed.

    Args:
        file: Its descriptor.
        wait: Whether to wait until whoever holds it has ended.

    Returns:
        Whether it is ours now; None where nothing can be locked: Windows, and file
        systems over a network that have no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return False if error.errno in _HELD else None
    return True


@contextlib.contextmanager
def held_alone(path: Path, what: str) -> Iterator[None]:
    """Holds a lock on a file; the system lets go of it when the process ends.

    Where nothing can be locked, nobody is kept out: see `lock`.

    Args:
        path: The lock's own file, in a folder that exists; removed afterwards.
        what: It is held for, for the message.

    Raises:
        CompositionError: Another process holds it, or another call in this one.
    """
    while True:
        descriptor = _opened(path)
        if lock(descriptor) is False:
            holder = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            who = f"Another process (process {holder})"
            if not holder.isdigit():
                who = "Another process"
            if os.path.realpath(path) in _held_here:  # by a thread, or within itself
                who = "Another call in this process"
            raise CompositionError(
                f"{who} is writing {what}. Wait until it has ended, or choose another "
                "place."
            )
        if is_the_file(descriptor, path):
            break
        os.close(descriptor)  # its holder has just removed it: another may have it
    here = os.path.realpath(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        _held_here.add(here)
        yield
    finally:
        _held_here.discard(here)
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


@contextlib.contextmanager
def held_if_free(folder: Path) -> Iterator[bool]:
    """Holds a folder until its process ends; yields False if another one holds it.

    Where nothing is locked, nothing is known: False. What is locked is a file in it: NFS
    tells other machines of locks on files alone, and of those that are open for writing.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # it has just been removed, or may not be written to
        yield False
        return
    try:
        yield lock(descriptor) is True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise CompositionError(
            f"{str(path)!r} cannot be written: {error.strerror}. If another user's process "
            "left it, remove it; else choose a folder that you may write to."
        ) from error


def is_the_file(descriptor: int, path: Path) -> bool:
    """Returns whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
