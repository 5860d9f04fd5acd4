import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo import learners
from toys import DISCRETE, LEARNERS, line_dataset, small_learner

SCALERS = d3rlpy.preprocessing


def built(name: str):
    dataset = line_dataset(size=2)
    learner = small_learner(
        name,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(
            mean=np.ones(2), std=np.full(2, 3.0)
        ),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(
            minimum=np.full(2, -0.4), maximum=np.full(2, 0.8)
        ),
    )
    learner.build_with_dataset(dataset)
    return learner


@pytest.mark.parametrize("name", LEARNERS)
def test_actions_equal_the_learners_own_bit_for_bit(name):
    learner = built(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    torch.manual_seed(5)
    theirs = learner.sample_action(observations)
    torch.manual_seed(5)
    ours = learners.sample_action(learner, torch.from_numpy(observations))
    np.testing.assert_array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(
    "name", [n for n in LEARNERS if n not in ("bcq", "bear", "crr")]
)
def test_best_actions_equal_the_learners_own_bit_for_bit(name):
    learner = built(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    ours = learners.predict_action(learner, torch.from_numpy(observations))
    np.testing.assert_array_equal(ours.numpy(), learner.predict(observations))


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


def discrete(name: str, n_actions: int = 3):
    learner = small_learner(
        name,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(
            mean=np.ones(2), std=np.full(2, 3.0)
        ),
    )
    learner.create_impl((2,), n_actions)
    return learner


@pytest.mark.parametrize("name", DISCRETE)
def test_a_discrete_learners_actions_are_a_column_of_indices_its_own_bit_for_bit(name):
    learner = discrete(name)
    observations = np.random.uniform(-5, 5, (9, 2)).astype(np.float32)
    for ours, theirs in (
        (learners.sample_action, learner.sample_action),
        (learners.predict_action, learner.predict),
    ):
        torch.manual_seed(5)
        expected = theirs(observations)
        torch.manual_seed(5)
        found = ours(learner, torch.from_numpy(observations))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), expected[:, None])


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


def test_a_discrete_policy_that_diverged_says_so_instead_of_an_action():
    learner = discrete("discrete_sac")
    with torch.no_grad():
        for parameter in learner.impl.policy.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(mbo.DivergedError, match="DiscreteSAC cannot choose an action"):
        learners.sample_action(learner, torch.zeros(3, 2))


def test_a_discrete_learner_built_for_other_choices_is_refused():
    with pytest.raises(mbo.CompositionError, match="built for 3 choices.* has 4"):
        learners.check_built(discrete("dqn"), 2, 1, n_actions=4)
    with pytest.raises(mbo.CompositionError, match="DiscreteBC has no critic"):
        learners.check_built(discrete("discrete_bc"), 2, 1, critic=True, n_actions=3)


@pytest.mark.parametrize(
    ("learner", "n_actions", "words"),
    [
        ("discrete_cql", None, "DiscreteCQL is for discrete.*such as SAC.*n_actions"),
        ("cql", 3, "CQL is for continuous.*3 choices.*action_space=d3rlpy"),
    ],
)
def test_a_learner_of_another_kind_of_actions_is_refused_with_what_to_use(
    learner, n_actions, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check_actions(small_learner(learner), n_actions)


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


def test_asking_for_q_values_leaves_no_gradient_and_no_other_numbers():
    learner = built("td3")
    learners.q_value(learner, torch.zeros(3, 2), torch.zeros(3, 2))
    assert all(p.grad is None for p in learner.impl.q_function.parameters())


@pytest.mark.parametrize(
    ("learner", "sizes", "words"),
    [
        (lambda: built("bc"), (2, 2), "BC has no critic"),
        (lambda: built("sac"), (3, 2), r"observations of shape \(2,\)"),
        (lambda: built("sac"), (2, 1), "actions of size 2"),
        (lambda: small_learner("sac"), (2, 2), "not built"),
    ],
)
def test_a_learner_that_cannot_be_asked_is_refused_with_the_reason(
    learner, sizes, words
):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check_built(learner(), *sizes, critic=True)


def test_a_buffer_refuses_a_learner_that_was_built_for_other_sizes():
    with pytest.raises(mbo.CompositionError, match="Build it on this dataset"):
        mbo.ImaginedReplayBuffer(line_dataset(size=1), [], learner=built("sac"))


def test_a_learner_that_is_not_built_cannot_act():
    with pytest.raises(mbo.CompositionError, match="not built"):
        learners.sample_action(small_learner("sac"), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (d3rlpy.algos.DecisionTransformerConfig(), "what it creates"),
        ("sac", "str cannot train"),
    ],
)
def test_what_cannot_train_on_imagined_rows_is_refused_by_name(learner, words):
    with pytest.raises(mbo.CompositionError, match=words):
        learners.check(learner)


@pytest.mark.parametrize(
    "rows", [np.zeros((3, 2), np.float32), torch.zeros(3, 2).double(), torch.zeros(2)]
)
@pytest.mark.parametrize(
    "ask", ["sample_action", "predict_action", "state_value", "q_value"]
)
def test_rows_that_are_no_float32_tensor_are_refused_by_their_kind(ask, rows):
    others = (torch.zeros(3, 2),) if ask == "q_value" else ()
    words = "observations are .*float32 tensor .*torch.as_tensor"
    with pytest.raises(mbo.CompositionError, match=words):
        getattr(learners, ask)(built("sac"), rows, *others)
