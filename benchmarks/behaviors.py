"""What trained policies and fitted models do in a maze (Wang et al. 2021, section 4.4)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.metrics import average_trajectory_discrepancy, one_step_model_error
from d3rlpy_mbo.runs.evaluation import FIRST_FINAL_SEED


@dataclasses.dataclass(frozen=True)
class Behavior:
    """Episodes of one policy.

    Args:
        observations: (N, H + 1, D) on the way.
        rewards: (N, H).
    """

    observations: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float64]

    @property
    def returns(self) -> npt.NDArray[np.float64]:
        totals: npt.NDArray[np.float64] = self.rewards.sum(axis=1)
        return totals

    def discrepancy(self, transitions: mbo.Transitions) -> float:
        """Average trajectory discrepancy (definition 1), mean over the episodes."""
        # Equally long: the mean over all their states is the mean of their means.
        states = self.observations.reshape(-1, self.observations.shape[-1])
        return average_trajectory_discrepancy(transitions, states)

    def goal_share(self) -> float:
        """Share of steps with a reward, from the first of them on; NaN if none has."""
        rewarded = self.rewards > 0
        entered = rewarded.any(axis=1)
        shares = [row[row.argmax() :].mean() for row in rewarded[entered]]
        return float(np.mean(shares)) if shares else float("nan")


def behavior(envs: Sequence[Any], learner: Any) -> Behavior:
    """Plays episodes side by side; they end by time alone, all after as many steps.

    Args:
        envs: One for each episode; the starts are those of Experiment's final episodes.
        learner: A d3rlpy algorithm.
    """
    states = [env.reset(seed=FIRST_FINAL_SEED + i)[0] for i, env in enumerate(envs)]
    observations, rewards, done = [np.array(states)], [], False
    while not done:
        actions = learner.predict(observations[-1].astype(np.float32))
        steps = [env.step(a) for env, a in zip(envs, actions, strict=True)]
        observations.append(np.array([step[0] for step in steps]))
        rewards.append([step[1] for step in steps])
        done = steps[0][2] or steps[0][3]
    path = np.stack(observations, axis=1).astype(np.float32)
    return Behavior(path, np.array(rewards, dtype=np.float64).T)


def load_learner(run: Path) -> Any:
    """Returns the algorithm that a run ended with."""
    return mbo.load_learner(run / "learner.d3", device="cpu")  # a plugin's too


def model_errors(maze: Any, path: Path, transitions: mbo.Transitions) -> dict[str, Any]:
    """Returns the errors of a model on rows it never saw.

    One step's as in definition 2 and Table 4, those that fitting ended with, and what
    each member, elites first, says on average where there is a reward.

    Args:
        maze: The unwrapped environment: the truth.
        path: The model's file.
        transitions: The data it was fitted on.
    """
    dynamics = mbo.load_imagination(path).dynamics
    known = transitions.for_models()
    rows = known[dynamics.holdout_indices]
    change = rows.next_observations - rows.observations

    def truth(observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        reached = []
        for state, action in zip(observations.numpy(), actions.numpy(), strict=True):
            maze.set_state(state.astype(np.float64))
            reached.append(maze.step(action)[0])
        return torch.as_tensor(np.array(reached))

    rewarded = rows[torch.nonzero(rows.rewards[:, 0] > 0)[:, 0]]
    asked = rewarded.given_observations(dynamics.direction), rewarded.actions
    said = dynamics.predict(*asked, all_members=True).means
    assert said is not None
    return {
        "model": path.name,
        "direction": dynamics.direction,
        **dynamics.metrics,
        "one_step_error": one_step_model_error(dynamics, rows, truth),
        "squared_change_of_state": float(change.square().sum(dim=1).mean()),
        "rows": len(rows),
        "rows_with_reward": len(rewarded),
        "members_reward_there": said[..., -1].mean(dim=1).tolist()
        if len(said[0])
        else [],
    }


def imagined_paths(
    run: Path, learner: Any, transitions: mbo.Transitions, n_rollouts: int
) -> Sequence[npt.NDArray[np.float32]]:
    """Returns the positions (h + 1, 2) of rollouts as a run's imagination makes them."""
    imagination = mbo.load_imagination(run / "imagination.mbo")
    imagined = imagination.imagine(transitions, n_rollouts, learner)
    assert imagined.rollout_ids is not None
    _, lengths = torch.unique_consecutive(imagined.rollout_ids, return_counts=True)
    befores, afters = (
        torch.split(positions[:, :2], lengths.tolist())
        for positions in (imagined.observations, imagined.next_observations)
    )
    return [
        torch.cat([before, after[-1:]]).numpy()
        for before, after in zip(befores, afters, strict=True)
    ]
