import dataclasses

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics import networks
from d3rlpy_mbo.components.rollout_policies.behavior_cloning import (
    BehaviorCloningPolicy,
)
from sizes import Made
from toys import line_transitions


def bounded(n_rows: int = 3000) -> mbo.Transitions:
    """Actions in [2, 6]; a = 4 + s'/10 exactly, so only s' explains them."""
    next_observations = np.random.uniform(-20, 20, (n_rows, 1))
    actions = 4 + next_observations / 10
    observations = np.random.uniform(-20, 20, (n_rows, 1))
    zeros = np.zeros((n_rows, 1))
    return mbo.Transitions.from_arrays(
        observations, actions, zeros, next_observations, zeros
    )


def test_uniform_actions_fill_the_datasets_range_and_stay_in_it():
    policy = mbo.UniformPolicyConfig().create()
    policy.fit(bounded())
    actions = policy.sample_action(torch.zeros(20000, 1), None)
    low, high = bounded().action_range().low, bounded().action_range().high
    assert actions.shape == (20000, 1)
    assert float(actions.min()) == pytest.approx(2, abs=0.01)
    assert float(actions.max()) == pytest.approx(6, abs=0.01)
    assert float(actions.mean()) == pytest.approx(4, abs=0.05)
    assert low < high


def test_cloning_makes_no_copy_of_the_observations(monkeypatch):
    monkeypatch.setattr(networks, "ROWS_IN_DOUBLE", 50)
    wide = torch.rand(1000, 50)
    rows = dataclasses.replace(
        line_transitions(1000), observations=wide, next_observations=wide
    )
    settings = {"n_steps": 3, "hidden_units": [8], "batch_size": 16}
    policy = mbo.BehaviorCloningPolicyConfig(**settings).create()
    with Made() as made:
        policy.fit(rows)
    assert made.largest < 0.3 * wide.nbytes


@pytest.mark.training
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_cloned_actions_follow_the_state_of_the_direction(direction):
    policy = mbo.BehaviorCloningPolicyConfig(n_steps=600, learning_rate=1e-3).create()
    policy.direction = direction
    policy.fit(bounded())
    states = torch.linspace(-15, 15, 31).reshape(-1, 1)
    actions = torch.stack([policy.sample_action(states, None) for _ in range(50)])
    error = (actions.mean(dim=0) - (4 + states / 10)).abs().mean()
    if direction == "reverse":
        assert error < 0.15
    else:
        assert error > 0.5  # s says nothing about these actions


@pytest.mark.training
def test_behavior_cloning_keeps_the_spread_of_the_data():
    # d3rlpy's own BC lets the standard deviation collapse to 0.009.
    transitions = line_transitions(4000)
    half = mbo.Transitions.from_arrays(
        transitions.observations,
        0.5 * torch.randn(4000, 1),
        transitions.rewards,
        transitions.next_observations,
        transitions.terminals,
    )
    policy = mbo.BehaviorCloningPolicyConfig(n_steps=600, learning_rate=1e-3).create()
    policy.fit(half)
    actions = policy.sample_action(torch.zeros(4000, 1), None)
    assert float(actions.std()) == pytest.approx(float(half.actions.std()), rel=0.15)


def test_cloning_maximises_the_likelihood_of_a_tanh_gaussian():
    policy = mbo.BehaviorCloningPolicyConfig(n_steps=5).create()
    assert isinstance(policy, BehaviorCloningPolicy)
    policy.fit(bounded())
    actions = torch.linspace(2.01, 5.99, 4001).reshape(-1, 1)
    states = torch.zeros(4001, 1)
    with torch.no_grad():
        density = policy.log_prob(states, actions).exp()
    # A density over [-1, 1], half the range in dataset units each: integrates to 1.
    assert float(
        torch.trapezoid(density[:, 0], (actions[:, 0] - 4) / 2)
    ) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "config", [mbo.UniformPolicyConfig(), mbo.BehaviorCloningPolicyConfig(n_steps=3)]
)
def test_saved_and_loaded_they_act_the_same_and_unfitted_they_refuse(config):
    policy, copy = config.create(), config.create()
    states = torch.zeros(5, 1)
    with pytest.raises(mbo.NotFittedError, match="not fitted"):
        policy.sample_action(states, None)
    policy.fit(bounded())
    copy.load_state_dict(policy.state_dict())
    actions = []
    for each in (policy, copy):
        torch.manual_seed(0)
        actions.append(each.sample_action(states, None))
    assert torch.equal(*actions)


def test_the_learner_policy_without_a_learner_says_what_to_pass():
    policy = mbo.LearnerPolicyConfig().create()
    with pytest.raises(mbo.CompositionError, match="learner="):
        policy.sample_action(torch.zeros(2, 1), None)
