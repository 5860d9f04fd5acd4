"""A learner's step on a mixed batch: MOBILE's, with its penalty, and COMBO's."""

from collections.abc import Iterator
from typing import Any, Optional

import gymnasium
import numpy as np
from measuring import Goal, Row, Timed, compare, timed
from peer import OfflineRLKit
from task import BATCH, model_rows

import d3rlpy_mbo as mbo
from d3rlpy_mbo_combo import COMBOConfig, COMBOImaginationConfig
from d3rlpy_mbo_mobile import MOBILEConfig, MOBILESACConfig

STEPS = 20  # of a round
ROLLOUTS = 1000


def rows(dataset: Any, kit: Optional[OfflineRLKit]) -> Iterator[Row]:
    ensemble = mbo.ProbabilisticEnsembleConfig(max_steps=20)
    sizes: dict[str, Any] = {"dynamics": ensemble, "rollout_batch_size": ROLLOUTS}
    yield _row(
        "a step of MOBILE: 243 of 256 rows imagined, 5 elites, 10 samples",
        "OfflineRL-Kit's MOBILE, same networks and sizes",
        Goal(2),
        _ours(dataset, MOBILEConfig(**sizes), MOBILESACConfig()),
        _their_mobile(dataset, kit),
    )
    yield _row(
        "a step of COMBO: half of 256 rows imagined, 30 actions for each state",
        "OfflineRL-Kit's COMBO, same networks and sizes",
        Goal(1),
        _ours(dataset, COMBOImaginationConfig(**sizes), COMBOConfig(rho="all")),
        _their_combo(dataset, kit),
    )


def _row(
    work: str, against: str, goal: Goal, ours: Timed, theirs: Optional[Timed]
) -> Row:
    if theirs is None:
        return Row(work, against, goal)
    return compare(work, against, goal, ours, theirs, rounds=5)


def _ours(dataset: Any, config: mbo.ImaginationConfig, learner_config: Any) -> Timed:
    imagination = config.create()
    imagination.fit(dataset)
    learner = learner_config.create()
    learner.build_with_dataset(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    return timed(
        lambda: learner.update(buffer.sample_transition_batch(BATCH)), repeat=STEPS
    )


def _their_mobile(dataset: Any, kit: Optional[OfflineRLKit]) -> Optional[Timed]:
    if kit is None:
        return None
    data = model_rows(dataset)
    policy = kit.mobile_policy(data, kit.dynamics(data), deterministic_backup=True)
    return _their_steps(data, kit, policy, real_ratio=0.05)


def _their_combo(dataset: Any, kit: Optional[OfflineRLKit]) -> Optional[Timed]:
    if kit is None:
        return None
    data = model_rows(dataset)
    policy = kit.policy(
        "combo",
        data,
        hidden=[256, 256, 256],
        dynamics=kit.dynamics(data),
        action_space=gymnasium.spaces.Box(-1, 1, (data.action_size,), np.float32),
        with_lagrange=False,
        rho_s="mix",
    )
    return _their_steps(data, kit, policy, real_ratio=0.5)


def _their_steps(
    data: mbo.Transitions, kit: OfflineRLKit, policy: Any, real_ratio: float
) -> Timed:
    real, imagined = kit.real_buffer(data), kit.real_buffer(data)
    n_real = int(BATCH * real_ratio)

    def step() -> None:
        policy.learn(
            {"real": real.sample(n_real), "fake": imagined.sample(BATCH - n_real)}
        )

    return timed(step, repeat=STEPS)
