"""fit(): one call that imagines, trains and evaluates."""

from collections.abc import Sequence
from typing import Any, Optional, Union

import d3rlpy
import gymnasium
import numpy as np
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.logging import FileAdapterFactory, LoggerAdapter, LoggerAdapterFactory
from d3rlpy.metrics import EnvironmentEvaluator, EvaluatorProtocol

from .. import learners
from ..buffer.replay_buffer import ImaginedReplayBuffer
from ..buffer.shares import batch_shares
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..learners.reading import Learner
from ..metrics import imagination_evaluators
from ..registry.json_form import encode
from ..support.errors import CompositionError

__all__ = ["build_for_critics", "fit", "validate_parts", "validated_epochs"]


def fit(
    learner: Learner,
    dataset: Union[ReplayBufferBase, RealData],
    imagination: Union[Imagination, Sequence[Imagination]],
    n_steps: int,
    *,
    n_steps_per_epoch: int = 10_000,
    env: Optional[gymnasium.Env[Any, Any]] = None,
    n_trials: int = 10,
    real_ratio: Optional[float] = None,
    shares: Optional[Sequence[float]] = None,
    evaluators: Optional[dict[str, EvaluatorProtocol]] = None,
    logger_adapter: Optional[LoggerAdapterFactory] = None,
    **fit_arguments: Any,
) -> list[tuple[int, dict[str, float]]]:
    """Trains a learner on real and imagined transitions.

    Fits imaginations that are not fitted, builds the buffer, calls `learner.fit` with
    evaluators for the environment and the imaginations, and writes the imaginations'
    configs beside the learner's. `d3rlpy.seed(n)` before it decides everything, the
    evaluation episodes included, if the imaginations are new: a dynamics updater leaves
    a fitted one changed.

    Args:
        learner: Any continuous d3rlpy Q-learning algorithm.
        dataset: Real data; it is read once. What `RealData.of` read of it does as well.
        imagination: One, several, or none (``[]``): the learner alone.
        n_steps: Gradient steps.
        n_steps_per_epoch: Steps from one evaluation to the next; n_steps if larger.
        env: Evaluated in after each epoch as ``environment``: mean raw return.
        n_trials: Episodes of an evaluation.
        real_ratio: See `ImaginedReplayBuffer`.
        shares: See `ImaginedReplayBuffer`.
        evaluators: More of them.
        logger_adapter: d3rlpy's, by default files under ``d3rlpy_logs``.
        **fit_arguments: Handed on to `learner.fit`.

    Returns:
        (epoch, metrics) for each epoch, as `learner.fit` returns it.

    Raises:
        CompositionError: Steps that are no whole number of epochs, or parts that do
            not fit; nothing is trained then.
        DatasetError, TerminationRequiredError: A dataset that does not fit; likewise.
    """
    n_steps_per_epoch = validated_epochs(n_steps, n_steps_per_epoch)
    # Drawn first, so that runs with the same seed are evaluated from the same starts
    # whatever they imagine.
    evaluation_seed = int(np.random.randint(2**31))
    imaginations = (
        [imagination] if isinstance(imagination, Imagination) else list(imagination)
    )
    real = RealData.of(dataset)
    validate_parts(learner, real, imaginations, real_ratio, shares)
    build_for_critics(learner, real, imaginations)
    for each in imaginations:
        if not each.fitted:
            each.fit(real)
    buffer = ImaginedReplayBuffer(real, imaginations, learner, real_ratio, shares)
    every: dict[str, EvaluatorProtocol] = {**imagination_evaluators(buffer)}
    if env is not None:
        d3rlpy.envs.seed_env(env, evaluation_seed)
        every["environment"] = EnvironmentEvaluator(env, n_trials=n_trials)
    return learner.fit(
        buffer,
        n_steps=n_steps,
        n_steps_per_epoch=n_steps_per_epoch,
        evaluators={**every, **(evaluators or {})},
        logger_adapter=_WithImaginations(
            logger_adapter or FileAdapterFactory(), imaginations
        ),
        **fit_arguments,
    )


def validate_parts(
    learner: Learner,
    real: RealData,
    imaginations: Sequence[Imagination],
    real_ratio: Optional[float] = None,
    shares: Optional[Sequence[float]] = None,
) -> None:
    """Refuses what `fit` cannot train, before hours go into its models.

    Args, Raises: as `fit`.
    """
    learners.check(learner)
    batch_shares(imaginations, real_ratio, shares)
    real.validate_for_learners()
    for each in imaginations:
        if each.fitted:
            each.check_ready(real.transitions)
        else:
            each.check_fittable(real.transitions)
        real.start_rows(each.dynamics.direction)
    if learners.is_built(learner):
        _validate_sizes(learner, real, critic=_needs_critic(imaginations))


def build_for_critics(
    learner: Learner, real: RealData, imaginations: Sequence[Imagination]
) -> None:
    """Builds a learner whose critic an imagination will ask: not all of them have one.

    Raises:
        CompositionError: It has no critic.
    """
    if _needs_critic(imaginations) and not learners.is_built(learner):
        # Any buffer does: it is asked for a transition and an action size.
        learner.build_with_dataset(real.dataset)  # type: ignore[arg-type]
        _validate_sizes(learner, real, critic=True)


def _needs_critic(imaginations: Sequence[Imagination]) -> bool:
    updaters = [each.dynamics_updater for each in imaginations]
    return any(each is not None and each.needs_critic for each in updaters)


def _validate_sizes(learner: Learner, real: RealData, critic: bool) -> None:
    sizes = real.transitions.observation_size, real.transitions.action_size
    learners.check_built(learner, *sizes, critic=critic)


def validated_epochs(n_steps: int, n_steps_per_epoch: int) -> int:
    """Returns the steps of an epoch, at most n_steps.

    Raises:
        CompositionError: n_steps is no whole number of epochs.
    """
    n_steps_per_epoch = min(n_steps, n_steps_per_epoch)
    if n_steps_per_epoch < 1 or n_steps % n_steps_per_epoch:
        raise CompositionError(
            f"n_steps is {n_steps}, which is no whole number of epochs of "
            f"{n_steps_per_epoch} steps: d3rlpy would leave the rest out silently. "
            "Change n_steps or n_steps_per_epoch."
        )
    return n_steps_per_epoch


class _WithImaginations(LoggerAdapterFactory):
    """Adds the imaginations' configs to the hyperparameters that d3rlpy writes."""

    def __init__(
        self, factory: LoggerAdapterFactory, imaginations: Sequence[Imagination]
    ):
        self._factory = factory
        self._configs = [encode(each.config) for each in imaginations]

    def create(
        self, algo: Any, experiment_name: str, n_steps_per_epoch: int
    ) -> LoggerAdapter:
        adapter = self._factory.create(algo, experiment_name, n_steps_per_epoch)
        write_params = adapter.write_params

        def write_all(params: dict[str, Any]) -> None:
            write_params({**params, "imaginations": self._configs})

        adapter.write_params = write_all  # type: ignore[method-assign]
        return adapter
