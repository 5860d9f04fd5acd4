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

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

from ..support.files import atomic_write
from .intervals import LEAST_SEEDS, interquartile_mean, mean
from .names import folder_name
from .results import Results, Row, Scores, Task, normalized, read_results
from .settings import Study

__all__ = ["tables", "write"]

# What may explain the returns, from the last epoch's metrics, by name. One that begins
# with an underscore follows the imagination's name.
_EVIDENCE = {
    "q_real_mean": "Q, real rows",
    "q_value_mean": "Q, real rows",
    "q_imagined_mean": "Q, imagined rows",
    "imagined_in_wall_share": "imagined in walls",
    "_model_holdout_error": "model's hold-out error",
    "_model_reward_error": "of it, the reward's",
    "_penalty_mean": "penalty",
    "_dropped_share": "dropped",
    "_clipped_share": "clipped",
}


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
    study = results.study
    n_runs = len(study.datasets) * len(study.methods) * len(study.seeds)
    hours = sum(row.content["seconds"] for row in results.rows) / 3600
    lines = [
        f"{len(results.rows)} of {n_runs} runs of "
        f"{study.n_steps:,} gradient steps, {hours:.1f} process-hours. The score of a run "
        f"is the mean return of its last {study.n_last} evaluations, never the best "
        f"(episodes in each: {study.n_trials}); ± is the standard deviation over seeds.",
        "",
    ]
    for task in results.tasks:
        lines += _section(task, study)
        if task.dataset in curves:
            lines += [
                f"![Learning curves on {task.dataset}]({curves[task.dataset]})",
                "",
            ]
    if len(results.tasks) > 1:
        lines += _aggregate(results)
    lines += _sources(study)
    for name, error in results.errors.items():
        lines.append(f"- Failed: {name}: {error}")
    lines += [f"- Damaged: {message}" for message in results.damaged]
    lines += [f"- Not run: {name}" for name in results.missing]
    return [*lines, ""]


def _section(task: Task, study: Study) -> list[str]:
    paper = {
        method: numbers[task.dataset]
        for method, numbers in study.paper.items()
        if task.dataset in numbers
    }
    enough = any(len(rows) >= LEAST_SEEDS for rows in task.methods.values())
    head = ["method", "seeds", "return"]
    head += ["interquartile mean [95 %]"] if enough else []
    head += ["score"] if task.scores else []
    head += ["D4RL score"] if task.d4rl_scores else []
    head += ["paper's D4RL score"] if paper else []
    head += ["last evaluation", "final episodes", "per seed"]
    table = []
    for method, rows in task.methods.items():
        values = [row.score for row in rows]
        cells = [method, str(len(rows)), _spread(values)]
        if enough:
            cells.append(_interval(values, interquartile_mean))
        for scores in (task.scores, task.d4rl_scores):
            if scores:
                cells.append(_spread(normalized(values, scores) or []))
        cells += [f"{paper[method]:.1f}" if method in paper else "-"] if paper else []
        finals = [row.final_return for row in rows if row.final_return is not None]
        cells += [_spread([row.returns[-1] for row in rows]), _spread(finals)]
        table.append([*cells, ", ".join(f"{value:.1f}" for value in values)])
    return [
        f"## {task.dataset}",
        "",
        *_table(head, table),
        "",
        *_normalizations(task.scores, task.d4rl_scores),
        *_differences(task, study),
        *_evidence(task),
    ]


def _normalizations(scores: Scores, d4rl_scores: Scores) -> list[str]:
    lines = []
    for name, references in (("Score", scores), ("D4RL score", d4rl_scores)):
        if references:
            low, high = references
            lines.append(
                f"{name}: a return of {low:.2f} is 0, one of {high:.2f} is 100."
            )
    return [*lines, ""] if lines else []


def _differences(task: Task, study: Study) -> list[str]:
    table = []
    for first, second in study.compare:
        ours = {row.seed: row.score for row in task.methods.get(first, [])}
        theirs = {row.seed: row.score for row in task.methods.get(second, [])}
        values = [ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs]
        if values:
            table.append(
                [
                    f"{first} - {second}",
                    str(len(values)),
                    _spread(values),
                    _interval(values, mean),
                    ", ".join(f"{value:+.1f}" for value in values),
                ]
            )
    head = ["difference of returns", "seeds", "mean", "mean [95 %]", "per seed"]
    return [*_table(head, table), ""] if table else []


def _evidence(task: Task) -> list[str]:
    columns: dict[str, dict[str, list[float]]] = {}
    for method, rows in task.methods.items():
        for row in rows:
            for name, value in _last_metrics(row).items():
                title = _EVIDENCE.get(name) or next(
                    (
                        t
                        for e, t in _EVIDENCE.items()
                        if e[0] == "_" and name.endswith(e)
                    ),
                    None,
                )
                if title and value is not None:
                    columns.setdefault(title, {}).setdefault(method, []).append(value)
    titles = [title for title in dict.fromkeys(_EVIDENCE.values()) if title in columns]
    table = [
        [method, *(_mean(columns[title].get(method, [])) for title in titles)]
        for method in task.methods
    ]
    return [*_table(["at the end", *titles], table), ""] if titles else []


def _last_metrics(row: Row) -> dict[str, Optional[float]]:
    """Returns the numbers of the last epoch; without an epoch there are none."""
    last: dict[str, Optional[float]] = (row.content["metrics"] or [{}])[-1]
    return last


def _aggregate(results: Results) -> list[str]:
    """All datasets together, for methods with enough seeds on each."""
    table = []
    for method in results.study.methods:
        rows: list[list[Row]] = [task.methods.get(method, []) for task in results.tasks]
        scores = [
            normalized([row.score for row in some], task.scores)
            for some, task in zip(rows, results.tasks, strict=True)
        ]
        complete = [each for each in scores if each]
        least = min(map(len, rows))
        if len(complete) == len(scores) and least >= LEAST_SEEDS:
            by_seed = [list(seeds) for seeds in zip(*complete, strict=False)]
            point, low, high = interquartile_mean(by_seed)
            table.append([method, str(least), f"{point:.1f} [{low:.1f}, {high:.1f}]"])
    head = ["all datasets", "seeds", "interquartile mean of scores [95 %]"]
    return [*_table(head, table), ""] if table else []


def _sources(study: Study) -> list[str]:
    lines = [
        f"- Paper's {method}: {numbers['source']}."
        for method, numbers in study.paper.items()
        if "source" in numbers
    ]
    return lines + [f"- Differs from the paper: {what}" for what in study.differs]


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def _interval(
    values: list[float],
    estimate: Callable[[list[list[float]]], tuple[float, float, float]],
) -> str:
    if len(values) < LEAST_SEEDS:
        return "-"
    point, low, high = estimate([[value] for value in values])
    return f"{point:.1f} [{low:.1f}, {high:.1f}]"


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.3g}" if values else "-"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
