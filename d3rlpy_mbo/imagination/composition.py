"""Whether the parts of an imagination can work together: refused before any training."""

import warnings
from collections.abc import Mapping
from typing import Any, Optional, Union

import torch

from ..components.dynamics.interface import Dynamics, DynamicsConfig
from ..components.halts import Halt
from ..components.penalties import (
    COMPARES,
    DECLARED,
    WHEN,
    LearnedPenalty,
    Penalty,
)
from ..components.rollout_policies.interface import RolloutPolicy
from ..components.rollout_policies.learner import LearnerPolicyConfig
from ..components.terminations.interface import Termination
from ..data.action_sets import ActionRange, ActionSet, is_range
from ..registry.component import Component
from ..registry.json_form import encode
from ..support.errors import CompositionError

__all__ = [
    "MADE_OF",
    "changed_fields",
    "not_followed",
    "validate_action_set",
    "validate_declared",
    "validate_direction",
    "validate_given",
    "validate_members",
    "validate_penalty",
    "validate_steps_per_row",
    "warn_of_other_parts",
]

# Fields of which an imagination makes its parts; `fit` makes the updater anew.
MADE_OF = ("dynamics", "rollout_policy", "termination", "penalty", "halt")

# Fields that are looked up in the config each time they are asked: rules, or None.
_ASKED, _RULES = ("termination", "penalty"), (Penalty, Termination)


def validate_action_set(given: Any, known: ActionSet) -> None:
    """Raises CompositionError if it cannot take the place of the dataset's action set."""
    if isinstance(given, ActionRange) and not is_range(given.low, given.high):
        raise CompositionError(
            f"The action set is {given!r}, expected as many finite numbers for low as "
            "for high, and none of low above its counterpart in high."
        )
    alike = isinstance(given, ActionSet) and (
        (given.size, given.n_actions) == (known.size, known.n_actions)
    )
    if not alike:
        raise CompositionError(
            f"The action set is {given!r}, expected one for the dataset's actions, such "
            f"as {known!r}."
        )


def validate_direction(dynamics: Dynamics, rollout_policy: RolloutPolicy) -> None:
    """Raises CompositionError if the policy cannot imagine in the model's direction."""
    direction = dynamics.direction
    if direction not in rollout_policy.directions:
        supported = " or ".join(map(repr, rollout_policy.directions))
        raise CompositionError(
            f"The rollout policy {rollout_policy.config.get_type()!r} cannot imagine in "
            f"direction {direction!r}, only {supported}. Nearest: the same composition "
            f"with dynamics of direction {supported}, or this one with "
            "UniformPolicyConfig()."
        )


def not_followed(
    config: Component, made_of: Mapping[str, Optional[Component]]
) -> dict[str, Optional[Component]]:
    """Returns the parts that an imagination goes on with though its config has others.

    What learns is created once, with the imagination. A rule is looked up in the config
    whenever it is asked, and so is whether there is one.

    Args:
        config: As it is now.
        made_of: Its parts as the imagination was made, by their fields.
    """
    kept = {}
    for name, before in made_of.items():
        now = getattr(config, name)
        asked = name in _ASKED and (now is None or isinstance(now, _RULES))
        if now is not before and not asked and encode(now) != encode(before):
            kept[name] = before
    return kept


def changed_fields(
    config: Component, fitted_by: Mapping[str, Optional[Component]]
) -> list[str]:
    """Returns which fields of an imagination's parts are others than when it was fitted.

    Args:
        config: As it is now.
        fitted_by: Copies of its parts as they were then, by their fields.
    """
    found = []
    for name, before in fitted_by.items():
        then, now = encode(before), encode(getattr(config, name))
        if then is None or now is None or then == now:
            continue
        found += [
            f"{name}.{field} is {value!r}, and was {then['params'].get(field)!r}"
            for field, value in now["params"].items()
            if value != then["params"].get(field)
        ]
    return found


def warn_of_other_parts(
    config: Component, made_of: Mapping[str, Optional[Component]]
) -> None:
    """Warns of parts that were put into a config after it had created an imagination."""
    for name, before in not_followed(config, made_of).items():
        now = getattr(config, name)
        types = [each and each.get_type() for each in (before, now)]
        warnings.warn(
            f"{type(config).__name__}.{name} was changed from {types[0]!r} to "
            f"{types[1]!r} after the config had created this imagination, which keeps "
            f"{types[0]!r}. To use the new one, call config.create(device) again and fit "
            "what it returns.",
            stacklevel=2,
        )


def validate_declared(
    config: Optional[Component], judge: Union[Penalty, LearnedPenalty, Halt, None]
) -> None:
    """Raises CompositionError if a config declares something else than what it created.

    A penalty or halt that learns is itself asked; its config's declaration is not read.
    """
    for name in ("compares",) if isinstance(judge, Halt) else DECLARED:
        declared, kept = getattr(config, name, None), getattr(judge, name, None)
        if declared is not None and kept is not None and declared != kept:
            raise CompositionError(
                f"{type(config).__name__}.{name} is {declared!r}, but what it created, "
                f"{type(judge).__name__}, has {kept!r}, and that is what counts. Where "
                f"{name} is a field, write self.{name} = config.{name} in __init__; else "
                f"declare it in {type(judge).__name__} alone."
            )


def validate_penalty(
    dynamics: Dynamics,
    penalty: Union[Penalty, LearnedPenalty, None],
    steps_per_row: int,
) -> None:
    """Raises CompositionError if a penalty cannot judge what these dynamics imagine."""
    if penalty is None:
        return
    name = type(penalty).__name__
    if penalty.when not in WHEN:
        raise CompositionError(
            f"{name}.when is {penalty.when!r}, expected 'imagined' or 'drawn'."
        )
    if penalty.when == "drawn" and steps_per_row > 1:
        raise CompositionError(
            f"The penalty {name} is subtracted when rows are drawn, but with "
            f"steps_per_row = {steps_per_row} a row holds several steps, and the model "
            "can be asked about the first of them only. Set steps_per_row=1, or use a "
            "penalty that is subtracted when imagined."
        )
    if penalty.needs_critic and dynamics.direction == "reverse":
        raise CompositionError(
            f"The penalty {name} asks the learner's critic about the next states that the "
            "model predicts, but reverse dynamics predict the states before. Nearest: the "
            "same composition with forward dynamics, or a penalty on the model alone, "
            "such as MaxAleatoric."
        )


def validate_members(
    dynamics: Dynamics, judge: Union[Penalty, LearnedPenalty, Halt, None]
) -> None:
    """Raises CompositionError if a penalty or halt would have nothing to compare."""
    if judge is None or judge.compares == "":
        return
    name, compares = type(judge).__name__, judge.compares
    if compares not in COMPARES:
        raise CompositionError(
            f"{name}.compares is {compares!r}, expected 'members', 'elites' or ''."
        )
    config = dynamics.config
    if config.members is None:
        return
    n_members, n_elites = config.members
    found = n_members if compares == "members" else n_elites
    if found < 2:
        raise CompositionError(
            f"{name} compares the {compares} of the dynamics, and {config.get_type()!r} is "
            f"to have {found}: expected 2 or more. Set them in the config of the dynamics: "
            "ProbabilisticEnsembleConfig has 7 members, 5 of them elites, by default."
        )


def validate_steps_per_row(config: Any) -> None:
    """Raises CompositionError if an imagination's steps cannot be folded into rows."""
    n_steps = config.steps_per_row
    if n_steps == 1:
        return
    if not isinstance(config.rollout_policy, LearnerPolicyConfig):
        raise CompositionError(
            f"steps_per_row is {n_steps}, but the rollout policy is "
            f"{config.rollout_policy.get_type()!r}: a row's rewards would come from that "
            "policy's actions, and the learner would take them for those of its own. Set "
            "rollout_policy=LearnerPolicyConfig(), or steps_per_row=1."
        )
    if n_steps > config.rollout_length:
        raise CompositionError(
            f"steps_per_row is {n_steps}, but rollouts have {config.rollout_length} "
            f"steps: no row would ever hold {n_steps}. Set rollout_length to {n_steps} "
            "or more."
        )


def validate_given(dynamics: Dynamics, config: DynamicsConfig, device: str) -> None:
    """Raises unless fitted dynamics are what a config asks for, on that device.

    Raises:
        NotFittedError: They are not fitted.
        CompositionError: They have another config, or are on another device.
    """
    dynamics.check_fitted()
    found = f"{dynamics.config.get_type()} {dynamics.config.serialize()}"
    expected = f"{config.get_type()} {config.serialize()}"
    if found != expected:
        raise CompositionError(
            f"The dynamics given are {found}, but the imagination's config asks for "
            f"{expected}. Change the config, or leave dynamics out and have new ones "
            "fitted."
        )
    places = [torch.device(each) for each in (dynamics.device, device)]
    if len({(place.type, place.index or 0) for place in places}) > 1:
        raise CompositionError(
            f"The dynamics given are on {dynamics.device!r}, the imagination is on "
            f"{device!r}. Load or create both on one device."
        )
