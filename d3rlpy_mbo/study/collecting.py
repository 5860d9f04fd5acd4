"""The datasets that a study can make: a task and its settings."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import click

from ..support.errors import CompositionError, UnknownComponentError, suggest
from .reading import require

__all__ = ["Collection"]


@dataclasses.dataclass(frozen=True)
class Collection:
    """How a dataset is made that is not there.

    Args:
        task: Name of a task.
        settings: Of the task, by name.
    """

    task: str
    settings: dict[str, Any]

    @classmethod
    def read(cls, entry: Any, where: str) -> "Collection":
        """Returns what an entry of a study's ``[collect]`` says.

        Args:
            entry: A table with ``task`` and its settings, or what follows ``d3rlpy-mbo
                collect`` on a command line, as in version 0.1.
            where: File and entry, for messages.

        Raises:
            CompositionError: It is neither.
        """
        if isinstance(entry, str):
            entry = _command_line(entry, where)
        require(entry, dict[str, Any], where)
        settings = dict(entry)
        if "task" not in settings:
            raise CompositionError(f"{where} lacks task. {suggest('', _tasks())}")
        task = settings.pop("task")
        require(task, str, f"{where}, task")
        return cls(task, settings)

    def validate(self) -> None:
        """Refuses what could not be collected.

        Raises:
            UnknownComponentError: There is no such task, or it has no such setting.
            CompositionError: A setting of the wrong type.
        """
        known = _known_settings(self.task)
        for name, value in self.settings.items():
            if name not in known:
                raise UnknownComponentError(
                    f"The task {self.task!r} has no setting {name!r}. "
                    f"{suggest(name, known)}"
                )
            require(value, known[name], f"{self.task}, {name}")

    def collect(self, dataset_id: str) -> None:
        """Makes the dataset.

        Raises:
            DatasetError: It cannot be made.
        """
        # Simulators are optional extras.
        from ..tasks.pointmaze_collection import POINTMAZE_TASKS, collect_pointmaze
        from ..tasks.relabel import relabel
        from ..tasks.replay import collect_replay

        settings = {"dataset_id": dataset_id, **self.settings}
        if self.task == "replay":
            collect_replay(**settings)
        elif self.task in POINTMAZE_TASKS:
            collect_pointmaze(self.task, **settings)
        else:
            relabel(self.task, **settings)


def _tasks() -> dict[str, dict[str, type]]:
    """Returns the settings of each task, and their types."""
    from ..tasks.pointmaze_collection import POINTMAZE_TASKS
    from ..tasks.relabel import RELABELLED_TASKS

    maze: dict[str, type] = {"n_steps": int, "seed": int, "n_reference_episodes": int}
    return {
        "replay": {"environment": str, "n_steps": int, "seed": int, "device": str},
        **{name: maze for name in POINTMAZE_TASKS},
        **{name: {"source": str} for name in RELABELLED_TASKS},
    }


def _known_settings(task: str) -> dict[str, type]:
    tasks = _tasks()
    if task not in tasks:
        raise UnknownComponentError(
            f"There is no task {task!r}. {suggest(task, tasks)}"
        )
    return tasks[task]


# What `collect` took in version 0.1. Force did nothing: what is there is not made.
_COMMAND = click.Command(
    "collect",
    add_help_option=False,
    params=[
        click.Argument(["task"]),
        click.Option(["--steps", "n_steps"], type=int),
        click.Option(["--env", "environment"]),
        click.Option(["--from", "source"]),
        click.Option(["--seed", "seed"], type=int),
        click.Option(["--device", "device"]),
        click.Option(["--reference-episodes", "n_reference_episodes"], type=int),
        click.Option(["--force"], is_flag=True, expose_value=False),
    ],
)


def _command_line(text: str, where: str) -> Mapping[str, Any]:
    try:
        context = _COMMAND.make_context("collect", shlex.split(text))
    except (click.UsageError, ValueError) as error:
        said = error.format_message() if isinstance(error, click.UsageError) else error
        raise CompositionError(f"{where} is {text!r}: {said}") from error
    return {name: v for name, v in context.params.items() if v is not None}
