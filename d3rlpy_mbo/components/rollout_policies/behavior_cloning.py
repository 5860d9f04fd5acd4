"""Behavior cloning as a rollout policy; in reverse, ROMI's RBC."""

import dataclasses
from typing import Any, Optional

import torch
from d3rlpy.base import DeviceArg
from d3rlpy.models.builders import create_normal_policy
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.models.torch.distributions import SquashedGaussianDistribution
from d3rlpy.models.torch.policies import (
    NormalPolicy,
    build_squashed_gaussian_distribution,
)

from ...data.action_sets import ActionRange
from ...data.transitions import Transitions
from ...learners.reading import Learner
from ...registry.fields import number, number_list
from ..dynamics.networks import Standardizer
from .interface import RolloutPolicy, RolloutPolicyConfig

__all__ = ["BehaviorCloningPolicy", "BehaviorCloningPolicyConfig"]

# Ours: without it the likelihood of near-deterministic actions has no bound, and
# neither have its gradients.
_MIN_LOG_STD = -5.0

# Ours: the least and greatest action of the data lie at -0.99 and 0.99, so that their
# pre-images under tanh are finite. Clipped controllers often take them.
_MARGIN = 0.99


@dataclasses.dataclass()
class BehaviorCloningPolicyConfig(RolloutPolicyConfig):
    """Clones the dataset's actions by maximum likelihood.

    In reverse this is ROMI's RBC, p(a | s') (Wang et al. 2021, equation 10): the
    likelihood of a tanh-Gaussian, without the official code's entropy bonus and its
    confusion of standard deviation and variance.

    Args:
        hidden_units: Units of the hidden layers (official code: 2 x 256).
        learning_rate: Of Adam (ours: d3rlpy's for actors).
        batch_size: Rows in a step (ours: as the ensemble's).
        n_steps: Gradient steps (ours: the hold-out likelihood is flat by then).
    """

    hidden_units: list[int] = number_list([256, 256], at_least=1, whole=True)
    learning_rate: float = number(3e-4, more_than=0)
    batch_size: int = number(256, at_least=1, whole=True)
    n_steps: int = number(20_000, at_least=1, whole=True)

    @staticmethod
    def get_type() -> str:
        """Returns ``"behavior_cloning"``."""
        return "behavior_cloning"

    def create(self, device: DeviceArg = False) -> "BehaviorCloningPolicy":
        """Returns an unfitted policy."""
        return BehaviorCloningPolicy(self, device)


class BehaviorCloningPolicy(RolloutPolicy):
    """A tanh-Gaussian over the dataset's action range, given s (reverse s')."""

    config: BehaviorCloningPolicyConfig
    _policy: Optional[NormalPolicy] = None
    _inputs: Standardizer
    _range: ActionRange

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._policy is not None

    def _build(self, observation_size: int, action_size: int) -> NormalPolicy:
        return create_normal_policy(
            (observation_size,),
            action_size,
            VectorEncoderFactory(self.config.hidden_units),
            min_logstd=_MIN_LOG_STD,
            device=self.device,
            enable_ddp=False,
        )

    def fit(self, transitions: Transitions) -> None:
        """Minimises the negative log-likelihood of the dataset's actions."""
        action_range = transitions.action_range()
        given = transitions.given_observations(self.direction)
        actions = _MARGIN * action_range.to_unit(transitions.actions)
        inputs = Standardizer.fit(given)
        policy = self._build(transitions.observation_size, transitions.action_size)

        def loss(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            distribution = build_squashed_gaussian_distribution(policy(x))
            return -distribution.log_prob(a).mean()

        self.metrics = {
            "behavior_cloning_loss": self.fit_by_gradient(
                torch.optim.Adam(policy.parameters(), lr=self.config.learning_rate),
                loss,
                (inputs.standardize(given), actions),
                n_steps=self.config.n_steps,
                batch_size=self.config.batch_size,
                description="Cloning behavior",
            )
        }
        self._inputs = inputs.to(self.device)
        self._range = action_range.to(self.device)
        self._policy = policy

    @torch.no_grad()
    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """See `RolloutPolicy.sample_action`."""
        unit = self._distribution(observations).sample() / _MARGIN
        return self._range.from_unit(unit.clamp(-1, 1))

    def log_prob(
        self, observations: torch.Tensor, actions: torch.Tensor
    ) -> torch.Tensor:
        """Returns (B, 1) log-likelihoods of actions scaled to [-0.99, 0.99]."""
        distribution = self._distribution(observations)
        return distribution.log_prob(_MARGIN * self._range.to_unit(actions))

    def _distribution(self, observations: torch.Tensor) -> SquashedGaussianDistribution:
        self.check_fitted()
        assert self._policy is not None
        output = self._policy(self._inputs.standardize(observations))
        return build_squashed_gaussian_distribution(output)

    def state_dict(self) -> dict[str, Any]:
        """Returns the network and the scaling around it."""
        self.check_fitted()
        assert self._policy is not None
        weights = {k: v.cpu() for k, v in self._policy.state_dict().items()}
        return {
            "policy": weights,
            "inputs": self._inputs.state_dict(),
            "range": self._range.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a fitted policy of the same config."""
        self._range = ActionRange(**state["range"]).to(self.device)
        self._inputs = Standardizer(**state["inputs"]).to(self.device)
        policy = self._build(len(self._inputs.mean), len(self._range.low))
        policy.load_state_dict(state["policy"])
        self._policy = policy
