"""Tables and learning curves of studies.

The score of a run is the mean return of its last n_last evaluations, never the best.
With fewer than five seeds there is a spread and no interval. Several studies stand one
below the other; nothing is averaged over them. From a study's settings:

    compare = [["romi", "bcq"]]         # differences, in pairs of the same seed
    differs = ["encoders of 256"]       # from the paper: printed as it stands
    [paper.romi]
    source = "Wang et al. 2021, Table 1"
    "pointmaze/umaze-sparse-v0" = 139.5 # a D4RL score
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from ..runs.pages.parts import Table
from ..support.files import atomic_write, utf8
from .groups import Group
from .loose_runs import group_of_runs, is_run
from .names import folder_name
from .results import Results, Task, evaluated, read_results
from .tables import aggregate_of, differences_of_returns, evidence, scores
from .words import introduction, normalizations, paper_scores, sources

__all__ = ["tables", "write"]


def tables(folders: Sequence[Path]) -> tuple[str, list[str]]:
    """Returns the tables of studies and runs, and which results are damaged.

    Args:
        folders: Of the studies, and of runs that belong to none.

    Raises:
        CompositionError: A folder is no study's and no run's.
    """
    return _sections(*_read(folders), {})


def write(folders: Sequence[Path], path: Path) -> list[str]:
    """Writes the tables to a file and the studies' curves beside it.

    Args:
        folders: Of the studies, and of runs that belong to none.
        path: A Markdown file; its folder must exist.

    Returns:
        Which results are damaged.

    Raises:
        CompositionError: A folder is no study's and no run's.
    """
    # Slow to import, and only needed here.
    from .figures import draw_curves

    found, runs = _read(folders)
    curves: dict[tuple[Path, str], str] = {}
    for number, (folder, results) in enumerate(found, start=1):
        whose = f"-{number}" if len(found) > 1 else ""
        for task in results.tasks:
            name = f"{path.stem}{whose}-{folder_name(task.dataset)}.png"
            with atomic_write(path.with_name(name)) as file:
                draw_curves(task, results.study.n_last, file)
            curves[folder, task.dataset] = name
    text, damaged = _sections(found, runs, curves)
    with atomic_write(path) as file:
        file.write(utf8(text))
    return damaged


def _read(
    folders: Sequence[Path],
) -> tuple[list[tuple[Path, Results]], Optional[Group]]:
    runs = [each for each in folders if is_run(each)]
    studies = [(each, read_results(each)) for each in folders if each not in runs]
    return studies, group_of_runs(runs) if runs else None


def _sections(
    found: Sequence[tuple[Path, Results]],
    runs: Optional[Group],
    curves: dict[tuple[Path, str], str],
) -> tuple[str, list[str]]:
    """Returns the text, and what is damaged; a study alone needs no heading."""
    lines: list[str] = []
    for folder, results in found:
        of_folder = {name: file for (f, name), file in curves.items() if f == folder}
        alone = len(found) == 1 and runs is None
        lines += [] if alone else [f"# {folder}", ""]
        lines += _text(results, of_folder)
    damaged = [each for _, results in found for each in results.damaged]
    if runs is not None:
        lines += [f"# {runs.title}", "", *runs.lead, ""]
        for task in runs.tasks:
            lines += _section(evaluated(task), {}, [])
        lines += [f"- {n.subject.capitalize()}: {n.text}" for n in runs.notes]
        damaged += [note.text for note in runs.notes if note.subject == "damaged"]
        lines.append("")
    return "\n".join(lines), damaged


def _text(results: Results, curves: dict[str, str]) -> list[str]:
    lines = [introduction(results), ""]
    for task in results.tasks:
        paper = paper_scores(results.study, task.dataset)
        lines += _section(task, paper, results.study.compare)
        if task.dataset in curves:
            lines += [
                f"![Learning curves on {task.dataset}]({_link(curves[task.dataset])})",
                "",
            ]
    if len(results.tasks) > 1:
        lines += _table(aggregate_of(results.tasks))
    lines += [f"- {text}" for text in sources(results.study)]
    for name, error in results.errors.items():
        lines.append(f"- Failed: {name}: {error}")
    lines += [f"- Damaged: {message}" for message in results.damaged]
    lines += [f"- Not run: {name}" for name in results.missing]
    return [*lines, ""]


def _link(name: str) -> str:
    """Returns a file's name as Markdown has it in a link: a space would end it there."""
    return quote(os.fsencode(name))


def _section(
    task: Task, paper: dict[str, float], compare: Sequence[Sequence[str]]
) -> list[str]:
    named = normalizations(task.scores, task.d4rl_scores)
    return [
        f"## {task.dataset}",
        "",
        *_table(scores(task, paper) if task.methods else None),
        *([*named, ""] if named else []),
        *_table(differences_of_returns(task, compare)),
        *_table(evidence(task)),
    ]


def _table(table: Optional[Table]) -> list[str]:
    """Returns a table in Markdown, and an empty line; nothing if there is none."""
    if table is None:
        return []
    rows = [[cell.text for cell in row] for row in table.rows]
    lines = [table.head, ["---"] * len(table.head), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]
