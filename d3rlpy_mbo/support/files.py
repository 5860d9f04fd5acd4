"""Files that are there whole or not at all."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Union

from .errors import CompositionError
from .locks import is_the_file, lock

__all__ = ["atomic_write", "can_be_made", "utf8", "validate_writable"]

# Bytes that a full disk may have left: less than a block's worth of a buffer (ours).
_LITTLE = 1_000_000


@contextlib.contextmanager
def atomic_write(path: Union[str, Path], replace: bool = True) -> Iterator[BinaryIO]:
    """Opens a file for writing that is there only once it is complete.

    Args:
        path: The file to write, or a link to it; its folder is made if it is missing.
        replace: Whether it may take the place of one that is there.

    Yields:
        A binary file beside it, removed again if the block raises.

    Raises:
        CompositionError: The path is a folder or a device, or its folder cannot be written
            to.
        FileExistsError: One is there that is not to be replaced.
    """
    path = _file_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        descriptor, temporary = _opened_beside(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _put_if_free(temporary, path)
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


def validate_writable(path: Path, what: str) -> None:
    """Refuses what `atomic_write` would refuse hours later.

    Args:
        path: The file to write, in a folder that exists.
        what: It is for, for the message.

    Raises:
        CompositionError: It is a folder or a device, or its folder is missing or cannot be
            written to.
    """
    if not path.parent.is_dir():
        raise CompositionError(f"There is no folder {str(path.parent)!r} for {what}.")
    path = _file_of(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def can_be_made(folder: Path) -> bool:
    """Returns whether a folder is there to be written to, or could be made; makes none."""
    folder = folder.absolute()
    above = (each for each in (folder, *folder.parents) if os.path.exists(each))
    place = next(above, None)
    if place is None:  # a drive that is not there
        return False
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def utf8(text: str) -> bytes:
    """Returns text in UTF-8; what it has no form for, such as a byte of a path, escaped."""
    return text.encode("utf-8", "backslashreplace")


def _file_of(path: Union[str, Path]) -> Path:
    """Returns the file that a path means: a link's stands elsewhere, and the link stays.

    Raises:
        CompositionError: It is something else, which a file would replace.
    """
    path = Path(path)
    if path.is_dir():
        raise CompositionError(f"{str(path)!r} is a folder, expected a file's name.")
    if path.exists() and not path.is_file():
        raise CompositionError(
            f"{str(path)!r} is a device or a pipe, expected a file's name: files are "
            "written beside their place, and moved there once they are complete."
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _opened_beside(path: Path) -> tuple[int, str]:
    """Returns a new file for what is to become the path, locked until it is closed.

    Not tempfile's: those are private, and others are to read ours as if opened there.
    """
    while True:
        temporary = f"{path.parent}/.{path.name}.{secrets.token_hex(4)}.tmp"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if lock(descriptor) is not False and is_the_file(descriptor, Path(temporary)):
            return descriptor, temporary
        os.close(descriptor)  # another process swept it before it was locked


def _put_if_free(temporary: str, path: Path) -> None:
    """Gives a file its name; raises FileExistsError if another one has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:  # no hard links there: all but as good
        if path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from error
        os.replace(temporary, path)
    else:
        os.unlink(temporary)


def _cannot_be_written(path: Path, error: OSError) -> CompositionError:
    return CompositionError(
        f"{str(path)!r} cannot be written: {error.strerror}. Choose a path in a folder "
        "that you may write to."
    )


def _sweep(path: Path) -> None:
    """Removes what killed processes left of this file: what nobody holds any more."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        # For writing: NFS locks no other for one process alone.
        with contextlib.suppress(OSError), temporary.open("r+b") as file:
            if lock(file.fileno()):
                temporary.unlink()


def _is_full(error: Exception, folder: Path) -> bool:
    """Returns whether an error is that of a full disk, though torch words it otherwise."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _LITTLE
