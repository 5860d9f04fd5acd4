"""How probable an action is, given what a network says: one object a kind of actions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from d3rlpy.models.builders import create_normal_policy
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.models.torch.policies import build_squashed_gaussian_distribution
from torch import nn
from torch.nn import functional

from ...data.action_sets import ActionRange, ActionSet

__all__ = ["Likelihood", "likelihood_over"]

# Ours: without it the likelihood of near-deterministic actions has no bound, and
# neither have its gradients.
_MIN_LOG_STD = -5.0

# Ours: the least and greatest action of the data lie at -0.99 and 0.99, so that their
# pre-images under tanh are finite. Clipped controllers often take them.
_MARGIN = 0.99


class Likelihood(ABC):
    """A distribution over an action set whose parameters a network gives."""

    @abstractmethod
    def network(
        self, observation_size: int, hidden_units: Sequence[int], device: str
    ) -> nn.Module:
        """Returns a network whose output the other methods take."""

    @abstractmethod
    def targets(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns (B, A) actions in dataset units as `log_prob` takes them."""

    @abstractmethod
    def log_prob(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        """Returns (B, 1) log-likelihoods of `targets`."""

    @abstractmethod
    def sample(self, output: Any) -> torch.Tensor:
        """Returns (B, A) actions in dataset units, one for each row of the output."""


def likelihood_over(action_set: ActionSet) -> Likelihood:
    """Returns the likelihood that belongs to a set, on the set's device."""
    if isinstance(action_set, ActionRange):
        return _TanhGaussian(action_set)
    assert action_set.n_actions is not None
    return _Categorical(action_set.n_actions)


class _TanhGaussian(Likelihood):
    """Of actions scaled to [-0.99, 0.99]."""

    def __init__(self, action_range: ActionRange):
        self._range = action_range

    def network(
        self, observation_size: int, hidden_units: Sequence[int], device: str
    ) -> nn.Module:
        return create_normal_policy(
            (observation_size,),
            self._range.size,
            VectorEncoderFactory(list(hidden_units)),
            min_logstd=_MIN_LOG_STD,
            device=device,
            enable_ddp=False,
        )

    def targets(self, actions: torch.Tensor) -> torch.Tensor:
        return _MARGIN * self._range.to_unit(actions)

    def log_prob(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        return build_squashed_gaussian_distribution(output).log_prob(targets)

    def sample(self, output: Any) -> torch.Tensor:
        unit = build_squashed_gaussian_distribution(output).sample() / _MARGIN
        return self._range.from_unit(unit.clamp(-1, 1))


class _Categorical(Likelihood):
    """A softmax, which can be every distribution over the choices."""

    def __init__(self, n_actions: int):
        self._n_actions = n_actions

    def network(
        self, observation_size: int, hidden_units: Sequence[int], device: str
    ) -> nn.Module:
        layers: list[nn.Module] = []
        size = observation_size
        for units in hidden_units:
            layers += [nn.Linear(size, units), nn.ReLU()]
            size = units
        return nn.Sequential(*layers, nn.Linear(size, self._n_actions)).to(device)

    def targets(self, actions: torch.Tensor) -> torch.Tensor:
        return actions.long()

    def log_prob(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(output, dim=1).gather(1, targets)

    def sample(self, output: Any) -> torch.Tensor:
        return torch.multinomial(output.softmax(dim=1), 1).float()
