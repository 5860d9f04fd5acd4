"""Checks of tasks."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import d3rlpy
import numpy as np
import numpy.typing as npt

from ..data.minari import load_minari
from ..support.errors import DatasetError
from ..tasks.interface import Task
from ..tasks.local_datasets import validate_free
from .running import conformance_check
from .subjects import Checkable, Subject

__all__ = ["check_task_collects"]

_DATASET_ID = "conformance/checked-v0"
_ROOT_VARIABLE = "MINARI_DATASETS_PATH"


def _is_cheap(component: Checkable) -> bool:
    """Whether a task says with which settings it can be collected here."""
    task: Any = component
    try:
        return task.smallest_settings() is not None
    except Exception:  # the check will show it
        return True


@conformance_check("task", where=_is_cheap)
def check_task_collects(subject: Subject) -> None:
    """Checks that it collects a dataset that loads, under the given id, and only once.

    Unless it is forced; it must then collect the same again, wherever the generators stand.
    With its `smallest_settings`, in a folder of its own; left out if there are none.
    """
    assert isinstance(subject.component, Task)
    smallest = subject.component.smallest_settings() or {}
    task = dataclasses.replace(subject.component, **smallest)
    if task.unset():
        raise subject.violation(
            "smallest_settings() must set every field that is None by default",
            f"{task.unset()} not set",
            "a field that was added later",
        )
    with _minari_root():
        _check_default_id(subject, task)
        found = task.collect(_DATASET_ID)
        if found != _DATASET_ID:
            raise subject.violation(
                "collect must return the id that it was told to write",
                repr(found),
                "no return, or its own id although another was given",
            )
        try:
            first = _collected()
        except DatasetError as error:
            raise subject.violation(
                "load_minari must be able to load what collect wrote",
                str(error),
                "nothing written under that id, or episodes without T + 1 observations",
            ) from error
        with contextlib.suppress(DatasetError):
            task.collect(_DATASET_ID)
            raise subject.violation(
                "collect must refuse an id that is taken, unless force is true",
                "no DatasetError at the second time",
                "force is not looked at",
            )
        d3rlpy.seed(1)
        try:
            task.collect(_DATASET_ID, force=True)
        except DatasetError as error:
            raise subject.violation(
                "collect must replace a dataset if force is true",
                subject.raised(error),
                "force is not handed on, or the dataset that is there is not deleted",
            ) from error
        again = _collected()
        alike = [array.shape for array in first] == [array.shape for array in again]
        if not (alike and all(map(np.array_equal, first, again))):
            raise subject.violation(
                "the same settings must give the same dataset",
                "other numbers the second time",
                "an action_space that is not seeded, a reset without seed=, or the global "
                "generators; make all of it follow a field of the task, such as seed",
            )


def _collected() -> list[npt.NDArray[Any]]:
    """Returns what the dataset's episodes hold, one after the other."""
    dataset, _ = load_minari(_DATASET_ID)
    return [
        np.asarray(array)
        for each in dataset.episodes
        for array in (each.observations, each.actions, each.rewards, each.terminated)
    ]


def _check_default_id(subject: Subject, task: Task) -> None:
    try:
        validate_free(task.default_id, force=False)
    except (DatasetError, NotImplementedError, TypeError) as error:
        raise subject.violation(
            "default_id must be a Minari id, such as 'mine/task-v0'",
            subject.raised(error),
            "no default_id of its own, or one without a version",
        ) from error


@contextlib.contextmanager
def _minari_root() -> Iterator[None]:
    """Has Minari read and write in a folder that goes away."""
    before = os.environ.get(_ROOT_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_ROOT_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_ROOT_VARIABLE]
            else:
                os.environ[_ROOT_VARIABLE] = before
