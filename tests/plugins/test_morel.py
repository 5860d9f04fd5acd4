"""MOReL: the cases by hand of METHODS 2, and the ports' mistakes, each another number."""

import dataclasses
import math

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.action_sets import ActionRange
from d3rlpy_mbo.imagination.rollout import rollout
from d3rlpy_mbo_morel import DisagreementHaltConfig, MOReLConfig
from toys import (
    QUIET,
    DoubtfulLineConfig,
    LineDynamicsConfig,
    ScriptedPolicyConfig,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)

WIDE = ActionRange(torch.tensor([-10.0]), torch.tensor([10.0]))


def rows_at(states, rewards=None):
    n = len(states)
    return mbo.Transitions.from_arrays(
        [[s] for s in states], [[0.0]] * n, rewards or [-1.0] * n,
        [[s] for s in states], [0.0] * n, [[0.0]] * n,
    )  # fmt: skip


def fitted(states=(1, 2, 3, 4), rewards=None, dynamics=None, **settings):
    """A halt that was fitted on rows whose disagreement is |s|."""
    settings.setdefault("offset", -200.0)  # no warning
    halt = DisagreementHaltConfig(**settings).create()
    halt.fit((dynamics or DoubtfulLineConfig()).create(), rows_at(states, rewards))
    return halt


def predicted(*members):
    """(E) lists of rows of (s', reward)."""
    means = torch.tensor(members, dtype=torch.float32)
    n_rows, size = means.shape[1], means.shape[2] - 1
    states, column = torch.zeros(n_rows, size), torch.zeros(n_rows, 1)
    return mbo.Prediction(
        states, column, states, column, means, torch.zeros_like(means)
    )


def stops_above(prediction, value):
    """Whether a halt at a threshold just below a value stops, and just above it not."""
    halt = fitted()
    found = []
    for threshold in (value - 1e-4, value + 1e-4):
        halt.load_state_dict({"threshold": threshold, "reward": -1.0})
        found.append(bool(halt(prediction, None).stop[0]))
    return found == [True, False]


def test_case_1_the_disagreement_is_the_largest_distance_of_two_members():
    # The largest distance from the members' mean (TATU, OfflineRL-Kit) is 2.848001.
    prediction = predicted([[0, 0, 0]], [[3, 4, 0]], [[0, 4, 0]])
    assert stops_above(prediction, 5.0)
    assert not stops_above(prediction, 2.848001)


def test_the_reward_is_no_part_of_it():
    # unifloral counts it.
    assert stops_above(predicted([[0, 0, -9]], [[3, 4, 9]]), 5.0)


def test_rows_are_never_compared_with_other_rows():
    # unifloral takes the largest distance over pairs of different rows too: here 10, the
    # distance of the rows, where the members of either lie 0.1 apart.
    prediction = predicted([[0, 0], [10, 0]], [[0.1, 0], [10.1, 0]])
    assert stops_above(prediction, 0.1)
    alone = predicted([[0, 0]], [[0.1, 0]])
    assert stops_above(alone, 0.1)


@pytest.mark.parametrize(
    ("settings", "threshold"),
    [
        ({"beta": 2.0}, 4.736068),  # the sample's deviation would give 5.081989
        ({"threshold": "largest", "coef": 3.0}, 1.333333),
        ({"threshold": "largest", "coef": 0.5}, 8.0),
    ],
)
def test_case_2_the_threshold_in_both_forms(settings, threshold):
    metrics = fitted(**settings).metrics
    assert metrics["halt_threshold"] == pytest.approx(threshold, abs=1e-6)
    assert metrics["disagreement_mean"] == pytest.approx(2.5)
    assert metrics["disagreement_std"] == pytest.approx(math.sqrt(1.25))
    assert metrics["disagreement_max"] == 4.0


def imagine(halt, s):
    return rollout(
        DoubtfulLineConfig().create(),
        ScriptedPolicyConfig(script=[1.0]).create(),
        rows_at([s]),
        4,
        action_set=WIDE,
        halt=halt,
    ).transitions


def test_case_3_the_halted_row_is_the_last_terminal_and_has_a_reward_of_its_own():
    # |s| = 2 is at the threshold and known, 3 is not. The official code never marks a
    # halted path as terminal, adds a reward of 0, and keeps 4 steps at least.
    with pytest.warns(UserWarning, match="would seek to halt"):
        halt = fitted(threshold="largest", coef=2.0, offset=-30.0)
    imagined = imagine(halt, s=2.0)
    assert imagined.observations.flatten().tolist() == [2, 3]
    assert imagined.rewards.flatten().tolist() == [2, -31]
    assert imagined.terminals.flatten().tolist() == [0, 1]
    assert len(imagine(halt, s=3.0)) == 1


def test_case_4_members_that_agree_halt_nothing_at_a_threshold_of_zero():
    halt = fitted(dynamics=LineDynamicsConfig(), beta=50.0)
    assert halt.metrics["halt_threshold"] == 0.0
    rows = rows_at([3.0])
    dynamics, policy = LineDynamicsConfig(), ScriptedPolicyConfig(script=[1.0])
    imagined = rollout(
        dynamics.create(), policy.create(), rows, 4, action_set=WIDE, halt=halt
    )
    assert len(imagined.transitions) == 4
    assert not imagined.counts.halted.any()


def test_the_absorbing_reading_is_worth_its_reward_for_ever():
    halt = fitted(offset=-30.0, value="for_ever", gamma=0.9)
    assert halt.metrics["halt_reward"] == pytest.approx(-310.0)


@pytest.mark.parametrize(
    ("offset", "settings", "attracts"),
    [
        (-30.0, {}, True),  # -31, where living is -1 / (1 - 0.99) = -100
        (-98.0, {}, True),
        (-100.0, {}, False),
        (-30.0, {"gamma": 0.9}, False),  # living is -10
        (-30.0, {"value": "for_ever"}, False),  # -3100
        (0.0, {"value": "for_ever"}, True),  # as good as living
        (-1.0, {"rewards": [0.5] * 4}, False),  # -0.5, living is 50
    ],
)
def test_a_halt_that_would_attract_is_warned_of(offset, settings, attracts):
    if attracts:
        with pytest.warns(
            UserWarning, match=r"going on for ever .* would seek to halt"
        ):
            fitted(offset=offset, **settings)
    else:
        fitted(offset=offset, **settings)  # warnings are errors


def test_no_real_row_is_worse_than_a_halt_be_its_next_state_known_or_not():
    rewards = [[-1.0, -1.0, -1.0, -100.0]] * 3
    columns = [np.float32(np.ravel(each)) for each in ([range(4)] * 3, rewards)]
    crashes = d3rlpy.dataset.MDPDataset(
        columns[0][:, None],
        np.full((12, 1), 0.5, np.float32),
        columns[1],
        terminals=np.float32([0, 0, 0, 1] * 3),
        action_space=d3rlpy.ActionSpace.CONTINUOUS,
    )
    imagination = MOReLConfig(
        dynamics=DoubtfulLineConfig(),
        rollout_policy=mbo.UniformPolicyConfig(),
        termination=mbo.NoTermination(),
        halt=DisagreementHaltConfig(offset=-50.0),
    ).create()
    with pytest.warns(UserWarning, match="unlike all that models see, from -1 to -1"):
        imagination.fit(crashes)  # that to halt attracts is no longer so
    assert imagination.halt.metrics["halt_reward"] == -150.0


def test_living_is_worth_the_rewards_of_steps_that_go_on():
    rows = rows_at([1, 2, 3, 4], [-1.0, -1.0, -1.0, -100.0])
    rows.terminals[3] = 1.0
    halt = DisagreementHaltConfig(offset=-1.0).create()
    halt.fit(DoubtfulLineConfig().create(), rows)  # -101 once; living at -1 is -100
    assert halt.metrics["halt_reward"] == -101.0


def test_one_member_is_refused_before_anything_is_fitted():
    dynamics = mbo.ProbabilisticEnsembleConfig(n_models=1, n_elites=1)
    words = (
        "DisagreementHalt compares the members of the dynamics.* to have 1: expected 2"
    )
    with pytest.raises(mbo.CompositionError, match=words):
        MOReLConfig(dynamics=dynamics).create()
    # It compares all of them, not the elites alone.
    MOReLConfig(dynamics=dataclasses.replace(dynamics, n_models=2)).create()


def test_a_model_of_one_member_is_refused():
    for means in (torch.zeros(1, 1, 2), None):
        zeros = torch.zeros(1, 1)
        prediction = mbo.Prediction(zeros, zeros, zeros, zeros, means, means)
        with pytest.raises(mbo.CompositionError, match="expected 2 or more"):
            fitted()(prediction, None)


def test_a_threshold_that_halts_everything_is_refused_with_the_datas_spread():
    dataset = line_dataset(5, 20)
    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=DoubtfulLineConfig(),
        halt=DisagreementHaltConfig(threshold="largest", coef=1e6, offset=-1e4),
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with pytest.raises(mbo.DivergedError) as caught:
        buffer.sample_transition_batch(8)
    for name in ("halt_threshold", "disagreement_mean", "disagreement_max"):
        assert name in str(caught.value)


def test_a_threshold_that_halts_nothing_is_warned_of():
    dataset = line_dataset(5, 20)
    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=DoubtfulLineConfig(),
        halt=DisagreementHaltConfig(beta=1e6, offset=-1e4),
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    with pytest.warns(UserWarning, match="'disagreement' .* stopped not one rollout"):
        buffer.sample_transition_batch(8)


def test_defaults_are_those_of_the_reimplementations():
    config = MOReLConfig()
    assert config.dynamics == mbo.ProbabilisticEnsembleConfig()
    assert config.rollout_policy == mbo.LearnerPolicyConfig()
    assert config.halt == DisagreementHaltConfig(beta=10.0, offset=-50.0)
    assert (config.rollout_length, config.rollout_batch_size) == (5, 50_000)
    assert (config.rollout_interval, config.retained_refreshes) == (1000, 5)
    assert (config.real_ratio, config.penalty) == (0.05, None)


@pytest.mark.parametrize(
    "settings",
    [{"threshold": "median"}, {"beta": -1.0}, {"coef": 0.0}, {"offset": 1.0},
     {"value": "twice"}, {"gamma": 1.0}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(mbo.CompositionError, match=next(iter(settings))):
        DisagreementHaltConfig(**settings)


@pytest.mark.training
def test_by_name_it_trains_logs_its_halts_saves_and_loads(tmp_path):
    d3rlpy.seed(0)
    dataset = line_dataset(5, 20)
    config = mbo.get_component("imagination", "morel")(
        dynamics=small_ensemble(max_steps=5, batch_size=16),
        halt=DisagreementHaltConfig(beta=0.5, offset=-1e4),
        rollout_batch_size=100,
    )
    imagination = config.create()
    learner = small_learner("sac")
    ((_, metrics),) = mbo.fit(
        learner, dataset, imagination, n_steps=4, n_steps_per_epoch=4, **QUIET
    )
    assert 0 < metrics["morel_halted_1"] < 1
    assert metrics["morel_halt_threshold"] > metrics["morel_disagreement_mean"]
    imagination.save(tmp_path / "morel.mbo")
    loaded = mbo.load_imagination(tmp_path / "morel.mbo")
    assert loaded.config == config
    assert loaded.metrics == imagination.metrics
    for each in (imagination, loaded):
        d3rlpy.seed(1)
        each.imagined = each.imagine(dataset, 50, learner)
    torch.testing.assert_close(imagination.imagined.rewards, loaded.imagined.rewards)
