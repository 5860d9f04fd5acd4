"""Sentences that reports and pages share."""

from .results import Results, Scores
from .settings import Study

__all__ = ["introduction", "normalizations", "paper_scores", "sources"]


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
