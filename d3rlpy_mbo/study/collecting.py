"""The datasets that a study can make: a task and its settings."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

import click

from ..registry.discovery import get_component
from ..runs.settings import apply_settings
from ..support.errors import CompositionError
from ..tasks.interface import Task
from .reading import require

__all__ = ["Collection"]


@dataclasses.dataclass(frozen=True)
class Collection:
    """How to make a dataset that is not there.

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
            raise CompositionError(
                f"{where} lacks task: the name of the task to collect."
            )
        task = settings.pop("task")
        require(task, str, f"{where}, task")
        return cls(task, settings)

    def validate(self) -> None:
        """Refuses what could not be collected.

        Raises:
            UnknownComponentError: There is no such task, or it has no such setting.
            CompositionError: A setting of the wrong type, out of range, or missing.
        """
        self._configured().check_set()

    def collect(self, dataset_id: str) -> None:
        """Makes the dataset.

        Raises:
            CompositionError: See `validate`.
            DatasetError: It cannot be made.
        """
        self._configured().collect(dataset_id)

    def _configured(self) -> Task:
        found: Any = get_component("task", self.task)
        configured: Task = apply_settings(found(), self.settings)
        return configured


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
