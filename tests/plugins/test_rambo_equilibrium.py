"""Where data hold the model, RAMBO's adversary comes to rest at a shift one can compute.

The supervised loss is a mean over D + 1 columns and a sum over K members, its gradient for
a member's mean 2 / (D + 1) shift / sigma^2. The adversarial one is lambda / K times the
correlation of advantage and outcome, over sigma. They cancel at

    shift / sigma = -lambda (D + 1) / (2 K) sqrt(f)

in the direction of the advantage, f being the share of its variance that the sampled
outcome explains: whatever the unit, and however many updates there are.
"""

import dataclasses
import math
from typing import Any

import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig

pytestmark = pytest.mark.training

D, K, LAMBDA = 3, 5, 0.3
SLOPES = torch.tensor([1.0, -1.0, 1.0])  # of the value, over the columns of the state
OF_STATES = 2.0  # size of what the advantage owes to the state alone


@dataclasses.dataclass()
class ShiftsConfig(mbo.DynamicsConfig):
    """s' = s + shift + sigma z and r = shift + sigma z, a shift for each member."""

    sigma: float = 1.0

    @staticmethod
    def get_type() -> str:
        return "shifts"

    def create(self, device: Any = False) -> "Shifts":
        return Shifts(self, device)


class Shifts(mbo.Dynamics):
    config: ShiftsConfig
    fitted = True
    n_members = K

    def __init__(self, config: ShiftsConfig, device: Any = False):
        super().__init__(config, device)
        self.shifts = torch.nn.Parameter(torch.zeros(K, 1, D + 1))

    def fit(self, transitions: mbo.Transitions) -> None:
        pass

    @torch.no_grad()
    def predict(self, observations, actions, all_members):
        members = torch.randint(K, (len(observations),))
        noise = self.config.sigma * torch.randn(len(observations), D + 1)
        outcome = self.shifts[members, 0] + noise
        reached = observations + outcome[:, :-1]
        return mbo.Prediction(observations, actions, reached, outcome[:, -1:])

    def _z(self, transitions):
        change = transitions.next_observations - transitions.observations
        outcome = torch.cat([change, transitions.rewards], dim=1)
        return (outcome - self.shifts) / self.config.sigma

    def log_prob(self, transitions):
        of_members = -0.5 * self._z(transitions).square().sum(dim=2, keepdim=True)
        return torch.logsumexp(of_members, dim=0) - math.log(K)  # and a constant

    def training_loss(self, transitions):
        dealt = self._z(transitions)[
            torch.arange(K).repeat_interleave(256), torch.arange(K * 256)
        ]
        return dealt.square().view(K, 256, D + 1).mean(dim=(1, 2)).sum()

    def parameters(self):
        return [self.shifts]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def data(sigma: float) -> mbo.Transitions:
    """Returns rows that agree with shifts of 0, exactly."""
    outcomes = torch.randn(20_000, D + 1)
    outcomes = sigma * (outcomes - outcomes.mean(dim=0)) / outcomes.std(dim=0)
    states, actions = torch.randn(len(outcomes), D), torch.zeros(len(outcomes), 1)
    return mbo.Transitions(
        states,
        actions,
        outcomes[:, -1:],
        states + outcomes[:, :-1],
        actions,
        torch.zeros(len(outcomes), 1),
    )


def frozen_critic(sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner whose value is linear, and less at random for half of the states."""

    def q_value(learner, observations, actions):
        # The second half are the states that the rows leave: see `_advantages`.
        linear = observations @ SLOPES[:, None]
        left = torch.arange(len(observations))[:, None] >= len(observations) // 2
        coin = torch.sign(torch.sin(1e4 * observations[:, :1]))
        return linear + left * OF_STATES * sigma * coin

    def no_action(learner, observations):
        return torch.zeros(len(observations), 1)

    monkeypatch.setattr(mbo.learners, "check_built", lambda *args, **kwargs: None)
    monkeypatch.setattr(mbo.learners, "discount", lambda learner: 1.0)
    monkeypatch.setattr(mbo.learners, "q_value", q_value)
    monkeypatch.setattr(mbo.learners, "predict_action", no_action)
    monkeypatch.setattr(mbo.learners, "sample_action", no_action)


@pytest.mark.parametrize("sigma", [1.0, 10.0])
def test_the_adversary_rests_where_its_gradient_and_the_datas_cancel(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_critic(sigma, monkeypatch)
    dynamics, rows = ShiftsConfig(sigma=sigma).create(), data(sigma)
    config = AdversarialUpdaterConfig(
        coef=LAMBDA, learning_rate=3e-3 * sigma, n_updates=25
    )
    updater = config.create()
    updater.rollout_length = 2
    found = []
    for i in range(60):
        updater.update(dynamics, rows, learner=None)
        if i >= 15:
            found.append(dynamics.shifts.detach().mean(dim=(0, 1)) / sigma)

    direction = torch.cat([SLOPES, torch.ones(1)])  # of the advantage: s', then r
    explained = float(direction.square().sum())
    f = explained / (explained + OF_STATES**2)
    expected = -LAMBDA * (D + 1) / (2 * K) * math.sqrt(f) * direction / explained**0.5
    torch.testing.assert_close(
        torch.stack(found).mean(dim=0), expected, rtol=0, atol=0.006
    )
