"""A loop over epochs with d3rlpy's `fitter`, evaluators and TensorBoard.

    pip install tensorboardX      # without it d3rlpy's files are written instead
    python examples/fitter.py [--quick]

The buffer takes the dataset's place in `fitter` as in `fit`. Evaluators that look at
the dataset get the buffer too and see its real data alone; `imagination_evaluators`
adds what was imagined. `# was:` says what stood there.
"""

import sys
from importlib.util import find_spec

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
from d3rlpy.logging import FileAdapterFactory, TensorboardAdapterFactory
from d3rlpy.metrics import EnvironmentEvaluator, EvaluatorProtocol, TDErrorEvaluator

import pendulum
from d3rlpy_mbo_mopo import MOPOConfig


def main(quick: bool = False) -> list[float]:
    """Trains TD3+BC; returns the return of each epoch."""
    d3rlpy.seed(0)
    dataset, env = pendulum.dataset(10 if quick else 200), pendulum.environment()
    learner = d3rlpy.algos.TD3PlusBCConfig().create(device="cpu")

    mopo = MOPOConfig(  # new
        dynamics=pendulum.model(quick), rollout_batch_size=100 if quick else 5_000
    ).create(device="cpu")
    mopo.fit(dataset)  # new
    buffer = mbo.ImaginedReplayBuffer(dataset, mopo, learner=learner)  # new

    evaluators: dict[str, EvaluatorProtocol] = {
        "environment": EnvironmentEvaluator(env, n_trials=1 if quick else 10),
        "td_error": TDErrorEvaluator(),
        **mbo.imagination_evaluators(buffer),  # new
    }
    has_tensorboard = find_spec("tensorboardX") is not None
    returns = []
    for epoch, metrics in learner.fitter(
        buffer,  # was: dataset
        n_steps=20 if quick else 20_000,
        n_steps_per_epoch=10 if quick else 2_000,
        evaluators=evaluators,
        logger_adapter=(
            TensorboardAdapterFactory() if has_tensorboard else FileAdapterFactory()
        ),
    ):
        returns.append(metrics["environment"])
        print(
            f"epoch {epoch}: return {returns[-1]:.0f}, "
            f"{metrics['imagined_share']:.0%} of the rows imagined"
        )
    return returns


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
