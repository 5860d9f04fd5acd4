import dataclasses

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics.networks import Standardizer
from d3rlpy_mbo.data.action_sets import ActionRange
from d3rlpy_mbo.imagination.rollout import rollout
from d3rlpy_mbo_mopo import Disagreement, MaxAleatoric, MeanAleatoric, MOPOConfig
from toys import (
    QUIET,
    LineDynamicsConfig,
    line_dataset,
    line_imagination,
    line_transitions,
    rows_of,
    small_ensemble,
    small_learner,
)

# By hand: raw stds of (s'1, s'2, r) of three members at one row.
STDS = torch.tensor([[[0.3, 0.4, 0.0]], [[1.0, 2.0, 2.0]], [[0.2, 0.3, 0.6]]])


def prediction(stds=STDS, means=None) -> mbo.Prediction:
    return mbo.Prediction(
        torch.zeros(1, 2),
        torch.zeros(1, 1),
        torch.zeros(1, 2),
        torch.tensor([[1.25]]),
        torch.zeros_like(stds) if means is None else means,
        stds,
    )


def test_max_aleatoric_is_the_largest_norm_over_all_members_reward_included():
    assert MaxAleatoric()(prediction()).item() == pytest.approx(3.0)
    # Not 0.7, the elites' {1, 3}; not 2.236, without the reward column.


def test_mean_aleatoric_is_the_mean_norm():
    assert MeanAleatoric()(prediction()).item() == pytest.approx(1.4)


def test_disagreement_is_the_largest_distance_of_s_from_the_mean_reward_excluded():
    means = torch.tensor([[[0.0, 0, 50]], [[3.0, 0, 0]], [[0.0, 3, -50]]])
    value = Disagreement()(prediction(means=means)).item()
    assert value == pytest.approx(2.236068, abs=1e-6)


def test_disagreement_of_one_member_is_refused_before_anything_is_fitted():
    one = mbo.ProbabilisticEnsembleConfig(n_models=1, n_elites=1)
    with pytest.raises(mbo.CompositionError, match="Disagreement compares the members"):
        mbo.ImaginationConfig(dynamics=one, penalty=Disagreement()).create()
    mbo.ImaginationConfig(dynamics=one, penalty=MaxAleatoric()).create()


class Case1(mbo.Dynamics):
    """Says what case 1 says, whatever it is asked."""

    fitted = True

    def predict(self, observations, actions, all_members):
        assert all_members
        return prediction()

    def fit(self, transitions):
        raise NotImplementedError

    state_dict = load_state_dict = fit


def test_the_learner_receives_the_penalised_reward_of_case_1():
    start = mbo.Transitions.from_arrays(
        [[0.0, 0.0]], [[0.0]], [0], [[0.0, 0.0]], [0], [[0.0]]
    )
    policy = mbo.UniformPolicyConfig().create()
    policy.fit(start)
    imagined = rollout(
        Case1(LineDynamicsConfig()),
        policy,
        start,
        1,
        action_set=start.action_range(),
        penalty=MaxAleatoric(coef=0.5),
    )
    assert imagined.transitions.rewards.item() == pytest.approx(-0.25)
    for wrong in (0.9, 0.132, -3.25):
        assert imagined.transitions.rewards.item() != pytest.approx(wrong, abs=1e-2)


def test_an_ensembles_standardised_stds_are_scaled_to_dataset_units():
    model = small_ensemble(n_models=3, n_elites=2).create()
    model.fit(line_transitions(size=2))
    model._targets = Standardizer(torch.zeros(3), torch.tensor([2.0, 2.0, 0.5]))
    with torch.no_grad():  # every member's standardised stds are (0.5, 1, 4)
        wanted = 2 * torch.tensor([0.5, 1.0, 4.0]).log()
        for networks in (model._elites, model._others):
            for parameter in (*networks.weights, *networks.biases):
                parameter.zero_()
            networks.biases[-1][:, 0, 3:] = wanted
            networks.max_log_variance.fill_(60)
            networks.min_log_variance.fill_(-60)
    fresh = line_transitions(4, size=2)
    said = model.predict(fresh.observations, fresh.actions, all_members=True)
    torch.testing.assert_close(MaxAleatoric()(said), torch.full((4, 1), 3.0))


@pytest.mark.parametrize("penalty", [MaxAleatoric, MeanAleatoric, Disagreement])
def test_penalties_are_linear_in_coef_and_refuse_a_negative_one(penalty):
    means = torch.randn(3, 5, 3)
    said = dataclasses.replace(prediction(), means=means, stds=means.abs())
    torch.testing.assert_close(penalty(2.5)(said), 2.5 * penalty()(said))
    assert penalty()(said).shape == (5, 1)
    with pytest.raises(mbo.CompositionError, match="coef"):
        penalty(-1.0)


def test_a_model_without_members_is_refused_by_the_penalty():
    said = dataclasses.replace(prediction(), means=None, stds=None)
    with pytest.raises(mbo.CompositionError, match="ProbabilisticEnsemble"):
        MaxAleatoric()(said)


def test_defaults_are_the_papers():
    config = MOPOConfig()
    assert config.dynamics.direction == "forward"
    assert config.rollout_policy == mbo.LearnerPolicyConfig()
    assert config.penalty == MaxAleatoric(1.0)
    assert (config.rollout_length, config.rollout_batch_size) == (5, 50_000)
    assert (config.rollout_interval, config.retained_refreshes) == (1000, 5)
    assert config.real_ratio == 0.05
    assert MOPOConfig.deserialize(config.serialize()) == config


def mopo(dataset, **settings) -> mbo.Imagination:
    settings = {
        "dynamics": LineDynamicsConfig(),
        "rollout_batch_size": 40,
        "rollout_interval": 3,
        "retained_refreshes": 2,
        **settings,
    }
    imagination = MOPOConfig(**settings).create()
    imagination.fit(dataset)
    return imagination


@pytest.mark.parametrize("coef", [0.0, 1.0, 100.0])
def test_with_a_perfect_model_of_zero_variance_mopo_is_mbpo_row_for_row(coef):
    dataset = line_dataset()
    rows = []
    for penalty in (None, MaxAleatoric(coef)):
        d3rlpy.seed(0)
        learner = small_learner("sac")
        buffer = mbo.ImaginedReplayBuffer(
            dataset, mopo(dataset, penalty=penalty), learner
        )
        learner.fit(buffer, n_steps=5, n_steps_per_epoch=5, **QUIET)
        rows.append(buffer.sources[0].ring.rows())
    np.testing.assert_array_equal(*rows)


def test_after_k_refreshes_exactly_the_last_ones_are_kept():
    dataset = line_dataset()
    learner = small_learner("sac")
    buffer = mbo.ImaginedReplayBuffer(dataset, mopo(dataset), learner)
    source, kept = buffer.sources[0], []
    append = source.ring.append
    begin = source.ring.begin_refresh
    source.ring.begin_refresh = lambda: kept.append([]) or begin()
    source.ring.append = lambda rows, *more: (
        kept[-1].append(rows.copy()) or append(rows, *more)
    )
    learner.fit(buffer, n_steps=14, n_steps_per_epoch=14, **QUIET)
    assert len(kept) == 5  # steps 0, 3, 6, 9, 12
    expected = np.concatenate([rows for refresh in kept[-2:] for rows in refresh])
    np.testing.assert_array_equal(source.ring.rows(), expected)


def test_batches_hold_real_rows_in_the_expected_proportion():
    dataset = line_dataset()
    learner = small_learner("sac")
    imagination = mopo(dataset, rollout_interval=None)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    learner.build_with_dataset(dataset)
    real = set(rows_of(mbo.Transitions.from_dataset(dataset).for_learners()))
    drawn = [
        row for _ in range(50) for row in rows_of(buffer.sample_transition_batch(256))
    ]
    share = np.mean([row in real for row in drawn])
    assert share == pytest.approx(0.05, abs=0.002)  # int(256 * 0.05) / 256 is 0.047


def test_the_learners_scalers_change_nothing_about_what_the_model_sees():
    dataset = line_dataset()
    fit_transitions, asked = [], []
    for scaled in (False, True):
        d3rlpy.seed(0)
        imagination = mopo(dataset, rollout_policy=mbo.UniformPolicyConfig())
        predict = imagination.dynamics.predict
        seen: list[torch.Tensor] = []
        imagination.dynamics.predict = lambda s, a, m, predict=predict, seen=seen: (
            seen.append(torch.cat([s, a], 1)) or predict(s, a, m)
        )
        scalers = {
            "observation_scaler": d3rlpy.preprocessing.StandardObservationScaler(),
            "action_scaler": d3rlpy.preprocessing.MinMaxActionScaler(),
            "reward_scaler": d3rlpy.preprocessing.ConstantShiftRewardScaler(5.0),
        }
        learner = small_learner("sac", **(scalers if scaled else {}))
        buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
        torch.manual_seed(0)
        np.random.seed(0)
        buffer.refresh()
        fit_transitions.append(imagination.dynamics.fit_transitions)
        asked.append(torch.cat(seen))
    for name in ("observations", "actions", "rewards", "next_observations"):
        assert torch.equal(*(getattr(each, name) for each in fit_transitions))
    assert torch.equal(*asked)


@pytest.mark.parametrize("name", ["sac", "td3", "bcq", "iql", "crr", "plas"])
def test_any_continuous_learner_can_imagine_with_its_own_policy(name):
    dataset = line_dataset()
    learner = small_learner(name)
    buffer = mbo.ImaginedReplayBuffer(dataset, mopo(dataset), learner)
    learner.fit(buffer, n_steps=4, n_steps_per_epoch=4, **QUIET)
    assert len(buffer.sources[0].ring) == 2 * 5 * 40


def test_a_stochastic_learner_imagines_with_its_own_distribution():
    dataset = line_dataset()
    learner = small_learner("sac")
    learner.build_with_dataset(dataset)
    imagination = mopo(dataset)
    wide = ActionRange(torch.tensor([-9.0]), torch.tensor([9.0]))
    imagination.action_range = wide
    imagined = imagination.imagine(dataset, 300, learner)
    first = imagined.observations[imagined.rollout_ids == 0][:1]
    samples = learner.sample_action(first.repeat(300, 1).numpy())
    assert samples.std() > 0.1
    assert float(imagined.actions.std()) > 0.1


def test_a_slow_learner_is_announced_with_an_estimate(monkeypatch):
    monkeypatch.setattr("d3rlpy_mbo.imagination.readiness._SLOW", 0.0)
    dataset = line_dataset()
    imagination = mopo(dataset, rollout_batch_size=60)
    imagination._rows_together = 20
    learner = small_learner("bcq")
    learner.build_with_dataset(dataset)
    with pytest.warns(
        UserWarning, match=r"60 rollouts .* BCQ .* minutes.*n_action_samples"
    ):
        imagination.imagine(dataset, 60, learner)


def bad(kind, value):
    """A component that returns one value for every row."""

    class Bad(kind):
        @staticmethod
        def get_type():
            return "bad"

        def __call__(self, *arguments, **keywords):
            first = arguments[0]
            n = len(first if isinstance(first, torch.Tensor) else first.rewards)
            return torch.full((n, 1), value)

    return dataclasses.dataclass(Bad)()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"penalty": bad(mbo.Penalty, -0.5)}, "negative"),
        ({"penalty": bad(mbo.Penalty, float("nan"))}, "NaN"),
        ({"penalty": bad(mbo.Penalty, 1)}, "torch.int64"),
        ({"reward_function": bad(mbo.RewardFunction, float("inf"))}, "infinite"),
        ({"termination": bad(mbo.Termination, 0.0)}, "expected .* of torch.bool"),
    ],
)
def test_components_that_break_their_contract_are_named_with_their_distribution(
    settings, words
):
    dataset = line_dataset()
    with pytest.raises(
        mbo.CompositionError, match=rf"Bad \(of no installed distribution\).*{words}"
    ):
        line_imagination("forward", dataset, **settings).imagine(dataset, 5)


def test_a_learner_whose_actions_are_not_finite_is_named():
    dataset = line_dataset()
    learner = small_learner("td3")
    learner.build_with_dataset(dataset)
    with torch.no_grad():
        for parameter in learner.impl.policy.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(mbo.CompositionError, match=r"LearnerPolicy .* NaN .*learner"):
        mopo(dataset).imagine(dataset, 5, learner)
