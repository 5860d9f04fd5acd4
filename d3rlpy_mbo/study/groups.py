"""What a page shows of a study, or of runs that belong to none."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ..runs.diagnosis.results import Diagnosis
from ..runs.pages.parts import Note
from ..support.errors import CompositionError
from .execution import KILLED
from .names import folder_name
from .results import Row, Task, read_results
from .unfinished import logged_so_far
from .words import introduction, paper_scores, sources

__all__ = ["Group", "begun_row", "diagnoses_in", "group_of_study", "not_finished"]


@dataclasses.dataclass(frozen=True)
class Group:
    """A study, or all runs that belong to none.

    Args:
        title: Its heading.
        lead: Paragraphs below.
        tasks: Datasets with a finished run.
        begun: Rows of runs that are not finished, by dataset and method.
        compare: Pairs of methods.
        paper: D4RL scores by dataset and method.
        together: Whether its datasets may be taken together.
        notes: What failed, is damaged, missing or under way.
        diagnoses: By their files.
        sources: Of the paper's numbers, and what differs from it.
    """

    title: str
    lead: list[str]
    tasks: list[Task]
    begun: dict[str, dict[str, list[Row]]]
    compare: list[list[str]]
    paper: dict[str, dict[str, float]]
    together: bool
    notes: list[Note]
    diagnoses: dict[str, Diagnosis]
    sources: list[str] = dataclasses.field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        """Those with a run, finished or not."""
        return list(
            dict.fromkeys([*(task.dataset for task in self.tasks), *self.begun])
        )


def group_of_study(folder: Path) -> Group:
    """Reads a study's folder, whatever of it is there.

    Raises:
        CompositionError: It is no study's.
    """
    results = read_results(folder)
    study = results.study
    notes = [Note("not", "damaged", message) for message in results.damaged]
    begun: dict[str, dict[str, list[Row]]] = {}
    under_way = set()
    for name in results.missing:
        dataset_folder, method, seed = Path(name).parts
        row = begun_row(folder / name, int(seed.removeprefix("seed-")), study.n_last)
        if row is None:
            continue
        error = f"{name}.error.txt"
        if results.errors.get(error, KILLED) == KILLED:
            under_way.add(error)
            notes.append(not_finished(name, row, study.n_steps))
        (dataset,) = (
            each for each in study.datasets if folder_name(each) == dataset_folder
        )
        begun.setdefault(dataset, {}).setdefault(method, []).append(row)
    notes += [
        Note("not", "failed", f"{name}: {error}")
        for name, error in results.errors.items()
        if name not in under_way
    ]
    notes += [
        Note("note", "not run", name)
        for name in results.missing
        if f"{name}.error.txt" not in {*under_way, *results.errors}
    ]
    paper = {each: paper_scores(study, each) for each in study.datasets}
    diagnoses = diagnoses_in([folder], notes)
    return Group(
        str(folder),
        [introduction(results)],
        results.tasks,
        begun,
        study.compare,
        paper,
        True,
        notes,
        diagnoses,
        sources(study),
    )


def begun_row(run: Path, seed: int, n_last: int) -> Optional[Row]:
    """Returns what is there of a run that is not finished; None without an epoch."""
    content = logged_so_far(run)
    return None if content is None else Row(seed, content, n_last, run)


def not_finished(name: str, row: Row, n_steps: Optional[int]) -> Note:
    """Says how far a run is."""
    done = row.content["steps"][-1]
    of = "" if n_steps is None else f" of {n_steps:,}"
    text = f"{name}: {done:,}{of} steps; it is running, or was stopped."
    return Note("note", "not finished", text)


def diagnoses_in(folders: Sequence[Path], notes: list[Note]) -> dict[str, Diagnosis]:
    """Reads every file of a name such as diagnosis.json; damaged ones are noted."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*diagnosis.json")):
            try:
                found[str(path)] = Diagnosis.from_json(path.read_text("utf-8"))
            except (OSError, ValueError, CompositionError) as error:
                notes.append(Note("not", "damaged", f"{path}: {error}"))
    return found
