"""Training on online after training offline, from the same data.

    python examples/online_after_offline.py [--quick]

The buffer of imagined rows is for offline training: its real data is read-only, so
`fit_online(env, buffer)` is refused. Online, the learner goes on with real rows alone,
in a d3rlpy buffer that is seeded with `buffer.episodes`. `# was:` says what stood there.
"""

import sys

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy

import pendulum
from d3rlpy_mbo_mopo import MOPOConfig


def main(quick: bool = False) -> d3rlpy.dataset.ReplayBuffer:
    """Trains SAC offline, then online; returns the real rows of both."""
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
        n_steps=10 if quick else 10_000,
        n_steps_per_epoch=10 if quick else 2_000,
    )

    online = d3rlpy.dataset.create_fifo_replay_buffer(
        limit=100_000,
        episodes=buffer.episodes,  # was: dataset.episodes; these are the same
        env=env,
        transition_picker=buffer.transition_picker,  # new: for mbo's own datasets
    )
    sac.fit_online(
        env,
        online,
        n_steps=2 * pendulum.N_STEPS if quick else 5_000,
        n_steps_per_epoch=pendulum.N_STEPS if quick else 1_000,
        update_interval=10 if quick else 1,
        eval_env=pendulum.environment(),
        eval_n_trials=1 if quick else 10,
    )
    return online


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
