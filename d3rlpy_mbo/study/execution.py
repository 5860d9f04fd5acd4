"""Doing a job: whole or not at all, and by one process."""

import contextlib
import os
import shutil
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, TextIO

import torch

from ..support.files import utf8
from ..support.locks import lock

__all__ = [
    "KILLED",
    "Job",
    "error_of",
    "error_path",
    "errors_of",
    "execute",
    "worker_of",
]

# What an error's file says from a job's start until it is complete.
KILLED = (
    "The process was killed before this was complete: out of memory, or stopped from "
    "outside. Start the study again to go on with it."
)


class Job(Protocol):
    """Something to make in the study's folder.

    One whose ``resumes`` is true goes on with what a killed process left of it.
    """

    @property
    def path(self) -> Path:
        """Folder or file, relative to the study's folder."""

    def result(self, out: Path) -> Path:
        """What is there once it is made, and whole."""

    def check(self, out: Path) -> None:
        """Raises CompositionError if what is there is not what is wanted."""

    def make(self, out: Path) -> None:
        """Makes it."""


def execute(job: Job, out: Path) -> None:
    """Makes what is not there yet; an exception is written beside it, not raised.

    What it prints goes to a log file there.

    Args:
        job: What to make.
        out: The study's folder.
    """
    path = out / job.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _one_thread(), _alone(out / ".locks" / "--".join(job.path.parts)):
        try:
            if job.result(out).exists():
                job.check(out)
                return
            # Until it is complete: a process that is killed cannot say so itself.
            error_path(job, out).write_bytes(utf8(KILLED))
            _clear(path, keep=getattr(job, "resumes", False))
            with (
                _opened_log(path.with_name(path.name + ".log")) as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("once")
                job.make(out)
            error_path(job, out).unlink(missing_ok=True)
        except Exception:
            error_path(job, out).write_bytes(utf8(traceback.format_exc()))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Has torch use one thread: networks this small gain nothing from more.

    The process may be the study's own, which goes on with as many as it had.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _opened_log(path: Path) -> TextIO:
    """Opens a file that takes whatever is printed, in every locale."""
    return path.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")


def error_path(job: Job, out: Path) -> Path:
    """Returns where a job's failure is written."""
    path = out / job.path
    return path.with_name(path.name + ".error.txt")


def error_of(path: Path) -> str:
    """Returns the last line of a job's failure; a process killed at it leaves none.

    Args:
        path: Its file.
    """
    lines = path.read_text("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), KILLED)


def errors_of(paths: Mapping[str, Path]) -> dict[str, str]:
    """Returns the last line of each failure whose file is there.

    What can be opened is there, not what seems to exist: another process may have
    completed the job since, and NFS shows the files that it removed for a minute.

    Args:
        paths: Where a job's failure would be written, by the job's name.
    """
    found = {}
    for name, path in paths.items():
        with contextlib.suppress(FileNotFoundError):
            found[name] = error_of(path)
    return found


def worker_of(study_process: int) -> None:
    """Lets this process end with the study that started it, before its first job.

    joblib's workers would outlive a kill of it, for ever. An interrupt from the keyboard
    reaches every process; it is the study that answers, and ends its workers.

    Args:
        study_process: Its id; this process is a child of it, or has outlived it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == study_process:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process holds the path, see `lock`.

    The system lets go of it when a process ends, however it ends; a file that is
    simply there would outlive a kill.
    """
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        lock(file.fileno(), wait=True)
        yield


def _clear(path: Path, keep: bool) -> None:
    """Removes what a killed process left: temporary files, half a job unless it resumes."""
    if not keep:
        shutil.rmtree(path, ignore_errors=True)
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink()
