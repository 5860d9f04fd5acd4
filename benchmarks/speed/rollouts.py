"""Rollouts of 50,000 x 5: the chosen member alone, and all members for a penalty."""

from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
from measuring import Goal, Row, compare, timed
from peer import OfflineRLKit

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mopo import MaxAleatoric

N_ROLLOUTS, LENGTH, ROUNDS = 50_000, 5, 3


def rows(dataset: Any, kit: Optional[OfflineRLKit]) -> Iterator[Row]:
    data = mbo.Transitions.from_dataset(dataset).for_models()
    for name, penalty, goal in (
        ("no penalty", None, 20),
        ("max-aleatoric penalty", MaxAleatoric(), 5),
    ):
        work = f"rollout, {N_ROLLOUTS:,} x {LENGTH}, {name}, stored"
        against = "OfflineRL-Kit step (actions given)"
        if kit is None:
            yield Row(work, against, Goal(goal))
            continue
        yield compare(
            work,
            against,
            Goal(goal),
            timed(refresh(dataset, penalty)),
            timed(_their_steps(kit, data, penalty)),
            rounds=ROUNDS,
        )


def refresh(dataset: Any, penalty: Optional[mbo.Penalty]) -> Any:
    """Returns what imagines with uniform actions and stores the rows in a buffer."""
    imagination = mbo.ImaginationConfig(
        dynamics=mbo.ProbabilisticEnsembleConfig(max_steps=20),
        penalty=penalty,
        rollout_batch_size=N_ROLLOUTS,
        rollout_length=LENGTH,
    ).create()
    imagination.fit(dataset)
    return mbo.ImaginedReplayBuffer(dataset, imagination).refresh


def _their_steps(
    kit: OfflineRLKit, data: mbo.Transitions, penalty: Optional[mbo.Penalty]
) -> Any:
    dynamics = kit.dynamics(data, penalty_coef=float(penalty is not None))
    starts = data.observations[np.random.randint(len(data), size=N_ROLLOUTS)].numpy()
    size = (N_ROLLOUTS, data.action_size)
    actions = np.random.uniform(-1, 1, size).astype(np.float32)

    def steps() -> None:
        observations = starts
        for _ in range(LENGTH):
            observations, *_ = dynamics.step(observations, actions)

    return steps
