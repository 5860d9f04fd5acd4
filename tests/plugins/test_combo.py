"""COMBO: the cases by hand of METHODS 1, and the ports' mistakes, each another number."""

import dataclasses
import math

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_combo import COMBO, COMBOConfig, COMBOImaginationConfig
from toys import (
    QUIET,
    LineDynamicsConfig,
    line_dataset,
    line_imagination,
    small_learner,
)

ENCODER = d3rlpy.models.VectorEncoderFactory([8])


def small(config=COMBOConfig, **settings):
    settings = {
        "batch_size": 16,
        "n_action_samples": 2,
        "actor_encoder_factory": ENCODER,
        "critic_encoder_factory": ENCODER,
        **settings,
    }
    return config(**settings).create()


def built(**settings):
    learner = small(**settings)
    learner.create_impl((1,), 1)
    return learner


def batch_of(learner, states, actions, imagined, after=None):
    """A batch as d3rlpy hands it to an Impl: rewards 0, s' = s unless told."""
    column = np.float32(states)[:, None]
    zeros = np.zeros_like(column)
    rows = mbo.ImaginedMiniBatch(
        observations=column,
        actions=np.float32(actions)[:, None],
        rewards=zeros,
        next_observations=column if after is None else np.float32(after)[:, None],
        next_actions=zeros,
        terminals=zeros,
        intervals=zeros + 1,
        transitions=[],
        imagined=np.array(imagined, dtype=bool)[:, None],
    )
    gamma = learner.config.gamma
    return TorchMiniBatch.from_batch(
        batch=rows, gamma=gamma, compute_returns_to_go=False, device="cpu:0"
    )


def with_values(learner, q, own=0.0, after=1.0, uniform=0.5, n=1):
    """Gives a learner's critics, all of them, a formula, and its policy fixed actions.

    Args:
        learner: Built for one-dimensional states and actions.
        q: Of states and actions (B, 1).
        own: Action at s; log pi is 0.
        after: Action at s'.
        uniform: The uniform action.
        n: Samples of each kind.
    """
    impl = learner.impl
    calls = []

    def values(x, a, reduction="mean"):
        return torch.stack([q(x, a)] * 2)

    def of_policy(policy_obs, value_obs, returns_to_go):
        action = own if len(calls) % 2 == 0 else after
        calls.append(policy_obs)
        found = values(value_obs, torch.full_like(value_obs, action))
        return found.expand(-1, -1, n), torch.zeros(1, len(value_obs), n)

    def of_uniform(obs):
        found = values(obs, torch.full_like(obs, uniform))
        return found.expand(-1, -1, n), math.log(0.5)

    impl._q_func_forwarder.compute_expected_q = values
    impl._compute_policy_is_values = of_policy
    impl._compute_random_is_values = of_uniform
    return calls


def term(learner, batch):
    return learner.impl.compute_critic_loss(batch, torch.zeros(len(batch.rewards), 1))


def test_case_1_the_soft_maximum_over_all_actions_less_the_data_value():
    # logsumexp(0, 1, .5 + log 2) = 1.948154; less Q(s, .2) = .2: 1.748154, for each of
    # two critics, times beta.
    learner = built(alpha_threshold=0.0, conservative_weight=2.0)
    with_values(learner, lambda s, a: a)
    batch = batch_of(learner, [0, 0], [0.2, 0.9], imagined=[False, True])
    found = term(learner, batch).conservative_loss.item()
    assert found == pytest.approx(2 * 2 * 1.748154, abs=5e-6)
    assert found / 4 + 0.2 == pytest.approx(1.948154, abs=1e-6)


@pytest.mark.parametrize(("rho", "difference"), [("imagined", 13.0), ("all", 6.5)])
def test_case_2_values_at_rho_less_those_of_real_rows(rho, difference):
    # Q = s, real s {1, 3}, imagined {10, 20}: 15 - 2 = 13; all: 8.5 - 2 = 6.5. CQL on the
    # mixed batch would find 8.5 - 8.5 = 0. With Q on data from the mixed batch, as in the
    # ports' first versions, 15 - 8.5 = 6.5 and 0.
    learner = built(rho=rho, alpha_threshold=0.0, conservative_weight=1.0)
    with_values(learner, lambda s, a: s)
    batch = batch_of(learner, [1, 3, 10, 20], [0] * 4, [False, False, True, True])
    loss = term(learner, batch)
    assert loss.value_difference.item() == pytest.approx(difference)
    offset = math.log(1 + 1 + 2)  # three actions of one value, the uniform one at 1/2
    assert loss.conservative_loss.item() / 2 == pytest.approx(difference + offset)


def test_flags_say_which_rows_are_imagined_wherever_they_stand():
    # d3rlpy 1 took the first half of a batch for real.
    learner = built(alpha_threshold=0.0)
    with_values(learner, lambda s, a: s)
    batch = batch_of(learner, [10, 1, 20, 3], [0] * 4, [True, False, True, False])
    assert term(learner, batch).value_difference.item() == pytest.approx(13.0)


def test_actions_at_s_and_at_s_of_the_next_step_are_those_of_the_pushed_rows():
    learner = built()
    asked = with_values(learner, lambda s, a: s)
    batch = batch_of(learner, [1, 10], [0, 0], [False, True], after=[2, 11])
    term(learner, batch)
    assert [states.flatten().tolist() for states in asked] == [[10], [11]]


def test_the_sum_runs_over_all_thirty_actions_of_a_state_not_over_three():
    # Q = 0: log(10 + 10 + 10 * 2) = log 40. OfflineRL-Kit and offlinerl sum three values
    # for each of ten rows, log 4: lower by log 10, and a much softer maximum.
    learner = built(alpha_threshold=0.0, conservative_weight=1.0)
    with_values(learner, lambda s, a: 0 * s, n=10)
    batch = batch_of(learner, [0, 0], [0, 0], [False, True])
    found = term(learner, batch).conservative_loss.item() / 2
    assert found == pytest.approx(math.log(40))
    assert found - math.log(4) == pytest.approx(math.log(10))


def test_values_are_pushed_down_at_imagined_states_and_up_at_real_actions():
    # unifloral stops the gradient of what is pushed down: the first would be 0.
    learner = built(alpha_threshold=0.0)
    values = torch.zeros(
        2, requires_grad=True
    )  # of the imagined state, of the real one
    with_values(learner, lambda s, a: torch.where(s > 5, values[0], values[1]))
    batch = batch_of(learner, [1, 10], [0, 0], [False, True])
    term(learner, batch).conservative_loss.backward()
    assert values.grad[0] > 0
    assert values.grad[1] < 0
    assert float(values.grad.sum()) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("constants", [(5.0, 5.0), (0.0, 5.0)])
def test_a_constant_added_to_any_critic_leaves_the_term_unchanged(constants):
    # unifloral's one sum over all critics would follow the larger one.
    terms = []
    for added in ((0.0, 0.0), constants):
        learner = built()
        with_values(learner, lambda s, a: s * a)
        plain = learner.impl._q_func_forwarder.compute_expected_q
        shift = torch.tensor(added).view(2, 1, 1)
        policy, uniform = (
            learner.impl._compute_policy_is_values,
            learner.impl._compute_random_is_values,
        )
        learner.impl._q_func_forwarder.compute_expected_q = (
            lambda x, a, reduction, plain=plain, shift=shift: plain(x, a) + shift
        )
        learner.impl._compute_policy_is_values = (
            lambda *given, policy=policy, shift=shift: (
                policy(*given)[0] + shift,
                policy(*given)[1],
            )
        )
        learner.impl._compute_random_is_values = (
            lambda obs, uniform=uniform, shift=shift: (
                uniform(obs)[0] + shift,
                math.log(0.5),
            )
        )
        batch = batch_of(learner, [1, 10], [0.5, 0.5], [False, True])
        terms.append(term(learner, batch).conservative_loss.item())
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)


def parameters(learner):
    return [p.detach().clone() for p in learner.impl.q_function.parameters()] + [
        p.detach().clone() for p in learner.impl.policy.parameters()
    ]


@pytest.mark.training
def test_with_rho_all_and_no_imagined_row_it_is_d3rlpys_cql_bit_for_bit():
    d3rlpy.seed(0)
    dataset = line_dataset(5, 20)
    found, losses = [], []
    for config, settings in (
        (d3rlpy.algos.CQLConfig, {"alpha_learning_rate": 1e-4}),
        (COMBOConfig, {"alpha_learning_rate": 1e-4, "rho": "all"}),
    ):
        d3rlpy.seed(1)
        learner = small(config, **settings)
        buffer = mbo.ImaginedReplayBuffer(dataset, [], learner)
        learner.build_with_dataset(dataset)
        losses.append(
            [learner.update(buffer.sample_transition_batch(16)) for _ in range(5)]
        )
        found.append(parameters(learner))
    assert losses[0] == losses[1]
    assert all(map(torch.equal, *found))


@pytest.mark.training
def test_a_plain_dataset_does_for_rho_all_and_is_refused_for_imagined_states():
    dataset = line_dataset(5, 20)
    small(rho="all").fit(dataset, n_steps=2, n_steps_per_epoch=2, **QUIET)
    with pytest.raises(mbo.CompositionError, match="does not say which rows are"):
        small().fit(dataset, n_steps=2, n_steps_per_epoch=2, **QUIET)


def test_what_is_said_to_go_on_with_online_has_its_policy_and_its_critics():
    combo, rows = built(), np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    with pytest.raises(mbo.CompositionError) as caught:
        combo.fit(line_dataset(5, 20), n_steps=1, n_steps_per_epoch=1, **QUIET)
    sac = d3rlpy.algos.SACConfig(
        actor_encoder_factory=ENCODER, critic_encoder_factory=ENCODER
    ).create()
    said = ("create_impl(combo.observation_shape, combo.action_size)",
            "copy_policy_from(combo)", "copy_q_function_from(combo)")  # fmt: skip
    for call in said:
        assert f"sac.{call}" in str(caught.value)
    sac.create_impl(combo.observation_shape, combo.action_size)
    sac.copy_policy_from(combo)
    sac.copy_q_function_from(combo)
    assert np.array_equal(sac.predict(rows), combo.predict(rows))
    assert np.array_equal(
        sac.predict_value(rows, rows), combo.predict_value(rows, rows)
    )


def test_shares_that_leave_nothing_to_push_are_refused_before_anything_is_fitted():
    dataset = line_dataset(5, 20)
    imagination = line_imagination("forward")
    with pytest.raises(mbo.CompositionError, match="with a real_ratio of 1 there are"):
        mbo.fit(small(), dataset, [], n_steps=2, **QUIET)
    for real_ratio in (0.0, 1.0):
        with pytest.raises(
            mbo.CompositionError, match="real_ratio of . there are none"
        ):
            mbo.fit(
                small(), dataset, imagination, n_steps=2, real_ratio=real_ratio, **QUIET
            )
    assert not imagination.fitted
    imagination.fit(dataset)
    with pytest.raises(mbo.CompositionError, match="there are none"):
        mbo.ImaginedReplayBuffer(dataset, imagination, small(), real_ratio=1.0)
    mbo.ImaginedReplayBuffer(dataset, imagination, small(rho="all"), real_ratio=1.0)


@pytest.mark.parametrize("imagined", [[True, True], [False, False]])
def test_a_batch_of_one_sort_leaves_the_term_out_and_stays_finite(imagined):
    learner = built(conservative_weight=3.0)
    loss = term(learner, batch_of(learner, [1, 10], [0, 0], imagined))
    assert math.isfinite(loss.critic_loss.item())
    assert loss.conservative_loss.item() == 0
    assert not hasattr(loss, "value_difference")


def test_a_captured_graph_and_another_rho_are_refused():
    with pytest.raises(mbo.CompositionError, match="compile_graph"):
        COMBOConfig(compile_graph=True).create()
    with pytest.raises(mbo.CompositionError, match="rho is 'model', expected"):
        COMBOConfig(rho="model").create()


def test_its_defaults_are_offlinerl_kits():
    config = COMBOConfig()
    assert (config.actor_learning_rate, config.critic_learning_rate) == (1e-4, 3e-4)
    assert (config.temp_learning_rate, config.alpha_learning_rate) == (1e-4, 0.0)
    assert (config.initial_alpha, config.n_action_samples) == (1.0, 10)
    assert config.actor_encoder_factory.hidden_units == [256, 256, 256]
    assert config.critic_encoder_factory.hidden_units == [256, 256, 256]
    assert (config.soft_q_backup, config.max_q_backup) == (False, False)
    imagination = COMBOImaginationConfig()
    assert imagination.dynamics == mbo.ProbabilisticEnsembleConfig()
    assert imagination.rollout_policy == mbo.LearnerPolicyConfig()
    assert (imagination.rollout_length, imagination.rollout_batch_size) == (5, 50_000)
    assert (imagination.rollout_interval, imagination.retained_refreshes) == (1000, 5)
    assert (imagination.real_ratio, imagination.penalty) == (0.5, None)


@pytest.mark.training
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("rho", ["imagined", "all"])
def test_it_trains_with_any_imagination_logs_the_difference_and_loads(
    direction, rho, tmp_path
):
    dataset = line_dataset(5, 20)
    imagination = line_imagination(direction, dataset)
    learner = small(rho=rho)
    ((_, metrics),) = mbo.fit(
        learner, dataset, imagination, n_steps=4, n_steps_per_epoch=4, **QUIET
    )
    assert math.isfinite(metrics["value_difference"])
    assert math.isfinite(metrics["critic_loss"])
    learner.save(str(tmp_path / "combo.d3"))
    loaded = mbo.load_learner(tmp_path / "combo.d3")
    assert isinstance(loaded, COMBO)
    assert loaded.config == learner.config


@pytest.mark.training
def test_by_name_learner_and_imagination_make_a_run():
    config = mbo.get_component("imagination", "combo")(
        dynamics=LineDynamicsConfig(), rollout_batch_size=50, rollout_interval=2
    )
    assert isinstance(config, COMBOImaginationConfig)
    learner = small_learner("combo")
    assert isinstance(learner, COMBO)
    metrics = mbo.fit(
        learner,
        line_dataset(5, 20),
        config.create(),
        n_steps=4,
        n_steps_per_epoch=4,
        **QUIET,
    )[-1][1]
    assert all(map(math.isfinite, metrics.values()))
    assert dataclasses.replace(config).serialize() == config.serialize()


def test_the_critics_squared_error_has_no_half_before_it():
    # The paper's has: a beta of it is 2 beta here. (Q - y)^2 of two critics, y = 3.
    learner = built()
    q = learner.impl.q_function
    with torch.no_grad():
        for parameter in q.parameters():
            parameter.zero_()
    batch = batch_of(learner, [1.0], [0.0], [True])  # no real row: no term
    batch = dataclasses.replace(batch, rewards=torch.full((1, 1), 3.0))
    assert term(learner, batch).critic_loss.item() == pytest.approx(2 * 9.0)


def test_targets_are_at_the_policys_best_action_not_at_a_drawn_one():
    # As d3rlpy's CQL; OfflineRL-Kit leaves the entropy out likewise, but draws.
    learner = built()
    batch = batch_of(learner, [1.0, 2.0], [0.0, 0.0], [True, False])
    impl = learner.impl
    best = learner.predict(batch.observations.numpy())
    values = impl._targ_q_func_forwarder.compute_target(
        batch.observations, torch.from_numpy(best), "min"
    )
    torch.testing.assert_close(impl.compute_target(batch), values)
