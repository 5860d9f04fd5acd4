"""fit(): one call that imagines, trains and evaluates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import gymnasium
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.logging import LoggerAdapterFactory
from d3rlpy.metrics import EvaluatorProtocol

from ..buffer.replay_buffer import validate_dataset
from ..buffer.shares import imaginations_of
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..learners.reading import AnyLearner
from .arguments import (
    validate_arguments,
    validate_checkpoints,
    validate_logging,
    validated_epochs,
)
from .training import Run
from .transformers import target_return_of
from .validation import validate_parts

__all__ = ["fit"]


def fit(
    learner: AnyLearner,
    dataset: Union[ReplayBufferBase, RealData],
    imagination: Union[Imagination, Sequence[Imagination]],
    n_steps: int,
    *,
    n_steps_per_epoch: int = 10_000,
    env: Optional[gymnasium.Env[Any, Any]] = None,
    n_trials: int = 10,
    real_ratio: Optional[float] = None,
    shares: Optional[Sequence[float]] = None,
    evaluators: Optional[Mapping[str, EvaluatorProtocol]] = None,
    logger_adapter: Optional[LoggerAdapterFactory] = None,
    checkpoint: Optional[Union[str, Path]] = None,
    checkpoint_interval: Optional[int] = None,
    target_return: Optional[float] = None,
    **fit_arguments: Any,
) -> list[tuple[int, dict[str, float]]]:
    """Trains a learner on real and imagined transitions.

    Fits imaginations that are not fitted, builds the buffer, calls `learner.fit` with
    evaluators for the environment and the imaginations, and writes the imaginations'
    configs and what their fits measured beside the learner's. `d3rlpy.seed(n)` before
    this call determines everything, including the evaluation episodes, if the
    imaginations are new: a dynamics updater leaves a fitted one changed.

    Args:
        learner: Any d3rlpy algorithm for the data's kind of actions; transformers too.
        dataset: Real data, which is read once; or what `RealData.of` read of it.
        imagination: One, several, or none (``[]``): the learner alone.
        n_steps: Gradient steps.
        n_steps_per_epoch: Steps from one evaluation to the next; n_steps if larger.
        env: To evaluate in after each epoch; logged as ``environment``, mean raw return.
        n_trials: Episodes of an evaluation.
        real_ratio: See `ImaginedReplayBuffer`.
        shares: See `ImaginedReplayBuffer`.
        evaluators: More evaluators, by name.
        logger_adapter: d3rlpy's, by default files under ``d3rlpy_logs``.
        checkpoint: Folder in which the run is kept while it trains. If it holds this run
            already, the call goes on from there, and ends as if it had never stopped:
            with the same weights and metrics (except times), bit for bit on a CPU.
            SIGTERM and Ctrl-C end it at a checkpoint. It also goes on if `n_steps` is
            larger than before.
        checkpoint_interval: Epochs from one checkpoint to the next, in the training and
            in models' fits; by default so many that checkpoints take a hundredth of the
            time.
        target_return: The return that a transformer is asked for in evaluations, in raw
            rewards; by default that of the data's best episode.
        **fit_arguments: Passed to `learner.fit`; ``show_progress=False`` also keeps the
            imaginations' fits quiet.

    Returns:
        (epoch, metrics) for each epoch, as `learner.fit` returns it; also for
        transformers, whose own `fit` returns nothing.

    Raises:
        CompositionError: An argument has no use, n_steps is no whole number of epochs, or
            components, data, environment and learner do not fit each other; nothing is
            fitted or written then.
        DatasetError, TerminationRequiredError: The dataset does not fit; likewise.
        DivergedError: A model's loss, or too much of what it imagines, is not finite.
        CheckpointError: The folder holds another run, or no complete checkpoint.
    """
    n_steps_per_epoch = validated_epochs(n_steps, n_steps_per_epoch)
    validate_arguments(
        learner,
        n_trials=n_trials,
        evaluators=evaluators,
        logger_adapter=logger_adapter,
        fit_arguments=fit_arguments,
    )
    validate_logging(learner, n_steps_per_epoch, fit_arguments)
    validate_checkpoints(learner, checkpoint, checkpoint_interval, fit_arguments)
    imaginations = imaginations_of(imagination)
    validate_dataset(dataset)
    real = RealData.of(dataset)
    validate_parts(learner, real, imaginations, real_ratio, shares, env)
    run = Run(
        learner,
        real,
        imaginations,
        n_steps,
        n_steps_per_epoch=n_steps_per_epoch,
        env=env,
        n_trials=n_trials,
        real_ratio=real_ratio,
        shares=shares,
        target_return=target_return_of(learner, real, target_return),
    )
    if checkpoint is None:
        return run.train(None, evaluators, logger_adapter, fit_arguments)
    with run.checkpoints(Path(checkpoint), checkpoint_interval) as kept:
        return run.train(kept, evaluators, logger_adapter, fit_arguments)
