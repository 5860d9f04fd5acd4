"""Q minus what the same policy then earns: how far the runs of a study believe too much.

    python benchmarks/pessimism.py DIR

DIR is a folder that `d3rlpy-mbo study` filled, finished or not. Every finished run in it
that still has its learner gets pessimism.json beside its result.json. The learner plays
the policy that its Q is of, SAC's sampled actions (the best ones where its targets take
those, as CQL's and COMBO's do), in the dataset's evaluation environment, from the starts of
Experiment's final episodes. At the starts, and at every 25th step on the
way, its Q (the least of its critics) is compared with the discounted rewards from there on.
A step counts if the environment's time limit leaves it steps for all but 5 % of the weight
of an endless episode, whatever then ends its own. `unseen` is how much more may have
followed what was cut there, mean over states: the largest reward that was seen, for ever.

Changed on 27 November 2026, before any run of Stage R or of the new Stage M: steps nearer
to the limit counted as well, but only of episodes that failed before it. These return less,
so that an exact Q, of rewards of 1 under a limit of 1000, stood 1.0 to 1.6 above them where
one step in 500 to 10,000 fails; .2 to .7 of that is what was cut.

SAC's Q counts the entropy of its policy as reward, from the next state on, and with a
target of minus the number of actions that is a cost: so it counts in what followed too.
`entropy` is that part. It is 0 for a learner whose targets leave entropy out, as those of
MOBILE's SAC, of CQL and of COMBO do. Q of a penalised model is of penalised rewards, and
critics in training are off by more than a penalty or an adversary moves them: what a model
does to values is measured by promises.py.
"""

import dataclasses
import functools
import itertools
import math
import os
import sys
from collections.abc import Callable, Sequence
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
from d3rlpy_mbo.learners import counted_reward, discount, entropy_reward, q_value
from d3rlpy_mbo.learners.q_values import samples_actions
from d3rlpy_mbo.runs.evaluation import FIRST_FINAL_SEED
from d3rlpy_mbo.study.intervals import paired
from d3rlpy_mbo.study.results import read_results
from d3rlpy_mbo.study.settings import Study
from d3rlpy_mbo.support.files import atomic_write
from d3rlpy_mbo.tasks.pointmaze import PointMaze
from measured import measured, of_folder

EPISODES = 100
_INTERVAL = 25  # steps between two states that are judged
_UNSEEN = 0.05  # gamma ** (steps left), at most, where a time limit ends the episode

_SETTINGS = {
    "episodes": EPISODES,
    "first_reset_seed": FIRST_FINAL_SEED,
    "interval": _INTERVAL,
    "unseen": _UNSEEN,
    "counted": "by the time limit, whatever the end",
    "action": "sampled",  # where targets sample: `played` says what it was
    "entropy": "counted in what followed",
}

Column = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Episode:
    """What a policy did, T steps.

    Args:
        observations: (T, D), the last one reached is left out.
        actions: (T, A).
        rewards: (T,).
        terminated: Whether the environment, not a time limit, ended it.
    """

    observations: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    rewards: Column
    terminated: bool


def main(arguments: Optional[Sequence[str]] = None) -> int:
    return of_folder(__doc__, arguments, _work)


def _work(folder: Path) -> None:
    text: list[str] = []
    results = read_results(folder)
    for task in results.tasks:
        env: Any = evaluation_environment(open_minari(task.dataset))
        if env is None:
            raise mbo.DatasetError(f"{task.dataset} has no environment to play in.")
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for method, rows in task.methods.items():
            for row in rows:
                measure = functools.partial(_measure, row.folder, env)
                out = row.folder / "pessimism.json"
                content = measured(out, _SETTINGS, measure)
                if content is not None:
                    found.setdefault(method, {})[row.seed] = content
        text += [f"## {task.dataset}", "", *table(found, results.study)]
    with atomic_write(folder / "pessimism.md") as file:
        file.write("\n".join(text).encode())
    print("\n".join(text))


def table(found: dict[str, dict[int, dict[str, Any]]], study: Study) -> list[str]:
    """Returns Q minus Monte Carlo by method, and differences of pairs, in Markdown.

    Args:
        found: pessimism.json of each method and seed.
        study: Whose runs these are.
    """
    lines = []
    for where in ("on_the_way", "start"):
        values = {
            method: {
                seed: each[where]["difference"]
                for seed, each in runs.items()
                if each[where]["states"]
            }
            for method, runs in found.items()
        }
        title = f"Q - Monte Carlo, {where.replace('_', ' ')}"
        lines += [*differences(title, values, study.compare, study.seeds), ""]
        unseen = [
            f"{method} {max(runs[seed][where]['unseen'] for seed in of):.1f}"
            for method, runs in found.items()
            if (of := values[method])
        ]
        if unseen:
            cut = f"May have followed what was cut, at most: {', '.join(unseen)}."
            lines += [cut, ""]
    return lines


def differences(
    title: str,
    values: dict[str, dict[int, float]],
    pairs: Sequence[Sequence[str]],
    seeds: Sequence[int],
) -> list[str]:
    """Returns a number by method, and its differences of pairs by seed, in Markdown.

    Args:
        title: What it is.
        values: Of each method and seed; those that are not finite are named and left out.
        pairs: The study's `compare`.
        seeds: The study's.
    """
    lines = [f"| {title} | seeds | mean [95 %] | each |", "|---|---|---|---|"]
    rows = {method: dict(sorted(of.items())) for method, of in values.items() if of}
    for first, second in pairs:
        ours, theirs = values.get(first, {}), values.get(second, {})
        both = {
            seed: ours[seed] - theirs[seed]
            for seed in seeds
            if seed in ours.keys() & theirs
        }
        rows |= {f"{first} - {second}": both} if both else {}
    for name, of in rows.items():
        used = {seed: value for seed, value in of.items() if math.isfinite(value)}
        without = [str(seed) for seed in seeds if seed not in used]
        said = f"{len(used)} of {len(seeds)}"
        said += f" (without {', '.join(without)})" if without else ""
        each = ", ".join(f"{value:+.1f}" for value in of.values())
        shown = "-"
        if used:
            mean, low, high = paired(list(used.values()))
            one = math.isnan(low)  # of which there is no interval
            shown = f"{mean:+.1f} " + ("[-]" if one else f"[{low:+.1f}, {high:+.1f}]")
        lines.append(f"| {name} | {said} | {shown} | {each} |")
    return lines


def _measure(run: Path, env: Any) -> dict[str, Any]:
    learner = load_learner(run)
    d3rlpy.seed(0)  # actions are sampled; entropies are estimated from one a state
    gamma = discount(learner)
    act = policy_of_q(learner)
    episodes = [play(env, act, FIRST_FINAL_SEED + i) for i in range(EPISODES)]
    values = [_values(learner, each) for each in episodes]
    entropies = [
        entropy_reward(learner, torch.as_tensor(each.observations))[:, 0]
        .double()
        .numpy()
        for each in episodes
    ]
    limit = time_limit(env, episodes)
    counted = [_as_counted(learner, as_in_data(env, each)) for each in episodes]
    return {
        "gamma": gamma,
        "played": "sampled" if samples_actions(learner) else "best",
        "time_limit": limit,
        "return": float(np.mean([each.rewards.sum() for each in episodes])),
        "lengths": [len(each.rewards) for each in episodes],
        "terminated": sum(each.terminated for each in episodes),
        "start": judge(counted, values, entropies, gamma, limit, only_starts=True),
        "on_the_way": judge(counted, values, entropies, gamma, limit),
    }


def policy_of_q(learner: Any) -> Callable[[Any], Any]:
    """Returns the method of a learner that acts as its Q-values suppose."""
    act: Callable[[Any], Any] = learner.predict
    return learner.sample_action if samples_actions(learner) else act


def as_in_data(env: Any, episode: Episode) -> Episode:
    """Returns an episode with the rewards that its dataset has, which Q sums.

    Datasets of mazes reward the state before a step, their environment the one reached.

    Args:
        env: Where it was played.
        episode: With the rewards that were paid.
    """
    maze = env.unwrapped
    if not isinstance(maze, PointMaze):
        return episode
    rewards = maze.compute_rewards(episode.observations.astype(np.float64))
    return dataclasses.replace(episode, rewards=rewards)


def _as_counted(learner: Any, episode: Episode) -> Episode:
    rewards = torch.as_tensor(episode.rewards)[:, None]
    counted = counted_reward(learner, rewards)[:, 0].numpy()
    return dataclasses.replace(episode, rewards=counted)


def play(env: Any, act: Callable[[Any], Any], seed: int) -> Episode:
    """Plays one episode from `env.reset(seed=seed)`.

    Args:
        env: Where.
        act: From (B, D) observations to (B, A) actions.
        seed: Of the start.
    """
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards = [], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        observations.append(observation)
        actions.append(act(observation[None])[0])
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        rewards.append(float(reward))
    return Episode(
        np.array(observations, dtype=np.float32),
        np.array(actions, dtype=np.float32),
        np.array(rewards),
        terminated,
    )


def time_limit(env: Any, episodes: Sequence[Episode]) -> Optional[int]:
    """Returns after how many steps an episode is cut; None where none is.

    Args:
        env: Its spec says so; where it does not, the longest that was cut does.
        episodes: What was played.
    """
    cut = [len(each.rewards) for each in episodes if not each.terminated]
    stated: Optional[int] = env.spec.max_episode_steps if env.spec else None
    return stated or max(cut, default=None)


def judge(
    episodes: Sequence[Episode],
    values: Sequence[Column],
    entropies: Sequence[Column],
    gamma: float,
    limit: Optional[int],
    *,
    only_starts: bool = False,
) -> dict[str, Any]:
    """Compares Q with the discounted rewards that followed, means over states.

    Args:
        episodes: What was played.
        values: Q at each step of each episode.
        entropies: What the learner's Q counts as reward for entropy, likewise.
        gamma: Discount.
        limit: See `time_limit`. Which steps count must not depend on how an episode ended.
        only_starts: First steps alone, not those on the way.

    Returns:
        Their number, the means and the standard error of the difference: Q minus what
        followed, entropy included. Steps of one episode go together, so it is that of a
        mean over episodes, not over steps. `unseen`: what may have followed the cut, in
        size, mean over states: 0 where there was none, else the largest reward, entropy
        included, for ever.
    """
    rows, unseen = [], []
    largest = max(
        float(np.abs(each.rewards + more).max())
        for each, more in zip(episodes, entropies, strict=True)
    )
    for index, episode in enumerate(episodes):
        length = len(episode.rewards)
        returns = discounted_sums(episode.rewards, gamma)
        # The entropy of the state itself belongs to its V, not to its Q.
        bonus = discounted_sums(entropies[index], gamma) - entropies[index]
        for step in [0] if only_starts else range(_INTERVAL, length, _INTERVAL):
            if limit is not None and gamma ** (limit - step) >= _UNSEEN:
                break
            rows.append((index, values[index][step], returns[step], bonus[step]))
            cut = 0.0  # nothing: also where gamma is 1
            if not episode.terminated:
                cut = gamma ** (length - step) * largest / (1 - gamma)
            unseen.append(cut)
    if not rows:
        return {"states": 0}
    judged = [(index, q - found - more) for index, q, found, more in rows]
    mean = float(np.mean([difference for _, difference in judged]))
    clusters = [
        sum(difference - mean for _, difference in some)
        for _, some in itertools.groupby(judged, key=lambda row: row[0])
    ]
    n = len(clusters)
    squares = sum(cluster**2 for cluster in clusters)
    return {
        "states": len(rows),
        "episodes": n,
        "q": float(np.mean([row[1] for row in rows])),
        "monte_carlo": float(np.mean([row[2] for row in rows])),
        "difference": mean,
        "unseen": float(np.mean(unseen)),
        "standard_error": (
            math.sqrt(squares * n / (n - 1)) / len(rows) if n > 1 else None
        ),
        "entropy": float(np.mean([row[3] for row in rows])),
    }


def discounted_sums(rewards: Column, gamma: float) -> Column:
    """Returns for each step the discounted sum of its reward and all later ones."""
    sums = itertools.accumulate(rewards[::-1], lambda later, now: now + gamma * later)
    return np.array(list(sums))[::-1]


def _values(learner: Any, episode: Episode) -> Column:
    x, a = torch.as_tensor(episode.observations), torch.as_tensor(episode.actions)
    values: Column = q_value(learner, x, a)[:, 0].double().numpy()
    return values


if __name__ == "__main__":
    sys.exit(main())
