"""What the policies and models of a finished maze study do, after ROMI's section 4.4.

    python benchmarks/case_study.py DIR

DIR is a folder that `d3rlpy-mbo study` filled and that still holds its learners and
models. For each of its mazes, DIR gets case-study-DATASET.json and .png: one-step errors
of the models on their hold-out rows (Table 4), and of every run, over ten episodes from
the same starts, the average trajectory discrepancy (Figure 3j) and the share of steps in
the goal after first entering it.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import d3rlpy

import d3rlpy_mbo as mbo
from behaviors import Behavior, behavior, imagined_paths, load_learner, model_errors
from case_study_picture import CaseStudy, draw_case_study
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.study.names import folder_name
from d3rlpy_mbo.study.results import Task, read_results
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.tasks import simulator  # noqa: F401  # settings find it by name

_EPISODES = 10
_ROLLOUTS_DRAWN = 1500
_DATA_DRAWN = 20_000  # rows of the dataset


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    try:
        for task in read_results(folder).tasks:
            _write(folder, task)
    except (mbo.D3RLPyMBOError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _write(folder: Path, task: Task) -> None:
    recorded = open_minari(task.dataset)
    envs: list[Any] = [evaluation_environment(recorded) for _ in range(_EPISODES)]
    maze: Any = getattr(envs[0], "unwrapped", None)
    if not hasattr(maze, "walls"):
        raise mbo.CompositionError(
            f"{task.dataset} is no maze. Choose the folder of a study on PointMaze."
        )
    dataset, _ = mbo.load_minari(task.dataset)
    transitions = mbo.Transitions.from_dataset(dataset)
    home = folder / folder_name(task.dataset)
    d3rlpy.seed(0)

    models = [
        model_errors(maze, path, transitions)
        for path in sorted(home.glob("model-*.mbo"))
        if mbo.load_imagination(path).dynamics.holdout_indices.numel()
    ]
    runs: list[dict[str, Any]] = []
    drawn: dict[str, Behavior] = {}
    paths: dict[str, Any] = {}
    for method, rows in task.methods.items():
        for row in rows:
            run = home / method / f"seed-{row.seed}"
            learner = load_learner(run)
            d3rlpy.seed(0)  # its numbers are the same whichever other runs are there
            played = behavior(envs, learner)
            runs.append(
                {
                    "method": method,
                    "seed": row.seed,
                    "return": float(played.returns.mean()),
                    "trajectory_discrepancy": played.discrepancy(transitions),
                    "goal_share_after_entry": _or_none(played.goal_share()),
                }
            )
            if method not in drawn:
                drawn[method] = played
                if row.content["imagination"] is not None:
                    paths[method] = imagined_paths(
                        run, learner, transitions, _ROLLOUTS_DRAWN
                    )
    content = {
        "command": sys.argv,
        "episodes": _EPISODES,
        "models": models,
        "runs": runs,
    }
    out = folder / f"case-study-{folder_name(task.dataset)}.json"
    with atomic_write(out) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode())
    study = CaseStudy(
        dataset=task.dataset,
        walls=maze.walls,
        goal=maze.goal,
        data=transitions.observations[:_DATA_DRAWN, :2].numpy(),
        behaviors={name: each.observations[..., :2] for name, each in drawn.items()},
        rollouts=paths,
        runs=runs,
    )
    draw_case_study(study, out.with_suffix(".png"))
    print(f"Wrote {out} and its picture.")


def _or_none(value: float) -> Any:
    return None if math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
