"""Choosing a saved model by fitted Q evaluation, without the environment.

    python examples/fqe_selection.py [--quick]

`fit` saves a model after each epoch; FQE then says what each would return from the
dataset's first observations. FQE is fitted on the real dataset, as before: what is to
be judged should not have been imagined. `# was:` says what stood there.
"""

import sys
from pathlib import Path

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
from d3rlpy.metrics import InitialStateValueEstimationEvaluator
from d3rlpy.ope import FQE, FQEConfig

import pendulum
from d3rlpy_mbo_romi import ROMIConfig


def main(quick: bool = False, logs: str = "d3rlpy_logs") -> dict[str, float]:
    """Trains CQL; returns FQE's value of each saved model, the best one first."""
    d3rlpy.seed(0)
    dataset = pendulum.dataset(10 if quick else 200)
    cql = d3rlpy.algos.CQLConfig().create(device="cpu")

    romi = ROMIConfig(  # new
        dynamics=pendulum.model(quick),
        rollout_policy=mbo.UniformPolicyConfig(),
        rollout_batch_size=100 if quick else 5_000,
    ).create(device="cpu")
    romi.fit(dataset)  # new
    buffer = mbo.ImaginedReplayBuffer(dataset, romi, learner=cql)  # new

    cql.fit(
        buffer,  # was: dataset
        n_steps=10 if quick else 10_000,
        n_steps_per_epoch=5 if quick else 2_000,
        experiment_name="selection",
        with_timestamp=False,
        logger_adapter=d3rlpy.logging.FileAdapterFactory(logs),
    )

    values = {}
    for path in sorted(Path(logs, "selection").glob("model_*.d3")):
        candidate = mbo.load_learner(path)  # was: d3rlpy.load_learnable(path)
        assert isinstance(candidate, d3rlpy.algos.QLearningAlgoBase)
        fqe = FQE(candidate, FQEConfig(), device="cpu")
        [(_, metrics)] = fqe.fit(
            dataset,  # as it was
            n_steps=5 if quick else 2_000,
            n_steps_per_epoch=5 if quick else 2_000,
            evaluators={"value": InitialStateValueEstimationEvaluator()},
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        )
        values[path.name] = metrics["value"]
    best_first = sorted(values, key=values.__getitem__, reverse=True)
    for name in best_first:
        print(f"{name}: {values[name]:.2f}")
    return {name: values[name] for name in best_first}


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
