"""What a study's file may say beyond the types of its entries."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..support.errors import CompositionError
from .names import folder_name, require_path_part
from .reading import require, require_known

if TYPE_CHECKING:
    from .settings import Study

__all__ = ["validate"]

_LEAST = {
    "n_steps": 1,
    "n_steps_per_epoch": 1,
    "n_trials": 1,
    "n_last": 1,
    "n_final_trials": 0,
    "n_pretraining_epochs": 0,
}


def validate(study: "Study", where: str) -> None:
    """Refuses numbers out of range and names that lead nowhere.

    Args:
        study: Its entries have the right types.
        where: The file, for messages.

    Raises:
        CompositionError: Says what was found, and what is expected.
    """
    _validate_numbers(study, where)
    for name in ("datasets", "seeds", "methods"):
        values = list(getattr(study, name))
        if not values:
            raise CompositionError(f"{where}, {name} is empty: there is nothing to do.")
        if len(set(values)) < len(values):
            raise CompositionError(f"{where}, {name} holds something twice: {values}.")
    _validate_folders(study, where)
    _validate_comparisons(study, where)
    for kind, table in _settings_tables(study):
        # Most ids hold a "/", and no field does: one of another study is told by it.
        ids = [key for key in table if "/" in key or key in study.datasets]
        require_known(ids, study.datasets, f"{where}, {kind} is for a dataset")
        for key in ids:
            require(table[key], dict[str, Any], f"{where}, {kind}.{key}")


def _validate_numbers(study: "Study", where: str) -> None:
    owners: dict[str, Any] = {"": study}
    owners |= {f"methods.{name}.": each for name, each in study.methods.items()}
    for table, owner in owners.items():
        for name, least in _LEAST.items():
            value = getattr(owner, name, least)
            if value < least:
                raise CompositionError(
                    f"{where}, {table}{name} is {value}, expected {least} or more."
                )
    for seed in study.seeds:
        if not 0 <= seed < 2**32:  # what numpy's generator takes
            raise CompositionError(
                f"{where}, seeds holds {seed}, expected numbers from 0 to 2**32 - 1."
            )


def _validate_folders(study: "Study", where: str) -> None:
    for name in study.methods:
        require_path_part(name, f"{where}: the method {name!r}")
        if name == "dataset":  # its log lies there
            raise CompositionError(
                f"{where}: a method cannot be called 'dataset'. Give it another name."
            )
    folders: dict[str, str] = {}
    for dataset in {**dict.fromkeys(study.datasets), **study.collect}:
        for part in dataset.split("/"):
            require_path_part(part, f"{where}: {part!r} in the dataset {dataset!r}")
        folder = folder_name(dataset)
        other = folders.setdefault(folder, dataset)
        if other != dataset:
            raise CompositionError(
                f"{where}: {other!r} and {dataset!r} would share the folder {folder!r}. "
                "Rename one, or study them apart."
            )


def _validate_comparisons(study: "Study", where: str) -> None:
    for pair in study.compare:
        if len(pair) != 2:
            raise CompositionError(
                f"{where}, compare holds {pair}, expected pairs of methods."
            )
        require_known(pair, study.methods, f"{where} compares")
    require_known(study.paper, study.methods, f"{where}, paper has a method")
    for name, numbers in study.paper.items():
        require_known(
            numbers,
            ["source", *study.datasets],
            f"{where}, paper.{name} has an entry",
        )
        for dataset, number in numbers.items():
            hint = str if dataset == "source" else float
            require(number, hint, f"{where}, paper.{name}.{dataset}")


def _settings_tables(study: "Study") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every table of a learner's or an imagination's settings, its name first."""
    for kind in ("learner_settings", "imagination_settings"):
        for name, table in getattr(study, kind).items():
            yield f"{kind}.{name}", table
        for name, method in study.methods.items():
            yield f"methods.{name}.{kind}", getattr(method, kind)
