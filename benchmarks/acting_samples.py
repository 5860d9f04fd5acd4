"""The same trained BCQ policies, acting on 10 samples as here, on 100 as officially.

    python benchmarks/acting_samples.py DIR

DIR is a folder that `d3rlpy-mbo study` filled, finished or not. Every finished run in it
that still has its learner, and whose learner is BCQ, gets acting-samples.json beside its
result.json: returns from the starts of Experiment's final episodes, by how many actions
the VAE proposes in each state, of which the one of the greatest Q is taken. d3rlpy has one
number for targets and for acting, and stage A's is 10; the official code trains with 10 and
acts on 100. DIR gets acting-samples-DATASET.md, the table.
"""

import functools
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import d3rlpy
from d3rlpy.algos.qlearning.torch.bcq_impl import BCQImpl

import d3rlpy_mbo as mbo
from behaviors import load_learner
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.runs.evaluation import FIRST_FINAL_SEED, final_evaluation
from d3rlpy_mbo.study.names import folder_name
from d3rlpy_mbo.study.results import Task, read_results
from d3rlpy_mbo.support.files import atomic_write
from edge_of_reach_picture import interval
from measured import measured, of_folder

_SAMPLES = (10, 100)
_EPISODES = 50
_FILE = "acting-samples.json"
_SETTINGS = {"episodes": _EPISODES, "first_reset_seed": FIRST_FINAL_SEED}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return of_folder(__doc__, arguments, _work)


def _work(folder: Path) -> None:
    for task in read_results(folder).tasks:
        env: Any = evaluation_environment(open_minari(task.dataset))
        if env is None:
            raise mbo.DatasetError(f"{task.dataset} has no environment to play in.")
        for row in [row for rows in task.methods.values() for row in rows]:
            if not (row.folder / "learner.d3").exists():
                continue
            learner = load_learner(row.folder)
            if isinstance(learner.impl, BCQImpl):
                measure = functools.partial(_measure, learner, env)
                measured(row.folder / _FILE, _SETTINGS, measure)
        path = folder / f"acting-samples-{folder_name(task.dataset)}.md"
        with atomic_write(path) as file:
            file.write(_table(task).encode())
        print(f"Wrote {path}.", flush=True)


def _measure(learner: Any, env: Any) -> dict[str, Any]:
    returns = {}
    for n_samples in _SAMPLES:
        d3rlpy.seed(0)  # the samples are drawn
        act_on(learner, n_samples)
        played = final_evaluation(learner, env, _EPISODES, None)
        returns[str(n_samples)] = played["returns"]
    return {"returns": returns}


def act_on(learner: Any, n_samples: int) -> None:
    """Has a BCQ choose among so many proposed actions; its networks stay as they are."""
    learner.impl._n_action_samples = n_samples


def _table(task: Task) -> str:
    """Returns a row a method: mean returns, and their difference, paired by seed."""
    few, many = (str(n) for n in _SAMPLES)
    lines = [
        f"{_EPISODES} episodes a policy, the same starts; a 95 % t-interval over seeds.",
        "",
        f"| method | {few} samples | {many} samples | {many} minus {few} | per seed |",
        "|---|---|---|---|---|",
    ]
    for method, rows in task.methods.items():
        files = [row.folder / _FILE for row in rows]
        found = [json.loads(path.read_text()) for path in files if path.exists()]
        if not found:
            continue
        means = {
            n: [statistics.mean(each["returns"][n]) for each in found]
            for n in (few, many)
        }
        gains = [b - a for a, b in zip(means[few], means[many], strict=True)]
        cells = [
            method,
            *(f"{statistics.mean(means[n]):.1f}" for n in (few, many)),
            interval(gains),
            ", ".join(f"{gain:.1f}" for gain in gains),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
