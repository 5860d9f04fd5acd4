"""Replays the dataset's actions, and penalises where members dispute the reward."""

import dataclasses

import d3rlpy_mbo as mbo
import torch


@dataclasses.dataclass()
class RewardDispute(mbo.Penalty):
    compares = "members"
    coef: float = 1.0

    @staticmethod
    def get_type():
        return "reward_dispute"

    def __call__(self, prediction, learner=None):
        return self.coef * prediction.means[..., -1:].std(dim=0, correction=0)


class ReplayedActionsConfig(mbo.RolloutPolicyConfig):
    @staticmethod
    def get_type():
        return "replayed_actions"

    def create(self, device=False):
        return ReplayedActions(self, device)


class ReplayedActions(mbo.RolloutPolicy):
    fitted = False

    def fit(self, transitions):
        self.load_state_dict({"actions": transitions.actions})

    def sample_action(self, observations, learner):
        return self.actions[torch.randint(len(self.actions), (len(observations),))]

    def state_dict(self):
        return {"actions": self.actions}

    def load_state_dict(self, state):
        self.actions, self.fitted = state["actions"].to(self.device), True


@mbo.hookimpl
def register_components():
    return [RewardDispute, ReplayedActionsConfig]
