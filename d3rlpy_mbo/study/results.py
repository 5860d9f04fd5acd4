"""Reading a study's folder: its settings, its runs, the scores of the runs."""

import dataclasses
import functools
import math
import statistics
from pathlib import Path
from typing import Any, Optional

from ..data.minari import reference_scores
from ..metrics import normalized_score
from ..support.errors import CompositionError, D3RLPyMBOError
from .execution import errors_of
from .names import folder_name
from .records import read_scores
from .settings import Study

__all__ = [
    "Results",
    "Row",
    "Scores",
    "Task",
    "evaluated",
    "normalized",
    "read_results",
]

Scores = Optional[tuple[float, float]]

_BELOW = "*/result.json"


@dataclasses.dataclass(frozen=True)
class Row:
    """One finished run.

    Args:
        seed: Of the run.
        content: Of its result.json.
        n_last: Evaluations whose mean is the score.
        folder: Where it lies.
    """

    seed: int
    content: dict[str, Any]
    n_last: int
    folder: Path = Path()

    @property
    def steps(self) -> list[int]:
        """Gradient steps before each evaluation."""
        return [evaluation["step"] for evaluation in self.content["evaluations"]]

    @property
    def returns(self) -> list[float]:
        """Mean raw return of each evaluation, NaN where it was not finite."""
        returns = [each["return"] for each in self.content["evaluations"]]
        return [math.nan if value is None else value for value in returns]

    @functools.cached_property
    def metric_names(self) -> list[str]:
        """Names of all metrics of its epochs, in the order in which they appear."""
        names: dict[str, None] = {}
        for metrics in self.content["metrics"]:
            names.update(dict.fromkeys(metrics))
        return list(names)

    @property
    def has_gaps(self) -> bool:
        """Whether an evaluation's return was not finite."""
        return not all(map(math.isfinite, self.returns))

    @property
    def score(self) -> float:
        """Mean raw return of the last evaluations, never the best."""
        return statistics.mean(self.returns[-self.n_last :])

    @property
    def final_return(self) -> Optional[float]:
        """Mean raw return of the episodes after training, None if there are none."""
        final = self.content.get("final_evaluation")
        if final is None:
            return None
        return math.nan if final["return"] is None else float(final["return"])


@dataclasses.dataclass(frozen=True)
class Task:
    """One dataset of a study.

    Args:
        dataset: Its id.
        methods: Finished runs by method, in the order of the settings, seeds sorted.
        scores: Returns that score 0 and 100 by the dataset's own references.
        d4rl_scores: The same by D4RL's, where they differ.
    """

    dataset: str
    methods: dict[str, list[Row]]
    scores: Scores
    d4rl_scores: Scores


@dataclasses.dataclass(frozen=True)
class Results:
    """A study's folder.

    Args:
        study: Its settings.
        tasks: Its datasets with a finished run.
        missing: Runs without a result, as paths.
        errors: Why jobs failed, by the path of the file that says so.
        damaged: Why results cannot be read.
    """

    study: Study
    tasks: list[Task]
    missing: list[str]
    errors: dict[str, str]
    damaged: list[str]

    @property
    def rows(self) -> list[Row]:
        """Every finished run."""
        return [row for t in self.tasks for rows in t.methods.values() for row in rows]


def read_results(out: Path) -> Results:
    """Reads what a study wrote.

    Raises:
        CompositionError: The folder is none, holds no study.toml, or one that is damaged.
    """
    if not (out / "study.toml").exists():
        raise CompositionError(_no_study(out))
    study = Study.read(out / "study.toml")
    tasks: list[Task] = []
    missing: list[str] = []
    damaged: list[str] = []
    for dataset in study.datasets:
        methods: dict[str, list[Row]] = {}
        for method in study.methods:
            methods[method] = []
            for seed in sorted(study.seeds):
                run = Path(folder_name(dataset)) / method / f"seed-{seed}"
                path = out / run / "result.json"
                if not path.exists():
                    missing.append(str(run))
                    continue
                try:
                    content = read_scores(path)
                    _require_evaluations(content, study, path)
                except CompositionError as error:
                    damaged.append(str(error))
                else:
                    methods[method].append(Row(seed, content, study.n_last, out / run))
        rows = [row for rows in methods.values() for row in rows]
        if rows:
            found = {k: v for k, v in methods.items() if v}
            scores, d4rl_scores = _references(dataset, rows[0].content)
            tasks.append(Task(dataset, found, scores, d4rl_scores))
    failed = sorted(out.rglob("*.error.txt"))
    errors = errors_of({str(path.relative_to(out)): path for path in failed})
    return Results(study, tasks, missing, errors, damaged)


def _no_study(folder: Path) -> str:
    """Returns what to say of a folder that a report cannot be made of."""
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} of a run or a study."
    runs = [path.parent for path in (*folder.glob(_BELOW), *folder.glob(f"*/{_BELOW}"))]
    advice = "Give the --out of a train or a study."
    if runs:
        advice = (
            f"Below it lie runs, such as {str(min(runs))!r} ({len(runs)} of them): give "
            "each of them, for example by a pattern of the shell."
        )
    return (
        f"{str(folder)!r} is neither a run, which holds a result.json, nor a study, which "
        f"holds a study.toml. {advice}"
    )


def evaluated(task: Task) -> Task:
    """Returns a dataset without the runs that nobody evaluated."""
    methods = {
        method: [row for row in rows if row.returns]
        for method, rows in task.methods.items()
    }
    kept = {method: rows for method, rows in methods.items() if rows}
    return dataclasses.replace(task, methods=kept)


def _require_evaluations(content: dict[str, Any], study: Study, path: Path) -> None:
    expected = study.n_steps // min(study.n_steps_per_epoch, study.n_steps)
    found = len(content["evaluations"])
    if not found:
        raise CompositionError(
            f"{path} has no evaluation, so there is nothing to report: its dataset records "
            "no environment."
        )
    if found != expected:
        raise CompositionError(
            f"{path} has {found} evaluations, expected {expected}: it is of another "
            "study."
        )


def _references(dataset: str, content: dict[str, Any]) -> tuple[Scores, Scores]:
    d4rl = content.get("d4rl_reference_scores")
    if "d4rl_reference_scores" not in content:  # written before these were recorded
        try:
            d4rl = reference_scores(dataset, "d4rl_")
        except D3RLPyMBOError:
            d4rl = None
    return content["reference_scores"], d4rl


def normalized(values: list[float], scores: Scores) -> Optional[list[float]]:
    """Returns D4RL's normalised scores of returns, None without references."""
    return None if scores is None else [normalized_score(v, scores) for v in values]
