"""The arguments of a run that need no data to be found wrong."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from ..learners.reading import (
    AnyLearner,
    is_distributed,
    is_evaluation,
    is_transformer,
)
from ..registry.fields import COUNT
from ..support.devices import validate_device
from ..support.errors import CompositionError, suggest
from .logging import validate_logger

__all__ = [
    "validate_arguments",
    "validate_checkpoints",
    "validate_logging",
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
