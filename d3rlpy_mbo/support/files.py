"""Files that are there whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Union

from .errors import CompositionError

__all__ = ["atomic_write"]


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
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
    except OSError as error:
        raise CompositionError(
            f"{str(path)!r} cannot be written: {error.strerror}. Choose a folder that is "
            "one, and that you may write to."
        ) from error
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
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
