"""Checks of dynamics."""

import dataclasses
import warnings
from typing import Any, Optional, get_args

import d3rlpy
import torch

from ..components.dynamics.interface import Dynamics, Prediction
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..components.terminations.interface import NoTermination
from ..data.transitions import Direction, Transitions
from ..imagination.imagination import ImaginationConfig
from ..support.errors import CompositionError
from . import line_world as world
from .dynamics_subject import DynamicsSubject
from .running import conformance_check
from .subjects import N_ROWS, TOO_FEW_STEPS, Subject

__all__ = [
    "check_dynamics_direction",
    "check_log_prob_differentiable",
    "check_prediction_shapes",
    "check_predictions_stay",
    "check_training_loss_and_sample_agrees",
    "check_truth_is_likelier",
    "check_zero_filled_terminals_ignored",
]

# The truth is 1, the mistakes are 0 or -1. A small ensemble has slope 0.15 after 50 steps,
# 0.7 after 100, and noise of 0.02; states are near 1 as soon as it predicts differences.
_LEAST_SLOPE = 0.1
_LEAST_SHARE = 0.5


@conformance_check("dynamics")
def check_prediction_shapes(subject: Subject) -> None:
    """Checks the shapes of a `Prediction`, and that it holds what was asked about.

    There must be as many members as its config's `members` says, unless that is None.
    """
    given, actions = subject.inputs()
    size = world.OBSERVATION_SIZE
    for all_members in (False, True):
        prediction = subject.ready.predict(given, actions, all_members)
        expected: dict[str, tuple[Any, ...]] = {
            "given_observations": tuple(given.shape),
            "actions": tuple(actions.shape),
            "observations": (N_ROWS, size),
            "rewards": (N_ROWS, 1),
        }
        means, stds = prediction.means, prediction.stds
        if (means is None) != (stds is None):
            raise subject.violation(
                "means and stds must come together, or both be None",
                f"means {_shape(means)}, stds {_shape(stds)}",
                "one of them is left out of the Prediction",
            )
        if all_members and means is not None and means.dim() == 3:
            expected["means"] = expected["stds"] = (len(means), N_ROWS, size + 1)
        elif all_members and means is not None:
            expected["means"] = ("E", N_ROWS, size + 1)
        for name, shape in expected.items():
            found = _shape(getattr(prediction, name))
            if found != shape:
                raise subject.violation(
                    f"{name} must have shape {shape} with all_members={all_members}",
                    found,
                    "rewards without their second dimension, members and rows swapped, or "
                    "the reward left out of means and stds, where it is last",
                )
        if means is not None and all_members:
            _check_members(subject, prediction)
        echoed = prediction.given_observations, prediction.actions
        if not (torch.equal(echoed[0], given) and torch.equal(echoed[1], actions)):
            raise subject.violation(
                "given_observations and actions must be what predict was asked about",
                "other values of the same shape",
                "normalised inputs, or the predicted observations in their place",
            )


def _check_members(subject: Subject, prediction: Prediction) -> None:
    assert isinstance(subject, DynamicsSubject)
    assert prediction.means is not None
    claimed, n_members = subject.component.members, len(prediction.means)
    n_elites = prediction.n_elites
    found = n_members, n_members if n_elites is None else n_elites
    if claimed is not None and tuple(claimed) != found:
        raise subject.violation(
            f"its config's members says {claimed[0]} members, {claimed[1]} of them elites",
            f"means of {found[0]}, of which {found[1]} imagine",
            "a number of its own in predict, or n_elites left out of the Prediction",
        )


def _shape(values: Any) -> Any:
    return None if values is None else tuple(values.shape)


@conformance_check("dynamics")
def check_predictions_stay(subject: Subject) -> None:
    """Checks that what it predicted stays as it was when it predicts something else.

    The steps of a rollout are taken out when all of them have been imagined.
    """
    given, actions = subject.inputs()
    for all_members in (False, True):
        first = subject.ready.predict(given, actions, all_members)
        names = ("observations", "rewards", "means", "stds")
        before = {
            name: getattr(first, name).clone()
            for name in names
            if getattr(first, name) is not None
        }
        subject.ready.predict(given.flip(0), actions.flip(0), all_members)
        for name, values in before.items():
            changed = values != getattr(first, name)
            if bool((changed & ~values.isnan()).any()):
                raise subject.violation(
                    f"{name} must stay as they were when it is asked about other rows",
                    f"{int(changed.sum())} of {changed.numel()} numbers that changed",
                    "a buffer of its own that is filled in place and returned, as by out= "
                    "or a CUDA graph; return a clone()",
                )


@conformance_check("dynamics")
def check_dynamics_direction(subject: Subject) -> None:
    """Checks on s' = s + M a that forward it predicts s', in reverse s.

    In every direction that its config can be made with. `means`, if offered, must be
    states too, not differences.
    """
    assert isinstance(subject, DynamicsSubject)
    for direction in get_args(Direction):
        ready = subject.ready_in(direction)
        if ready is None:
            continue
        rows = subject.world.line_transitions()
        given = rows.given_observations(direction)
        brief, prediction = (
            ready.predict(given, rows.actions, all_members)
            for all_members in (False, True)
        )
        outcomes = {
            "observations": brief.observations,
            "observations with all_members=True": prediction.observations,
        }
        if prediction.means is not None:
            outcomes["means"] = prediction.means[..., :-1].mean(dim=0)
        sign, formula = (
            (1, "s' = s + M a") if direction == "forward" else (-1, "s = s' - M a")
        )
        for name, values in outcomes.items():
            found = sign * world.slope(
                values - given, subject.world.moves(rows.actions)
            )
            if not found > _LEAST_SLOPE:
                raise subject.violation(
                    f"{direction}, {name} must follow {formula} on data of s' = s + M a",
                    f"{found:.2f} times M a where 1 is the truth",
                    "`fit` or `predict` ignores the direction (use "
                    "transitions.given_observations(direction) and "
                    f"predicted_observations), or {TOO_FEW_STEPS}",
                )
            found = world.slope(values, given)
            if not found > _LEAST_SHARE:
                raise subject.violation(
                    f"{direction}, {name} must be states, {formula}",
                    f"{found:.2f} times the given state where 1 is the truth",
                    "differences of states are returned instead; add the given "
                    "observations",
                )


@conformance_check("dynamics")
def check_zero_filled_terminals_ignored(subject: Subject) -> None:
    """Checks that it learns where terminal steps lead, not the zeros d3rlpy writes.

    Fitted through an imagination, on the same rows twice: as d3rlpy stores them, with the
    next observations of terminals zero-filled, and with the true ones. Near terminal
    states it must predict s' = s + M a both times.
    """
    assert isinstance(subject, DynamicsSubject)
    config = subject.config_in("forward")
    if config is None:
        return
    transitions = subject.world.ending_transitions()
    ends = transitions[transitions.terminals[:, 0] > 0]
    datasets = {
        "zero-filled": world.zero_filled_dataset(transitions),
        "true": world.complete_dataset(transitions),
    }
    for stored, dataset in datasets.items():
        imagination = ImaginationConfig(
            dynamics=config,
            rollout_policy=UniformPolicyConfig(),
            termination=NoTermination(),
        ).create()
        with warnings.catch_warnings():
            # Of rewards that are lost with the zero-filled rows: they are meant to be.
            warnings.filterwarnings("ignore", "Where .* led is not known", UserWarning)
            imagination.fit(dataset)
        found = _reach(imagination.dynamics, ends)
        if not found > _LEAST_SHARE:
            raise subject.violation(
                f"fitted on terminals with {stored} next observations, it must predict "
                "s' = s + M a near them",
                f"{found:.2f} times s' where 1 is the truth",
                "next observations multiplied by (1 - terminals), or rows used that "
                "transitions.for_models() leaves out",
            )


def _reach(dynamics: Any, rows: Transitions) -> float:
    """Returns the size of predicted s' along the true ones: 1 if right, 0 if zeros."""
    prediction = dynamics.predict(rows.observations, rows.actions, False)
    truth = rows.next_observations
    return float((prediction.observations * truth).sum() / truth.square().sum())


@conformance_check("dynamics")
def check_log_prob_differentiable(subject: Subject) -> None:
    """Checks that log_prob and training_loss, if offered, give parameters() gradients."""
    n_rows = N_ROWS * subject.ready.n_members
    rows = subject.world.line_transitions(n_rows)
    for name, shape in (("log_prob", (n_rows, 1)), ("training_loss", ())):
        try:
            values = getattr(subject.ready, name)(rows)
            parameters = list(subject.ready.parameters())
        except CompositionError:  # not offered
            continue
        if tuple(values.shape) != shape:
            raise subject.violation(
                f"{name} must have shape {shape}",
                tuple(values.shape),
                "a sum or mean over too many dimensions, or over too few",
            )
        gradients: tuple[Any, ...] = ()
        if values.requires_grad:
            gradients = torch.autograd.grad(values.sum(), parameters, allow_unused=True)
        known = [gradient for gradient in gradients if gradient is not None]
        if not any(bool((gradient != 0).any()) for gradient in known):
            raise subject.violation(
                f"the gradient of {name} must reach parameters()",
                "no gradient that differs from zero",
                "@torch.no_grad(), .detach(), or parameters() of another network",
            )
        if not all(bool(torch.isfinite(gradient).all()) for gradient in known):
            raise subject.violation(
                f"the gradient of {name} must be finite",
                "NaN or infinite values",
                "exp() of a log-probability before the logarithm; use torch.logsumexp",
            )


@conformance_check("dynamics")
def check_truth_is_likelier(subject: Subject) -> None:
    """Checks that log_prob and training_loss, if offered, tell true outcomes from others.

    In every direction: of the rows it was fitted on log_prob must be higher than of the
    same rows with each other's outcomes, or each other's rewards; training_loss must not
    be higher.
    """
    assert isinstance(subject, DynamicsSubject)
    for direction in get_args(Direction):
        model = subject.ready_in(direction)
        if model is None:
            continue
        rows = subject.world.line_transitions(1000 * model.n_members)
        outcome = "next_observations" if direction == "forward" else "observations"
        for name, sign in (("log_prob", 1), ("training_loss", -1)):
            true = _mean_of(model, name, rows)
            if true is None:
                continue
            for column in (outcome, "rewards"):
                mixed = {column: getattr(rows, column).roll(1, dims=0)}
                other = _mean_of(model, name, dataclasses.replace(rows, **mixed))
                assert other is not None
                better = sign * (true - other)
                # A loss may be of what a network learns alone, and leave rewards to others.
                if better < 0 or (better == 0 and name == "log_prob"):
                    raise subject.violation(
                        f"{direction}, {name} must be "
                        f"{'higher' if sign > 0 else 'lower'} for true {column}",
                        f"{true:.4g} for these, {other:.4g} for those of other rows",
                        "the sign turned round, as of a loss that is given for a "
                        f"log-probability, or {column} left out",
                    )


def _mean_of(model: Dynamics, name: str, rows: Transitions) -> Optional[float]:
    """Returns the mean of what a method says of rows; None if it is not offered."""
    d3rlpy.seed(0)
    try:
        with torch.no_grad():
            return float(getattr(model, name)(rows).mean())
    except CompositionError:
        return None


@conformance_check("dynamics")
def check_training_loss_and_sample_agrees(subject: Subject) -> None:
    """Checks, if it is overridden, that it agrees with training_loss and log_prob."""
    model = subject.ready
    # The base's is made of these parts.
    if type(model).training_loss_and_sample is Dynamics.training_loss_and_sample:
        return
    rows = subject.world.line_transitions(N_ROWS * model.n_members)
    given, actions = subject.inputs()
    loss, prediction, log_prob = model.training_loss_and_sample(rows, given, actions)
    if prediction.observations.requires_grad or prediction.rewards.requires_grad:
        raise subject.violation(
            "its sample must not be differentiable",
            "a sample with a gradient, through which that of its log_prob cancels out",
            "outputs of the networks that were not detached before the draw",
        )
    with torch.no_grad():
        alone = model.training_loss(rows)
        sampled = prediction.transitions(model.direction, rows.n_actions)
        of_sample = model.log_prob(sampled)
    for name, found, expected in (
        ("loss must be that of training_loss", loss, alone),
        ("log_prob must be that of its sample", log_prob, of_sample),
    ):
        if found.shape != expected.shape or not torch.allclose(
            found, expected, rtol=1e-3, atol=1e-3
        ):
            raise subject.violation(
                f"its {name}",
                f"{_shape(found)}, on average {float(found.mean()):.4g} and not "
                f"{float(expected.mean()):.4g}",
                "another sample, or members in another order",
            )
