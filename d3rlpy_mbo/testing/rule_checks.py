"""Checks of penalties, terminations and reward functions."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import d3rlpy
import torch

from ..components.dynamics.interface import Prediction
from ..components.penalties import DECLARED
from ..imagination.composition import validate_declared
from ..registry.kinds import kind_of
from ..support.errors import CompositionError
from .running import conformance_check
from .subjects import N_ROWS, Subject

__all__ = [
    "check_penalty_non_negative",
    "check_penalty_shape",
    "check_pure",
    "check_reward_shape",
    "check_rows_answered_alone",
    "check_rows_of_nan",
    "check_termination_of_nan",
    "check_termination_reads_next_observations",
    "check_termination_shape_and_type",
    "check_when_and_compares",
]

_TOLERANCE = 1e-3  # of the largest: float32, and sums in another order


@conformance_check("penalty", "halt", "termination", "reward_function")
def check_pure(subject: Subject) -> None:
    """Checks that the same inputs get the same answer, whatever was asked in between.

    A penalty that asks the critic is seeded before, as the learner's actions are drawn.
    """
    ask = subject.ask
    if getattr(subject.ready, "needs_critic", False):

        def ask(ready: Any, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
            d3rlpy.seed(0)
            return subject.ask(ready, inputs)

    first = ask(subject.ready, subject.inputs())
    at_once = ask(subject.ready, subject.inputs())  # a memory for so many rows is kept
    ask(subject.ready, subject.inputs(1))
    for again in (at_once, ask(subject.ready, subject.inputs())):
        for name, values in first.items():
            if not torch.equal(values.nan_to_num(), again[name].nan_to_num()):
                raise subject.violation(
                    f"the same inputs must give the same {name}",
                    f"{int((values != again[name]).sum())} that differ the second time",
                    "random numbers, or something that it remembers from call to call",
                )


@conformance_check("penalty", "halt", "termination", "reward_function", "dynamics")
def check_rows_answered_alone(subject: Subject) -> None:
    """Checks that a row gets the same answer alone as among others, up to rounding.

    For dynamics these are the members' means and stds, if any. What depends on the seed
    is left out: no seed draws the same for fewer rows.
    """
    inputs = subject.inputs()
    answers = []
    for seed in (0, 1):
        d3rlpy.seed(seed)
        answers.append(_by_row(subject, inputs))
    alone = [
        _by_row(subject, _one_row(inputs, slice(row, row + 1))) for row in range(N_ROWS)
    ]
    for name, values in answers[0].items():
        if len(values) != N_ROWS or bool(_differ(values, answers[1][name]).any()):
            continue  # a shape is another check's business
        single = torch.cat([each[name] for each in alone])
        differs = _differ(values, single)
        if bool(differs.any()):
            row = int(differs.flatten(1).any(dim=1).nonzero()[0])
            raise subject.violation(
                f"{name} of a row must not depend on the other rows",
                f"{_shown(values[row])} for row {row} among {N_ROWS}, and "
                f"{_shown(single[row])} for it alone",
                "a mean, largest value or any() over the rows, without dim=1, or a network "
                "left in train(); what is measured of the data belongs into fit",
            )


def _by_row(subject: Subject, inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
    """Returns what is answered, rows first; what dynamics draw is left out."""
    answers = subject.ask(subject.ready, inputs)
    if kind_of(subject.component) != "dynamics":
        return answers
    members = {name: answers[name] for name in ("means", "stds") if name in answers}
    return {k: v.transpose(0, 1) for k, v in members.items() if v.dim() == 3}


def _one_row(inputs: tuple[Any, ...], row: slice) -> tuple[Any, ...]:
    """Returns inputs about one row, a learner as it is."""

    def of(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[row]
        if not isinstance(value, Prediction):
            return value
        columns: dict[str, Any] = {
            name: each[:, row] if name in ("means", "stds") else each[row]
            for name, each in vars(value).items()
            if isinstance(each, torch.Tensor)
        }
        return dataclasses.replace(value, **columns)

    return tuple(map(of, inputs))


def _differ(values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Returns where they differ by more than rounding; what is not finite is left out."""
    a, b = (each.double().nan_to_num(0.0, 0.0, 0.0) for each in (values, others))
    return (a - b).abs() > _TOLERANCE * a.abs().max()


def _shown(values: torch.Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.flatten()[:3].tolist())


@conformance_check("penalty", "halt", "reward_function")
def check_rows_of_nan(subject: Subject) -> None:
    """Checks that it may be asked about imagined rows with NaN, which are dropped.

    A penalty that is subtracted when rows are drawn meets none.
    """
    if getattr(subject.ready, "when", "") == "drawn":
        return
    asked = subject.inputs()
    if kind_of(subject.component) == "reward_function":
        given, _, reached = asked
        given[1::3], reached[::3] = torch.nan, torch.nan  # in reverse s is imagined
    else:
        prediction = asked[0]
        prediction.observations[::3] = prediction.rewards[::3] = torch.nan
        prediction.means[:, ::3] = prediction.stds[:, ::3] = torch.nan
    try:
        subject.ask(subject.ready, asked)
    except Exception as error:
        raise subject.violation(
            "it must not raise where a model has diverged; its answer for rows with NaN "
            "does not matter",
            subject.raised(error),
            "a distribution of torch's, which refuses NaN: give it validate_args=False; a "
            "guard against NaN, or numbers made indices",
        ) from error


@conformance_check("termination")
def check_termination_of_nan(subject: Subject) -> None:
    """Checks that it may be asked about rows with NaN, which are dropped."""
    given, actions, reached = subject.inputs()
    given[1::3], reached[::3] = torch.nan, torch.nan
    reached[1::3] = torch.nan  # in reverse, s stands in both places
    try:
        subject.ask(subject.ready, (given, actions, reached))
    except Exception as error:
        raise subject.violation(
            "it must not raise where rows hold NaN; its answer for them does not matter",
            subject.raised(error),
            "a guard against NaN, or numbers made indices; comparisons with NaN are "
            "False, and raise nothing",
        ) from error


@conformance_check("termination", where=lambda rule: not hasattr(rule, "create"))
def check_termination_reads_next_observations(subject: Subject) -> None:
    """Checks that what it says of s it does not say without a look at a or s'.

    An environment ends an episode at s'; a rule of s alone says it one step too late.
    """
    given, _, _ = subject.inputs()
    try:
        (ends,) = subject.ask(subject.ready, (given, None, None)).values()
    except Exception:  # it looks at the others
        return
    if bool(ends.any()) and not bool(ends.all()):
        raise subject.violation(
            "it must say where the environment ends, which is at s'",
            "answers that come from observations alone, s",
            "the arguments in another order: they are s, a and s'; read next_observations",
        )


@conformance_check("penalty", "halt")
def check_when_and_compares(subject: Subject) -> None:
    """Checks that its `when` and `compares`, if declared, are known words.

    What compares the members of the dynamics must declare it.

    If it learns, the created object's count: its config must not declare otherwise,
    whatever the value of a field of that name.
    """
    names: tuple[str, ...] = ("compares",)
    if kind_of(subject.component) == "penalty":
        names = ("when", "needs_critic", "compares")
    for name in names:
        found, known = getattr(subject.ready, name), DECLARED[name]
        if found not in known:
            raise subject.violation(
                f"{name} must be {' or '.join(map(repr, known))}",
                repr(found),
                "a misspelt word; every imagination with it would be refused",
            )
        if subject.learned:
            _check_declared_alike(subject, name)
    if subject.ready.compares == "":
        _check_compares_nothing(subject)


def _check_compares_nothing(subject: Subject) -> None:
    """Checks that members which all say the same do not silence it.

    One that is 0, or stops nothing, about copies of each member, but not about the members
    together, compares them: of dynamics with one member it would say nothing.
    """
    prediction, *others = subject.inputs()
    name = "penalties" if kind_of(subject.component) == "penalty" else "stop"

    def most(prediction: Prediction) -> float:
        d3rlpy.seed(0)
        found = subject.ask(subject.ready, (prediction, *others))[name]
        return float(found.double().abs().max())

    members = {"means": prediction.means, "stds": prediction.stds}
    copies = [
        # In memory as the members are, of which a penalty may take a view.
        {key: column[[i] * len(column)] for key, column in members.items()}
        for i in range(len(prediction.means))
    ]
    of_copies = max(most(dataclasses.replace(prediction, **each)) for each in copies)
    # The deviation of equal numbers from their mean may be rounding.
    if of_copies < _TOLERANCE * most(prediction):
        raise subject.violation(
            "it must declare compares, 'members' or 'elites'",
            f"'', but of members that all say the same every {name} is 0",
            "a spread of the members, of which dynamics with one have none: nothing would "
            "ever be penalised or halted, and nobody told",
        )


def _check_declared_alike(subject: Subject, name: str) -> None:
    """Checks that what is created declares what its config does."""
    for config in _declaring(subject.component, name):
        try:
            validate_declared(config, config.create(subject.device))
        except CompositionError as error:
            raise subject.violation(
                f"its config must not declare another {name} than what it creates",
                error,
                "a field or class attribute of the config alone, which nobody reads",
            ) from error


def _declaring(component: Any, name: str) -> Iterator[Any]:
    """Yields a config as it is, and with each word that a field of that name may hold."""
    yield component
    if name in {field.name for field in dataclasses.fields(component)}:
        for word in DECLARED[name]:
            with contextlib.suppress(CompositionError):
                yield dataclasses.replace(component, **{name: word})


@conformance_check("penalty")
def check_penalty_shape(subject: Subject) -> None:
    """Checks that penalties are one number per row, (B, 1)."""
    _check_column(subject, "penalties")


@conformance_check("penalty")
def check_penalty_non_negative(subject: Subject) -> None:
    """Checks that penalties are at least 0, also where all members agree."""
    penalties = subject.answers()["penalties"]
    if bool((penalties < 0).any()):
        n_negative, least = int((penalties < 0).sum()), float(penalties.min())
        raise subject.violation(
            "penalties must be at least 0, as they are subtracted from rewards",
            f"{n_negative} negative ones, the least {least:.3g}",
            "the sign turned round, or a logarithm of a measure below 1",
        )


@conformance_check("reward_function")
def check_reward_shape(subject: Subject) -> None:
    """Checks that rewards are one number per row, (B, 1)."""
    _check_column(subject, "rewards")


@conformance_check("termination")
def check_termination_shape_and_type(subject: Subject) -> None:
    """Checks that terminals are one truth value per row, (B, 1) bool."""
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
            "a lost dimension; reduce with keepdim=True, or slice x[:, :1] instead of "
            "x[:, 0]",
        )
