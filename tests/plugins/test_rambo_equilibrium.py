"""Where data hold the model, RAMBO's adversary comes to rest at a shift one can compute.

The supervised loss is a mean over D + 1 columns and a sum over K members, its gradient for
a member's mean 2 / (D + 1) shift / sigma^2. The adversarial one is lambda / K times the
correlation of advantage and outcome, over sigma. At an action the first counts as often
as the data take it, d(a), the second as often as the policy does, pi(a). They cancel at

    shift / sigma = -lambda (D + 1) / (2 K) sqrt(f) pi(a) / d(a)

in the direction of the advantage, f being the share of its variance that the sampled
outcome explains: whatever the unit, and however many updates there are. No bound: a
policy that is narrower than the data has pi / d above 1, without limit off them.
"""

import dataclasses
import math
from collections.abc import Callable
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
    """s' = s + shift + sigma z and r = shift + sigma z.

    A shift for each member and each of the actions, which are 0, 1, ...
    """

    sigma: float = 1.0
    n_actions: int = 1

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
        self.shifts = torch.nn.Parameter(torch.zeros(K, config.n_actions, D + 1))

    def fit(self, transitions: mbo.Transitions) -> None:
        pass

    @torch.no_grad()
    def predict(self, observations, actions, all_members):
        members = torch.randint(K, (len(observations),))
        noise = self.config.sigma * torch.randn(len(observations), D + 1)
        outcome = self.shifts[members, actions[:, 0].long()] + noise
        reached = observations + outcome[:, :-1]
        return mbo.Prediction(observations, actions, reached, outcome[:, -1:])

    def _z(self, transitions):
        change = transitions.next_observations - transitions.observations
        outcome = torch.cat([change, transitions.rewards], dim=1)
        shifts = self.shifts[:, transitions.actions[:, 0].long()]
        return (outcome - shifts) / self.config.sigma

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


def data(sigma: float, n_actions: int = 1) -> mbo.Transitions:
    """Returns rows that agree with shifts of 0, exactly; each action as often."""
    outcomes = torch.randn(20_000 // n_actions, n_actions, D + 1)
    outcomes = sigma * (outcomes - outcomes.mean(dim=0)) / outcomes.std(dim=0)
    outcomes = outcomes.view(-1, D + 1)
    states = torch.randn(len(outcomes), D)
    actions = torch.arange(len(outcomes)).remainder(n_actions)[:, None].float()
    return mbo.Transitions(
        states,
        actions,
        outcomes[:, -1:],
        states + outcomes[:, :-1],
        actions,
        torch.zeros(len(outcomes), 1),
    )


def one_action(learner: Any, observations: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(observations), 1)


def any_of_four(learner: Any, observations: torch.Tensor) -> torch.Tensor:
    return torch.randint(4, (len(observations), 1)).float()


def frozen_critic(
    sigma: float,
    monkeypatch: pytest.MonkeyPatch,
    policy: Callable[..., torch.Tensor] = one_action,
) -> None:
    """A learner whose value is linear, and less at random for half of the states."""

    def q_value(learner, observations, actions):
        # The second half are the states that the rows leave: see `_advantages`.
        linear = observations @ SLOPES[:, None]
        left = torch.arange(len(observations))[:, None] >= len(observations) // 2
        coin = torch.sign(torch.sin(1e4 * observations[:, :1]))
        return linear + left * OF_STATES * sigma * coin

    monkeypatch.setattr(mbo.learners, "check_built", lambda *args, **kwargs: None)
    monkeypatch.setattr(mbo.learners, "discount", lambda learner: 1.0)
    monkeypatch.setattr(mbo.learners, "counted_reward", lambda _, rewards: rewards)
    monkeypatch.setattr(mbo.learners, "q_value", q_value)
    monkeypatch.setattr(mbo.learners, "predict_action", policy)
    monkeypatch.setattr(mbo.learners, "sample_action", policy)


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

    torch.testing.assert_close(
        torch.stack(found).mean(dim=0), at_rest() * along(), rtol=0, atol=0.006
    )


@pytest.mark.parametrize(
    ("policy", "density_ratios"),
    [(any_of_four, [1.0, 1.0, 1.0, 1.0]), (one_action, [4.0, 0.0, 0.0, 0.0])],
    ids=["as-the-data", "one-action-of-four"],
)
def test_at_an_action_it_rests_as_much_farther_as_the_policy_is_denser_than_the_data(
    policy: Callable[..., torch.Tensor],
    density_ratios: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    frozen_critic(1.0, monkeypatch, policy)
    dynamics, rows = ShiftsConfig(n_actions=4).create(), data(1.0, n_actions=4)
    config = AdversarialUpdaterConfig(coef=LAMBDA, learning_rate=3e-3, n_updates=25)
    updater = config.create()
    updater.rollout_length = 2
    updater.action_set = mbo.ActionRange(torch.tensor([0.0]), torch.tensor([3.0]))
    found = []
    for i in range(60):
        updater.update(dynamics, rows, learner=None)
        if i >= 20:
            found.append(dynamics.shifts.detach().mean(dim=0) @ along())

    expected = at_rest() * torch.tensor(density_ratios)  # -.085 where the ratio is 1
    torch.testing.assert_close(
        torch.stack(found).mean(dim=0), expected, rtol=0, atol=0.03
    )


def along() -> torch.Tensor:
    """Returns the unit vector of the advantage: s', then r."""
    direction = torch.cat([SLOPES, torch.ones(1)])
    return direction / direction.norm()


def at_rest() -> float:
    """Returns the formula's shift along it, where the policy acts as the data."""
    explained = float(SLOPES.square().sum()) + 1
    f = explained / (explained + OF_STATES**2)
    return -LAMBDA * (D + 1) / (2 * K) * math.sqrt(f)
