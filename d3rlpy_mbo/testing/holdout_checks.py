"""Checks of the rows that dynamics hold out, and of their errors."""

import math
from collections.abc import Callable
from typing import Any, Optional

import torch

from ..data.transitions import Transitions
from .running import conformance_check
from .subjects import Subject

__all__ = ["check_holdout_errors", "check_holdout_left_out"]


@conformance_check("dynamics")
def check_holdout_errors(subject: Subject) -> None:
    """Checks that it holds out some of the rows it was fitted on, and measures them."""
    model, rows = subject.ready, subject.fitted_on
    wrong = _wrong_indices(model.holdout_indices, len(rows))
    if wrong is not None:
        raise subject.violation(
            f"holdout_indices must be int64, of some of the {len(rows)} rows that it was "
            "fitted on, each once",
            wrong,
            "indices of rows that were shuffled or left out before, a mask, or all rows",
        )
    try:
        errors = model.holdout_errors(rows)
    except Exception as error:
        raise subject.violation(
            "holdout_errors must measure the rows that were given to fit",
            subject.raised(error),
            "an attribute that fit does not set; it is asked after every fit, when hours "
            "have been spent",
        ) from error
    for name, value in errors.items():
        if not isinstance(value, float) or not math.isfinite(value):
            raise subject.violation(
                f"holdout_errors must hold finite floats, and {name!r} is none",
                repr(value),
                "a tensor: write float(...); or a mean of no rows",
            )


def _wrong_indices(indices: torch.Tensor, n_rows: int) -> Optional[str]:
    """Returns what is wrong with the indices of hold-out rows, if anything is."""
    if indices.dtype != torch.int64 or indices.dim() != 1:
        return f"{indices.dtype} of shape {tuple(indices.shape)}"
    if not len(indices):
        return None
    if int(indices.min()) < 0 or int(indices.max()) >= n_rows:
        return f"indices from {int(indices.min())} to {int(indices.max())}"
    n_other = len(torch.unique(indices))
    if n_other < len(indices) or n_other == n_rows:
        return f"{len(indices)} indices of {n_other} rows"
    return None


@conformance_check("dynamics_updater")
def check_holdout_left_out(subject: Subject) -> None:
    """Checks that it trains the model on no row that its hold-out error is measured on."""
    dynamics, transitions, learner = subject.inputs()
    trained: list[Transitions] = []
    for name in ("training_loss", "training_loss_and_sample"):
        setattr(dynamics, name, _noting(getattr(dynamics, name), trained))
    subject.ask(subject.ready, (dynamics, transitions, learner))
    held_out = set(_states(transitions[dynamics.holdout_indices]))
    states = [state for rows in trained for state in _states(rows)]
    n_held_out = sum(state in held_out for state in states)
    if n_held_out:
        raise subject.violation(
            "it must not train the model on rows that were held out",
            f"{n_held_out} of {len(states)} rows that it trained on",
            "dynamics.holdout_indices are not left out: model_holdout_error, which is "
            "logged after each update, would tell nothing any more",
        )


def _noting(
    method: Callable[..., Any], trained: list[Transitions]
) -> Callable[..., Any]:
    """Returns the method, which notes the rows whose loss somebody takes a gradient of.

    One that is only read, as an error to stop by, trains nothing.
    """

    def noted(transitions: Transitions, *others: Any) -> Any:
        found = method(transitions, *others)
        loss = found[0] if isinstance(found, tuple) else found
        if loss.requires_grad:
            loss.register_hook(lambda _: trained.append(transitions))
        return found

    return noted


def _states(rows: Transitions) -> list[tuple[float, ...]]:
    return list(map(tuple, rows.observations.tolist()))
