"""Studies and runs as one page."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from ..runs.diagnosis.page import section as diagnosis_section
from ..runs.pages.html import require_pages, save_page
from ..runs.pages.parts import Cell, Chart, Note, Page, Section, Table, number
from .groups import Group, group_of_study
from .loose_runs import group_of_runs, is_run
from .page_charts import learning_curves, metric_charts
from .records import flat_settings
from .results import Row, Task, evaluated
from .tables import aggregate_of, differences_of_returns, evidence, scores
from .words import normalizations

__all__ = ["write_page"]

# Points of all lines of a chart of each kind, together: a page stays below 5 MB.
_POINTS = 4000


def write_page(folders: Sequence[Path], path: Path) -> list[str]:
    """Writes studies and runs as one HTML file that needs nothing else.

    What is there is shown: runs that are not finished by what their logs say so far.

    Args:
        folders: Each a study's, or a run's.
        path: The file; its folder is made if it is missing.

    Returns:
        Which results are damaged.

    Raises:
        CompositionError: A folder is neither a study's nor a run's, or the extra
            ``report`` is not installed.
    """
    require_pages()
    groups = [group_of_study(each) for each in folders if not is_run(each)]
    runs = [each for each in folders if is_run(each)]
    groups += [group_of_runs(runs)] if runs else []
    n_lines = sum(len(rows) for group in groups for rows in _methods(group))
    most = max(20, min(100, _POINTS // max(n_lines, 1)))
    names = ", ".join(folder.name or str(folder) for folder in folders)
    page = Page(f"Report: {names}", [], [_group(group, most) for group in groups])
    save_page(page, path)
    return [
        note.text for each in groups for note in each.notes if note.subject == "damaged"
    ]


def _methods(group: Group) -> list[dict[str, list[Row]]]:
    return [*(task.methods for task in group.tasks), *group.begun.values()]


def _group(group: Group, most: int) -> Section:
    sections = []
    tasks = {task.dataset: task for task in group.tasks}
    for dataset in group.datasets:
        begun = group.begun.get(dataset, {})
        sections.append(_dataset(group, dataset, tasks.get(dataset), begun, most))
    together = None
    if group.together and len(group.tasks) > 1:
        together = aggregate_of(group.tasks)
    sections += _diagnoses(group)
    if group.sources:
        sections.append(
            Section("Sources, and what differs from the paper", group.sources)
        )
    notes = sorted(group.notes, key=lambda note: note.mark != "not")
    parts: list[Any] = [together] if together else []
    return Section(group.title, group.lead, notes, parts, sections)


def _diagnoses(group: Group) -> list[Section]:
    """Returns the diagnoses' sections; one that cannot be shown is noted as damaged."""
    sections = []
    for name, found in group.diagnoses.items():
        try:
            sections.append(diagnosis_section(found, f"Diagnosis: {name}"))
        except Exception as error:  # a file from anywhere must not cost the whole page
            reason = f"it cannot be shown: {type(error).__name__}: {error}"
            group.notes.append(Note("not", "damaged", f"{name}: {reason}"))
    return sections


def _dataset(
    group: Group,
    dataset: str,
    task: Optional[Task],
    begun: dict[str, list[Row]],
    most: int,
) -> Section:
    finished = {} if task is None else task.methods
    charts: list[Optional[Chart]] = [
        learning_curves(finished, begun, "Learning curves", most),
        *metric_charts(finished, begun, most),
    ]
    tables: list[Optional[Table]] = []
    first: list[Table] = []
    lead: list[str] = []
    if task is not None:
        scored = evaluated(task)
        if scored.methods:
            first.append(_without_seeds(scores(scored, group.paper.get(dataset, {}))))
            tables.append(differences_of_returns(scored, group.compare))
        tables += [evidence(task), _runs(task), _settings(task), _versions(task)]
        lead = normalizations(task.scores, task.d4rl_scores)
    rows = [row for some in finished.values() for row in some]
    return Section(
        dataset,
        lead,
        parts=[each for each in (*first, *charts, *tables) if each is not None],
        data={"evaluations": {str(r.folder): r.content["evaluations"] for r in rows}},
    )


def _without_seeds(table: Table) -> Table:
    """Returns the returns' table without its last column; the runs have their own."""
    rows = [row[:-1] for row in table.rows]
    return dataclasses.replace(table, head=table.head[:-1], rows=rows)


def _runs(task: Task) -> Table:
    rows = []
    for method, some in task.methods.items():
        for row in some:
            rows.append(
                [
                    Cell(str(row.folder)),
                    Cell(method),
                    Cell(str(row.seed), row.seed),
                    number(row.score if row.returns else None),
                    number(row.returns[-1] if row.returns else None),
                    number(row.final_return),
                    number(row.content["seconds"]),
                ]
            )
    head = ["run", "method", "seed", "score", "last evaluation", "final episodes"]
    return Table("Runs", [*head, "seconds"], rows, "Returns, raw.")


def _settings(task: Task) -> Optional[Table]:
    """Returns the settings in which methods differ; None if they do not."""
    of_method = {
        method: flat_settings(rows[0].content["experiment"])
        for method, rows in task.methods.items()
        if isinstance(rows[0].content.get("experiment"), dict)
    }
    names = dict.fromkeys(name for fields in of_method.values() for name in fields)
    rows = []
    for name in names:
        shown = [
            json.dumps(fields[name]) if name in fields else "-"
            for fields in of_method.values()
        ]
        if len(set(shown)) > 1 and name != "seed":
            rows.append([Cell(name), *map(Cell, shown)])
    if not rows:
        return None
    return Table("Settings that differ", ["setting", *of_method], rows)


def _versions(task: Task) -> Optional[Table]:
    """Returns which versions made the runs; where they differ, how many runs each."""
    found: dict[str, dict[str, int]] = {}
    for rows in task.methods.values():
        for row in rows:
            versions = row.content.get("versions")
            if isinstance(versions, dict):
                for package, version in versions.items():
                    counts = found.setdefault(package, {})
                    counts[str(version)] = counts.get(str(version), 0) + 1
    if not found:
        return None
    return Table(
        "Versions",
        ["package", "version"],
        [
            [
                Cell(package),
                Cell(
                    ", ".join(counts)
                    if len(counts) == 1
                    else ", ".join(f"{v} ({n} runs)" for v, n in counts.items())
                ),
            ]
            for package, counts in found.items()
        ],
    )
