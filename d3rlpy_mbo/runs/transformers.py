"""Transformers like other learners: with our evaluations, and metrics as a result.

d3rlpy's `fit` of a transformer takes no evaluators and returns nothing. It calls back after
each step, and commits an epoch's metrics to its logger's adapter: there ours join them.
"""

from collections.abc import Callable
from typing import Any, Optional

import gymnasium
from d3rlpy.constants import LoggingStrategy
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.interface import StatefulTransformerAlgoProtocol
from d3rlpy.logging import LoggerAdapter, LoggerAdapterFactory
from d3rlpy.metrics import EnvironmentEvaluator, EvaluatorProtocol
from d3rlpy.metrics.utility import evaluate_transformer_with_environment

from ..data.real_data import RealData
from ..learners.reading import is_transformer
from ..registry.fields import Number
from ..support.errors import CompositionError

__all__ = [
    "acting",
    "environment_evaluator",
    "fit_with_evaluators",
    "target_return_of",
    "validate_target_return",
]

Epochs = list[tuple[int, dict[str, float]]]

_RETURN = Number()


def validate_target_return(learner: Any, target_return: Optional[float]) -> None:
    """Refuses a target that is no number, or a learner that has no use for it.

    Args:
        learner: Any d3rlpy algorithm.
        target_return: Asked for by the user, in raw rewards; None if nothing was.

    Raises:
        CompositionError: Says which.
    """
    if target_return is None:
        return
    _RETURN.validated("target_return", target_return)
    if not is_transformer(learner):
        raise CompositionError(
            f"target_return is {target_return}, but {type(learner).__name__} cannot be "
            "asked for a return: only transformers can. Leave target_return out."
        )


def target_return_of(
    learner: Any, real: RealData, target_return: Optional[float] = None
) -> Optional[float]:
    """Returns what a learner is asked to reach: None unless it is a transformer.

    Args:
        learner: Any d3rlpy algorithm.
        real: Real data; its best episode's return is the default (ours).
        target_return: Asked for by the user, in raw rewards.

    Raises:
        CompositionError: See `validate_target_return`.
    """
    validate_target_return(learner, target_return)
    if not is_transformer(learner):
        return None
    return real.rewards.best_return if target_return is None else float(target_return)


def acting(
    learner: Any,
    target_return: Optional[float],
    action_sampler: Optional[Callable[..., Any]] = None,
) -> StatefulTransformerAlgoProtocol:
    """Returns what acts step by step, told of the last reward: d3rlpy's form for all.

    Args:
        learner: Any d3rlpy algorithm, built.
        target_return: What a transformer is asked to reach.
        action_sampler: d3rlpy's, of a transformer; by default the one it chooses.
    """
    if not is_transformer(learner):
        return _Memoryless(learner)
    wrapped: StatefulTransformerAlgoProtocol = learner.as_stateful_wrapper(
        target_return, action_sampler
    )
    return wrapped


class _Memoryless:
    """Acts on the observation alone."""

    def __init__(self, learner: Any):
        self._learner = learner

    def predict(self, x: Any, reward: float) -> Any:
        return self._learner.predict(x[None])[0]

    def reset(self) -> None:
        pass


def environment_evaluator(
    learner: Any,
    env: gymnasium.Env[Any, Any],
    n_trials: int,
    target_return: Optional[float],
    action_sampler: Optional[Callable[..., Any]] = None,
) -> EvaluatorProtocol:
    """Returns what plays episodes and returns their mean raw return.

    Args:
        learner: Any d3rlpy algorithm.
        env: To play in.
        n_trials: Episodes.
        target_return: What a transformer is asked to reach, in raw rewards.
        action_sampler: d3rlpy's, of a transformer; by default the one it chooses.
    """
    if not is_transformer(learner):
        return EnvironmentEvaluator(env, n_trials=n_trials)
    return _TransformerEvaluator(env, n_trials, target_return, action_sampler)


class _TransformerEvaluator:
    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        n_trials: int,
        target_return: Optional[float],
        action_sampler: Optional[Callable[..., Any]],
    ):
        self._env, self._n_trials = env, n_trials
        self._target_return, self._action_sampler = target_return, action_sampler

    def __call__(self, algo: Any, dataset: ReplayBufferBase) -> float:
        acts = acting(algo, self._target_return, self._action_sampler)
        return evaluate_transformer_with_environment(acts, self._env, self._n_trials)


def fit_with_evaluators(
    learner: Any,
    buffer: ReplayBufferBase,
    *,
    n_steps: int,
    n_steps_per_epoch: int,
    evaluators: dict[str, EvaluatorProtocol],
    logger_adapter: LoggerAdapterFactory,
    **fit_arguments: Any,
) -> Epochs:
    """Calls `learner.fit`, which evaluates after each epoch, a transformer's too.

    Args:
        learner: Any d3rlpy algorithm.
        buffer: What it trains on.
        n_steps: Gradient steps.
        n_steps_per_epoch: Steps from one evaluation to the next.
        evaluators: By name.
        logger_adapter: d3rlpy's.
        **fit_arguments: Handed on to `learner.fit`.

    Returns:
        (epoch, metrics) for each epoch.
    """
    if not is_transformer(learner):
        by_steps = fit_arguments.get("logging_strategy") == LoggingStrategy.STEPS
        noted: dict[str, list[float]] = {name: [] for name in evaluators if by_steps}
        epochs: Epochs = learner.fit(
            buffer,
            n_steps=n_steps,
            n_steps_per_epoch=n_steps_per_epoch,
            evaluators={
                name: _noting(each, noted[name]) if by_steps else each
                for name, each in evaluators.items()
            },
            logger_adapter=logger_adapter,
            **fit_arguments,
        )
        return [
            (epoch, {**metrics, **{name: values[i] for name, values in noted.items()}})
            for i, (epoch, metrics) in enumerate(epochs)
        ]
    recorder = _Recorder(logger_adapter)
    callback = fit_arguments.pop("callback", None)

    def after_step(algo: Any, epoch: int, total_step: int) -> None:
        if callback is not None:
            callback(algo, epoch, total_step)
        if total_step % n_steps_per_epoch == 0:
            for name, evaluator in evaluators.items():
                recorder.evaluated[name] = evaluator(algo, buffer)

    learner.fit(
        buffer,
        n_steps=n_steps,
        n_steps_per_epoch=n_steps_per_epoch,
        logger_adapter=recorder,
        callback=after_step,
        **fit_arguments,
    )
    return recorder.epochs


def _noting(evaluator: EvaluatorProtocol, values: list[float]) -> EvaluatorProtocol:
    """Returns an evaluator that also notes its values.

    Where d3rlpy logs by steps, an epoch's evaluations are among the metrics of the next
    steps that are logged: of the next epoch, and after the last one nowhere.
    """

    def noted(algo: Any, dataset: ReplayBufferBase) -> float:
        values.append(evaluator(algo, dataset))
        return values[-1]

    return noted


class _Recorder(LoggerAdapterFactory):
    """Keeps what is logged of each epoch, and logs what was evaluated beside it.

    Args:
        factory: Of the logger that logs.
    """

    def __init__(self, factory: LoggerAdapterFactory):
        self._factory = factory
        self.metrics: dict[str, float] = {}
        self.evaluated: dict[str, float] = {}
        self.epochs: Epochs = []

    def create(
        self, algo: Any, experiment_name: str, n_steps_per_epoch: int
    ) -> LoggerAdapter:
        """See d3rlpy's `LoggerAdapterFactory`."""
        adapter = self._factory.create(algo, experiment_name, n_steps_per_epoch)
        return _Recording(adapter, self)


class _Recording(LoggerAdapter):
    """A logger's adapter, and a recorder that hears what it is told of the training.

    Nothing of the adapter is replaced: what is told to it by others is not heard.
    """

    def __init__(self, adapter: LoggerAdapter, recorder: _Recorder):
        self._adapter, self._recorder = adapter, recorder

    def write_params(self, params: dict[str, Any]) -> None:
        self._adapter.write_params(params)

    def before_write_metric(self, epoch: int, step: int) -> None:
        self._adapter.before_write_metric(epoch, step)

    def write_metric(self, epoch: int, step: int, name: str, value: float) -> None:
        self._recorder.metrics[name] = value
        self._adapter.write_metric(epoch, step, name, value)

    def after_write_metric(self, epoch: int, step: int) -> None:
        recorder = self._recorder
        for name, value in recorder.evaluated.items():
            self.write_metric(epoch, step, name, value)
        recorder.epochs.append((epoch, recorder.metrics))
        recorder.metrics, recorder.evaluated = {}, {}
        self._adapter.after_write_metric(epoch, step)

    def save_model(self, epoch: int, algo: Any) -> None:
        self._adapter.save_model(epoch, algo)

    def watch_model(self, epoch: int, step: int) -> None:
        self._adapter.watch_model(epoch, step)

    def close(self) -> None:
        self._adapter.close()
