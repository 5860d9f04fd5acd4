"""Whether the parts of an imagination can work together: refused before any training."""

from collections.abc import Iterable
from typing import Any

import torch

from ..components.dynamics.interface import Dynamics, DynamicsConfig
from ..components.rollout_policies.interface import RolloutPolicy
from ..registry.component import Component
from ..support.errors import CompositionError

__all__ = [
    "check_complete",
    "check_direction",
    "check_given",
    "check_positive",
    "check_ratio",
]


def check_complete(config: Component, names: Iterable[str]) -> None:
    """Raises CompositionError if a component that nothing can do without is missing."""
    for name in names:
        if getattr(config, name) is None:
            raise CompositionError(
                f"The imagination {config.get_type()!r} has no {name}, without which it "
                "cannot imagine. Only termination, reward_function, penalty and "
                "dynamics_updater may be left out."
            )


def check_positive(name: str, value: Any) -> None:
    """Raises CompositionError unless the value is an integer from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CompositionError(f"{name} is {value!r}, expected an integer from 1 on.")


def check_ratio(real_ratio: float) -> None:
    """Raises CompositionError unless it is a share."""
    if not 0.0 <= real_ratio <= 1.0:
        raise CompositionError(
            f"real_ratio is {real_ratio}, expected a share from 0 (imagined rows only) "
            "to 1 (real rows only)."
        )


def check_direction(dynamics: Dynamics, rollout_policy: RolloutPolicy) -> None:
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


def check_given(dynamics: Dynamics, config: DynamicsConfig, device: str) -> None:
    """Raises unless fitted dynamics are what a config asks for, on that device.

    Raises:
        NotFittedError: They are not fitted.
        CompositionError: They have another config, or lie elsewhere.
    """
    dynamics.check_fitted()
    found = f"{dynamics.config.get_type()} {dynamics.config.serialize()}"
    expected = f"{config.get_type()} {config.serialize()}"
    if found != expected:
        raise CompositionError(
            f"The dynamics given are {found}, but the imagination's config asks for "
            f"{expected}. Change the config, or leave them out and have new ones fitted."
        )
    places = [torch.device(each) for each in (dynamics.device, device)]
    if len({(place.type, place.index or 0) for place in places}) > 1:
        raise CompositionError(
            f"The dynamics given are on {dynamics.device!r}, the imagination is on "
            f"{device!r}. Load or create both on one device."
        )
