"""Folders of studies and runs, written by hand: nothing is trained."""

import json
from pathlib import Path
from typing import Any

STUDY = """
datasets = ["maze/a-v0", "maze/b-v0"]
seeds = [0, 1]
n_steps = 30
n_steps_per_epoch = 10
n_trials = 1
n_last = 2
compare = [["romi", "bcq"]]

[methods.bcq]
learner = "bcq"

[methods.romi]
learner = "bcq"
imagination = "romi"
"""


def content(returns: list[float], metrics: Any = None, **fields: Any) -> dict[str, Any]:
    """A result.json; ``fields`` are those of the experiment."""
    experiment = {
        "dataset": "maze/a-v0",
        "learner": "bcq",
        "imagination": "none",
        "n_steps": 10 * len(returns),
        "n_steps_per_epoch": 10,
        "seed": 0,
        "learner_settings": {},
        "imagination_settings": {},
        **fields,
    }
    return {
        "experiment": experiment,
        "evaluations": [
            {"step": 10 * (i + 1), "return": value} for i, value in enumerate(returns)
        ],
        "reference_scores": [0.0, 200.0],
        "d4rl_reference_scores": None,
        "final_evaluation": {"return": 7.5},
        "metrics": metrics if metrics is not None else [{} for _ in returns],
        "seconds": 90.25,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }


def write(path: Path, what: Any) -> Path:
    """Writes JSON, or text as it is; returns the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path.parent


def study(
    folder: Path, runs: dict[tuple[str, str, int], Any], text: str = STUDY
) -> Path:
    """A study's folder; runs by dataset, method and seed."""
    for (dataset, method, seed), what in runs.items():
        name = f"{dataset.replace('/', '-')}/{method}/seed-{seed}/result.json"
        write(folder / name, what)
    return write(folder / "study.toml", text)


def log(run: Path, **columns: str) -> None:
    """What d3rlpy has logged so far of a run that is not finished."""
    for name, lines in columns.items():
        write(run / "unfinished" / "logs" / f"{name}.csv", lines)
