"""The plain script: a dataset, a learner, `fit`; here with MOPO.

    python examples/plain_fit.py [--quick]

Three lines are new and one argument changes; `# was:` says what stood there.
"""

import sys

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy

import pendulum
from d3rlpy_mbo_mopo import MOPOConfig


def main(quick: bool = False) -> d3rlpy.algos.SAC:
    """Trains SAC on random episodes and on what a model imagines."""
    d3rlpy.seed(0)
    dataset, env = pendulum.dataset(10 if quick else 200), pendulum.environment()
    sac = d3rlpy.algos.SACConfig().create(device="cpu")

    mopo = MOPOConfig(  # new
        dynamics=pendulum.model(quick), rollout_batch_size=100 if quick else 5_000
    ).create(device="cpu")
    mopo.fit(dataset)  # new
    buffer = mbo.ImaginedReplayBuffer(dataset, mopo, learner=sac)  # new

    sac.fit(
        buffer,  # was: dataset
        n_steps=20 if quick else 20_000,
        n_steps_per_epoch=10 if quick else 2_000,
        evaluators={
            "environment": d3rlpy.metrics.EnvironmentEvaluator(
                env, n_trials=1 if quick else 10
            )
        },
    )
    return sac


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
