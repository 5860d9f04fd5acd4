"""Files that are there whole or not at all."""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Union

from .errors import CompositionError
from .locks import lock

__all__ = ["atomic_write"]

# Bytes that a full disk may have left: less than a block's worth of a buffer (ours).
_LITTLE = 1_000_000


@contextlib.contextmanager
def atomic_write(path: Union[str, Path]) -> Iterator[BinaryIO]:
    """Opens a file for writing that replaces `path` only once it is complete.

    Args:
        path: The file to write; its folder is made if it is missing.

    Yields:
        A binary file beside it, removed again if the block raises.

    Raises:
        CompositionError: The path is a folder, or its folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise CompositionError(f"{str(path)!r} is a folder, expected a file's name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
    except OSError as error:
        raise CompositionError(
            f"{str(path)!r} cannot be written: {error.strerror}. Choose a folder that is "
            "one, and that you may write to."
        ) from error
    lock(descriptor)  # until it is closed: see _sweep
    try:
        # mkstemp's files are private; keep to what open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        full = isinstance(error, Exception) and _is_full(error, path.parent)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if full:
            raise CompositionError(
                f"{str(path)!r} cannot be written: the disk is full. Make room; what was "
                "there before is as it was."
            ) from error
        raise


def _sweep(path: Path) -> None:
    """Removes what killed processes left of this file: what nobody holds any more."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), temporary.open("rb") as file:
            if lock(file.fileno()):
                temporary.unlink()


def _is_full(error: Exception, folder: Path) -> bool:
    """Returns whether an error is that of a full disk, though torch words it otherwise."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _LITTLE
