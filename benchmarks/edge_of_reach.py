"""Q minus what the same policy then earns, along the rollouts that a run learned from.

    python benchmarks/edge_of_reach.py DIR

DIR is a folder that `d3rlpy-mbo study` filled with runs on a PointMaze, finished or not,
and that still holds their learners and imaginations. Each run gets edge-of-reach.json
beside its result.json; one that has it is skipped. DIR gets edge-of-reach-DATASET.md and
.png, the table and the picture of all of them.

The states of a rollout are counted from its real one: index 0, s forwards and s' in
reverse, to h, the last that was imagined. What a state is follows from the rows that the
learner was given of its rollout, not from the method:

- *real*: index 0, which real rows leave and lead to;
- *interior*: imagined, and a row leaves from it, so that Q there is corrected;
- *edge*: imagined, and rows lead to it but none leaves: its Q is asked for by targets and
  never corrected (arXiv 2402.12527). Forwards that is index h, 1 state of h that are
  imagined. In reverse there is none: the row of index 1 leads to a real state, and the
  last state that was imagined, index h, is the s of its row. Where the n rows up to the
  real state are dropped (edge_parts), index n is one.

The farther a state is from the data, the more is believed of it, edge or not. So runs are
held against each other at the same index, where it is an edge to one and interior to the
other: rollouts of one direction start from the same rows here, whatever their length.

At a state s the learner takes its greedy action a, and Q(s, a), the least of its critics,
is compared with what the simulator, put into s, then pays: the discounted rewards, those
of the states before each step as in the data, of a and its greedy actions from there on,
until what is left to come is worth no more than a hundredth.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Optional

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch

import d3rlpy_mbo as mbo
from behaviors import load_learner
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari
from d3rlpy_mbo.imagination.rollout import Rollout
from d3rlpy_mbo.learners import counted_reward, discount, q_value
from d3rlpy_mbo.study.names import folder_name
from d3rlpy_mbo.study.results import Task, read_results
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.tasks import simulator  # noqa: F401  # files find it by name
from edge_of_reach_picture import draw_edges, edges_table
from measured import measured, of_folder

_ROLLOUTS = 100
_EACH = 5  # indices that are judged one by one; then every tenth, and the last
_UNSEEN = 0.01  # gamma ** steps, where a return is cut off
_SETTINGS = {"rollouts": _ROLLOUTS, "unseen": _UNSEEN, "action": "greedy"}

Column = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Reached:
    """States of rollouts, each once.

    Args:
        states: (N, D).
        indices: (N,) how many steps from the real state of its rollout.
        left: (N,) bool, whether a row that the learner was given leaves from it.
    """

    states: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    left: npt.NDArray[np.bool_]

    def at(self, indices: Collection[int]) -> "Reached":
        """Returns those with one of these indices."""
        of = np.isin(self.indices, list(indices))
        return Reached(self.states[of], self.indices[of], self.left[of])


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return of_folder(__doc__, arguments, _work)


def _work(folder: Path) -> None:
    results = read_results(folder)
    for task in results.tasks:
        _write(folder, task, results.study.compare)


def _write(folder: Path, task: Task, pairs: Sequence[Sequence[str]]) -> None:
    env: Any = evaluation_environment(open_minari(task.dataset))
    maze: Any = getattr(env, "unwrapped", None)
    if not hasattr(maze, "walls"):
        raise mbo.CompositionError(
            f"{task.dataset} is no maze. Choose the folder of a study on PointMaze."
        )
    dataset, _ = mbo.load_minari(task.dataset)
    real = mbo.RealData.of(dataset)
    found: dict[str, list[dict[str, Any]]] = {}
    for method, rows in task.methods.items():
        for row in rows:
            out = row.folder / "edge-of-reach.json"
            if out.exists() or (row.folder / "imagination.mbo").exists():
                measure = functools.partial(_measure, row.folder, maze, real)
                content = measured(out, _SETTINGS, measure)
                if content is not None:
                    found.setdefault(method, []).append({**content, "seed": row.seed})
    if not found:
        raise mbo.CompositionError(
            f"No run on {task.dataset} in {folder} has an imagination.mbo and a learner. "
            "Choose the folder where the study was run."
        )
    path = folder / f"edge-of-reach-{folder_name(task.dataset)}.md"
    with atomic_write(path) as file:
        file.write(edges_table(found, pairs).encode())
    draw_edges(found, path.with_suffix(".png"))
    print(f"Wrote {path} and its picture.")


def _measure(run: Path, maze: Any, real: mbo.RealData) -> dict[str, Any]:
    learner = load_learner(run)
    imagination = mbo.load_imagination(run / "imagination.mbo")
    gamma, length = discount(learner), imagination.config.rollout_length
    direction = imagination.dynamics.direction
    d3rlpy.seed(0)  # the same starts and actions as of every other run in the direction
    [imagined] = imagination.rollouts(real, _ROLLOUTS, learner)
    some = reached(imagined, direction, real.transitions).at(judged_indices(length))
    actions = learner.predict(some.states)
    asked = torch.from_numpy(some.states), torch.from_numpy(actions)
    values = q_value(learner, *asked)[:, 0].double().numpy()
    counted = functools.partial(_counted, learner)
    returns = monte_carlo(maze, learner, some.states, actions, gamma, counted)
    return {
        "rollout_length": length,
        "direction": direction,
        "gamma": gamma,
        "by_index": judge(some, values, returns, maze.walls),
    }


def judged_indices(length: int) -> set[int]:
    """Returns 0 to 5, which all methods share, every tenth and the last."""
    few = range(min(_EACH, length) + 1)
    return {*few, *range(0, length, 10), length}


def reached(
    imagined: Rollout, direction: mbo.Direction, real: mbo.Transitions
) -> Reached:
    """Returns every state of some rollouts, the real ones first.

    Args:
        imagined: On the CPU; its rows are those that a learner gets.
        direction: Of the model.
        real: Where the rollouts started.
    """
    rows = imagined.transitions
    assert rows.rollout_ids is not None
    ids, distances = rows.rollout_ids.numpy(), imagined.distances.numpy()
    leaves, leads = distances - 1, distances
    if direction == "reverse":
        leaves, leads = leads, leaves
    _, firsts = np.unique(ids, return_index=True)
    starts = real[imagined.start_rows[torch.from_numpy(firsts)]]
    n_indices = distances.max() + 1
    left = ids * n_indices + leaves
    asked_for = (leads > 0) & (rows.terminals[:, 0] == 0).numpy()
    never_left = asked_for & ~np.isin(ids * n_indices + leads, left)
    groups = [
        (starts.given_observations(direction), np.zeros_like(firsts), True),
        (rows.observations[leaves > 0], leaves[leaves > 0], True),
        (rows.next_observations[never_left], leads[never_left], False),
    ]
    states, indices, flags = zip(*groups, strict=True)
    return Reached(
        torch.cat(states).numpy(),
        np.concatenate(indices),
        np.repeat(flags, [len(each) for each in indices]),
    )


def monte_carlo(
    maze: Any,
    learner: Any,
    states: npt.NDArray[np.float32],
    actions: npt.NDArray[np.float32],
    gamma: float,
    counted: Callable[[Column], Column] = np.asarray,
) -> Column:
    """Returns (N,) discounted rewards from the states on, as the data has rewards.

    Args:
        maze: The unwrapped environment.
        learner: Acts greedily after the first action.
        states: (N, D) where the simulator is put.
        actions: (N, A) the first ones.
        gamma: Discount.
        counted: What the learner's Q sums of (N,) rewards; by default these.
    """
    reached = states.astype(np.float64)
    returns, weight = np.zeros(len(states)), 1.0
    while weight >= _UNSEEN:
        returns += weight * counted(maze.compute_rewards(reached))
        weight *= gamma
        for row, action in enumerate(actions):
            maze.set_state(reached[row])
            reached[row] = maze.step(action)[0]
        actions = learner.predict(reached.astype(np.float32))
    return returns


def _counted(learner: Any, rewards: Column) -> Column:
    found = counted_reward(learner, torch.as_tensor(rewards)[:, None])
    return found[:, 0].numpy()


def judge(
    reached: Reached, values: Column, returns: Column, walls: npt.NDArray[Any]
) -> list[dict[str, Any]]:
    """Returns means over the states of each index and kind, by index.

    Args:
        reached: N states.
        values: (N,) Q.
        returns: (N,) what followed.
        walls: (M, 2) centres of unit squares: a state in one is none of the maze's.
    """
    offsets = np.abs(reached.states[:, None, :2] - walls)
    in_walls = (offsets < 0.5).all(axis=2).any(axis=1)
    judged = []
    for index in np.unique(reached.indices):
        for left in (True, False):
            of = (reached.indices == index) & (reached.left == left)
            if not of.any():
                continue
            judged.append(
                {
                    "index": int(index),
                    "kind": ("interior" if left else "edge") if index else "real",
                    "states": int(of.sum()),
                    "in_walls": int(in_walls[of].sum()),
                    "q": float(values[of].mean()),
                    "monte_carlo": float(returns[of].mean()),
                    "difference": float((values - returns)[of].mean()),
                }
            )
    return judged


if __name__ == "__main__":
    sys.exit(main())
