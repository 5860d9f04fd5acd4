"""How much of what a run's model promises its policy is lost to the model's own noise.

    python benchmarks/model_noise.py DIR

DIR is a folder that promises.py has measured. From the same states, by the same policies
and models, the steps are sampled, as there, and taken to the mean of the elites' means
instead: what lies between is what noise costs, by ends that it brings earlier, say. Each
run gets model_noise.json beside its promises.json, and DIR gets model_noise.md.

Written after three seeds of Stage M (28 November 2026), to find out why models promise less
than is paid: it is no outcome of any study, and decides nothing.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from promises import STATES, Step, discounted, model_step, world_of  # isort: split

import d3rlpy
import torch

import d3rlpy_mbo as mbo
from behaviors import load_learner
from d3rlpy_mbo.study.results import read_results
from d3rlpy_mbo.support.files import atomic_write
from measured import measured, of_folder

_SETTINGS = {"states": STATES, "action": "greedy"}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return of_folder(__doc__, arguments, _work)


def _work(folder: Path) -> None:
    text: list[str] = []
    for task in read_results(folder).tasks:
        _, states = world_of(task.dataset)
        text += [f"## {task.dataset}", ""]
        text += ["| promised | seed | sampled | by means | steps, sampled | by means |"]
        text += ["|---|---|---|---|---|---|"]
        for method, runs in task.methods.items():
            for run in runs:
                if not (run.folder / "promises.json").exists():
                    continue
                measure = functools.partial(measure_run, run.folder, states)
                found = measured(run.folder / "model_noise.json", _SETTINGS, measure)
                if found is not None:
                    ways = found["sampled"], found["by_means"]
                    promised = " | ".join(f"{way['promised']:.1f}" for way in ways)
                    steps = " | ".join(f"{way['steps']:.0f}" for way in ways)
                    text.append(f"| {method} | {run.seed} | {promised} | {steps} |")
        text.append("")
    with atomic_write(folder / "model_noise.md") as file:
        file.write("\n".join(text).encode())
    print("\n".join(text))


def measure_run(run: Path, states: torch.Tensor) -> dict[str, Any]:
    """Returns what is promised, and after how many steps it ends, both ways."""
    learner = load_learner(run)
    imagination = mbo.load_imagination(run / "imagination.mbo")
    found = {}
    for way, step in (
        ("sampled", model_step(imagination)),
        ("by_means", model_step(imagination, by_means=True)),
    ):
        d3rlpy.seed(0)
        n_steps = [0]
        promised = discounted(_counting(step, n_steps), learner, states)
        found[way] = {
            "promised": float(promised.mean()),
            "steps": n_steps[0] / len(states),
        }
    return found


def _counting(step: Step, n_steps: list[int]) -> Step:
    """Returns the step, which adds up how many states it is asked about."""

    def counted(
        states: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n_steps[0] += len(states)
        return step(states, actions)

    return counted


if __name__ == "__main__":
    sys.exit(main())
