import dataclasses

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_romi import CVAEPolicyConfig, ROMIConfig
from toys import (
    QUIET,
    LineDynamicsConfig,
    ScriptedPolicy,
    ScriptedPolicyConfig,
    choice_dataset,
    choice_imagination,
    line_dataset,
    small_ensemble,
    small_learner,
)

TINY_CVAE = {"hidden_units": 32, "n_steps": 20}


def test_defaults_are_the_papers():
    config = ROMIConfig()
    assert config.dynamics.direction == "reverse"
    assert isinstance(config.rollout_policy, CVAEPolicyConfig)
    assert (config.rollout_length, config.rollout_interval) == (5, None)
    assert config.rollout_length * config.rollout_batch_size == 4_000_000
    assert config.real_ratio == 0.9


def test_fomi_is_the_same_composition_forward():
    fomi = ROMIConfig(direction="forward")
    assert fomi.dynamics.direction == "forward"
    fomi.dynamics.direction = "reverse"
    assert fomi == ROMIConfig()
    assert fomi.create().dynamics.direction == "reverse"


def test_direction_survives_json():
    config = ROMIConfig(direction="forward")
    assert ROMIConfig.deserialize(config.serialize()) == config


@pytest.mark.training
@pytest.mark.parametrize(
    "policy",
    [
        CVAEPolicyConfig(**TINY_CVAE),
        mbo.UniformPolicyConfig(),
        mbo.BehaviorCloningPolicyConfig(n_steps=20),
    ],
)
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_it_trains_a_learner_saves_and_loads_with_each_policy_and_direction(
    policy, direction, tmp_path
):
    dataset = line_dataset()
    romi = ROMIConfig(
        dynamics=small_ensemble(direction),
        rollout_policy=policy,
        rollout_batch_size=50,
        real_ratio=0.3,
    ).create()
    learner = small_learner("td3_plus_bc")
    mbo.fit(learner, dataset, romi, 4, n_steps_per_epoch=2, **QUIET)
    assert romi.fitted
    romi.save(tmp_path / "romi.mbo")
    loaded = mbo.load_imagination(tmp_path / "romi.mbo")
    rows = []
    for each in (romi, loaded):
        torch.manual_seed(0)
        rows.append(each.imagine(dataset, 10).observations)
    assert torch.equal(*rows)
    assert loaded.dynamics.direction == direction
    assert romi.rollout_policy.direction == loaded.rollout_policy.direction == direction


def conditioned(n_rows: int = 3000) -> mbo.Transitions:
    """a = s'/10 or -s'/10, each half the time: two modes, in [-2, 2]."""
    next_observations = np.random.uniform(-20, 20, (n_rows, 1))
    signs = np.random.choice([-1, 1], (n_rows, 1))
    zeros = np.zeros((n_rows, 1))
    return mbo.Transitions.from_arrays(
        zeros, signs * next_observations / 10, zeros, next_observations, zeros
    )


@pytest.mark.training
def test_the_cvae_stays_in_the_datasets_range_and_proposes_diverse_actions():
    policy = CVAEPolicyConfig(hidden_units=64, n_steps=1500).create()
    policy.direction = "reverse"
    transitions = conditioned()
    policy.fit(transitions)
    actions = policy.sample_action(torch.full((2000, 1), 15.0), None)
    assert actions.shape == (2000, 1)
    assert float(actions.abs().max()) <= 2.0
    assert float(actions.std()) > 0.2


def test_the_cvae_samples_from_latents_clipped_at_half(monkeypatch):
    policy = CVAEPolicyConfig(**TINY_CVAE).create()
    policy.fit(conditioned(300))
    seen = []
    decode = policy._cvae.decode
    monkeypatch.setattr(
        policy._cvae, "decode", lambda s, z: seen.append(z) or decode(s, z)
    )
    policy.sample_action(torch.zeros(500, 1), None)
    assert (float(seen[0].min()), float(seen[0].max())) == (-0.5, 0.5)


@pytest.mark.training
def test_the_cvae_is_conditioned_on_the_state_that_is_reached():
    transitions = conditioned()
    same = mbo.Transitions.from_arrays(
        transitions.observations,
        transitions.next_observations / 10,
        transitions.rewards,
        transitions.next_observations,
        transitions.terminals,
    )
    policy = CVAEPolicyConfig(hidden_units=64, n_steps=1500).create()
    policy.direction = "reverse"
    policy.fit(same)
    states = torch.tensor([[-15.0], [0.0], [15.0]]).repeat_interleave(200, dim=0)
    means = policy.sample_action(states, None).reshape(3, 200).mean(dim=1)
    torch.testing.assert_close(means, torch.tensor([-1.5, 0.0, 1.5]), atol=0.2, rtol=0)


@dataclasses.dataclass()
class ForwardChoicesConfig(ScriptedPolicyConfig):
    action_spaces = ("continuous", "discrete")

    @staticmethod
    def get_type():
        return "forward_choices"

    def create(self, device=False):
        return ForwardChoices(self, device)


class ForwardChoices(ScriptedPolicy):
    directions = ("forward",)
    n_rollouts = 0

    def begin_rollouts(self, n_rollouts):
        self.n_rollouts = n_rollouts


def test_what_proposes_choices_is_held_against_the_composition_as_any_policy():
    of_learner = CVAEPolicyConfig(discrete=mbo.LearnerPolicyConfig())
    for direction in ("reverse", "forward"):
        with pytest.raises(mbo.CompositionError, match="'learner' asks the learner"):
            ROMIConfig(small_ensemble(direction), rollout_policy=of_learner).create()
    forward = CVAEPolicyConfig(discrete=ForwardChoicesConfig(script=[1.0]))
    with pytest.raises(mbo.CompositionError, match="'reverse', only 'forward'"):
        choice_imagination("reverse", rollout_policy=forward)


def test_what_proposes_choices_is_told_of_its_imagination_and_its_rollouts(tmp_path):
    dataset = choice_dataset()
    policy = CVAEPolicyConfig(discrete=ForwardChoicesConfig(script=[1.0]))
    imagination = choice_imagination("forward", rollout_policy=policy)
    imagination.fit(dataset)
    imagination.save(tmp_path / "romi.mbo")
    loaded = mbo.load_imagination(tmp_path / "romi.mbo")
    for each in (imagination, loaded):
        each.imagine(dataset, 7)
        inner = each.rollout_policy._discrete
        assert inner.n_rollouts == 7
        assert inner.context.action_set is each.action_set


def test_reverse_romi_on_the_true_dynamics_leads_back_to_real_states():
    dataset = line_dataset()
    romi = ROMIConfig(
        dynamics=LineDynamicsConfig(direction="reverse"),
        rollout_policy=mbo.UniformPolicyConfig(),
    ).create()
    romi.fit(dataset)
    imagined = romi.imagine(dataset, 30)
    torch.testing.assert_close(
        imagined.observations + imagined.actions, imagined.next_observations
    )
    torch.testing.assert_close(imagined.rewards, imagined.observations)
