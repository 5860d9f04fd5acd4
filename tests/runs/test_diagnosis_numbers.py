"""Numbers of a diagnosis against answers worked out by hand."""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from diagnosis_toys import (
    NOISE,
    ModelOfNoiseConfig,
    dataset_of,
    imagination_of,
    noisy_line,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode
from d3rlpy_mbo.data.real_data import RealData
from d3rlpy_mbo.runs.diagnosis.calibration import calibration
from d3rlpy_mbo.runs.diagnosis.ends import ends
from d3rlpy_mbo.runs.diagnosis.nearness import nearness
from d3rlpy_mbo.runs.diagnosis.one_step import one_step
from d3rlpy_mbo.runs.diagnosis.open_loop import open_loop, sequence_starts
from d3rlpy_mbo.runs.diagnosis.penalties import penalty_ranks
from d3rlpy_mbo.runs.diagnosis.predictions import Predicted, predicted
from d3rlpy_mbo.runs.diagnosis.rollouts import (
    imagined_rows,
    real_survival,
    rollouts,
)
from d3rlpy_mbo.runs.diagnosis.statistics import (
    distribution,
    found_in_worst_tenth,
    quantile,
    spearman,
    spread,
)
from d3rlpy_mbo.runs.diagnosis.values import returns_to_go
from sizes import Made
from toys import (
    BeyondTermination,
    ChoiceDynamicsConfig,
    LineDynamicsConfig,
    ScriptedPolicyConfig,
    choice_dataset,
    line_dataset,
    line_transitions,
)

pytestmark = pytest.mark.training

NAMES = ["s[0]", "s[1]", "reward"]


def said_of(targets, means, stds, n_elites=None):
    """A model of D = 1 that says given means (M, B) and deviations of given targets."""
    columns = [torch.tensor(values, dtype=torch.float64) for values in (means, stds)]
    means, stds = (torch.stack([each, each], dim=-1) for each in columns)
    both = torch.tensor(targets, dtype=torch.float64)[:, None].expand(-1, 2)
    zeros = torch.zeros(len(targets), 1)
    rows = mbo.Transitions(zeros, zeros, both[:, :1].float(), zeros, zeros, zeros)
    prediction = mbo.Prediction(zeros, zeros, zeros, zeros, means, stds)
    n_elites = n_elites or len(means)
    return Predicted(rows, both, zeros.double(), means, stds, n_elites, prediction, 1.0)


def episode(states, rewards=None, actions=None, terminated=False):
    states = np.float32(states).reshape(len(states), -1)
    n_steps = len(states) - 1
    actions = np.diff(states, axis=0) if actions is None else np.float32(actions)
    rewards = states[:-1, :1] if rewards is None else np.float32(rewards)[:, None]
    assert len(actions) == len(rewards) == n_steps
    return CompleteEpisode(states, actions, rewards, terminated)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_errors_of_a_step_are_what_the_model_is_off_by(direction):
    real = RealData.of(noisy_line(noise=0.0))
    model = ModelOfNoiseConfig(direction, shift=0.25).create()
    judged = predicted(model, real.for_models)
    found = one_step(judged, judged.elite_means, NAMES, real.transitions.rewards)
    actions = real.transitions.actions.double()
    first, second, reward = found.columns
    assert first.error == pytest.approx(0.25, abs=1e-6)
    assert first.bias == pytest.approx(0.25, abs=1e-6)
    assert second.error == pytest.approx(0, abs=1e-6)
    moved = float(actions[:, 0].square().mean().sqrt())
    assert first.naive_error == pytest.approx(moved, abs=1e-6)
    share = 0.0625 / float(actions[:, 0].var(unbiased=False))
    assert first.unexplained == pytest.approx(share, abs=1e-5)
    rewards = real.transitions.rewards.double()
    assert reward.naive_error == pytest.approx(float(rewards.std()), rel=1e-3)
    assert reward.error == pytest.approx(
        0.25 if direction == "reverse" else 0, abs=1e-6
    )
    assert found.alignment > 0.8


def test_errors_are_of_the_members_that_imagine_alone():
    judged = said_of([1.0, 2.0], [[1.5, 2.5], [9.0, 9.0]], [[1, 1], [1, 1]], n_elites=1)
    found = one_step(judged, judged.elite_means, ["s", "reward"], torch.rand(4, 1))
    assert found.columns[0].error == pytest.approx(0.5)


def test_rare_rewards_are_measured_apart():
    rewards = [0.0] * 8 + [1.0, 3.0]
    judged = said_of(rewards, [[0.0] * 10], [[1.0] * 10])
    all_rewards = torch.tensor(rewards)[:, None]
    rare = one_step(
        judged, judged.elite_means, ["s", "reward"], all_rewards
    ).rare_reward
    assert (rare.commonest, rare.rows) == (0, 2)
    assert rare.error == pytest.approx(math.sqrt(5))  # of 1 and 3
    assert rare.naive_error == pytest.approx(math.sqrt((0.6**2 + 2.6**2) / 2))
    spread = torch.arange(10.0)[:, None]  # no value is commonest
    found = one_step(judged, judged.elite_means, ["s", "reward"], spread)
    assert found.rare_reward is None


def test_calibration_counts_targets_within_the_predicted_spread():
    # Offsets of -2.5, -0.5, 0.5, 1.5 standard deviations of 2.
    judged = said_of([-5.0, -1.0, 1.0, 3.0], [[0.0] * 4], [[2.0] * 4])
    (column, _) = calibration(judged, ["s", "reward"], with_reward=True).columns
    assert column.within_one_std == 0.5
    assert column.within_two_stds == 0.75
    squares = (6.25 + 0.25 + 0.25 + 2.25) / 4
    expected = -0.5 * squares - math.log(2 * math.sqrt(2 * math.pi))
    assert column.log_likelihood == pytest.approx(expected, abs=1e-6)
    # Phi(-2.5) = .006, Phi(-.5) = .309, Phi(.5) = .691, Phi(1.5) = .933
    assert column.pit == [0.25, 0, 0, 0.25, 0, 0, 0.25, 0, 0, 0.25]


def test_calibration_of_members_is_of_each_and_the_mixture_of_those_that_imagine():
    targets = [1.0, -1.0]
    judged = said_of(targets, [[0.0] * 2] * 3, [[1.0] * 2, [2.0] * 2, [0.1] * 2], 2)
    found = calibration(judged, ["s", "reward"], with_reward=False)
    assert found.members == [1, 1, 0]
    assert [column.name for column in found.columns] == ["s"]

    def density(std):
        return math.exp(-0.5 / std**2) / (std * math.sqrt(2 * math.pi))

    expected = math.log((density(1) + density(2)) / 2)
    assert found.columns[0].log_likelihood == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_model_is_within_one_and_two_stds_as_often_as_a_normal_is():
    real = RealData.of(noisy_line(n_episodes=200, length=50))  # 10,000 rows
    judged = predicted(ModelOfNoiseConfig().create(), real.for_models)
    found = calibration(judged, NAMES, with_reward=True)
    for column in found.columns:  # standard errors: .005, .002, .003
        assert column.within_one_std == pytest.approx(0.6827, abs=0.02)
        assert column.within_two_stds == pytest.approx(0.9545, abs=0.01)
        assert column.pit == pytest.approx([0.1] * 10, abs=0.015)


def test_a_model_that_states_no_spread_is_not_calibrated():
    real = RealData.of(line_dataset())
    judged = predicted(LineDynamicsConfig().create(), real.for_models)
    assert calibration(judged, ["s[0]", "reward"], with_reward=True) is None


def test_rank_correlation_by_hand_with_and_without_ties():
    one = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    other = torch.tensor([20.0, 10.0, 40.0, 30.0, 50.0])
    assert spearman(one, other) == pytest.approx(0.8, abs=1e-6)  # 1 - 6 * 4 / (5 * 24)
    assert spearman(one, -other) == pytest.approx(-0.8, abs=1e-6)
    tied = torch.tensor([1.0, 1.0, 2.0, 3.0])
    expected = math.sqrt(4.5 / 5)  # ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4
    assert spearman(tied, one[:4]) == pytest.approx(expected, abs=1e-6)
    assert spearman(torch.ones(5), one) is None


def test_the_worst_tenth_found_by_hand_with_and_without_ties():
    errors = torch.arange(20.0)  # the worst two are the last
    scores = errors.clone()
    assert found_in_worst_tenth(scores, errors) == 1
    scores[19] = -1
    assert found_in_worst_tenth(scores, errors) == 0.5
    assert found_in_worst_tenth(torch.zeros(20), errors) == pytest.approx(0.1)


def test_quantiles_lie_between_values_linearly():
    values = torch.tensor([4.0, 0.0, 2.0])
    assert [quantile(values, share) for share in (0, 0.25, 0.5, 1)] == [0, 1, 2, 4]
    summed = distribution(values)
    assert summed.mean == 2
    assert summed.std == pytest.approx(math.sqrt(8 / 3))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_k_steps_without_noise_add_up_what_one_is_off_by(direction):
    real = RealData.of(noisy_line(noise=0.0))
    model = ModelOfNoiseConfig(direction, shift=0.125).create()
    found = open_loop(model, real, 8)
    off = [0.125 * k for k in range(1, 9)]
    assert [each[0] for each in found.columns] == pytest.approx(off, abs=1e-5)
    assert [each[1] for each in found.columns] == pytest.approx([0] * 8, abs=1e-5)
    # In units of the columns' deviations, and over both columns.
    deviation = float(real.transitions.observations[:, 0].double().std(unbiased=False))
    sizes = [each / deviation / math.sqrt(2) for each in off]
    assert found.median == pytest.approx(sizes, abs=1e-5)
    assert found.low == pytest.approx(found.high, abs=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_k_steps_with_noise_are_off_by_its_sum(direction):
    # As many sequences as episodes: all independent.
    real = RealData.of(noisy_line(n_episodes=500, length=9))
    found = open_loop(ModelOfNoiseConfig(direction).create(), real, 9)
    assert found.sequences == 500
    for k, columns in enumerate(found.columns, start=1):
        expected = NOISE * math.sqrt(k)
        error = expected / math.sqrt(2 * 500)  # of a root mean square of 500 normals
        for column in columns[:2]:
            assert column == pytest.approx(expected, abs=4 * error)


def test_standing_still_is_off_by_the_way_that_was_gone():
    real = RealData.of(dataset_of([episode([0, 1, 2, 3]), episode([5, 6, 7, 8])]))
    found = open_loop(LineDynamicsConfig().create(), real, 3)
    deviation = float(np.std([0, 1, 2, 5, 6, 7]))
    ways = [k / deviation for k in (1, 2, 3)]
    assert found.standing_still == pytest.approx(ways, abs=1e-6)
    assert found.median == pytest.approx([0, 0, 0], abs=1e-6)


def test_sequences_stay_within_episodes_and_where_states_are_known():
    complete = RealData.of(dataset_of([episode(range(4)), episode(range(3))]))
    assert sequence_starts(complete, 2).tolist() == [0, 1, 3]
    assert sequence_starts(complete, 3).tolist() == [0]
    assert sequence_starts(complete, 4).tolist() == []
    # d3rlpy zero-fills what lies behind the last row of an episode that ended.
    zero_filled = RealData.of(line_dataset(n_episodes=2, length=3, terminated=True))
    assert sequence_starts(zero_filled, 2).tolist() == [0, 3]
    assert open_loop(LineDynamicsConfig().create(), zero_filled, 3) is None


def test_sequences_that_leave_the_finite_are_counted_and_left_out():
    real = RealData.of(dataset_of([episode([0, 1, 2]), episode([8, 9, 10])]))
    model = LineDynamicsConfig(broken_at=9.5).create()
    found = open_loop(model, real, 2)
    assert found.finite == [1, 0.5]
    assert found.columns[1] == pytest.approx([0, 0], abs=1e-6)


def test_a_penalty_that_is_the_error_finds_all_of_it():
    generator = torch.Generator().manual_seed(1)
    deviations = torch.rand(1000, generator=generator) + 0.01
    judged = said_of(
        (2 * deviations).tolist(), [[0.0] * 1000], [deviations.tolist()]
    )  # each off by two of its deviations
    ranks, left_out = penalty_ranks(judged, None)
    (found,) = (each for each in ranks if each.name == "max_aleatoric")
    assert not left_out
    assert found.spearman == pytest.approx(1, abs=1e-6)
    assert found.worst_tenth == 1
    # Errors drawn from those deviations are no such perfect order.
    assert 0.3 < found.null_spearman < 0.9
    assert 0.1 < found.null_worst_tenth < 0.6


def test_the_null_of_a_calibrated_model_is_what_it_scores():
    # Every row has a deviation of its own, and is off by a draw of it: no epistemic part.
    generator = torch.Generator().manual_seed(2)
    deviations = torch.rand(5000, generator=generator).square() + 0.01
    targets = torch.randn(5000, generator=generator) * deviations
    judged = said_of(targets.tolist(), [[0.0] * 5000], [deviations.tolist()])
    # The reward's error is the observation's here; the null draws them apart.
    judged.means[..., 1] = judged.targets[:, 1] - (
        torch.randn(5000, generator=generator) * deviations
    )
    ranks, _ = penalty_ranks(judged, None)
    (found,) = (each for each in ranks if each.name == "max_aleatoric")
    assert found.spearman == pytest.approx(found.null_spearman, abs=0.03)
    assert found.worst_tenth == pytest.approx(found.null_worst_tenth, abs=0.06)


def test_precision_and_recall_of_a_termination_by_hand():
    # Episodes end beyond 3; the rule says beyond 2: two claims too many.
    data = [episode([0, 1, 2.5, 4], terminated=True), episode([0, 2.2, 2, 0])]
    real = RealData.of(dataset_of(data))
    model = LineDynamicsConfig().create()
    known = real.for_models
    found = ends(BeyondTermination(2.0), model, known, known)
    assert (found.terminals, found.claimed, found.rows) == (1, 3, 6)
    assert found.precision == pytest.approx(1 / 3)
    assert found.recall == 1
    assert found.model_recall == 1
    assert found.model_false_alarms == pytest.approx(2 / 5)
    # Backwards it is asked about states: s of every row, and where the end led.
    found = ends(
        BeyondTermination(2.0), LineDynamicsConfig("reverse").create(), known, known
    )
    assert (found.terminals, found.claimed, found.rows) == (1, 3, 7)
    assert found.model_recall is None


def test_backwards_a_termination_is_asked_without_a_copy_of_the_data(monkeypatch):
    module = sys.modules["d3rlpy_mbo.runs.diagnosis.ends"]
    monkeypatch.setattr(module, "ROWS_OF_A_TERMINATION", 100)
    rows = line_transitions(1000, size=20)
    rows.terminals[::100] = 1.0
    with Made() as made:
        found = ends(
            BeyondTermination(4.0), LineDynamicsConfig("reverse").create(), rows, rows
        )
    assert (found.terminals, found.rows) == (10, 1010)
    assert made.largest < 0.9 * rows.observations.nbytes


def test_survival_of_real_episodes_by_hand():
    # 3 rows that end and 2 that are cut: of 5 rows one ends at once; of the 3 that go on,
    # and of none but those, one ends after one more.
    data = [episode([0, 1, 2, 3], terminated=True), episode([0, 1, 2])]
    survival = real_survival(RealData.of(dataset_of(data)), 4)
    assert survival == pytest.approx([1, 4 / 5, 4 / 5 * 2 / 3, 0])


def whole_returns(data, gamma):
    real = RealData.of(dataset_of(data))
    return returns_to_go(real, real.transitions.rewards, gamma)


def test_returns_to_go_by_hand_and_which_of_them_are_whole():
    data = [
        episode([0, 0, 0], rewards=[1, 2], actions=[[0], [0]], terminated=True),
        episode([0] * 5, rewards=[1, 1, 1, 1], actions=[[0]] * 4),
    ]
    returns, whole = whole_returns(data, 0.5)
    assert returns.tolist() == pytest.approx([2, 2, 1.875, 1.75, 1.5, 1])
    # Of what was cut a row must have seen all but 5 %: 5 steps at 0.5.
    assert whole.tolist() == [True, True, False, False, False, False]


def test_the_greatest_return_is_that_of_the_row_before_a_goal_however_late_it_is():
    data = [
        episode([0] * 31, [0] * 29 + [1], actions=[[0]] * 30, terminated=True),
        episode([0] * 41, [0] * 40, actions=[[0]] * 40),
    ]
    returns, whole = whole_returns(data, 0.9)
    # Were rows of both chosen by the limit of 40 steps, it would be 0.9^18.
    assert returns[whole].max() == 1
    assert int(whole.sum()) == 30 + 12


@pytest.mark.parametrize(("direction", "way"), [("forward", 1), ("reverse", -1)])
def test_distances_to_the_data_grow_by_the_steps_taken(direction, way):
    states = np.zeros(101)
    data = dataset_of([episode(states, actions=[[1.0]] * 99 + [[3.0]])])
    imagination = imagination_of(
        data,
        LineDynamicsConfig(direction),
        rollout_policy=ScriptedPolicyConfig(script=[2.0]),
        rollout_length=2,
    )
    real = RealData.of(data)
    imagined = imagined_rows(imagination, real, 50, None)
    assert sorted(set(imagined.steps.tolist())) == [0, 1]
    assert bool(
        (
            imagined.rows.observations[imagined.steps == 1] == (2 if way > 0 else -4)
        ).all()
    )
    assert imagined.is_end.tolist() == (imagined.steps == 1).tolist()
    found = rollouts(imagined, real, direction == "reverse")
    # States never vary, so there is no unit to measure them in; actions do.
    assert found.states.median == [0, 0]
    deviation = float(np.std([1.0] * 99 + [3.0]))
    assert found.actions.median == pytest.approx([1 / deviation] * 2, rel=1e-5)
    assert found.clipped_share == 0
    assert found.survival == [1, 1]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_data_s_own_rows_take_its_actions_in_either_direction(reverse):
    # Each state is left by another action than the one that led into it.
    data = [episode(start + np.arange(6) % 2) for start in range(0, 400, 10)]
    real = RealData.of(dataset_of(data))
    steps = torch.zeros(len(real), dtype=torch.int64)
    _, actions = nearness(real.for_models, steps, 1, real.for_models, reverse)
    assert actions.median == [0]
    assert actions.real_median == 0


def test_backwards_no_action_leads_into_what_d3rlpy_filled_with_zeros(monkeypatch):
    asked = []

    def watched(*arguments):
        asked.append(arguments[3])
        return nearness(*arguments)

    monkeypatch.setattr("d3rlpy_mbo.runs.diagnosis.rollouts.nearness", watched)
    data = line_dataset(n_episodes=3, length=3, terminated=True)
    imagination = imagination_of(
        data, LineDynamicsConfig("reverse"), termination=mbo.NoTermination()
    )
    real = RealData.of(data)
    rollouts(imagined_rows(imagination, real, 9, None), real, True)
    assert len(asked[0]) == 6  # of 9 rows


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_distances_of_states_are_in_units_of_their_deviation(direction):
    states = np.tile([0.0, 10.0], 50)
    data = dataset_of([episode(states, actions=[[1.0]] * 49 + [[4.0]] * 50)])
    policy = ScriptedPolicyConfig(script=[2.0])
    imagination = imagination_of(
        data, LineDynamicsConfig(direction), rollout_policy=policy, rollout_length=2
    )
    real = RealData.of(data)
    found = rollouts(
        imagined_rows(imagination, real, 50, None), real, direction == "reverse"
    )
    deviation = float(np.std(states[:-1]))
    expected = [2 / deviation, 4 / deviation]
    assert found.states.median == pytest.approx(expected, rel=1e-5)
    assert found.states.real_high == 0


def test_returns_to_go_of_a_long_episode_take_no_step_of_python_for_each_of_its_own():
    rewards = np.random.uniform(-1, 1, 3001)
    data = [
        episode([0] * 3002, rewards, actions=[[0]] * 3001),
        episode([0, 0, 0], [5, 7], actions=[[0]] * 2),
    ]
    real = RealData.of(dataset_of(data))
    with Made() as made:
        returns, _ = returns_to_go(real, real.transitions.rewards, 0.99)
    assert made.n_calls < 500
    expected = [0.0]
    for reward in real.transitions.rewards[:3001, 0].tolist()[::-1]:
        expected.append(reward + 0.99 * expected[-1])
    assert returns[:3001].tolist() == pytest.approx(expected[:0:-1], rel=1e-9, abs=1e-9)
    assert returns[3001:].tolist() == pytest.approx([5 + 0.99 * 7, 7])


def test_the_spread_of_columns_comes_a_chunk_at_a_time():
    values = torch.rand(1000, 3) * torch.tensor([1.0, 1e-3, 0.0]) + 5.0
    found = spread(torch.split(values, 300))
    double = values.double()
    torch.testing.assert_close(found.mean, double.mean(dim=0))
    torch.testing.assert_close(found.std, double.std(dim=0, correction=0))
    assert found.varies.tolist() == [True, True, False]


@pytest.mark.parametrize("part", ["nearness", "open_loop"])
def test_the_data_never_become_float64_as_a_whole(part, monkeypatch):
    n_actions, data = 300, choice_dataset(10, 100)
    rows = RealData.of(data)
    real = dataclasses.replace(
        rows,
        transitions=dataclasses.replace(rows.transitions, n_actions=n_actions),
    )
    module = sys.modules[f"d3rlpy_mbo.runs.diagnosis.{part}"]
    monkeypatch.setattr(module, "ROWS_IN_DOUBLE", 50)
    with Made() as made:
        if part == "nearness":
            for name in ("_COMPARED", "_BESIDE", "_IMAGINED"):
                monkeypatch.setattr(module, name, 20)
            steps = torch.zeros(len(real), dtype=torch.long)
            module.nearness(real.transitions, steps, 1, real.transitions, False)
            assert made.largest < 0.2 * len(real) * n_actions * 4
        else:
            monkeypatch.setattr(module, "_SEQUENCES", 20)
            dynamics = ChoiceDynamicsConfig("forward").create()
            wide = real.transitions.observations.repeat(1, 50)
            columns = {"observations": wide, "next_observations": wide}
            real = dataclasses.replace(
                real, transitions=dataclasses.replace(real.transitions, **columns)
            )
            made.largest = 0
            assert module.open_loop(dynamics, real, 3) is not None
            assert made.largest < 0.5 * wide.nbytes
