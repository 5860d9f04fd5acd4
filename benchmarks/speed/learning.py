"""Learner steps on real data, 1000 steps of MOPO, and ROMI's one-off fill."""

from collections.abc import Iterator
from typing import Any, Optional

import d3rlpy
from measuring import Goal, Row, Timed, compare, timed
from peer import OfflineRLKit, Silent
from task import BATCH

import d3rlpy_mbo as mbo
from d3rlpy_mbo_mopo import MOPOConfig
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig

STEPS = 200  # of a round; five rounds are the thousand


def rows(dataset: Any, kit: Optional[OfflineRLKit]) -> Iterator[Row]:
    yield _mopo(dataset, kit)
    real = mbo.ImaginedReplayBuffer(dataset, [])
    learners = {
        "TD3+BC": d3rlpy.algos.TD3PlusBCConfig(batch_size=BATCH),
        "SAC": d3rlpy.algos.SACConfig(batch_size=BATCH),
    }
    for name, config in learners.items():
        yield compare(
            f"1000 steps of {name} on real data, ImaginedReplayBuffer",
            "d3rlpy's fit on its ReplayBuffer",
            Goal(0.95, "of theirs"),
            timed(_fit(config, real, STEPS)),
            timed(_fit(config, dataset, STEPS)),
            rounds=1000 // STEPS,
            note=f"five rounds of {STEPS} steps",
        )
    yield _romi_fill(dataset)


def _fit(config: Any, data: Any, n_steps: int, learner: Any = None) -> Any:
    """Returns what trains a learner for some steps, without logs or progress bar."""
    learner = learner or config.create()

    def fit() -> None:
        learner.fit(
            data,
            n_steps=n_steps,
            n_steps_per_epoch=n_steps,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            show_progress=False,
        )

    return fit


def _mopo(dataset: Any, kit: Optional[OfflineRLKit]) -> Row:
    work = "1000 steps of MOPO with SAC, rollouts of 50,000 x 5 included"
    against, goal = "OfflineRL-Kit's MOPO, same networks and sizes", Goal(2)
    if kit is None:
        return Row(work, against, goal)
    dynamics = mbo.ProbabilisticEnsembleConfig(max_steps=20)
    mopo = MOPOConfig(dynamics=dynamics, retained_refreshes=1).create()
    mopo.fit(dataset)
    config = d3rlpy.algos.SACConfig(batch_size=BATCH)

    def ours() -> float:
        learner = config.create()
        learner.build_with_dataset(dataset)
        buffer = mbo.ImaginedReplayBuffer(dataset, mopo, learner)
        return timed(_fit(config, buffer, 1000, learner))()

    data = mbo.Transitions.from_dataset(dataset).for_models()
    theirs = _their_mopo(kit, data)
    return compare(work, against, goal, ours, theirs, rounds=3, warm=False)


def _their_mopo(kit: OfflineRLKit, data: mbo.Transitions) -> Timed:
    silent, rollout = Silent(), (1000, 50_000, 5)
    policy = kit.policy("mopo", data, dynamics=kit.dynamics(data, penalty_coef=1.0))
    trainer = kit.kit.policy_trainer.MBPolicyTrainer(
        policy,
        silent,
        kit.real_buffer(data),
        kit.buffer(rollout[1] * rollout[2], data),
        silent,
        rollout,
        epoch=1,
        batch_size=BATCH,
        eval_episodes=0,
    )
    return timed(trainer.train)


def _romi_fill(dataset: Any) -> Row:
    """A fill is paid once, so its learner's 100,000 steps stand against it."""
    romi = ROMIConfig(
        dynamics=mbo.ProbabilisticEnsembleConfig(direction="reverse", max_steps=20),
        rollout_policy=CVAEPolicyConfig(n_steps=20),
        rollout_batch_size=200_000,
    ).create()
    romi.fit(dataset)
    config = d3rlpy.algos.BCQConfig(batch_size=BATCH)
    learner = config.create()
    learner.build_with_dataset(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, romi, learner)
    buffer.refresh()
    steps = timed(_fit(config, buffer, 20, learner))
    return compare(
        "ROMI's one-off fill: a million rows, CVAE policy",
        "100,000 steps of its learner, BCQ (5000 times 20)",
        Goal(0.02, "of theirs"),
        timed(buffer.refresh),
        lambda: 5000 * steps(),
        rounds=3,
        warm=False,
    )
