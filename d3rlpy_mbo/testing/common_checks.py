"""Checks of how every component answers, whatever it answers."""

import dataclasses
import itertools
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any, Optional

import d3rlpy
import numpy as np
import torch

from ..components.dynamics.interface import Prediction
from ..data.transitions import Transitions
from ..support.errors import ConformanceError
from .another_device import another_device
from .running import KINDS, conformance_check
from .subjects import N_ROWS, Subject

__all__ = [
    "check_batch_of_one",
    "check_config_kept",
    "check_device_kept",
    "check_finite_float32",
    "check_fit_starts_anew",
    "check_generators_left_alone",
    "check_inputs_not_modified",
    "check_metrics_can_be_logged",
    "check_same_seed_same_output",
    "close",
]


@conformance_check(*(kind for kind in KINDS if kind != "imagination"))
def check_inputs_not_modified(subject: Subject) -> None:
    """Checks that it does not modify what it is fitted on and asked about."""
    asked = subject.inputs()
    before = [tensor.clone() for tensor in _tensors(asked)]
    subject.ask(subject.ready, asked)
    _compare(subject, before, list(_tensors(asked)), "it was asked with")
    expected, found = map(list, map(_tensors, (subject.data(), subject.fitted_on)))
    _compare(subject, expected, found, "it was fitted on")


def _compare(
    subject: Subject, before: list[torch.Tensor], after: list[torch.Tensor], what: str
) -> None:
    for old, new in zip(before, after, strict=True):
        if not torch.equal(old, new):
            raise subject.violation(
                f"what {what} must stay as it was",
                f"a tensor of shape {tuple(old.shape)} changed in "
                f"{int((old != new).sum())} places",
                "an operation in place, such as x += 1 or x.clamp_(); write x = x + 1",
            )


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, tuple):
        yield from itertools.chain.from_iterable(map(_tensors, values))
    elif isinstance(values, Transitions | Prediction):
        yield from _tensors(tuple(vars(values).values()))


@conformance_check(*(kind for kind in KINDS if kind != "dynamics_updater"))
def check_batch_of_one(subject: Subject) -> None:
    """Checks that a batch of one row is answered, in the right shape and finite."""
    many, one = subject.answers(N_ROWS), subject.answers(1)
    for name, values in many.items():
        if subject.component.kind == "imagination":
            shape = (len(one["observations"]), *values.shape[1:])
        else:
            shape = tuple(1 if size == N_ROWS else size for size in values.shape)
        if name not in one or tuple(one[name].shape) != shape:
            raise subject.violation(
                f"{name} of a batch of one must have shape {shape}",
                tuple(one[name].shape) if name in one else "nothing",
                "squeeze() without a dimension, or an if on the number of rows",
            )
        if _all_finite(values) and not _all_finite(one[name]):
            raise subject.violation(
                f"{name} of a batch of one must be finite",
                one[name].flatten()[:3].tolist(),
                "a statistic over the rows of the batch, such as a standard deviation",
            )


@conformance_check(*KINDS, learned_only=True)
def check_config_kept(subject: Subject) -> None:
    """Checks that its config stays as it is, whatever what it created has learned."""
    subject.answers()
    for field in dataclasses.fields(subject.component):
        before = getattr(subject.as_given, field.name)
        found = getattr(subject.component, field.name)
        if found != before:
            raise subject.violation(
                f"its config's {field.name} must stay as it was, for the next that is "
                "created of it",
                f"{found!r}, and {before!r} before",
                "self.config.x = ... in create or fit; what the data determines belongs "
                "into attributes and state_dict",
            )


@conformance_check(*KINDS, "learner")
def check_same_seed_same_output(subject: Subject) -> None:
    """Checks that `d3rlpy.seed` determines everything: fitting and answers."""
    answers = []
    for _ in range(2):
        inputs, data = subject.inputs(), subject.data()
        d3rlpy.seed(1)
        answers.append(subject.ask(subject.build(data, seed=1), inputs))
    for name, values in answers[0].items():
        if not close(values, answers[1][name]):
            raise subject.violation(
                f"the same seed must give the same {name}",
                "two results after the same d3rlpy.seed that differ",
                "a random generator of its own, such as np.random.default_rng(), a clock, "
                "or the order of a set",
            )


@conformance_check(*KINDS, "learner")
def check_generators_left_alone(subject: Subject) -> None:
    """Checks that it seeds no generator: what is drawn after it follows `d3rlpy.seed`."""
    after = []
    for seed in (1, 2):
        inputs, data = subject.inputs(), subject.data()
        drawn: dict[str, Any] = {}
        if subject.learned:
            d3rlpy.seed(seed)
            subject.created()
            drawn |= _drawn("when it is created")
        d3rlpy.seed(seed)
        made = subject.build(data, seed)
        drawn |= _drawn("when it is fitted")
        d3rlpy.seed(seed)
        subject.ask(made, inputs)
        after.append(drawn | _drawn("when it is asked"))
    for name, numbers in after[0].items():
        if numbers == after[1][name]:
            raise subject.violation(
                f"it must not seed {name}",
                "the same numbers drawn after it, whatever d3rlpy.seed was given before",
                "torch.manual_seed, d3rlpy.seed or np.random.seed: all runs would go on "
                "alike, and be no independent seeds; leave seeding to whoever runs it",
            )


def _drawn(when: str) -> dict[str, Any]:
    """Returns what each generator draws next."""
    return {
        f"torch's generator {when}": torch.rand(8).tolist(),
        f"NumPy's generator {when}": np.random.rand(8).tolist(),
        f"Python's generator {when}": random.random(),
    }


@conformance_check(
    "dynamics", "rollout_policy", "termination", "penalty", "halt", learned_only=True
)
def check_fit_starts_anew(subject: Subject) -> None:
    """Checks that a second `fit`, after one on other data, has the result of a first.

    Nor may the fits of one change another, or one that says it is fitted need a `fit`.
    """
    expected, again = subject.answers(), subject.created()
    if again.fitted:
        _check_needs_no_fit(subject, again, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of that data nobody asked
        subject.refit(again, subject.other_data())
    meanwhile = subject.answers()
    subject.refit(again, subject.data())
    name = _other_answer(expected, meanwhile)
    if name is not None:
        raise subject.violation(
            f"it must give the same {name} when another one was fitted on other data",
            "other values, after the same seed",
            "a list, dict or module in the body of the class, which all that are created "
            "share: make it in __init__ or fit",
        )
    d3rlpy.seed(0)
    name = _other_answer(expected, subject.ask(again, subject.inputs()))
    if name is not None:
        raise subject.violation(
            f"fitted again, it must give the same {name} as fitted once",
            "other values, after the same seed",
            "a `fit` that goes on from what it has: networks made in __init__, rows "
            "appended, or an extreme or average kept",
        )


def _check_needs_no_fit(
    subject: Subject, made: Any, expected: dict[str, torch.Tensor]
) -> None:
    """Checks that what says it is fitted answers as what was fitted does."""
    subject.attach(made, with_data=True)
    found = "other answers than after fit"
    try:
        d3rlpy.seed(0)
        if _other_answer(expected, subject.ask(made, subject.inputs())) is None:
            return
    except Exception as error:
        found = subject.raised(error)
    raise subject.violation(
        "fitted must be False before fit",
        f"True, and {found}",
        "fitted = True in its class, of what has something to learn",
    )


def _other_answer(
    expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]
) -> Optional[str]:
    """Returns the name of the first answer that differs, None if there is none."""
    names = (name for name, each in expected.items() if not close(each, found[name]))
    return next(names, None)


@conformance_check(*(kind for kind in KINDS if kind not in ("termination", "halt")))
def check_finite_float32(subject: Subject) -> None:
    """Checks that every number it answers is a finite float32."""
    for name, values in subject.answers().items():
        if values.dtype != torch.float32:
            raise subject.violation(
                f"{name} must be torch.float32",
                values.dtype,
                "a numpy array or Python floats on the way; append .float()",
            )
        if not _all_finite(values):
            n_bad = int((~torch.isfinite(values)).sum())
            raise subject.violation(
                f"{name} must be finite for finite inputs",
                f"{n_bad} NaN or infinite values",
                "a division by zero, or the logarithm or root of a number below it; the "
                "members of an ensemble may agree exactly",
            )


@conformance_check(*KINDS, "learner")
def check_device_kept(subject: Subject) -> None:
    """Checks that it works where its inputs are, without needing a GPU.

    It is made, fitted and asked on `another_device`, whose tensors do not mix with those
    that are made without ``device=``.
    """
    cause = (
        "torch.zeros(...) and the like without device=: write "
        "device=observations.device, or torch.zeros_like(...); torch.from_numpy(...) "
        "without .to(batch.device); or a config whose create(device) ignores the device, "
        "or a fit that leaves what it learned on the CPU: move it to self.device"
    )
    try:
        with another_device() as device:
            there = subject.elsewhere(device)
            answers = there.answers()
    except ConformanceError:  # it works nowhere
        raise
    except Exception as error:
        found = subject.raised(error)
        raise subject.violation(
            "it must work on the device of its inputs", found, cause
        ) from error
    for name, values in answers.items():
        if str(values.device) != there.answers_at:
            raise subject.violation(
                f"{name} must be on {there.answers_at!r} if it is created on {device!r}",
                values.device,
                cause,
            )


@conformance_check(*KINDS, learned_only=True)
def check_metrics_can_be_logged(subject: Subject) -> None:
    """Checks that its metrics are numbers with names that d3rlpy can log."""
    ready = subject.ready
    declared = set(ready.metrics)
    subject.ask(ready, subject.inputs())
    new = sorted(set(ready.metrics) - declared)
    if subject.component.kind == "dynamics_updater" and new:
        raise subject.violation(
            "its metrics must hold every name before the first update",
            f"{new} after it, {sorted(declared)} before",
            "__init__ does not set self.metrics, NaN for every name that update returns",
        )
    for name, value in ready.metrics.items():
        if not isinstance(name, str) or "/" in name:
            raise subject.violation(
                'names of metrics must be strings without "/"',
                repr(name),
                "d3rlpy writes a file for each metric, so a slash would be a folder",
            )
        # An imagination's may be NaN: those of its updater are, before the first update.
        may_be_nan = subject.component.kind == "imagination"
        number = isinstance(value, int | float)
        if not number or not (may_be_nan or math.isfinite(value)):
            raise subject.violation(
                f"the metric {name!r} must be a finite number",
                repr(value),
                "a tensor; write float(...)",
            )


def _all_finite(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether tensors are equal but for rounding, NaN to NaN.

    Rounding in BLAS and LAPACK depends on where arrays happen to lie in memory.
    """
    return a.shape == b.shape and torch.allclose(
        a.double(), b.double(), rtol=1e-3, atol=1e-3, equal_nan=True
    )
