"""The task contract: recipes of datasets, collected by name."""

import dataclasses
from abc import abstractmethod
from typing import Any, ClassVar, Optional

from ..registry.component import Component
from ..support.errors import CompositionError

__all__ = ["Task"]


@dataclasses.dataclass()
class Task(Component):
    """Base of tasks: what ``d3rlpy-mbo collect`` makes.

    A dataclass whose fields are the recipe's settings. A setting without a sensible
    default is None, and must be set before `collect`; if leaving something out is a
    choice, use another value for that.
    """

    kind: ClassVar[str] = "task"

    @property
    def default_id(self) -> str:
        """The Minari id, ``namespace/name-v0``, under which it is written by default.

        Asked for only once every setting is set.
        """
        raise NotImplementedError

    @abstractmethod
    def collect(self, dataset_id: Optional[str] = None, *, force: bool = False) -> str:
        """Makes a local Minari dataset, complete or not at all.

        Simulators are optional: import them here, not above. Refuse what cannot work
        before hours go into it.

        Args:
            dataset_id: Minari's ``namespace/name-v0``; `default_id` if None.
            force: Replace an existing dataset.

        Returns:
            The dataset's id.

        Raises:
            CompositionError: Settings are missing, see `check_set`.
            DatasetError: The dataset exists, or something that the recipe needs is
                missing.
        """
        raise NotImplementedError

    @classmethod
    def smallest_settings(cls) -> Optional[dict[str, Any]]:
        """Returns settings with which `collect` takes seconds, for the conformance check.

        Returns:
            Values of fields; None if there are none here, for example because a simulator
            is not installed: `collect` is then not tried.
        """
        return None

    def unset(self) -> list[str]:
        """Returns the fields that have to be set before `collect`."""
        return [
            f.name for f in dataclasses.fields(self) if getattr(self, f.name) is None
        ]

    def check_set(self) -> None:
        """Refuses a task whose required settings are not all set.

        Raises:
            CompositionError: Names them.
        """
        if self.unset():
            names = " and ".join(self.unset())
            raise CompositionError(
                f"The task {self.get_type()} needs {names}, which is None. Set it with "
                f"{type(self).__name__}({self.unset()[0]}=...), or with --set KEY=VALUE."
            )
