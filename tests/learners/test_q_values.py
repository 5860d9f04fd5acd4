import types

import d3rlpy
import numpy as np
import pytest
import torch
from scaled_learners import built, discrete

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from toys import DISCRETE, LEARNERS, small_learner

SCALERS = d3rlpy.preprocessing


@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "bc"])
def test_q_values_are_the_least_critics_in_dataset_units(name):
    learner = built(name)
    learner.config.reward_scaler = d3rlpy.preprocessing.MultiplyRewardScaler(4.0)
    observations = torch.rand(9, 2) * 10 - 5
    actions = torch.rand(9, 2) - 0.4
    ours = learners.q_value(learner, observations, actions)
    # d3rlpy gives their mean, so the least is read off one critic at a time.
    critics, each = learner.impl.q_function, []
    for critic in critics:
        learner.impl._q_func_forwarder._forwarders[0].set_q_func(critic)
        own = learner.impl._q_func_forwarder._forwarders[0].compute_expected_q(
            learner.config.observation_scaler.transform(observations),
            learner.config.action_scaler.transform(actions),
        )
        each.append(own.detach())
    learner.impl._q_func_forwarder._forwarders[0].set_q_func(critics[0])
    assert ours.shape == (9, 1)
    torch.testing.assert_close(ours, torch.stack(each).amin(dim=0) / 4.0)
    mean = learner.predict_value(observations.numpy(), actions.numpy())
    np.testing.assert_allclose(torch.stack(each).mean(dim=0)[:, 0], mean, rtol=1e-5)


@pytest.mark.parametrize("name", ["sac", "iql", "bcq"])
def test_target_critics_are_those_that_targets_are_made_with(name):
    learner = built(name)
    observations, actions = torch.rand(9, 2) * 10 - 5, torch.rand(9, 2) - 0.4
    before = learners.q_value(learner, observations, actions)
    same = learners.q_value(learner, observations, actions, target=True)
    torch.testing.assert_close(before, same)  # equal when built
    with torch.no_grad():
        for parameter in learner.impl.modules.targ_q_funcs.parameters():
            parameter.zero_()
    kept = learners.q_value(learner, observations, actions)
    torch.testing.assert_close(kept, before)
    target = learners.q_value(learner, observations, actions, target=True)
    assert target.shape == (9, 1)
    assert not target.any()


@pytest.mark.parametrize("name", [n for n in DISCRETE if n != "discrete_bc"])
def test_q_values_of_the_actions_taken_are_the_least_critics(name):
    learner = discrete(name)
    learner.config.reward_scaler = d3rlpy.preprocessing.MultiplyRewardScaler(4.0)
    observations = torch.rand(9, 2) * 10 - 5
    actions = torch.arange(9).reshape(-1, 1) % 3
    scaled = learner.config.observation_scaler.transform(observations)
    for target in (False, True):
        modules = learner.impl.modules
        critics = modules.targ_q_funcs if target else modules.q_funcs
        all_choices = torch.stack([critic(scaled).q_value for critic in critics])
        least = all_choices.amin(dim=0)[torch.arange(9), actions[:, 0]] / 4.0
        found = learners.q_value(learner, observations, actions.float(), target=target)
        torch.testing.assert_close(found, least.detach()[:, None])
        with torch.no_grad():
            for parameter in modules.targ_q_funcs.parameters():
                parameter.mul_(0.5)


def test_a_reward_scalers_shift_stays_in_the_q_values():
    learner = built("sac")
    observations, actions = torch.zeros(3, 2), torch.zeros(3, 2)
    plain = learners.q_value(learner, observations, actions)
    learner.config.reward_scaler = d3rlpy.preprocessing.StandardRewardScaler(
        mean=7.0, std=2.0, eps=0.0
    )
    torch.testing.assert_close(
        learners.q_value(learner, observations, actions), 2 * plain
    )


@pytest.mark.parametrize(
    ("scaler", "counted"),
    [
        (None, [-3.0, 0.5, 9.0]),
        (SCALERS.MultiplyRewardScaler(4.0), [-3.0, 0.5, 9.0]),
        (SCALERS.StandardRewardScaler(mean=7.0, std=2.0, eps=0.0), [-10.0, -6.5, 2.0]),
        (SCALERS.ConstantShiftRewardScaler(-1.0, 2.0), [-4.0, -0.5, 8.0]),
        (SCALERS.ClipRewardScaler(-1.0, 1.0, 2.0), [-1.0, 0.5, 1.0]),
    ],
)
def test_rewards_are_counted_as_the_q_values_sum_them(scaler, counted):
    learner = built("sac")
    learner.config.reward_scaler = scaler
    rewards = torch.tensor([[-3.0], [0.5], [9.0]])
    found = learners.counted_reward(learner, rewards)
    torch.testing.assert_close(found, torch.tensor(counted)[:, None])


def test_rewards_are_not_counted_before_their_scaler_is_fitted():
    learner = built("sac")
    learner.config.reward_scaler = SCALERS.StandardRewardScaler()
    with pytest.raises(mbo.CompositionError, match="reward_scaler of SAC.*not fitted"):
        learners.counted_reward(learner, torch.zeros(1, 1))


def test_entropy_is_asked_for_as_q_values_are():
    learner = built("sac")
    with pytest.raises(mbo.CompositionError, match="expected a float32 tensor"):
        learners.entropy_reward(learner, np.zeros((3, 2), np.float32))
    learner.config.reward_scaler = SCALERS.StandardRewardScaler()
    with pytest.raises(mbo.CompositionError, match="reward_scaler of SAC.*not fitted"):
        learners.entropy_reward(learner, torch.zeros(3, 2))


def test_asking_for_q_values_leaves_no_gradient_and_no_other_numbers():
    learner = built("td3")
    learners.q_value(learner, torch.zeros(3, 2), torch.zeros(3, 2))
    assert all(p.grad is None for p in learner.impl.q_function.parameters())


def test_entropy_is_what_sac_subtracts_from_its_targets():
    learner = d3rlpy.algos.SACConfig(initial_temperature=0.5).create()
    learner.create_impl((1,), 1)
    d3rlpy.seed(0)
    found = learners.entropy_reward(learner, torch.zeros(4000, 1))
    actions = learner.sample_action(np.zeros((4000, 1), np.float32))
    histogram, edges = np.histogram(actions, bins=40, range=(-1, 1))
    density = histogram / 4000 / (edges[1] - edges[0])
    log_density = np.log(density[np.digitize(actions[:, 0], edges[1:-1])])
    assert float(found.mean()) == pytest.approx(-0.5 * log_density.mean(), abs=0.05)


@pytest.mark.parametrize(
    ("name", "settings", "holds"),
    [
        ("mobile_sac", {}, False),
        ("mobile_sac", {"deterministic_backup": False}, True),
        ("mobile_sac", {"deterministic_backup": False, "max_q_backup": True}, False),
        ("combo", {}, False),
        ("cql", {"soft_q_backup": True}, True),
    ],
)
def test_a_q_whose_targets_leave_entropy_out_holds_none(name, settings, holds):
    learner = small_learner(name, **settings)
    learner.create_impl((1,), 1)
    assert learners.entropy_reward(learner, torch.zeros(3, 1)).any() == holds


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sac", {}),
        ("awac", {}),  # d3rlpy's inherits SAC's targets, with a temperature of 1
        ("edac", {}),
        ("mobile_sac", {"deterministic_backup": False, "initial_temperature": 8.0}),
        ("cql", {"soft_q_backup": True}),
        ("discrete_sac", {}),
        ("td3", {}),
        ("bcq", {}),
        ("discrete_cql", {}),
    ],
)
def test_entropy_is_what_it_adds_to_the_learners_own_targets(name, settings):
    learner = small_learner(name, **settings)
    learner.create_impl((2,), 3)
    states = torch.rand(9, 2) * 4 - 2
    batch = types.SimpleNamespace(next_observations=states)

    def target():
        torch.manual_seed(5)
        return learner.impl.compute_target(batch)

    log_temp = getattr(learner.impl.modules, "log_temp", None)
    torch.manual_seed(5)
    found = learners.entropy_reward(learner, states)
    assert bool(found.any()) == (log_temp is not None)
    if log_temp is not None:
        with_entropy = target()
        with torch.no_grad():
            next(log_temp.parameters()).fill_(-torch.inf)
        torch.testing.assert_close(found, with_entropy - target())


@pytest.mark.parametrize(
    ("name", "settings", "samples"),
    [
        ("sac", {}, True),
        ("awac", {}, True),
        ("edac", {}, True),
        ("mobile_sac", {}, True),  # entropy or not
        ("mobile_sac", {"max_q_backup": True}, False),
        ("cql", {"soft_q_backup": True}, True),
        ("cql", {}, False),
        ("combo", {}, False),
        ("td3", {}, False),
        ("iql", {}, False),
        ("discrete_sac", {}, True),
        ("discrete_cql", {}, False),
    ],
)
def test_values_are_of_sampled_actions_where_targets_sample_them(
    name, settings, samples
):
    learner = small_learner(name, **settings)
    learner.create_impl((2,), 3)
    assert learners.q_values.samples_actions(learner) == samples
    if name in ("iql", "mobile_sac", "discrete_sac"):
        return  # targets of a V, of the best of some, and a mean over actions
    states = torch.rand(9, 2) * 4 - 2
    batch = types.SimpleNamespace(next_observations=states, device="cpu")
    with torch.no_grad():
        if (log_temp := getattr(learner.impl.modules, "log_temp", None)) is not None:
            next(log_temp.parameters()).fill_(-torch.inf)
        learner.impl._target_smoothing_sigma = 0.0  # TD3's
        twice = [learner.impl.compute_target(batch) for _ in range(2)]
    assert bool((twice[0] != twice[1]).any()) == samples


def test_entropy_is_in_dataset_units():
    learner = built("sac")
    states = torch.zeros(4, 2)
    torch.manual_seed(5)
    plain = learners.entropy_reward(learner, states)
    learner.config.reward_scaler = SCALERS.StandardRewardScaler(
        mean=7.0, std=2.0, eps=0.0
    )
    torch.manual_seed(5)
    torch.testing.assert_close(learners.entropy_reward(learner, states), 2 * plain)
