"""Runs that belong to no study."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runs.experiment import UNFINISHED
from ..runs.pages.parts import Note
from ..support.errors import CompositionError
from .groups import Group, begun_row, diagnoses_in, not_finished
from .reading import require
from .records import flat_settings, read_scores
from .results import Row, Task

__all__ = ["group_of_runs", "is_run"]

_N_LAST = 10  # evaluations whose mean is the score (ours)
_RESULT = "result.json"


def is_run(folder: Path) -> bool:
    """Tells whether a folder holds a run, finished or not, and not a study."""
    if (folder / "study.toml").exists():
        return False
    return (folder / _RESULT).exists() or (folder / UNFINISHED).is_dir()


def group_of_runs(folders: Sequence[Path]) -> Group:
    """Reads runs that belong to no study, side by side.

    Those of the same settings but for the seed are a method.
    """
    notes: list[Note] = []
    found: dict[str, dict[str, tuple[str, list[Row]]]] = {}
    begun: dict[str, dict[str, list[Row]]] = {}
    for folder in folders:
        if not (folder / _RESULT).exists():
            row = begun_row(folder, 0, _N_LAST)
            if row is None:
                notes.append(
                    Note("note", "begun", f"{folder}: no epoch is complete yet.")
                )
            else:
                of_unknown = begun.setdefault("runs that are not finished", {})
                of_unknown.setdefault(str(folder), []).append(row)
                notes.append(not_finished(str(folder), row, None))
            continue
        try:
            content = read_scores(folder / _RESULT)
            settings = _settings(content, folder / _RESULT)
        except CompositionError as error:
            notes.append(Note("not", "damaged", str(error)))
            continue
        seed, dataset = settings.pop("seed"), settings["dataset"]
        row = Row(seed, content, _N_LAST, folder)
        if not row.returns:
            notes.append(
                Note(
                    "note",
                    "no evaluation",
                    f"{folder}: its dataset names no environment.",
                )
            )
        name = settings["learner"]
        if settings["imagination"] != "none":
            name += f" + {settings['imagination']}"
        alike = json.dumps(settings, sort_keys=True)
        _, rows = found.setdefault(dataset, {}).setdefault(alike, (name, []))
        same = [each for each in rows if each.seed == seed]
        if same:
            text = (
                f"{folder} has the settings and the seed of {same[0].folder}; left out."
            )
            notes.append(Note("note", "twice", text))
        else:
            rows.append(row)
    tasks = [
        _task(dataset, [*variants.values()]) for dataset, variants in found.items()
    ]
    lead = [
        f"{len(folders)} run{'s' if len(folders) > 1 else ''}. The score of a run is the "
        f"mean return of its last {_N_LAST} evaluations, or of as many as there are, never "
        "the best; ± is the standard deviation over seeds. Runs of different datasets, or "
        "of different settings, are never averaged."
    ]
    diagnoses = diagnoses_in(folders, notes)
    return Group("Runs", lead, tasks, begun, [], {}, False, notes, diagnoses)


def _settings(content: dict[str, Any], path: Path) -> dict[str, Any]:
    entries = content.get("experiment")
    require(entries, dict[str, Any], f"{path}, experiment")
    settings = flat_settings(entries or {})
    for name, kind in (("dataset", str), ("learner", str), ("imagination", str)):
        require(settings[name] or None, kind, f"{path}, experiment.{name}")
    require(settings["seed"], int, f"{path}, experiment.seed")
    return settings


def _task(dataset: str, variants: list[tuple[str, list[Row]]]) -> Task:
    """Returns the runs of a dataset; settings of one name are told apart by folder."""
    names = [name for name, _ in variants]
    methods = {}
    for name, rows in variants:
        label = f"{name} ({rows[0].folder})" if names.count(name) > 1 else name
        methods[label] = sorted(rows, key=lambda row: row.seed)
    content = variants[0][1][0].content
    d4rl = content.get("d4rl_reference_scores")
    return Task(dataset, methods, content.get("reference_scores"), d4rl)
