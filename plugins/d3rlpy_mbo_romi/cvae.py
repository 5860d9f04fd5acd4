"""ROMI's diverse rollout policy: a conditional variational auto-encoder."""

import dataclasses
from typing import Any, ClassVar, Optional

import d3rlpy
import torch
from torch import nn

import d3rlpy_mbo as mbo


@dataclasses.dataclass()
class CVAEPolicyConfig(mbo.RolloutPolicyConfig):
    """Config of the CVAE p(a | s') (Wang et al. 2021, equation 3 and appendix B.2).

    For choices no latent is needed: a softmax can be any distribution over them, while
    the CVAE would sample one that its clipped latents distort. There `discrete` proposes.

    Args:
        hidden_units: Units of both hidden layers of encoder and decoder.
        learning_rate: Of Adam (official code).
        batch_size: Rows in a step (official code).
        n_steps: Gradient steps (official code).
        kl_weight: Of the Kullback-Leibler term: official code 0.5, equation 3 has 1.
        latent_clip: Latents are clipped to +- this when sampling (official code).
        discrete: The policy that is fitted and proposes instead if actions are choices:
            by default the data's own d(a | s'), with which the step into a real state is
            right however random the task is. A policy that asks the learner is refused:
            it does not sample the data's actions, and needs no CVAE around it.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    hidden_units: int = mbo.number(750, at_least=1, whole=True)
    learning_rate: float = mbo.number(1e-3, more_than=0)
    batch_size: int = mbo.number(100, at_least=1, whole=True)
    n_steps: int = mbo.number(500_000, at_least=1, whole=True)
    kl_weight: float = mbo.number(0.5, at_least=0)
    latent_clip: float = mbo.number(0.5, at_least=0)
    discrete: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.BehaviorCloningPolicyConfig, required=True
    )

    @staticmethod
    def get_type() -> str:
        """Returns ``"cvae"``."""
        return "cvae"

    def create(self, device: d3rlpy.base.DeviceArg = False) -> "CVAEPolicy":
        """Returns an unfitted policy.

        Raises:
            CompositionError: `discrete` asks the learner.
        """
        return CVAEPolicy(self, device)


class _CVAE(nn.Module):
    """Encodes (s', a) to a latent twice the action's size, decodes to [-1, 1]."""

    def __init__(self, observation_size: int, action_size: int, hidden: int):
        super().__init__()
        self.latent_size = 2 * action_size
        self.encoder = nn.Sequential(
            nn.Linear(observation_size + action_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * self.latent_size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(observation_size + self.latent_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, action_size),
            nn.Tanh(),
        )

    def encode(
        self, given: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = self.encoder(torch.cat([given, actions], dim=1))
        mean, log_std = encoded.chunk(2, dim=1)
        return mean, log_std.clamp(-4, 15).exp()  # official code's bounds

    def decode(self, given: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self.decoder(torch.cat([given, latent], dim=1))
        return decoded


class CVAEPolicy(mbo.RolloutPolicy):
    """Samples actions like those of the dataset that lead to s' (forward: that leave s).

    Raises:
        CompositionError: See `CVAEPolicyConfig.create`.
    """

    config: CVAEPolicyConfig
    _cvae: Optional[_CVAE] = None
    _discrete: Optional[mbo.RolloutPolicy] = None
    _range: mbo.ActionRange

    def __init__(self, config: CVAEPolicyConfig, device: d3rlpy.base.DeviceArg = False):
        super().__init__(config, device)
        self._of_choices = config.discrete.create(device)  # stays unfitted: what it can
        if self._of_choices.needs_learner:
            raise mbo.CompositionError(
                "CVAEPolicyConfig.discrete proposes if actions are choices, but "
                f"{config.discrete.get_type()!r} asks the learner. Make that policy the "
                "rollout_policy itself, or leave discrete at "
                "BehaviorCloningPolicyConfig()."
            )

    def attach(self, context: mbo.Context) -> None:
        """See `d3rlpy_mbo.RolloutPolicy`; the policy that proposes instead is told too.

        Raises:
            CompositionError: `discrete` cannot imagine in the direction.
        """
        super().attach(context)
        directions = self._of_choices.directions
        if context.direction not in directions:
            raise mbo.CompositionError(
                f"CVAEPolicyConfig.discrete, {self.config.discrete.get_type()!r}, cannot "
                f"imagine in direction {context.direction!r}, only "
                f"{' or '.join(map(repr, directions))}. Leave it at "
                "BehaviorCloningPolicyConfig(), which knows both."
            )
        if self._discrete is not None:
            self._discrete.attach(context)

    @property
    def fitted(self) -> bool:
        """Whether it was fitted or loaded."""
        return self._cvae is not None or self._discrete is not None

    def fit(self, transitions: mbo.Transitions) -> None:
        """Maximises the variational lower bound of the dataset's actions."""
        self._cvae, self._discrete = None, None
        if transitions.n_actions is not None:
            discrete = self._new_discrete()
            discrete.fit(transitions)
            self.metrics, self.history = discrete.metrics, discrete.history
            self._discrete = discrete
            return
        sizes = transitions.observation_size, transitions.action_size
        cvae = _CVAE(*sizes, self.config.hidden_units).to(self.device)
        action_range = transitions.action_range()

        def loss(given: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
            mean, std = cvae.encode(given, actions)
            decoded = cvae.decode(given, mean + std * torch.randn_like(std))
            divergence = -0.5 * (1 + 2 * std.log() - mean.square() - std.square())
            error = (decoded - actions).square().mean()
            return error + self.config.kl_weight * divergence.mean()

        self.metrics = {
            "cvae_loss": self.fit_by_gradient(
                torch.optim.Adam(cvae.parameters(), lr=self.config.learning_rate),
                loss,
                (
                    transitions.given_observations(self.direction),
                    action_range.to_unit(transitions.actions),
                ),
                n_steps=self.config.n_steps,
                batch_size=self.config.batch_size,
                description="Fitting CVAE",
            )
        }
        self._range = action_range.to(self.device)
        self._cvae = cvae

    def _new_discrete(self) -> mbo.RolloutPolicy:
        policy = self.config.discrete.create(self.device)
        policy.direction = self.direction
        if self.context is not None:
            policy.attach(self.context)
        return policy

    def begin_rollouts(self, n_rollouts: int) -> None:
        """See `d3rlpy_mbo.RolloutPolicy.begin_rollouts`."""
        if self._discrete is not None:
            self._discrete.begin_rollouts(n_rollouts)

    @torch.no_grad()
    def sample_action(
        self, observations: torch.Tensor, learner: Optional[Any]
    ) -> torch.Tensor:
        """See `d3rlpy_mbo.RolloutPolicy.sample_action`."""
        self.check_fitted()
        if self._discrete is not None:
            return self._discrete.sample_action(observations, learner)
        assert self._cvae is not None
        latent = torch.randn(
            len(observations), self._cvae.latent_size, device=observations.device
        ).clamp(-self.config.latent_clip, self.config.latent_clip)
        return self._range.from_unit(self._cvae.decode(observations, latent))

    def state_dict(self) -> dict[str, Any]:
        """Returns weights and the action range."""
        self.check_fitted()
        if self._discrete is not None:
            return {"discrete": self._discrete.state_dict()}
        assert self._cvae is not None
        weights = {k: v.cpu() for k, v in self._cvae.state_dict().items()}
        return {"cvae": weights, "range": self._range.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a fitted policy of the same config."""
        if "discrete" in state:
            self._discrete = self._new_discrete()
            self._discrete.load_state_dict(state["discrete"])
            return
        self._range = mbo.ActionRange(**state["range"]).to(self.device)
        action_size = len(self._range.low)
        inputs = state["cvae"]["encoder.0.weight"].shape[1]
        cvae = _CVAE(inputs - action_size, action_size, self.config.hidden_units)
        cvae.load_state_dict(state["cvae"])
        self._cvae = cvae.to(self.device)
