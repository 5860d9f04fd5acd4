import d3rlpy_mbo as mbo
import torch
from d3rlpy_mbo.testing import parametrize_with_checks
from divergent_policy import DivergentPolicyConfig


@parametrize_with_checks([DivergentPolicyConfig()])
def test_conformance(component, check):
    check(component)


def test_a_rollout_keeps_its_direction_and_the_next_has_another():
    policy = DivergentPolicyConfig(noise=0.0).create()
    policy.load_state_dict({"low": -torch.ones(2), "high": torch.ones(2)})
    states, asked = torch.zeros(5, 3), []
    for _ in range(2):
        policy.begin_rollouts(5)
        asked += [policy.sample_action(states, None) for _ in range(2)]
    assert torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[1], asked[2])
    assert torch.allclose(asked[0].norm(dim=1), torch.tensor(0.8))


def test_it_is_found_by_name_where_it_is_installed():
    assert mbo.get_component("rollout_policy", "divergent") is DivergentPolicyConfig
