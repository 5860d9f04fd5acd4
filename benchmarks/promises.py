"""What a run's model promises its policy, minus what the simulator pays it.

    python benchmarks/promises.py DIR

DIR is a folder that `d3rlpy-mbo study` filled, finished or not. Every finished run in it
that imagines forwards and still has its learner gets promises.json beside its result.json
(a reverse model says where one came from, and promises no policy anything). From the
same real states for all, drawn from the data, the final policy acts greedily in the final
model, whose own rewards count, without penalty, and in the environment's simulator: the
mean difference of the discounted rewards is what the model promises too much, or, as an
adversary means it, too little. No critic has a say in it, and no entropy: Q after 50,000
steps of SAC is a sixth off the value that it stands for
(settings/adversary.toml). DIR gets promises.md, the table.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import d3rlpy
import torch

import d3rlpy_mbo as mbo
from behaviors import load_learner
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.learners import discount, predict_action
from d3rlpy_mbo.runs.diagnosis.simulators import Simulator, simulator_of
from d3rlpy_mbo.study.results import Task, read_results
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.tasks.pointmaze import PointMaze
from measured import measured, of_folder
from pessimism import differences

STATES = 250
_UNSEEN = 0.01  # gamma ** steps, where a return is cut off
_SETTINGS = {"states": STATES, "unseen": _UNSEEN, "action": "greedy"}

# From (B, D) states and (B, A) actions: (B, D) states reached, (B, 1) rewards, (B, 1) ends.
Step = Callable[
    [torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return of_folder(__doc__, arguments, _work)


def _work(folder: Path) -> None:
    results = read_results(folder)
    text: list[str] = []
    for task in results.tasks:
        found = _of_task(task)
        title = "promised minus paid"
        lines = differences(title, found, results.study.compare, results.study.seeds)
        text += [f"## {task.dataset}", "", *lines, ""]
    with atomic_write(folder / "promises.md") as file:
        file.write("\n".join(text).encode())
    print("\n".join(text))


def _of_task(task: Task) -> dict[str, dict[int, float]]:
    """Returns the mean difference of each method's seeds.

    Raises:
        DatasetError: See `world_of`.
    """
    simulator, states = world_of(task.dataset)
    found: dict[str, dict[int, float]] = {}
    for method, runs in task.methods.items():
        for run in runs:
            out = run.folder / "promises.json"
            if not out.exists() and not _leads_forward(run.folder / "imagination.mbo"):
                continue
            measure = functools.partial(measure_run, run.folder, simulator, states)
            content = measured(out, _SETTINGS, measure)
            if content is not None:
                found.setdefault(method, {})[run.seed] = content["difference"]
    return found


def world_of(dataset_id: str) -> tuple[Simulator, torch.Tensor]:
    """Returns a dataset's simulator, and the (B, D) real states where all begin.

    In this order: finding the simulator draws.

    Raises:
        DatasetError: No simulator can be put into the data's states.
    """
    dataset, _ = mbo.load_minari(dataset_id)
    rows = mbo.RealData.of(dataset).for_models
    d3rlpy.seed(0)
    env = evaluation_environment(open_minari(dataset_id))
    simulator, why = simulator_of(env, rows)
    if simulator is None:
        raise mbo.DatasetError(f"What {dataset_id} pays cannot be known: {why}.")
    return simulator, rows.observations[torch.randint(len(rows), (STATES,))]


def _leads_forward(path: Path) -> bool:
    """Returns whether a file holds an imagination whose model can be followed."""
    if not path.exists():
        return False
    return mbo.load_imagination(path).dynamics.direction == "forward"


def measure_run(
    run: Path, simulator: Simulator, states: torch.Tensor
) -> dict[str, Any]:
    """Returns means over states, and the standard error of the difference."""
    learner = load_learner(run)
    imagination = mbo.load_imagination(run / "imagination.mbo")
    d3rlpy.seed(0)
    promised = discounted(model_step(imagination), learner, states)
    paid = torch.cat(
        [
            discounted(steps_from(simulator, state), learner, state[None])
            for state in states
        ]
    )
    differences = promised - paid
    return {
        "promised": float(promised.mean()),
        "paid": float(paid.mean()),
        "difference": float(differences.mean()),
        "standard_error": float(differences.std()) / len(states) ** 0.5,
    }


def model_step(imagination: mbo.Imagination, by_means: bool = False) -> Step:
    """Returns a step of the model, as rollouts take it but for what a penalty takes.

    Args:
        imagination: Fitted, and forward.
        by_means: Whether it leads to the mean of the elites' means instead of a sample.
    """
    config = imagination.config

    def step(
        states: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        actions = imagination.action_set.project(actions)
        found = imagination.dynamics.predict(states, actions, by_means)
        reached, rewards = found.observations, found.rewards
        if by_means:
            assert found.means is not None
            mean = found.means[: found.n_elites].mean(dim=0)
            reached, rewards = mean[:, :-1], mean[:, -1:]
        ends = torch.zeros_like(rewards)
        if config.reward_function is not None:
            rewards = config.reward_function(states, actions, reached)
        if imagination.termination is not None:
            ends = imagination.termination(states, actions, reached).float()
        return reached, rewards, ends

    return step


def steps_from(simulator: Simulator, state: torch.Tensor) -> Step:
    """Returns steps of the simulator from a (D,) state on.

    From there it keeps its state itself: Hopper's observations have clipped velocities.
    Datasets of mazes reward the state before a step, and so do models of them.
    """
    before = state.double().numpy()
    simulator.put(before)
    maze = getattr(simulator.env, "unwrapped", None)

    def step(
        _: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        nonlocal before
        reached, reward, ended, *_others = simulator.env.step(actions[0].numpy())
        if isinstance(maze, PointMaze):
            reward = maze.compute_rewards(before)
        before = reached
        return (
            torch.as_tensor(reached, dtype=torch.float32)[None],
            torch.tensor([[float(reward)]]),
            torch.tensor([[float(ended)]]),
        )

    return step


def discounted(step: Step, learner: Any, states: torch.Tensor) -> torch.Tensor:
    """Returns (B,) discounted rewards of greedy actions, until a hundredth is to come.

    Args:
        step: Of a world.
        learner: Acts.
        states: (B, D) where it begins.
    """
    totals = torch.zeros(len(states))
    on_the_way, weight = torch.arange(len(states)), 1.0
    while weight >= _UNSEEN and len(on_the_way):
        reached, rewards, ends = step(states, predict_action(learner, states))
        totals[on_the_way] += weight * rewards[:, 0]
        goes_on = ends[:, 0] == 0
        states, on_the_way = reached[goes_on], on_the_way[goes_on]
        weight *= discount(learner)
    return totals


if __name__ == "__main__":
    sys.exit(main())
