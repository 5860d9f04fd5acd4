"""Checks of learners."""

import math
import tempfile
from pathlib import Path

import d3rlpy
import torch

from ..learners.loading import load_learner
from ..registry.known_learners import with_learner
from .running import conformance_check
from .subject_kinds import N_LEARNER_STEPS, LearnerSubject
from .subjects import Subject

__all__ = ["check_learner_loads_alike", "check_learner_trains"]


@conformance_check("learner")
def check_learner_trains(subject: Subject) -> None:
    """Checks that it trains on real and imagined rows, and that its losses are finite."""
    assert isinstance(subject, LearnerSubject)
    n_steps = subject.ready.grad_step
    if n_steps != N_LEARNER_STEPS:
        raise subject.violation(
            f"{N_LEARNER_STEPS} calls of update must be as many gradient steps",
            f"grad_step is {n_steps}",
            "an update of its own that leaves d3rlpy's counter alone",
        )
    for name, value in subject.losses.items():
        if not math.isfinite(value):
            raise subject.violation(
                f"its {name} must stay finite",
                value,
                "a division by zero, or the logarithm or root of a number below it",
            )


@conformance_check("learner")
def check_learner_loads_alike(subject: Subject) -> None:
    """Checks that, saved and loaded, it is the same config and acts the same."""
    assert isinstance(subject, LearnerSubject)
    # What is checked may be installed nowhere.
    with (
        with_learner(type(subject.component)),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder) / "learner.d3"
        subject.ready.save(str(path))
        loaded = load_learner(path)
    if loaded.config != subject.ready.config:
        raise subject.violation(
            "saved and loaded it must have the same config",
            f"{loaded.config!r}, saved was {subject.ready.config!r}",
            "a field whose type JSON does not have, or get_type() of another class",
        )
    expected = subject.answers()["actions"]
    d3rlpy.seed(0)
    found = subject.ask(loaded, subject.inputs())["actions"]
    if not torch.allclose(expected, found):
        raise subject.violation(
            "saved and loaded it must act the same",
            f"actions that differ by up to {float((expected - found).abs().max())}",
            "a network that its Impl's modules do not hold",
        )
