"""Behavior cloning as a rollout policy; in reverse, ROMI's RBC."""

import dataclasses
from typing import Any, ClassVar, Optional

import torch
from d3rlpy.base import DeviceArg
from torch import nn

from ...data.action_sets import ActionSet, action_set_of
from ...data.transitions import Transitions
from ...learners.reading import Learner
from ...registry.fields import number, number_list
from ..dynamics.networks import Standardizer
from .interface import RolloutPolicy, RolloutPolicyConfig
from .likelihoods import likelihood_over

__all__ = ["BehaviorCloningPolicy", "BehaviorCloningPolicyConfig"]


@dataclasses.dataclass()
class BehaviorCloningPolicyConfig(RolloutPolicyConfig):
    """Clones the dataset's actions by maximum likelihood.

    In reverse this is ROMI's RBC, p(a | s') (Wang et al. 2021, equation 10): the
    likelihood of a tanh-Gaussian, without the official code's entropy bonus and its
    confusion of standard deviation and variance. For choices it is a softmax, d(a | s').

    Args:
        hidden_units: Units of the hidden layers (official code: 2 x 256).
        learning_rate: Of Adam (ours: d3rlpy's for actors).
        batch_size: Rows in a step (ours: as the ensemble's).
        n_steps: Gradient steps (ours: the hold-out likelihood is flat by then).
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
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
    """A distribution over the dataset's actions, given s (in reverse s').

    A tanh-Gaussian over their range, or a softmax over the choices.
    """

    config: BehaviorCloningPolicyConfig
    _network: Optional[nn.Module] = None
    _inputs: Standardizer
    _actions: ActionSet

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._network is not None

    def fit(self, transitions: Transitions) -> None:
        """Minimises the negative log-likelihood of the dataset's actions."""
        action_set = transitions.action_set()
        likelihood = likelihood_over(action_set)
        given = transitions.given_observations(self.direction)
        inputs = Standardizer.fit(given)
        here = inputs.to(self.device)
        network = likelihood.network(
            transitions.observation_size, self.config.hidden_units, self.device
        )

        def loss(given: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
            # A batch at a time: all of it standardised would be as large as the data.
            return -likelihood.log_prob(network(here.standardize(given)), a).mean()

        self.metrics = {
            "behavior_cloning_loss": self.fit_by_gradient(
                torch.optim.Adam(network.parameters(), lr=self.config.learning_rate),
                loss,
                (given, likelihood.targets(transitions.actions)),
                n_steps=self.config.n_steps,
                batch_size=self.config.batch_size,
                description="Cloning behavior",
            )
        }
        self._inputs = here
        self._actions = action_set.to(self.device)
        self._network = network

    @torch.no_grad()
    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Learner]
    ) -> torch.Tensor:
        """See `RolloutPolicy.sample_action`."""
        return likelihood_over(self._actions_known).sample(self._output(observations))

    def log_prob(
        self, observations: torch.Tensor, actions: torch.Tensor
    ) -> torch.Tensor:
        """Returns (B, 1) log-likelihoods; continuous actions scaled to [-0.99, 0.99]."""
        likelihood = likelihood_over(self._actions_known)
        return likelihood.log_prob(
            self._output(observations), likelihood.targets(actions)
        )

    @property
    def _actions_known(self) -> ActionSet:
        self.check_fitted()
        return self._actions

    def _output(self, observations: torch.Tensor) -> Any:
        assert self._network is not None
        return self._network(self._inputs.standardize(observations))

    def state_dict(self) -> dict[str, Any]:
        """Returns the network and the scaling around it."""
        self.check_fitted()
        assert self._network is not None
        weights = {k: v.cpu() for k, v in self._network.state_dict().items()}
        return {
            "policy": weights,
            "inputs": self._inputs.state_dict(),
            "range": self._actions.state_dict(),  # as 0.1 named it
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a fitted policy of the same config."""
        self._actions = action_set_of(state["range"]).to(self.device)
        self._inputs = Standardizer(**state["inputs"]).to(self.device)
        network = likelihood_over(self._actions).network(
            len(self._inputs.mean), self.config.hidden_units, self.device
        )
        network.load_state_dict(state["policy"])
        self._network = network
