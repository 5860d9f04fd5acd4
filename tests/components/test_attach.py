"""A component that learns is told what it belongs to in one place, and when it changes."""

import dataclasses
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from toys import ConstantPenalty, line_dataset, line_imagination, small_learner


@dataclasses.dataclass()
class ToldPolicyConfig(mbo.RolloutPolicyConfig):
    @staticmethod
    def get_type() -> str:
        return "told"

    def create(self, device: Any = False) -> "ToldPolicy":
        return ToldPolicy(self, device)


class ToldPolicy(mbo.RolloutPolicy):
    fitted = True

    def __init__(self, config: Any, device: Any):
        super().__init__(config, device)
        self.told: list[mbo.Context] = []
        self.metrics = {"loss": 1.0, "rows": 7.0, "own": 3.0}

    def attach(self, context: mbo.Context) -> None:
        super().attach(context)
        self.told.append(context)

    def fit(self, transitions: mbo.Transitions) -> None:
        self.known_when_fitted = self.told[-1].action_set

    def sample_action(self, observations: torch.Tensor, learner: Any) -> torch.Tensor:
        return self.told[-1].action_set.sample(len(observations))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_component_is_told_at_creation_by_fit_and_by_an_assignment():
    imagination = line_imagination(
        "reverse",
        rollout_policy=ToldPolicyConfig(),
        termination=mbo.NoTermination(),
        rollout_length=3,
    )
    policy = imagination.rollout_policy
    [created] = policy.told
    assert created == mbo.Context(
        direction="reverse",
        rollout_policy=policy,
        termination=mbo.NoTermination(),
        reward_function=None,
        rollout_length=3,
        action_set=None,
    )
    assert policy.direction == "reverse"

    imagination.fit(line_dataset())
    assert len(policy.told) == 2
    fitted = policy.told[1]
    assert fitted.action_set is imagination.action_set is policy.known_when_fitted
    assert dataclasses.replace(fitted, action_set=None, reward_range=None) == created

    wider = mbo.ActionRange(torch.tensor([-9.0]), torch.tensor([9.0]))
    imagination.action_range = wider
    assert len(policy.told) == 3
    assert policy.told[2].action_set.high.tolist() == [9.0]


def test_a_component_is_told_the_rewards_of_all_real_rows_those_without_s_included():
    observations, rewards = np.arange(3.0)[:, None], [-1.0, 2.0, -100.0]
    crash = d3rlpy.dataset.MDPDataset(
        *(np.float32(column) for column in (observations, observations, rewards)),
        terminals=np.float32([0, 0, 1]),
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
    )
    imagination = line_imagination(
        "reverse", rollout_policy=ToldPolicyConfig(), termination=mbo.NoTermination()
    )
    imagination.fit(crash)
    imagination.action_range = imagination.action_range
    created, *later = imagination.rollout_policy.told
    assert created.reward_range is None
    state = imagination.checkpoint_state()
    resumed = line_imagination("reverse", rollout_policy=ToldPolicyConfig())
    resumed.restore_checkpoint(state)
    later.append(resumed.rollout_policy.told[-1])
    assert [each.reward_range for each in later] == [(-100.0, 2.0)] * 3


def test_a_component_is_told_when_its_imagination_is_loaded(tmp_path):
    imagination = line_imagination(
        "forward", line_dataset(), rollout_policy=ToldPolicyConfig()
    )
    imagination.save(tmp_path / "x.mbo")
    loaded = mbo.load_imagination(tmp_path / "x.mbo")
    created, settled = loaded.rollout_policy.told
    assert created.action_set is None
    assert settled.action_set is loaded.action_set
    assert settled.reward_range is None
    assert loaded.action_range.low.tolist() == imagination.action_range.low.tolist()


def test_a_component_is_told_of_rules_that_were_put_into_the_config_since():
    dataset = line_dataset()
    imagination = line_imagination(
        "forward", dataset, rollout_policy=ToldPolicyConfig()
    )
    told = imagination.rollout_policy.told
    imagination.config.termination = rule = mbo.NoTermination()
    imagination.config.rollout_length = 2
    for _ in range(2):
        imagination.imagine(dataset, 3)
    _, fitted, now = told
    assert (fitted.termination, fitted.rollout_length) == (None, 5)
    assert (now.termination, now.rollout_length) == (rule, 2)
    assert now.action_set is imagination.action_set


def test_what_a_component_is_told_cannot_be_changed():
    imagination = line_imagination("forward", rollout_policy=ToldPolicyConfig())
    with pytest.raises(dataclasses.FrozenInstanceError):
        imagination.rollout_policy.told[0].rollout_length = 9


def test_one_name_of_two_components_is_two_numbers():
    imagination = line_imagination("forward", rollout_policy=ToldPolicyConfig())
    imagination.dynamics.metrics["loss"] = 2.0
    assert imagination.metrics == {
        "dynamics_loss": 2.0,
        "rollout_policy_loss": 1.0,
        "rows": 7.0,
        "own": 3.0,
    }


def test_a_components_number_does_not_hide_what_a_refresh_reports():
    dataset = line_dataset()
    imagination = line_imagination(
        "forward", dataset, rollout_policy=ToldPolicyConfig(), penalty=ConstantPenalty()
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, small_learner("sac"))
    buffer.refresh()
    metrics = buffer.sources[0].metrics
    assert metrics["rows"] == 1000
    assert metrics["rollout_policy_rows"] == 7.0
