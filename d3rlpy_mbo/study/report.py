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

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ..runs.pages.parts import Table
from ..support.files import atomic_write
from .names import folder_name
from .results import Results, Scores, Task, read_results
from .settings import Study
from .tables import aggregate, differences_of_returns, evidence, scores

__all__ = [
    "introduction",
    "normalizations",
    "paper_scores",
    "sources",
    "tables",
    "write",
]


def tables(folders: Sequence[Path]) -> tuple[str, list[str]]:
    """Returns the tables of studies, and which of their results are damaged.

    Args:
        folders: Of the studies.

    Raises:
        CompositionError: A folder is no study's.
    """
    found = [(folder, read_results(folder)) for folder in folders]
    return _sections(found, {}), [each for _, r in found for each in r.damaged]


def write(folders: Sequence[Path], path: Path) -> list[str]:
    """Writes the tables to a file and the curves beside it.

    Args:
        folders: Of the studies.
        path: A Markdown file; its folder must exist.

    Returns:
        Which results are damaged.

    Raises:
        CompositionError: A folder is no study's.
    """
    # Slow to import, and only needed here.
    from .figures import draw_curves

    found = [(folder, read_results(folder)) for folder in folders]
    curves: dict[tuple[Path, str], str] = {}
    for number, (folder, results) in enumerate(found, start=1):
        whose = f"-{number}" if len(found) > 1 else ""
        for task in results.tasks:
            name = f"{path.stem}{whose}-{folder_name(task.dataset)}.png"
            with atomic_write(path.with_name(name)) as file:
                draw_curves(task, results.study.n_last, file)
            curves[folder, task.dataset] = name
    with atomic_write(path) as file:
        file.write(_sections(found, curves).encode())
    return [each for _, results in found for each in results.damaged]


def _sections(
    found: Sequence[tuple[Path, Results]], curves: dict[tuple[Path, str], str]
) -> str:
    """Returns the text; a study alone needs no heading."""
    lines: list[str] = []
    for folder, results in found:
        of_folder = {name: file for (f, name), file in curves.items() if f == folder}
        lines += [f"# {folder}", ""] if len(found) > 1 else []
        lines += _text(results, of_folder)
    return "\n".join(lines)


def _text(results: Results, curves: dict[str, str]) -> list[str]:
    lines = [introduction(results), ""]
    for task in results.tasks:
        lines += _section(task, results.study)
        if task.dataset in curves:
            lines += [
                f"![Learning curves on {task.dataset}]({curves[task.dataset]})",
                "",
            ]
    if len(results.tasks) > 1:
        lines += _table(aggregate(results))
    lines += [f"- {text}" for text in sources(results.study)]
    for name, error in results.errors.items():
        lines.append(f"- Failed: {name}: {error}")
    lines += [f"- Damaged: {message}" for message in results.damaged]
    lines += [f"- Not run: {name}" for name in results.missing]
    return [*lines, ""]


def introduction(results: Results) -> str:
    """Returns how much of a study is there, and what its numbers are."""
    study = results.study
    n_runs = len(study.datasets) * len(study.methods) * len(study.seeds)
    hours = sum(row.content["seconds"] for row in results.rows) / 3600
    return (
        f"{len(results.rows)} of {n_runs} runs of "
        f"{study.n_steps:,} gradient steps, {hours:.1f} process-hours. The score of a run "
        f"is the mean return of its last {study.n_last} evaluations, never the best "
        f"(episodes in each: {study.n_trials}); ± is the standard deviation over seeds."
    )


def paper_scores(study: Study, dataset: str) -> dict[str, float]:
    """Returns the paper's scores on a dataset, by method."""
    return {
        method: numbers[dataset]
        for method, numbers in study.paper.items()
        if dataset in numbers
    }


def _section(task: Task, study: Study) -> list[str]:
    named = normalizations(task.scores, task.d4rl_scores)
    return [
        f"## {task.dataset}",
        "",
        *_table(scores(task, paper_scores(study, task.dataset))),
        *([*named, ""] if named else []),
        *_table(differences_of_returns(task, study.compare)),
        *_table(evidence(task)),
    ]


def normalizations(scores: Scores, d4rl_scores: Scores) -> list[str]:
    """Returns which returns are 0 and 100, a line for each kind of score."""
    lines = []
    for name, references in (("Score", scores), ("D4RL score", d4rl_scores)):
        if references:
            low, high = references
            lines.append(
                f"{name}: a return of {low:.2f} is 0, one of {high:.2f} is 100."
            )
    return lines


def sources(study: Study) -> list[str]:
    """Returns where the paper's numbers are from, and what differs from it."""
    lines = [
        f"Paper's {method}: {numbers['source']}."
        for method, numbers in study.paper.items()
        if "source" in numbers
    ]
    return lines + [f"Differs from the paper: {what}" for what in study.differs]


def _table(table: Optional[Table]) -> list[str]:
    """Returns a table in Markdown, and an empty line; nothing if there is none."""
    if table is None:
        return []
    rows = [[cell.text for cell in row] for row in table.rows]
    lines = [table.head, ["---"] * len(table.head), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]
