"""One validation of everything that a run is given, before hours go into its models."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy.typing as npt
from d3rlpy.algos import BC, DiscreteBC, QLearningAlgoBase, TransformerAlgoBase
from d3rlpy.constants import LoggingStrategy
from d3rlpy.logging import FileAdapterFactory
from d3rlpy.metrics import (
    AverageValueEstimationEvaluator,
    DiscountedSumOfAdvantageEvaluator,
    EnvironmentEvaluator,
    InitialStateValueEstimationEvaluator,
    SoftOPCEvaluator,
    TDErrorEvaluator,
)

from .. import learners
from ..buffer.fill import Fill, validate_fills
from ..buffer.processes import validate_processes
from ..buffer.shares import batch_shares
from ..buffer.source import validate_rows
from ..buffer.transformers import validate_transformer, validate_with_transformer
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..learners.building import build, made_again
from ..learners.reading import (
    AnyLearner,
    is_distributed,
    is_evaluation,
    is_transformer,
    validate_real_ratio,
)
from ..learners.returns import uses_returns, validate_unknown_returns
from ..learners.scalers import validate_scalers, warn_beyond_range
from ..registry.fields import COUNT, Number
from ..support.devices import validate_device
from ..support.errors import CompositionError, D3RLPyMBOError, suggest
from ..support.generators import generators_kept
from .environments import validate_environment
from .logging import validate_logger

__all__ = [
    "build_for_critics",
    "validate_arguments",
    "validate_checkpoints",
    "validate_logging",
    "validate_parts",
    "validate_together",
    "validated_epochs",
]

# Arguments of d3rlpy's fit that ours sets itself.
_OURS = (
    "self",
    "dataset",
    "n_steps",
    "n_steps_per_epoch",
    "evaluators",
    "logger_adapter",
)

# Those that d3rlpy would find wrong once it trains, or at the end of an epoch.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "callback": (callable, "a function of (algo, epoch, total_step)"),
    "epoch_callback": (callable, "a function of (algo, epoch, total_step)"),
    "experiment_name": (lambda given: isinstance(given, str), "text"),
    "logging_strategy": (
        lambda given: isinstance(given, LoggingStrategy),
        "one of d3rlpy's: d3rlpy.LoggingStrategy.EPOCH or STEPS",
    ),
}

# Of a learner's config: d3rlpy takes any number for them, and asks for a batch only once
# the models are fitted. gamma = 99 for .99 makes values that grow until they are NaN.
_NUMBERS = {
    "batch_size": COUNT,
    "gamma": Number(at_least=0, at_most=1),
    "tau": Number(at_least=0, at_most=1),  # of the target networks
}

# Evaluators of d3rlpy's that ask for Q-values; the others ask for actions.
_OF_VALUES = (
    AverageValueEstimationEvaluator,
    DiscountedSumOfAdvantageEvaluator,
    InitialStateValueEstimationEvaluator,
    SoftOPCEvaluator,
    TDErrorEvaluator,
)

# How d3rlpy's transformers are told to evaluate themselves.
_EVALUATION = {"eval_env", "eval_target_return"}


def validated_epochs(n_steps: Any, n_steps_per_epoch: Any) -> int:
    """Returns the steps of an epoch, at most n_steps.

    Raises:
        CompositionError: No whole numbers, or n_steps is no whole number of epochs.
    """
    n_steps = COUNT.validated("n_steps", n_steps)
    n_steps_per_epoch = COUNT.validated("n_steps_per_epoch", n_steps_per_epoch)
    n_steps_per_epoch = min(n_steps, n_steps_per_epoch)
    if n_steps % n_steps_per_epoch:
        raise CompositionError(
            f"n_steps is {n_steps}, which is no whole number of epochs of "
            f"{n_steps_per_epoch} steps: d3rlpy would silently leave out the rest. "
            "Change n_steps or n_steps_per_epoch."
        )
    return int(n_steps_per_epoch)


def validate_arguments(
    learner: Any,
    *,
    n_trials: Any,
    evaluators: Any,
    logger_adapter: Any,
    fit_arguments: dict[str, Any],
) -> None:
    """Refuses arguments of `fit` that need no data to be found wrong.

    Raises:
        CompositionError: By name.
    """
    learners.check(learner)
    validate_device(learner._device)
    COUNT.validated("n_trials", n_trials)
    validate_logger(FileAdapterFactory() if logger_adapter is None else logger_adapter)
    if evaluators is not None and not isinstance(evaluators, Mapping):
        raise CompositionError(
            f"evaluators is {type(evaluators).__name__}, expected a dict of names and "
            'evaluators: {"td_error": d3rlpy.metrics.TDErrorEvaluator()}.'
        )
    for name, evaluator in (evaluators or {}).items():
        usable = callable(evaluator) and not isinstance(evaluator, type)
        if not isinstance(name, str) or "/" in name or not usable:
            raise CompositionError(
                f"evaluators holds {name!r}: {evaluator!r}, expected a name without "
                '"/" and an evaluator: an instance, called with (algo, dataset).'
            )
        _validate_evaluator(learner, name, evaluator)
    for name in ("save_interval", "logging_steps"):
        if name in fit_arguments:
            COUNT.validated(name, fit_arguments[name])
    for name, (allowed, expected) in _KINDS.items():
        given = fit_arguments.get(name)
        if given is not None and not allowed(given):
            raise CompositionError(f"{name} is {given!r}, expected {expected}.")
    if learners.is_transformer(learner) and _EVALUATION & set(fit_arguments):
        raise CompositionError(
            f"fit got {sorted(_EVALUATION & set(fit_arguments))}, which would make "
            f"{type(learner).__name__}.fit play ten episodes by itself. Pass env, "
            "n_trials and target_return instead, as for all learners."
        )
    known = [name for name in _arguments_of_fit(learner) if name not in _OURS]
    for name in fit_arguments:
        if name not in known:
            raise CompositionError(
                f"fit got an argument {name!r}, which neither mbo.fit nor "
                f"{type(learner).__name__}.fit has. {suggest(name, known)}"
            )


def _validate_evaluator(learner: Any, name: str, evaluator: Any) -> None:
    """Refuses an evaluator of d3rlpy's that fails with this learner, after an epoch.

    Raises:
        CompositionError: It asks for what a transformer, or BC, does not have.
    """
    kind, who = type(evaluator), type(learner).__name__
    if is_transformer(learner) and kind.__module__ == EnvironmentEvaluator.__module__:
        raise CompositionError(
            f"evaluators holds {name!r}: d3rlpy's {kind.__name__} asks for actions or "
            f"values at single states, but {who} acts from a whole context and has no "
            "values. Leave it out; for returns in an environment pass env, n_trials and "
            "target_return to mbo.fit."
        )
    if type(learner) in (BC, DiscreteBC) and kind in _OF_VALUES:
        raise CompositionError(
            f"evaluators holds {name!r}: d3rlpy's {kind.__name__} asks for Q-values, but "
            f"{who} has none. Leave it out."
        )


def _arguments_of_fit(learner: Any) -> dict[str, inspect.Parameter]:
    """Returns the arguments of a learner's `fit` by name.

    One that does something of its own and calls d3rlpy's with ``**kwargs`` has those of
    d3rlpy's too.
    """
    found = dict(inspect.signature(learner.fit).parameters)
    passed_on = [n for n, each in found.items() if each.kind == each.VAR_KEYWORD]
    for name in passed_on:
        del found[name]
        base: Any = QLearningAlgoBase
        if is_transformer(learner):
            base = TransformerAlgoBase
        found = {**inspect.signature(base.fit).parameters, **found}
    return found


def validate_logging(
    learner: Any, n_steps_per_epoch: int, fit_arguments: dict[str, Any]
) -> None:
    """Refuses epochs in which d3rlpy would log nothing, and fail for want of metrics.

    Raises:
        CompositionError: Steps are logged, and an epoch has fewer than from one to the
            next.
    """
    if fit_arguments.get("logging_strategy") != LoggingStrategy.STEPS:
        return
    default = _arguments_of_fit(learner)["logging_steps"].default
    logging_steps = fit_arguments.get("logging_steps", default)
    if logging_steps > n_steps_per_epoch:
        raise CompositionError(
            f"logging_strategy is STEPS and logging_steps is {logging_steps}, but an epoch "
            f"has {n_steps_per_epoch}: d3rlpy would have logged nothing at its end, and "
            f"fail. Set logging_steps to {n_steps_per_epoch} or less, or leave "
            "logging_strategy out."
        )


def validate_checkpoints(
    learner: AnyLearner, path: Any, interval: Any, fit_arguments: dict[str, Any]
) -> None:
    """Refuses settings with which checkpoints cannot be kept.

    Raises:
        CompositionError: By name.
    """
    if interval is not None:
        COUNT.validated("checkpoint_interval", interval)
        if path is None:
            raise CompositionError(
                f"checkpoint_interval is {interval}, but checkpoint, the folder for "
                "checkpoints, is None. Give a folder, or leave the interval out."
            )
    if path is None:
        return
    if is_distributed(learner):
        raise CompositionError(
            f"checkpoint is {str(path)!r}, but {type(learner).__name__} trains in "
            "several processes (enable_ddp=True), which cannot keep checkpoints "
            "together. Leave checkpoint out, or train in one process."
        )
    if is_evaluation(learner):
        raise CompositionError(
            f"checkpoint is {str(path)!r}, but what {type(learner).__name__} estimates is "
            "a policy's, by which a checkpoint cannot tell runs apart: it would go on with "
            "another's. Leave checkpoint out."
        )
    if not isinstance(path, str | Path) or path == "":
        raise CompositionError(
            f"checkpoint is {path!r}, expected the path of a folder."
        )
    strategy = fit_arguments.get("logging_strategy", LoggingStrategy.EPOCH)
    if strategy != LoggingStrategy.EPOCH:
        raise CompositionError(
            "logging_strategy is STEPS, but a run with checkpoints logs at the end of "
            "each epoch, where they are written. Leave one of the two out."
        )


def validate_parts(
    learner: AnyLearner,
    real: RealData,
    imaginations: Sequence[Imagination],
    real_ratio: Optional[float] = None,
    shares: Optional[Sequence[float]] = None,
    env: Any = None,
) -> None:
    """Refuses what `fit` cannot train on this data.

    Args, Raises: as `fit`.
    """
    learners.check(learner)
    for name, kind in _NUMBERS.items():
        if hasattr(learner.config, name):
            whose = f"{type(learner.config).__name__}.{name}"
            kind.validated(whose, getattr(learner.config, name))
    learners.check_actions(learner, real.transitions.n_actions)
    validate_processes(imaginations, learner)
    every_share = batch_shares(imaginations, real_ratio, shares)
    real.validate_for_learners()
    for each in imaginations:
        if each.fitted:
            each.check_ready(real.transitions)
        else:
            each.check_fittable(real.transitions)
        real.start_rows(each.dynamics.direction)
    validate_fills([Fill.of(each, real, learner) for each in imaginations])
    validate_together(learner, imaginations, every_share)
    _warn_of_unused(imaginations, every_share[1:])
    if learners.is_transformer(learner):
        validate_transformer(learner, real, imaginations, every_share)
    if env is not None:
        validate_environment(env, real)
    validate_scalers(learner, real)
    if learners.is_built(learner):
        _validate_sizes(learner, real, critic=_needs_critic(imaginations))
    else:
        _validate_buildable(learner, real, critic=_needs_critic(imaginations))
    warn_beyond_range(learner, real)


def validate_together(
    learner: AnyLearner,
    imaginations: Sequence[Imagination],
    every_share: npt.NDArray[Any],
) -> None:
    """Refuses a learner that cannot train with imaginations, whatever the data.

    Args:
        learner: Any d3rlpy algorithm.
        imaginations: Fitted or not.
        every_share: Of the real rows, then of each imagination.

    Raises:
        CompositionError: Says what does not go together.
    """
    validate_real_ratio(learner, float(every_share[0]))
    for each in imaginations:
        validate_rows(each, learner)
    if learners.is_transformer(learner):
        validate_with_transformer(learner, imaginations, every_share)
    if uses_returns(learner):
        for each, share in zip(imaginations, every_share[1:], strict=True):
            if share > 0 and each.dynamics.direction == "forward":
                validate_unknown_returns(learner)


def _warn_of_unused(
    imaginations: Sequence[Imagination], shares: npt.NDArray[Any]
) -> None:
    """Tells of models that would be fitted for hours, and of which no batch holds a row."""
    for each, share in zip(imaginations, shares, strict=True):
        if share == 0 and not each.fitted:
            warnings.warn(
                f"The imagination {each.config.get_type()!r} has none of the rows of the "
                "learner's batches (real_ratio is 1, or its share is 0), and its models "
                "are fitted all the same. Leave it out, or lower real_ratio.",
                stacklevel=4,
            )


def build_for_critics(
    learner: AnyLearner, real: RealData, imaginations: Sequence[Imagination]
) -> None:
    """Builds a learner whose critic an imagination will ask: not all of them have one.

    Raises:
        CompositionError: It has no critic.
    """
    if _needs_critic(imaginations) and not learners.is_built(learner):
        build(learner, real.dataset)
        _validate_sizes(learner, real, critic=True)


def _needs_critic(imaginations: Sequence[Imagination]) -> bool:
    return any(each.needs_critic for each in imaginations)


def _validate_sizes(learner: AnyLearner, real: RealData, critic: bool) -> None:
    rows = real.transitions
    learners.check_built(
        learner, rows.observation_size, rows.action_size, critic, rows.n_actions
    )


def _validate_buildable(learner: AnyLearner, real: RealData, critic: bool) -> None:
    """Builds a copy: d3rlpy refuses some settings only then, after the models' hours.

    The learner itself is left to be built where its run begins: that draws.
    """
    name = type(learner).__name__
    with generators_kept():
        try:
            trial = made_again(learner)
            build(trial, real.dataset)
            if not learners.is_built(trial):
                raise CompositionError(
                    f"{name} has no networks, so there is nothing to train: it is for "
                    "collecting data. As a baseline, evaluate it as it is."
                )
            if critic:
                _validate_sizes(trial, real, critic)
        except D3RLPyMBOError:
            raise
        except Exception as error:
            raise CompositionError(
                f"{name} cannot be built on this dataset: {type(error).__name__}: "
                f"{error}. Its config is wrong, or does not fit the data."
            ) from error
