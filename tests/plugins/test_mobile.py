"""MOBILE: the cases by hand of METHODS 3, and the mistakes that give other numbers."""

import dataclasses
import math

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.models.torch import build_squashed_gaussian_distribution
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.learners import asking
from d3rlpy_mbo_mobile import MOBILESAC, BellmanSpread, MOBILEConfig, MOBILESACConfig
from toys import (
    QUIET,
    DoubtfulLineConfig,
    LineDynamicsConfig,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)


def predicted(members, stds=0.0, n_rows=1, n_elites=None):
    """Members that say s' = their number, in every row."""
    means = torch.tensor(members, dtype=torch.float32)[:, None, None]
    means = means.repeat(1, n_rows, 2)
    zeros = torch.zeros(n_rows, 1)
    deviations = torch.full_like(means, stds)
    return mbo.Prediction(zeros, zeros, zeros, zeros, means, deviations, n_elites)


@pytest.fixture
def worth_s(monkeypatch):
    """A learner in whose eyes a state is worth itself, whatever is done there."""
    asked = []

    def state_value(learner, states, target=False):
        asked.append(target)
        return states[:, :1]

    monkeypatch.setattr(mbo.learners, "state_value", state_value)
    return asked


@pytest.mark.parametrize(
    ("members", "spread"), [([3, 7], 2.828427), ([1, 2, 3, 4, 5], 1.581139)]
)
def test_the_spread_of_the_members_values_has_n_minus_1_below(worth_s, members, spread):
    # With n below, (3, 7) would come to 2.
    found = BellmanSpread()(predicted(members), object())
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(spread, abs=1e-6)
    assert BellmanSpread(coef=0.5)(predicted(members), object()).item() == (
        pytest.approx(spread / 2, abs=1e-6)
    )
    assert set(worth_s) == {True}  # the target critics


def test_only_the_elites_count(worth_s):
    members = [3, 7, 100, 1000]
    found = BellmanSpread()(predicted(members, n_elites=2), object())
    assert found.item() == pytest.approx(2.828427, abs=1e-6)


def test_samples_are_averaged_before_the_members_are_compared(worth_s):
    # Members that agree, each of deviation 1: means over 400 samples lie about 1 / 20
    # apart, the samples themselves 1.
    d3rlpy.seed(0)
    found = BellmanSpread(n_samples=400)(predicted([2, 2, 2], 1.0, 50), object())
    assert 0.02 < float(found.mean()) < 0.08


def test_identical_members_and_a_policy_that_does_not_draw_have_no_spread_at_all():
    dataset = line_dataset(5, 20)
    learner = small_learner("td3")
    learner.build_with_dataset(dataset)
    agreeing = line_imagination("forward", dataset, penalty=BellmanSpread(coef=9.0))
    buffer = mbo.ImaginedReplayBuffer(dataset, agreeing, learner, real_ratio=0.0)
    batch = buffer.sample_transition_batch(64)
    np.testing.assert_array_equal(batch.rewards, batch.observations)  # r = s
    doubtful = line_imagination(
        "forward", dataset, dynamics=DoubtfulLineConfig(), penalty=BellmanSpread(9.0)
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, doubtful, learner, real_ratio=0.5)
    batch = buffer.sample_transition_batch(64)
    real = ~batch.imagined[:, 0]
    np.testing.assert_array_equal(batch.rewards[real], batch.observations[real])
    assert (batch.rewards[~real] < batch.observations[~real]).any()


def test_in_a_papers_sizes_too_the_spread_of_identical_members_is_exactly_zero():
    # Sums of equal values in another order would leave 1e-9, in all networks' sizes.
    learner = d3rlpy.algos.TD3Config().create()
    learner.create_impl((17,), 6)
    means = torch.randn(1, 100, 18).repeat(5, 1, 1)
    states, rewards = torch.zeros(100, 17), torch.zeros(100, 1)
    prediction = mbo.Prediction(
        states, torch.zeros(100, 6), states, rewards, means, torch.zeros_like(means)
    )
    found = BellmanSpread()(prediction, learner)
    if not asking._fused_is_faster(torch.get_num_threads()):
        # Its products may round a row by where it stands.
        assert float(found.max()) < 1e-6
    else:
        assert float(found.max()) == 0


def test_the_value_is_the_least_target_critics_at_the_policys_actions():
    dataset = line_dataset(5, 20)
    learner = small_learner("td3")  # acts without drawing
    learner.build_with_dataset(dataset)
    with torch.no_grad():  # targets and critics differ from now on
        for parameter in learner.impl.q_function.parameters():
            parameter += 1.0
    found = BellmanSpread(n_samples=1)(predicted([-1.0, 2.0]), learner)
    states = torch.tensor([[-1.0], [2.0]])
    actions = learner.impl.policy(states).squashed_mu
    targets = learner.impl.modules.targ_q_funcs
    values = torch.stack([q(states, actions).q_value for q in targets]).amin(dim=0)
    assert found.item() == pytest.approx(values.std().item(), rel=1e-5)


def test_imagined_it_is_subtracted_once_and_kept():
    d3rlpy.seed(0)
    dataset = line_dataset(5, 20)
    learner = small_learner("td3")
    learner.build_with_dataset(dataset)
    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=DoubtfulLineConfig(),
        penalty=BellmanSpread(when="imagined"),
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner, real_ratio=0.0)
    buffer.sample_transition_batch(8)
    kept = buffer.sources[0].ring.rows()
    assert (kept[:, 2] < kept[:, 0]).any()  # r below s
    seen = buffer.sample_imagined(20)
    assert any(seen.rewards[0].item() == pytest.approx(row[2]) for row in kept)


def test_one_elite_is_refused_before_anything_is_fitted():
    dynamics = mbo.ProbabilisticEnsembleConfig(n_models=3, n_elites=1)
    words = "BellmanSpread compares the elites of the dynamics.* to have 1: expected 2"
    with pytest.raises(mbo.CompositionError, match=words):
        MOBILEConfig(dynamics=dynamics).create()
    MOBILEConfig(dynamics=dataclasses.replace(dynamics, n_elites=2)).create()


def test_what_it_cannot_judge_is_refused():
    penalty = BellmanSpread()
    with pytest.raises(mbo.CompositionError, match="asks the learner what next states"):
        penalty(predicted([1, 2]))
    for n_elites in (1, None):
        members = [1, 2] if n_elites else [1]
        with pytest.raises(mbo.CompositionError, match="has 1: expected 2 or more"):
            penalty(predicted(members, n_elites=n_elites), object())
    with pytest.raises(
        mbo.CompositionError, match="reverse dynamics predict the states"
    ):
        MOBILEConfig(
            dynamics=LineDynamicsConfig(direction="reverse"),
            rollout_policy=mbo.UniformPolicyConfig(),
        ).create()
    dataset = line_dataset(5, 20)
    imagination = MOBILEConfig(dynamics=LineDynamicsConfig()).create()
    for learner, words in (
        (small_learner("bc"), "BC has no critic"),
        (d3rlpy.algos.DQNConfig().create(), "DQN"),
        (d3rlpy.algos.DecisionTransformerConfig().create(), "DecisionTransformer"),
        (d3rlpy.algos.CalQLConfig().create(), "CalQL"),
    ):
        with pytest.raises(mbo.CompositionError, match=words):
            mbo.fit(learner, dataset, imagination, n_steps=2, **QUIET)
        assert not imagination.fitted


def built(**settings):
    learner = small_learner("mobile_sac", **settings)
    learner.create_impl((1,), 1)
    return learner


def batch_of(learner, rewards, terminals):
    column = np.float32(rewards)[:, None]
    zeros = np.zeros_like(column)
    rows = d3rlpy.dataset.TransitionMiniBatch(
        observations=zeros,
        actions=zeros,
        rewards=column,
        next_observations=zeros,
        next_actions=zeros,
        terminals=np.float32(terminals)[:, None],
        intervals=zeros + 1,
        transitions=[],
    )
    return TorchMiniBatch.from_batch(
        batch=rows,
        gamma=learner.config.gamma,
        compute_returns_to_go=False,
        device="cpu:0",
    )


def zeroed(networks):
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.zero_()


@pytest.mark.parametrize(
    ("floor", "terminal", "target"),
    [(None, 0.0, -4.95), (0.0, 0.0, 0.0), (None, 1.0, 0.0), (-1.0, 0.0, -1.0)],
)
@pytest.mark.parametrize("q_func", ["mean", "qr"])
def test_the_target_by_hand_and_its_floor(floor, terminal, target, q_func):
    # r 1, beta .5, U 2: the penalised reward is 0. gamma .99, Q' -5: y = -4.95, with the
    # official code's clamp 0; terminal: r - beta U = 0. Of two critics that say 0.
    factory = {
        "mean": d3rlpy.models.MeanQFunctionFactory(),
        "qr": d3rlpy.models.QRQFunctionFactory(n_quantiles=4),
    }[q_func]
    learner = built(target_floor=floor, q_func_factory=factory)
    zeroed(learner.impl.q_function)
    batch = batch_of(learner, [1 - 0.5 * 2], [terminal])
    next_values = torch.full((1, 1 if q_func == "mean" else 4), -5.0)
    loss = learner.impl.compute_critic_loss(batch, next_values).critic_loss.item()
    if q_func == "mean":
        assert loss == pytest.approx(2 * target**2, abs=1e-5)
    else:  # Huber's, |y| - 1/2 beyond 1; half of it on average, of four quantiles
        expected = abs(target) - 0.5 if abs(target) > 1 else 0.5 * target**2
        assert loss == pytest.approx(2 * 4 * expected * 0.5, abs=1e-5)


@pytest.mark.parametrize("deterministic", [True, False])
def test_targets_are_the_least_target_critics_at_drawn_actions(deterministic):
    learner = built(deterministic_backup=deterministic, initial_temperature=0.5)
    impl = learner.impl
    with torch.no_grad():
        for parameter in impl.q_function.parameters():
            parameter += 1.0
    batch = batch_of(learner, [0.0, 0.0], [0.0, 0.0])
    torch.manual_seed(3)
    found = impl.compute_target(batch)
    torch.manual_seed(3)
    policy = build_squashed_gaussian_distribution(impl.policy(batch.next_observations))
    actions, log_probs = policy.sample_with_log_prob()
    values = torch.stack(
        [q(batch.next_observations, actions).q_value for q in impl.modules.targ_q_funcs]
    ).amin(dim=0)
    expected = values if deterministic else values - 0.5 * log_probs
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_the_best_action_is_each_critics_own_and_the_least_critic_follows(monkeypatch):
    # Two critics, two actions: 1 5 and 4 2. Best of each 5 and 4, the least 4. CQL's
    # order, the least critic of each action first, would come to max(1, 2) = 2.
    learner = built(max_q_backup=True, n_action_samples=2)
    values = torch.tensor([[[1.0, 5.0]], [[4.0, 2.0]]])
    monkeypatch.setattr(
        "d3rlpy_mbo_mobile.learner.sample_q_values_with_policy",
        lambda **given: (values, None),
    )
    batch = batch_of(learner, [0.0], [0.0])
    assert learner.impl.compute_target(batch).tolist() == [[4.0]]


@pytest.mark.parametrize(
    ("rate", "largest", "alpha"), [(1e-4, 1.0, 1.0), (1e-4, None, 3.0), (0.0, 1.0, 3.0)]
)
def test_a_learned_temperature_is_bounded_and_a_fixed_one_is_as_given(
    rate, largest, alpha
):
    learner = built(
        initial_temperature=3.0, temp_learning_rate=rate, max_temperature=largest
    )
    batch = batch_of(learner, [0.0], [0.0])
    action = learner.impl.policy(batch.observations)
    torch.manual_seed(3)
    found = learner.impl.compute_actor_loss(batch, action)
    torch.manual_seed(3)
    policy = build_squashed_gaussian_distribution(action)
    actions, log_probs = policy.sample_with_log_prob()
    values = torch.stack(
        [q(batch.observations, actions).q_value for q in learner.impl.q_function]
    ).amin(dim=0)
    expected = (alpha * log_probs - values).mean().item()
    assert found.actor_loss.item() == pytest.approx(expected, rel=1e-5)
    assert found.temp.item() == pytest.approx(alpha, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_action_samples": 0}, "n_action_samples is 0, expected a whole number"),
        ({"max_temperature": 0.0}, "max_temperature is 0.0, expected a number, more"),
        ({"target_floor": math.nan}, "target_floor is nan, expected a number, or None"),
        ({"n_action_samples": True}, "n_action_samples is True, expected a whole"),
        ({"max_temperature": "1"}, "max_temperature is '1', expected a number, more"),
        ({"target_floor": "0"}, "target_floor is '0', expected a number, or None"),
        ({"target_floor": False}, "target_floor is False, expected a number, or None"),
        ({"deterministic_backup": "no"}, "backup is 'no', expected True or False"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(mbo.CompositionError, match=words):
        MOBILESACConfig(**settings).create()


def test_numbers_of_numpys_are_taken():
    MOBILESACConfig(
        n_action_samples=np.int64(2),
        max_temperature=np.float32(1),
        target_floor=np.float32(0),
        max_q_backup=np.bool_(True),
    ).create()


def test_the_actors_cosine_schedule_is_d3rlpys():
    schedule = d3rlpy.optimizers.lr_schedulers.CosineAnnealingLRFactory(T_max=2)
    optimizer = d3rlpy.optimizers.AdamFactory(lr_scheduler_factory=schedule)
    learner = built(actor_optim_factory=optimizer)
    batch = batch_of(learner, [0.0], [0.0])
    rates = []
    for step in range(2):
        learner.impl.update(batch, step)
        rates.append(learner.impl.policy_optim.param_groups[0]["lr"])
    assert rates == pytest.approx([5e-5, 0.0])  # from 1e-4


def test_defaults_are_the_official_codes_on_gym():
    config = MOBILEConfig()
    assert config.dynamics == mbo.ProbabilisticEnsembleConfig()
    assert config.rollout_policy == mbo.LearnerPolicyConfig()
    assert config.penalty == BellmanSpread(coef=1.0, n_samples=10, when="drawn")
    assert (config.rollout_length, config.rollout_batch_size) == (5, 50_000)
    assert (config.rollout_interval, config.retained_refreshes) == (1000, 5)
    assert config.real_ratio == 0.05
    learner = MOBILESACConfig()
    rates = learner.actor_learning_rate, learner.critic_learning_rate
    assert (*rates, learner.temp_learning_rate) == (1e-4, 3e-4, 1e-4)
    assert (learner.batch_size, learner.gamma, learner.tau) == (256, 0.99, 0.005)
    assert (learner.n_critics, learner.initial_temperature) == (2, 1.0)
    assert (learner.deterministic_backup, learner.max_q_backup) == (True, False)
    assert (learner.max_temperature, learner.target_floor) == (1.0, None)


@pytest.mark.training
def test_by_name_it_trains_logs_its_penalty_saves_and_loads(tmp_path):
    d3rlpy.seed(0)
    dataset = line_dataset(5, 20)
    config = mbo.get_component("imagination", "mobile")(
        dynamics=small_ensemble(max_steps=5, batch_size=16),
        rollout_batch_size=20,
        rollout_interval=2,
    )
    imagination = config.create()
    learner = small_learner("mobile_sac")
    assert isinstance(learner, MOBILESAC)
    ((_, metrics),) = mbo.fit(
        learner, dataset, imagination, n_steps=4, n_steps_per_epoch=4, **QUIET
    )
    assert metrics["mobile_penalty_mean"] > 0
    assert math.isfinite(metrics["critic_loss"])
    imagination.save(tmp_path / "mobile.mbo")
    loaded = mbo.load_imagination(tmp_path / "mobile.mbo")
    assert loaded.config == config
    learner.save(str(tmp_path / "mobile.d3"))
    assert mbo.load_learner(tmp_path / "mobile.d3").config == learner.config
    assert dataclasses.replace(learner.config).serialize() == learner.config.serialize()
