"""Checks of learners."""

import dataclasses
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import numpy as np
import torch

from ..buffer.mini_batch import ImaginedMiniBatch
from ..data.real_data import RealData
from ..learners.loading import load_learner
from ..learners.state import LearnerState
from ..registry.known_learners import with_learner
from .common_checks import close
from .learner_subject import N_LEARNER_STEPS, LearnerSubject, Losses, Trained, rows_of
from .running import conformance_check
from .subjects import Subject

__all__ = [
    "check_learner_discounts_by_intervals",
    "check_learner_goes_on_alike",
    "check_learner_loads_alike",
    "check_learner_takes_any_rows",
    "check_learner_trains",
]

# Ours: a loss depends on the order of the rows if turning a batch round changes its mean
# over the seeds by more than so many times its range over them. Of as many numbers that
# are drawn alike, one split in a hundred thousand is so far apart.
_N_SEEDS, _FAR = 6, 1.5


@conformance_check("learner")
def check_learner_trains(subject: Subject) -> None:
    """Checks that it trains on real and imagined rows, and that its losses are finite."""
    assert isinstance(subject, LearnerSubject)
    n_steps = subject.ready.learner.grad_step
    if n_steps != N_LEARNER_STEPS:
        raise subject.violation(
            f"{N_LEARNER_STEPS} calls of update must be as many gradient steps",
            f"grad_step is {n_steps}",
            "an update of its own that leaves d3rlpy's counter alone",
        )
    _check_finite(
        subject,
        subject.ready.losses,
        "",
        "a division by zero, or the logarithm or root of a number below it",
    )


def _check_finite(subject: Subject, losses: Losses, where: str, cause: str) -> None:
    for name, value in (pair for step in losses for pair in step.items()):
        if not math.isfinite(value):
            raise subject.violation(f"its {name} must stay finite{where}", value, cause)


@conformance_check("learner")
def check_learner_takes_any_rows(subject: Subject) -> None:
    """Checks that it trains on real rows alone, on imagined ones alone, in any order.

    A batch may have no rows of one kind; `imagined` says which rows are imagined, not
    their places.
    """
    assert isinstance(subject, LearnerSubject)
    batch = subject.fitted_on[0]
    learner = subject.created()
    imagined = batch.imagined[:, 0]
    for kind, other, of_kind in (
        ("real", "imagined", ~imagined),
        ("imagined", "real", imagined),
    ):
        alone = rows_of(batch, np.flatnonzero(of_kind))
        cause = f"a mean over the {other} rows, of which a batch may have none"
        try:
            losses = subject.losses(learner, [alone, alone])
        except Exception as error:
            raise subject.violation(
                f"it must train on a batch of {kind} rows alone",
                subject.raised(error),
                cause,
            ) from error
        ill = {  # whatever the rows: another check's business
            name
            for step in subject.ready.losses
            for name, value in step.items()
            if not math.isfinite(value)
        }
        losses = [{k: v for k, v in step.items() if k not in ill} for step in losses]
        _check_finite(subject, losses, f" on a batch of {kind} rows alone", cause)
    _check_order(subject, batch)


@conformance_check("learner")
def check_learner_discounts_by_intervals(subject: Subject) -> None:
    """Checks that what it adds for the next state is discounted by the batch's intervals.

    A row may lead several steps on, of an imagination with `steps_per_row` or of d3rlpy's
    `MultiStepTransitionPicker`. Whether it adds something, terminals show: they end it.
    """
    assert isinstance(subject, LearnerSubject)
    if getattr(subject.component, "gamma", 1.0) == 1.0:  # then they say nothing
        return
    batch = subject.fitted_on[0]
    changes: list[dict[str, Any]] = [
        {},
        {"terminals": 1 - batch.terminals},
        {"intervals": 1000 * batch.intervals},
    ]
    kept, ended, farther = (
        _first_step(subject, dataclasses.replace(batch, **columns))
        for columns in changes
    )
    follow = [name for name in kept if _differs(kept[name], ended.get(name))]
    if follow and not any(_differs(kept[name], farther.get(name)) for name in kept):
        raise subject.violation(
            "it must discount the value of next observations by gamma ** intervals",
            f"the same {follow[0]} whether they lie 1 or 1000 steps ahead",
            "gamma alone in a target of its own; write self._gamma ** batch.intervals",
        )


def _first_step(
    subject: LearnerSubject, batch: ImaginedMiniBatch
) -> Mapping[str, float]:
    """Returns what a new learner, always the same, says of a batch."""
    d3rlpy.seed(0)
    learner = subject.created()
    d3rlpy.seed(0)
    (losses,) = subject.losses(learner, [batch])
    return losses


def _differs(one: float, other: Optional[float]) -> bool:
    """Whether losses differ by more than rounding; what is not finite does not."""
    if other is None or not (math.isfinite(one) and math.isfinite(other)):
        return False
    return not math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)


def _check_order(subject: LearnerSubject, batch: ImaginedMiniBatch) -> None:
    """Checks that the first losses of a batch are those of the batch turned round.

    Sorted by reward, so that the halves of the batch are as different as they can be.
    """
    order = np.argsort(batch.rewards[:, 0], kind="stable")
    there, back = (
        _first_losses(subject, rows_of(batch, rows)) for rows in (order, order[::-1])
    )
    for name in sorted(there.keys() & back.keys()):
        one, other = there[name], back[name]
        if not np.isfinite([one, other]).all():  # another check's business
            continue
        spread = max(np.ptp(one), np.ptp(other), 1e-3 * abs(one).max(), 1e-4)
        if abs(one.mean() - other.mean()) > _FAR * spread:
            raise subject.violation(
                f"its {name} must not depend on the order of the rows",
                f"{one.mean():.4g} for a batch, {other.mean():.4g} turned round",
                "rows taken for real or imagined by where they stand; "
                "batch.numpy_batch.imagined says which are",
            )


def _first_losses(subject: LearnerSubject, batch: ImaginedMiniBatch) -> dict[str, Any]:
    """Returns the losses of a new learner's first step, by name, one for each seed."""
    found: dict[str, list[float]] = {}
    for seed in range(_N_SEEDS):
        d3rlpy.seed(0)  # always the same networks
        learner = subject.created()
        d3rlpy.seed(seed)
        (losses,) = subject.losses(learner, [batch])
        for name, value in losses.items():
            found.setdefault(name, []).append(float(value))
    return {name: np.asarray(values) for name, values in found.items()}


@conformance_check("learner")
def check_learner_goes_on_alike(subject: Subject) -> None:
    """Checks that a run that was interrupted goes on as if it had not been."""
    assert isinstance(subject, LearnerSubject)
    real, half = RealData.of(subject.dataset), N_LEARNER_STEPS // 2
    learner = subject.created()
    subject.losses(learner, subject.fitted_on[:half])
    state = LearnerState(learner, real).checkpoint_state()

    def rest_of(learner: Any) -> dict[str, torch.Tensor]:
        d3rlpy.seed(2)
        losses = subject.losses(learner, subject.fitted_on[half:])
        return subject.ask(Trained(learner, losses), subject.inputs())

    expected = rest_of(learner)
    resumed = subject.created()
    LearnerState(resumed, real).restore_checkpoint(state)
    for name, values in rest_of(resumed).items():
        if not close(expected[name], values):
            raise subject.violation(
                f"resumed from a checkpoint, it must give the same {name}",
                f"{_shown(values)}, without the interruption {_shown(expected[name])}",
                "a number or tensor that training changes, such as a running mean, and "
                "that its Impl's modules do not hold: make it a buffer of one of them",
            )


def _shown(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.flatten()[:3].tolist()]


@conformance_check("learner")
def check_learner_loads_alike(subject: Subject) -> None:
    """Checks that, saved and loaded, it is the same config and acts the same."""
    assert isinstance(subject, LearnerSubject)
    saved = subject.ready.learner
    # What is checked may be installed nowhere.
    with (
        with_learner(type(subject.component)),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "learner.d3"
        saved.save(str(path))
        loaded = load_learner(path)
    if loaded.config != saved.config:
        raise subject.violation(
            "saved and loaded it must have the same config",
            f"{loaded.config!r}, saved was {saved.config!r}",
            "a field whose type JSON does not have, or get_type() of another class",
        )
    expected = subject.answers()["actions"]
    d3rlpy.seed(0)
    found = subject.ask(Trained(loaded, []), subject.inputs())["actions"]
    if not torch.allclose(expected, found):
        raise subject.violation(
            "saved and loaded it must act the same",
            f"actions that differ by up to {float((expected - found).abs().max())}",
            "a network that its Impl's modules do not hold",
        )
