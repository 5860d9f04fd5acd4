"""Numbers about models, policies and what is imagined, all against real data."""

import functools
import warnings
from collections.abc import Callable
from typing import Optional

import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.dataset import ReplayBufferBase
from d3rlpy.interface import QLearningAlgoProtocol
from d3rlpy.metrics import EvaluatorProtocol

from .buffer.replay_buffer import ImaginedReplayBuffer
from .buffer.source import ImaginedSource
from .components.dynamics.interface import Dynamics
from .data.transitions import Transitions, validate_transitions
from .imagination.prefixes import log_prefixes, validate_name
from .learners.returns import uses_returns
from .support.devices import ROWS_COMPARED
from .support.errors import CompositionError, DatasetError

__all__ = [
    "average_trajectory_discrepancy",
    "imagination_evaluators",
    "normalized_score",
    "one_step_model_error",
]


def one_step_model_error(
    dynamics: Dynamics,
    transitions: Transitions,
    true_dynamics: Optional[
        Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ] = None,
) -> float:
    """Returns the one-step error of a model (Wang et al. 2021, definition 2).

    Forward ||s' - s'_sampled||^2 + (r - r_sampled)^2. In reverse many s may lead to one
    s', so the sampled s is led forward by the truth before it is compared:
    ||s' - T(s_sampled, a)||^2 + (r - r_sampled)^2. Means over rows of sums over
    dimensions, in dataset units squared.

    Args:
        dynamics: Fitted.
        transitions: B real ones with known next observations.
        true_dynamics: T, from (B, D) and (B, A) to the true next observations (B, D);
            needed in reverse.

    Raises:
        CompositionError: A reverse model without true_dynamics, or no model.
        DatasetError: They are no `Transitions`, or no next observation is known.
        NotFittedError: The model is not fitted.
    """
    validate_transitions(transitions)
    if not isinstance(dynamics, Dynamics):
        raise CompositionError(
            f"dynamics is of type {type(dynamics).__name__}, expected Dynamics: those of "
            "an imagination are imagination.dynamics."
        )
    known = transitions.for_models().to(dynamics.device)
    if not len(known):
        raise DatasetError(
            f"None of the {len(transitions)} transitions has a known next observation, so "
            "there is nothing that a prediction could be compared with."
        )
    given = known.given_observations(dynamics.direction)
    prediction = dynamics.predict(given, known.actions, False)
    reached = prediction.observations
    if dynamics.direction == "reverse":
        if true_dynamics is None:
            raise CompositionError(
                "The error of a reverse model is measured by leading its states forward "
                "again. Pass true_dynamics, for example the simulator's step."
            )
        reached = true_dynamics(reached, known.actions).to(given)
    errors = (known.next_observations - reached).square().sum(dim=1)
    errors = errors + (known.rewards - prediction.rewards).square().sum(dim=1)
    return float(errors.mean())


def average_trajectory_discrepancy(
    transitions: Transitions, trajectory: npt.ArrayLike
) -> float:
    """Returns how far a path stays from the data (Wang et al. 2021, definition 1).

    Args:
        transitions: N real ones; their observations (N, D) are compared.
        trajectory: (H, D) full observations of one path, in the same units.

    Returns:
        Mean over the path of the Euclidean distance to the nearest observation.

    Raises:
        CompositionError: The path is of other observations, or has no step.
        DatasetError: They are no `Transitions`, or there is none.
    """
    validate_transitions(transitions)
    path = torch.as_tensor(np.asarray(trajectory, dtype=np.float32))
    if not len(transitions):
        raise DatasetError("There are no transitions that a path could be near to.")
    if path.ndim != 2 or path.shape[1] != transitions.observation_size or not len(path):
        raise CompositionError(
            f"trajectory has shape {tuple(path.shape)}, expected (steps, "
            f"{transitions.observation_size}): full observations, as the transitions have."
        )
    nearest = torch.full((len(path),), float("inf"))
    for first in range(0, len(transitions), ROWS_COMPARED):
        some = transitions.observations[first : first + ROWS_COMPARED].cpu()
        # The faster way, by a matrix product, loses half the digits.
        distances = torch.cdist(path, some, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = torch.minimum(nearest, distances.amin(dim=1))
    return float(nearest.mean())


def normalized_score(value: float, reference_scores: tuple[float, float]) -> float:
    """Returns 100 (value - min) / (max - min), D4RL's normalised score.

    Args:
        value: A return.
        reference_scores: Returns that score 0 and 100.

    Raises:
        CompositionError: There are none, as of a dataset that records none, or both are
            equal.
    """
    if reference_scores is None or len({*reference_scores}) != 2:
        raise CompositionError(
            f"reference_scores is {reference_scores!r}, expected two returns that differ, "
            "those that score 0 and 100. A dataset that records none has raw returns only."
        )
    low, high = reference_scores
    return 100 * (value - low) / (high - low)


def imagination_evaluators(
    buffer: ImaginedReplayBuffer,
) -> dict[str, EvaluatorProtocol]:
    """Returns evaluators that write an imagination's numbers into d3rlpy's logs.

    Args:
        buffer: The one that the learner trains on.

    Returns:
        Evaluators for `fit(evaluators=...)` by name. For each imagination, prefixed
        by its type: mean imagined reward, penalty, survival by step, dropped and
        clipped shares, hold-out error of the model and the components' other
        numbers. Also the mean real reward, the share of imagined rows drawn, and, if
        the learner asks for returns-to-go, the share of rows without a known one.

    Raises:
        CompositionError: It is no such buffer, or a component reports a number whose
            name contains "/".
    """
    if not isinstance(buffer, ImaginedReplayBuffer):
        raise CompositionError(
            f"The buffer is {buffer!r}, expected the ImaginedReplayBuffer that the learner "
            "trains on."
        )
    names = ["real_reward_mean", "imagined_share"]
    if uses_returns(buffer.learner):
        names.append("unknown_returns_share")
    evaluators: dict[str, EvaluatorProtocol] = {
        name: _Reading(buffer, functools.partial(getattr, buffer, name))
        for name in names
    }
    prefixes = log_prefixes(buffer.imaginations)
    for prefix, source in zip(prefixes, buffer.sources, strict=True):
        for name in source.metrics:
            validate_name(source.imagination, name)
            evaluators[f"{prefix}_{name}"] = _Reading(
                buffer, functools.partial(_metric, source, name)
            )
    return evaluators


def _metric(source: ImaginedSource, name: str) -> float:
    return source.metrics[name]


class _Reading:
    """An evaluator that reads a buffer's number, whoever trains and on whatever data."""

    def __init__(self, buffer: ImaginedReplayBuffer, read: Callable[[], float]):
        self._buffer, self._read = buffer, read

    def __call__(self, algo: QLearningAlgoProtocol, dataset: ReplayBufferBase) -> float:
        if isinstance(dataset, ImaginedReplayBuffer) and dataset is not self._buffer:
            # At one place, so that Python shows it once for all of them.
            warnings.warn(
                "imagination_evaluators read the numbers of another buffer than the one "
                "that is trained on. Make new ones for that buffer, or leave them out: "
                "mbo.fit adds those of its own buffer.",
                stacklevel=1,
            )
        return self._read()
