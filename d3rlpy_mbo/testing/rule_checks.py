"""Checks of penalties, terminations and reward functions."""

from typing import Any

import d3rlpy
import torch

from .running import conformance_check
from .subjects import N_ROWS, Subject

__all__ = [
    "check_penalty_non_negative",
    "check_penalty_shape",
    "check_pure",
    "check_reward_shape",
    "check_termination_shape_and_type",
]


@conformance_check("penalty", "halt", "termination", "reward_function")
def check_pure(subject: Subject) -> None:
    """Checks that the same question has the same answer, whatever came in between.

    A penalty that asks the critic is seeded before: the learner's actions are drawn.
    """
    ask = subject.ask
    if getattr(subject.ready, "needs_critic", False):

        def ask(ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
            d3rlpy.seed(0)
            return subject.ask(ready, inputs)

    first = ask(subject.ready, subject.inputs())
    ask(subject.ready, subject.inputs(1))
    second = ask(subject.ready, subject.inputs())
    for name, values in first.items():
        if not torch.equal(values.nan_to_num(), second[name].nan_to_num()):
            raise subject.violation(
                f"the same inputs must give the same {name}",
                f"{int((values != second[name]).sum())} that differ the second time",
                "random numbers, or something that it remembers from call to call",
            )


@conformance_check("penalty")
def check_penalty_shape(subject: Subject) -> None:
    """Checks that penalties are one number a row, (B, 1)."""
    _check_column(subject, "penalties")


@conformance_check("penalty")
def check_penalty_non_negative(subject: Subject) -> None:
    """Checks that penalties are at least 0, with all members and where these agree."""
    penalties = subject.answers()["penalties"]
    if bool((penalties < 0).any()):
        n_negative, least = int((penalties < 0).sum()), float(penalties.min())
        raise subject.violation(
            "penalties must be at least 0, they are subtracted from rewards",
            f"{n_negative} negative ones, the least {least:.3g}",
            "the sign turned round, or a logarithm of a measure below 1",
        )


@conformance_check("reward_function")
def check_reward_shape(subject: Subject) -> None:
    """Checks that rewards are one number a row, (B, 1)."""
    _check_column(subject, "rewards")


@conformance_check("termination")
def check_termination_shape_and_type(subject: Subject) -> None:
    """Checks that terminals are one truth value a row, (B, 1) bool."""
    _check_column(subject, "terminals")
    dtype = subject.answers()["terminals"].dtype
    if dtype != torch.bool:
        raise subject.violation(
            "terminals must be torch.bool",
            dtype,
            "a probability or .float(); compare with a threshold",
        )


def _check_column(subject: Subject, name: str) -> None:
    found = tuple(subject.answers()[name].shape)
    if found != (N_ROWS, 1):
        raise subject.violation(
            f"{name} of {N_ROWS} rows must have shape {(N_ROWS, 1)}",
            found,
            "a lost dimension; reduce with keepdim=True, or slice x[:, :1] in the place of "
            "x[:, 0]",
        )
