"""Models of the line's world, fitted once for all who only ask them."""

import dataclasses
import functools

import d3rlpy

from ..components.dynamics.interface import Dynamics
from ..components.rollout_policies.uniform import UniformPolicyConfig
from ..data.transitions import Direction
from ..imagination.imagination import Imagination, ImaginationConfig
from ..support.generators import generators_kept
from .line_world import LineWorld, line_dynamics

__all__ = ["copied", "fitted_dynamics", "fitted_imagination"]


@functools.cache
def fitted_dynamics(
    line_world: LineWorld, direction: Direction, n_models: int
) -> Dynamics:
    """Returns a model on the CPU, to be copied by who may change it."""
    config = dataclasses.replace(line_dynamics(direction), n_models=n_models)
    with generators_kept():
        d3rlpy.seed(0)
        dynamics = config.create("cpu:0")
        dynamics.fit(line_world.connected_transitions())
    return dynamics


@functools.cache
def fitted_imagination(line_world: LineWorld) -> Imagination:
    """Returns one on the CPU, that no learner changes."""
    with generators_kept():
        d3rlpy.seed(0)
        imagination = ImaginationConfig(
            dynamics=line_dynamics(),
            rollout_policy=UniformPolicyConfig(),
            rollout_batch_size=100,
        ).create()
        imagination.fit(line_world.line_dataset())
    return imagination


def copied(dynamics: Dynamics, device: str) -> Dynamics:
    """Returns the same model on a device, and leaves no trace in the generators."""
    with generators_kept():
        made = dynamics.config.create(device)
        made.load_state_dict(dynamics.state_dict())
    return made
