"""A learner that is asked much and taught nothing: its networks with layers fused.

On a CPU a layer of torch's is three passes over its rows: the bias is copied out, the
product added, the activation applied. oneDNN does it in one, without gradients.
"""

import copy
import functools
from typing import cast

import torch
from torch import nn

from ..support.devices import ROWS_OF_A_LEARNER, STATES_IN_CACHE
from ..support.fastest import about_processor, fastest
from .q_values import q_value
from .reading import (
    Learner,
    device_of,
    is_distributed,
    sample_action,
    validate_tensor,
    with_networks,
)

__all__ = ["state_value"]

# Not public in torch, but there since 2.0; where a build lacks it, torch's layers do.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


@torch.no_grad()
def state_value(
    learner: Learner, observations: torch.Tensor, target: bool = False
) -> torch.Tensor:
    """Returns the least of the critics' Q-values at actions drawn from the policy.

    The same as `q_value` at `sample_action`, up to rounding, but faster for many states:
    on a CPU linear layers are fused, and rows go through them in blocks that fit the
    cache.

    Args:
        learner: Any d3rlpy Q-learning algorithm with a critic, built.
        observations: (B, D) in dataset units, on any device.
        target: Whether the target critics are asked.

    Returns:
        (B, 1), as `q_value` returns them.

    Raises:
        CompositionError: The learner has no critic, or no networks yet.
        DivergedError: A discrete learner's networks give no probabilities.
    """
    validate_tensor("observations", observations)
    together = ROWS_OF_A_LEARNER
    if device_of(learner).type == "cpu":
        learner, together = _fused_learner(learner), STATES_IN_CACHE
    values = []
    for rows in torch.split(observations, together):
        values.append(q_value(learner, rows, sample_action(learner, rows), target))
    return torch.cat(values)


def _fused_learner(learner: Learner) -> Learner:
    """Returns a view of a learner: its own parameters, in networks that cannot learn."""
    if is_distributed(learner) or not _fused_is_faster(torch.get_num_threads()):
        return learner
    return with_networks(learner, _fused)


@functools.cache
def _fused_is_faster(threads: int) -> bool:
    """Returns whether it pays here, see `fastest`. Draws nothing."""
    if _ONEDNN is None:
        return False
    with torch.random.fork_rng(devices=[]):
        layers = [nn.Linear(23, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        network, rows = nn.Sequential(*layers), torch.randn(STATES_IN_CACHE, 23)
    fused = _fused(network)
    ways = {"onednn": lambda: fused(rows), "torch": lambda: network(rows)}
    about = {**about_processor(), "threads": threads}
    return fastest("layers-asking", about, ways) == "onednn"


def _fused(module: nn.Module) -> nn.Module:
    """Returns a view of a network; of layers that are not linear, the layers."""
    if _can_be_fused(module):
        return _FusedLinear(cast(nn.Linear, module))
    children = dict(module.named_children())
    if not children:
        return module
    if type(module) is nn.Sequential:
        return nn.Sequential(*_fused_sequence(list(module)))
    view = copy.copy(module)
    view._modules = {name: _fused(child) for name, child in children.items()}
    return view


def _fused_sequence(layers: list[nn.Module]) -> list[nn.Module]:
    sequence: list[nn.Module] = []
    for layer in layers:
        last = sequence[-1] if sequence else None
        if isinstance(last, _FusedLinear) and type(layer) is nn.ReLU:
            last.activation = "relu"
        else:
            sequence.append(_fused(layer))
    return sequence


def _can_be_fused(module: nn.Module) -> bool:
    """Returns whether it is torch's linear layer and nothing more."""
    return (
        type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and not module._forward_pre_hooks
        and not module._forward_hooks
    )


class _FusedLinear(nn.Linear):
    """A linear layer with the same parameters, and the activation that follows it."""

    def __init__(self, linear: nn.Linear):
        vars(self).update(vars(linear))
        self.activation = "none"

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        assert _ONEDNN is not None
        result: torch.Tensor = _ONEDNN(
            rows, self.weight, self.bias, self.activation, [], ""
        )
        return result
