"""A script in CORL's manner: a dictionary of arrays, its own normalisation, a loop.

    python examples/corl_arrays.py [--quick]

Such scripts hold D4RL's columns, `qlearning_dataset`'s or HDF5's, and draw batches from
them by hand. `mbo.dataset_from_arrays` takes the arrays as they are, next observations
and time limits included; normalising is the learner's scaler, which keeps the model in
the data's units. `# was:` says what stood there.
"""

import sys

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
from d3rlpy.preprocessing import StandardObservationScaler

import pendulum
from d3rlpy_mbo_mopo import MOPOConfig


def main(quick: bool = False) -> list[float]:
    """Trains IQL on arrays; returns the return of each epoch."""
    d3rlpy.seed(0)
    env = pendulum.environment()
    data = pendulum.arrays(10 if quick else 200)  # was: d4rl.qlearning_dataset(env)
    # was: mean, std = compute_mean_std(data["observations"], eps=1e-3)
    # was: data["observations"] = normalize_states(data["observations"], mean, std)
    # was: buffer = ReplayBuffer(...); buffer.load_d4rl_dataset(data)
    dataset = mbo.dataset_from_arrays(
        data["observations"],
        data["actions"],
        data["rewards"],
        next_observations=data["next_observations"],
        terminals=data["terminals"],
        timeouts=data["timeouts"],
    )
    iql = d3rlpy.algos.IQLConfig(observation_scaler=StandardObservationScaler()).create(
        device="cpu"
    )
    mopo = MOPOConfig(
        dynamics=pendulum.model(quick),
        rollout_batch_size=100 if quick else 5_000,
    ).create(device="cpu")
    # was: for t in range(n_steps):
    # was:     batch = buffer.sample(256)
    # was:     trainer.train(batch)
    # was:     if (t + 1) % eval_freq == 0: eval_actor(env, actor, ...)
    epochs = mbo.fit(
        iql,
        dataset,
        mopo,
        n_steps=20 if quick else 20_000,
        n_steps_per_epoch=10 if quick else 2_000,
        env=env,
        n_trials=1 if quick else 10,
    )
    return [metrics["environment"] for _, metrics in epochs]


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
