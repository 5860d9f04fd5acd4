"""COCOA's divergent reverse policy (ICLR 2024): one direction for a whole rollout."""

import dataclasses

import d3rlpy_mbo as mbo
import torch


@dataclasses.dataclass()
class DivergentPolicyConfig(mbo.RolloutPolicyConfig):
    """Actions around a direction that is drawn anew for each rollout, not each step.

    Reverse rollouts of uniform actions stay near where they end, because what one step
    undoes the next one does; with one direction they lead away from it.

    Args:
        scale: Of the direction, in units of half the data's action range (COCOA: 0.8).
        noise: Standard deviation around it, in the same units (COCOA: 0.1).
    """

    scale: float = mbo.number(0.8, at_least=0)
    noise: float = mbo.number(0.1, at_least=0)

    @staticmethod
    def get_type():
        return "divergent"

    def create(self, device=False):
        return DivergentPolicy(self, device)


class DivergentPolicy(mbo.RolloutPolicy):
    """Keeps the directions of the rollouts that are on their way."""

    _range = _directions = None

    @property
    def fitted(self):
        return self._range is not None

    def fit(self, transitions):
        self._range = transitions.action_range().to(self.device)

    def begin_rollouts(self, n_rollouts):
        drawn = torch.randn(n_rollouts, self._range.size, device=self.device)
        self._directions = drawn / drawn.norm(dim=1, keepdim=True).clamp(min=1e-6)

    def sample_action(self, observations, learner):
        self.check_fitted()
        if self._directions is None or len(self._directions) != len(observations):
            self.begin_rollouts(len(observations))  # asked outside of a rollout
        unit = self.config.scale * self._directions
        unit = unit + self.config.noise * torch.randn_like(unit)
        return self._range.from_unit(unit.clamp(-1, 1))

    def state_dict(self):
        self.check_fitted()
        return self._range.state_dict()

    def load_state_dict(self, state):
        self._range = mbo.ActionRange(**state).to(self.device)


@mbo.hookimpl
def register_components():
    return [DivergentPolicyConfig]
