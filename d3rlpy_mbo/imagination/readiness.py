"""Whether real data and an imagination fit each other."""

import inspect
import warnings
from collections.abc import Iterable
from typing import Optional, Union

import torch

from ..components.halts import Halt
from ..components.rewards import RewardFunction
from ..components.terminations.interface import Termination
from ..components.terminations.learned import LearnedTermination
from ..data.transitions import Transitions
from ..registry import discovery
from ..registry.component import Component, defined_components
from ..registry.json_form import parts
from ..support.errors import (
    CompositionError,
    DatasetError,
    DivergedError,
    TerminationRequiredError,
    listed,
)
from ..support.generators import generators_kept
from .contracts import ComponentChecks

__all__ = [
    "validate_action_spaces",
    "validate_choices_alike",
    "validate_divergence",
    "validate_halts",
    "validate_magnitudes",
    "validate_model_rows",
    "validate_rules",
    "validate_same_data",
    "validate_sizes",
    "validate_termination",
    "warn_if_rewards_are_far",
    "warn_if_slow",
    "warn_of_lost_ends",
]

# Seconds that rollouts may take before the user is told (ours).
_SLOW = 60

# Of the order of the square root of float32's largest number.
_LARGEST = 1e18

# Times the spread of the data's rewards, or their size if that is more, that an imagined
# one may lie beyond them (ours).
_FAR = 100

# Times the spread of the rewards that models see, from where on one is unlike all of them
# (ours: a random reward is now and then a little beyond those of other rows).
_UNLIKE = 0.1

# More dropped rows than this are no accident any more (ours).
_MAX_DROPPED = 0.1

# More rollouts than this that a halt stops at their first step leave none (ours).
_MAX_HALTED = 0.99


def validate_termination(
    termination: Union[Component, LearnedTermination, None],
    transitions: Transitions,
    name: str,
) -> None:
    """Raises TerminationRequiredError if data terminates and nothing says when.

    Args:
        termination: Of an imagination, None if it has none.
        transitions: The data.
        name: Of the imagination.
    """
    if termination is None and bool(transitions.terminals.any()):
        known = ", ".join(discovery.imported_names("termination"))
        raise TerminationRequiredError(
            f"The dataset has {int(transitions.terminals.sum())} terminals, but the "
            f"imagination {name!r} has no termination: imagined episodes would never end. "
            "Pass termination=mbo.termination_for(env), LearnedTerminationConfig() if the "
            "rule is not known, or NoTermination() if the dataset's terminals mean "
            "nothing. On the command line: --set imagination.termination=NAME, such as "
            "learned; in a study's file termination = NAME in its imagination_settings. "
            f"Known by name: {known}."
        )


def warn_of_lost_ends(transitions: Transitions) -> None:
    """Warns of terminals whose outcome is not known: no model learns their rewards.

    Rows without a known next observation train learners only; if such a row ends an
    episode, models do not see its reward. There is no warning if other terminal rows are
    known, and these rewards are like those that models see.

    Args:
        transitions: The data, all rows.
    """
    known = transitions.next_observation_known
    if known is None:
        return
    terminals = transitions.terminals[:, 0] > 0
    lost, seen = transitions.rewards[terminals & ~known], transitions.rewards[known]
    n_known = int((terminals & known).sum())
    if not len(lost):
        return
    least, most = float(seen.min()), float(seen.max())
    margin = _UNLIKE * (most - least)
    unlike = lost[(lost < least - margin) | (lost > most + margin)]
    if n_known and not len(unlike):
        return
    urgent = ""
    if len(unlike):
        urgent = (
            f"{len(unlike)} of these rewards, from {float(unlike.min()):.4g} to "
            f"{float(unlike.max()):.4g}, are unlike all that models see, from "
            f"{least:.4g} to {most:.4g}: a goal or a crash is never imagined. "
        )
    what = "neither the rewards of these steps nor how episodes end"
    if n_known:
        what = "nothing of the rewards of these steps"
    warnings.warn(
        f"Where {len(lost)} of the dataset's {int(terminals.sum())} terminal rows led is "
        f"not known, so models learn {what}. {urgent}Build the dataset with "
        "mbo.dataset_from_arrays, mbo.load_hdf5 or mbo.load_minari from data that still "
        "has the last next observations, or give the reward_function if it is known.",
        stacklevel=3,
    )


def validate_action_spaces(config: Component, transitions: Transitions) -> None:
    """Raises CompositionError if a component does not support the data's actions.

    Args:
        config: An imagination's; its parts are asked.
        transitions: The data.
    """
    n_actions = transitions.n_actions
    space = "continuous" if n_actions is None else "discrete"
    for part in parts(config):
        if space in part.action_spaces:
            continue
        others = sorted(
            {
                known.get_type()
                for known in defined_components()
                if getattr(known, "kind", None) == part.kind
                and space in known.action_spaces
                and not inspect.isabstract(known)
                and "get_type" in vars(known)
            }
        )
        found = "are continuous" if n_actions is None else f"are {n_actions} choices"
        raise CompositionError(
            f"The {part.kind} {part.get_type()!r} is for "
            f"{' or '.join(part.action_spaces)} actions, but the dataset's {found}. For "
            f"these: {', '.join(others) or 'none is known'}. (If it is yours and works "
            'with both, declare action_spaces = ("continuous", "discrete").)'
        )


def validate_choices_alike(
    whose: str, fitted: Optional[int], transitions: Transitions
) -> None:
    """Raises CompositionError unless the data has the choices of the fitted models.

    Args:
        whose: What was fitted.
        fitted: Number of choices it was fitted for, None for continuous actions.
        transitions: The data.
    """
    if fitted != transitions.n_actions:
        was, has = (
            "continuous actions" if n is None else f"{n} choices"
            for n in (fitted, transitions.n_actions)
        )
        raise CompositionError(
            f"{whose} was fitted on {was}, but the dataset has {has}. Fit one on this "
            "dataset."
        )


def validate_sizes(
    whose: str, fitted: tuple[int, int], transitions: Transitions
) -> None:
    """Raises CompositionError unless the data has the sizes of the fitted models.

    Args:
        whose: What was fitted.
        fitted: Sizes of the observations and actions it was fitted on.
        transitions: The data.
    """
    given = transitions.observation_size, transitions.action_size
    if fitted != given:
        raise CompositionError(
            f"{whose} was fitted on observations of size {fitted[0]} and actions of size "
            f"{fitted[1]}, but the dataset has {given[0]} and {given[1]}. "
            "Fit one on this dataset."
        )


def validate_same_data(whose: str, n_rows: int, transitions: Transitions) -> None:
    """Raises CompositionError unless models get as many rows as they were fitted on.

    Args:
        whose: What was fitted.
        n_rows: It was fitted on.
        transitions: The data.
    """
    found = _n_for_models(transitions)
    if found != n_rows:
        raise CompositionError(
            f"{whose} was fitted on {n_rows} transitions with known next observations, the "
            f"dataset has {found}. A dynamics updater goes on with the rows that the model "
            "was fitted on and leaves out those held out, so it needs the same data. Fit "
            "one on this dataset, or set dynamics_updater=None."
        )


def validate_model_rows(transitions: Transitions) -> None:
    """Raises DatasetError if models would have nothing to learn from."""
    if not _n_for_models(transitions):
        raise DatasetError(
            "No transition of the dataset has a known next observation, so models "
            "have nothing to learn from. Build the dataset with mbo.dataset_from_arrays, "
            "mbo.load_hdf5 or mbo.load_minari, which keep next observations."
        )


def validate_magnitudes(transitions: Transitions) -> None:
    """Raises DatasetError for values whose squares float32 cannot hold.

    Deviations, penalties and losses are made of squares.
    """
    for name in ("observations", "actions", "rewards", "next_observations"):
        column = getattr(transitions, name)
        # Not of its absolute values: they are a copy of half of the data.
        largest = torch.maximum(column.amax(dim=0), -column.amin(dim=0))
        columns = torch.nonzero(largest > _LARGEST)[:, 0].tolist()
        if columns:
            raise DatasetError(
                f"The {name} reach {float(largest[columns[0]]):.1e} in columns "
                f"[{listed(columns)}], beyond {_LARGEST:.0e}, where squares in a model's "
                "float32 become infinite. Scale those columns."
            )


@torch.no_grad()
def validate_rules(
    rules: Iterable[Union[RewardFunction, Termination]],
    transitions: Transitions,
    device: str,
) -> None:
    """Asks known rewards and ends about two real rows: rollouts come hours later.

    Args:
        rules: Of an imagination.
        transitions: The data, some of whose next observations are known.
        device: Where rollouts will ask them.

    Raises:
        CompositionError: One raises an error, or returns another shape or type than is
            due; names it.
    """
    known = transitions.next_observation_known
    rows = slice(2) if known is None else torch.nonzero(known)[:2, 0]
    some, checks = transitions[rows].to(device), ComponentChecks()
    for rule in rules:
        try:
            with generators_kept():
                found = rule(some.observations, some.actions, some.next_observations)
        except Exception as error:
            why = "Is it of this task?"
            if hasattr(rule, "create"):
                why = f"A {rule.kind} is asked itself: its create is not called."
            raised = f"{type(error).__name__}: {error}".rstrip(": .")
            raise CompositionError(
                f"The {rule.kind} {type(rule).__name__} cannot be asked about this data, "
                f"observations of size {some.observation_size} and actions of size "
                f"{some.action_size}: {raised}. {why}"
            ) from error
        dtype = torch.bool if isinstance(rule, Termination) else torch.float32
        checks.shape(rule, found, (len(some), 1), dtype)


def _n_for_models(transitions: Transitions) -> int:
    known = transitions.next_observation_known
    return len(transitions) if known is None else int(known.sum())


def validate_divergence(dropped: float, name: str, rollout_length: int) -> None:
    """Raises DivergedError if too large a share of imagined rows was not finite.

    Args:
        dropped: That share.
        name: Of the imagination.
        rollout_length: Of what it imagined.
    """
    if dropped > _MAX_DROPPED:
        shorter = f"Shorten rollout_length, now {rollout_length}, or fit"
        raise DivergedError(
            f"{dropped:.1%} of the rows that {name!r} imagined held NaN or infinite "
            "values, or states whose known reward is NaN or infinite, and were dropped; "
            f"more than {_MAX_DROPPED:.0%} is no accident. "
            f"{shorter if rollout_length > 1 else 'Fit'} the dynamics on more data; "
            "mbo.diagnose (`d3rlpy-mbo diagnose`) says what they get wrong."
        )


def validate_halts(halt: Halt, shares: dict[str, float], first: bool) -> None:
    """Refuses a halt that stops everything; warns of one that stops nothing.

    Args:
        halt: What stops rollouts.
        shares: Of the rows of each step, the first step's first, that it stopped.
        first: Whether nothing was imagined before; only then there is a warning.

    Raises:
        DivergedError: Almost no rollout gets beyond its first step.
    """
    measured = [f"{name} {value:.4g}" for name, value in halt.metrics.items()]
    name = (
        f"The halt {halt.config.get_type()!r} ({', '.join(measured) or 'no metrics'})"
    )
    at_once = next(iter(shares.values()))
    if at_once > _MAX_HALTED:
        raise DivergedError(
            f"{name} stops {at_once:.1%} of the rollouts at their first step: beyond "
            f"{_MAX_HALTED:.0%} nothing is left to imagine. Raise its threshold, or fit "
            "the dynamics on more data."
        )
    if first and not any(shares.values()):
        warnings.warn(
            f"{name} stopped not one rollout: without it, the imagination would be the "
            "same. Lower its threshold, or leave it out.",
            stacklevel=2,
        )


def warn_if_rewards_are_far(
    rewards: torch.Tensor, least: float, most: float, name: str
) -> bool:
    """Warns if imagined rewards lie absurdly far from the data's, and says whether.

    Args:
        rewards: (B, 1) imagined, before any penalty.
        least: Of the data.
        most: Of the data.
        name: Of the imagination.
    """
    beyond = _FAR * max(most - least, abs(least), abs(most))
    far = (rewards < least - beyond) | (rewards > most + beyond)
    n_far = int(far.sum())
    if n_far:
        warnings.warn(
            f"{n_far} of the {len(rewards)} rewards that {name!r} imagined lie beyond "
            f"those of the data, {least:.4g} to {most:.4g}, by more than {_FAR} times "
            f"their size: from {float(rewards.min()):.4g} to {float(rewards.max()):.4g}. "
            "The model has left the data there (or the known reward cannot be trusted at "
            "such states), and with a critic's squared loss these rows outweigh all "
            "others. Shorten rollout_length, or add a penalty or a halt.",
            stacklevel=2,
        )
    return n_far > 0


def warn_if_slow(learner: str, seconds: float, n_rollouts: int) -> bool:
    """Warns if rollouts with a learner's policy will take long, and says whether.

    Args:
        learner: Its name.
        seconds: Measured for one rollout.
        n_rollouts: How many there will be.
    """
    is_slow = seconds * n_rollouts > _SLOW
    if is_slow:
        warnings.warn(
            f"{n_rollouts} rollouts with the policy of {learner} will take about "
            f"{seconds * n_rollouts / 60:.0f} minutes, {1000 * seconds:.1f} ms each. Lower "
            "rollout_batch_size, or the learner's n_action_samples if it has any.",
            stacklevel=2,
        )
    return is_slow
