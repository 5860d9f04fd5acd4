"""One RAMBO update: a step of the dynamics against the policy's value."""

from collections.abc import Iterator
from typing import Any, Optional

import d3rlpy
import torch
from measuring import Goal, Row, compare, timed
from peer import OfflineRLKit
from task import BATCH

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo_rambo import RAMBOConfig

N_UPDATES = 100


def rows(dataset: Any, kit: Optional[OfflineRLKit]) -> Iterator[Row]:
    work = "a RAMBO update of the dynamics, 256 rows"
    against, goal = "OfflineRL-Kit dynamics_step_and_forward", Goal(2)
    if kit is None:
        yield Row(work, against, goal)
        return
    data = mbo.Transitions.from_dataset(dataset).for_models()
    ours, theirs = timed(_ours(dataset, data)), timed(_theirs(kit, data))
    yield compare(
        work,
        against,
        goal,
        lambda: ours() / N_UPDATES,
        lambda: theirs() / N_UPDATES,
        rounds=5,
    )


def _ours(dataset: Any, data: mbo.Transitions) -> Any:
    settings = {"dynamics.max_steps": 20, "dynamics_updater.n_updates": N_UPDATES}
    rambo = apply_settings(RAMBOConfig(), settings).create()
    rambo.fit(dataset)
    updater = rambo.dynamics_updater
    assert updater is not None
    learner = d3rlpy.algos.SACConfig().create()
    learner.build_with_dataset(dataset)
    return lambda: updater.update(rambo.dynamics, data, learner)


def _theirs(kit: OfflineRLKit, data: mbo.Transitions) -> Any:
    dynamics = kit.dynamics(data)
    adam = torch.optim.Adam(dynamics.model.parameters(), lr=3e-4)
    policy = kit.policy(
        "rambo",
        data,
        dynamics=dynamics,
        dynamics_adv_optim=adam,
        adv_weight=3e-4,
        adv_train_steps=N_UPDATES,
        adv_rollout_batch_size=BATCH,
    )
    real = kit.real_buffer(data)
    return lambda: policy.update_dynamics(real)
