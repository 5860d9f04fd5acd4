"""Every way for a model to fail has its verdict; twenty healthy ones have none."""

import dataclasses
import types

import d3rlpy
import pytest
from diagnosis_toys import (
    NOISE,
    FirstColumn,
    ModelOfNoiseConfig,
    faults,
    imagination_of,
    judgement,
    noisy_line,
    text_of,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis.model_verdicts import (
    judge_calibration,
    judge_one_step,
)
from d3rlpy_mbo.runs.diagnosis.results import (
    Calibration,
    ColumnCalibration,
    ColumnError,
    OneStep,
)
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import (
    BeyondTermination,
    ScriptedPolicyConfig,
    small_ensemble,
)

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore:All [0-9]+ episodes that end"),  # of the toys
]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_nothing_is_said_against_the_truth(direction):
    data = noisy_line()
    imagination = imagination_of(data, ModelOfNoiseConfig(direction))
    diagnosis = mbo.diagnose(imagination, data)
    assert faults(diagnosis) == []
    assert set(judgement(diagnosis)) == {
        "data", "finite", "one step", "direction", "reward", "calibration", "k steps",
        "imagined rewards", "states",
    }  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_reward_head_at_its_mean_has_not_learned_the_reward(direction):
    data = noisy_line()
    mean = float(mbo.RealData.of(data).transitions.rewards.mean())
    model = ModelOfNoiseConfig(direction, constant_reward=mean, stds=[2.0] * 3)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert "reward" in faults(diagnosis)
    assert "1.00 of its variance is unexplained" in text_of(diagnosis, "reward")


def test_a_rare_reward_that_is_never_predicted_has_not_been_learned():
    data = noisy_line()
    for episode in data.episodes:
        episode.rewards[:] = episode.observations[:-1, :1] > 6
    share = float(mbo.RealData.of(data).transitions.rewards.mean())
    assert 0.005 < share < 0.3
    model = ModelOfNoiseConfig(constant_reward=0.0)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert "where it is not 0" in text_of(diagnosis, "reward")
    assert "reward" in faults(diagnosis)


def test_a_known_reward_is_judged_in_the_place_of_the_predicted_one():
    data = noisy_line()
    model = ModelOfNoiseConfig(constant_reward=0.0)
    imagination = imagination_of(data, model, reward_function=FirstColumn())
    diagnosis = mbo.diagnose(imagination, data)
    assert faults(diagnosis) == []
    assert diagnosis.one_step.columns[-1].error == pytest.approx(NOISE, rel=0.1)
    assert [c.name for c in diagnosis.calibration.columns] == ["s[0]", "s[1]"]


def test_an_overconfident_member_is_named_though_the_others_are_not():
    data = noisy_line()
    model = ModelOfNoiseConfig(stds=[NOISE, NOISE, NOISE / 10, NOISE])
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert faults(diagnosis) == ["calibration"]
    text = text_of(diagnosis, "calibration")
    assert "member 2 (0.16)" in text
    assert "member 1" not in text


@pytest.mark.parametrize(("times", "ok"), [(0.9, True), (3.0, False), (1e6, False)])
def test_a_spread_that_is_larger_than_the_datas_says_nothing(times, ok):
    data = noisy_line()
    deviations = mbo.RealData.of(data).transitions.observations.std(dim=0)
    model = ModelOfNoiseConfig(stds=[times * float(deviations.max())])
    diagnosis = mbo.diagnose(imagination_of(data, model), data, n_rollouts=20)
    assert judgement(diagnosis)["calibration"] is ok
    assert text_of(diagnosis, "calibration").startswith("vague") is not ok


def test_a_rare_outlier_makes_no_spread_vague():
    """A sparse reward that is not foreseen: one row in two hundred is far outside."""
    n_rows, spread = 2000, 0.07
    column = ColumnCalibration(
        "reward", 0.995, 0.995, -2.9, [0.0] * 10, median_std=0.02
    )
    found = Calibration([column], [0.995])
    errors = types.SimpleNamespace(
        columns=[types.SimpleNamespace(name="reward", spread=spread)], rows=n_rows
    )
    assert judge_calibration(found, errors).ok
    vague = dataclasses.replace(column, median_std=0.08)
    assert not judge_calibration(Calibration([vague], [0.995]), errors).ok
    old = dataclasses.replace(column, median_std=float("nan"))  # read from a file
    assert judge_calibration(Calibration([old], [0.995]), errors).ok


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_model_that_goes_the_wrong_way_in_time_is_told_so(direction):
    data = noisy_line()
    model = ModelOfNoiseConfig(direction, wrong_way=True)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert "direction" in faults(diagnosis)
    assert diagnosis.one_step.alignment < -0.9
    assert "wrong way" in text_of(diagnosis, "direction")


@pytest.mark.parametrize("shift", [0.5, 3.0])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_shifted_column_is_named(direction, shift):
    data = noisy_line()
    model = ModelOfNoiseConfig(direction, shift=shift, stds=[4.0] * 3)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert "one step" in faults(diagnosis)
    text = text_of(diagnosis, "one step")
    assert "s[0]" in text
    assert "s[1]" not in text


def test_a_model_of_another_dataset_is_told_so_by_its_rows_or_by_its_errors():
    data, fewer, as_many = (
        noisy_line(),
        noisy_line(n_episodes=30),
        noisy_line(noise=2.0),
    )
    model = small_ensemble(max_steps=100)
    imagination = imagination_of(data, model)
    assert judgement(mbo.diagnose(imagination, data))["data"]
    diagnosis = mbo.diagnose(imagination, fewer)
    assert not judgement(diagnosis)["data"]
    assert "2400 rows, this dataset has 1800" in text_of(diagnosis, "data")
    assert "may have been fitted on" in diagnosis.judged_on
    diagnosis = mbo.diagnose(imagination, as_many)
    assert not judgement(diagnosis)["data"]
    assert not judgement(diagnosis)["calibration"]


def test_a_model_whose_hold_out_error_is_another_now_is_of_another_dataset():
    data = noisy_line()
    imagination = imagination_of(data, ModelOfNoiseConfig())
    model = imagination.dynamics
    model.metrics = {"model_holdout_error": 0.1}
    for error, ok in ((0.1001, True), (0.2, False)):
        model.holdout_errors = lambda _, now=error: {"model_holdout_error": now}
        diagnosis = mbo.diagnose(imagination, data)
        assert judgement(diagnosis)["data"] is ok
    assert "0.1, on the same indices of this dataset it has 0.2" in text_of(
        diagnosis, "data"
    )


def test_a_model_that_has_learned_nothing_of_the_change_is_told_so():
    data = noisy_line(noise=0.0)
    model = dataclasses.replace(small_ensemble(max_steps=1), learning_rate=1e-9)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert {"one step", "reward"} <= set(faults(diagnosis))
    assert "unexplained" in text_of(diagnosis, "one step")


def test_k_steps_that_are_worse_than_standing_still_are_told_where_they_were_better():
    data = noisy_line(noise=0.0)
    # Off by 0.4 at every step to one side: true ways are 0.6 at first, and grow slower.
    model = ModelOfNoiseConfig(shift=0.4, stds=[1.0])
    imagination = imagination_of(data, model, rollout_length=20)
    diagnosis = mbo.diagnose(imagination, data)
    assert "k steps" in faults(diagnosis)
    (loop, *_) = diagnosis.open_loop
    assert loop.median[0] < loop.standing_still[0]
    assert loop.median[19] > loop.standing_still[19]
    assert "up to step" in text_of(diagnosis, "k steps")


def test_predictions_that_are_not_finite_are_counted():
    data = noisy_line()
    largest = float(mbo.RealData.of(data).transitions.observations.abs().max())
    model = ModelOfNoiseConfig(broken_from=largest / 2)
    imagination = imagination_of(
        data, model, rollout_policy=ScriptedPolicyConfig(script=[0.0])
    )
    diagnosis = mbo.diagnose(imagination, data)
    assert faults(diagnosis) == ["finite"]
    assert diagnosis.one_step.finite_share < 1
    assert diagnosis.rollouts.dropped_share > 0


# Directions, sizes, noise, episodes that end, and rewards that are rare.
HEALTHY = [
    (direction, size, noise, limit)
    for direction in ("forward", "reverse")
    for size in (1, 3)
    for noise in (0.0, 0.1, 0.5)
    for limit in (float("inf"), 3.0)
][:20]


@pytest.mark.parametrize("seed", range(len(HEALTHY)))
def test_nothing_is_said_against_a_healthy_model(seed):
    direction, size, noise, limit = HEALTHY[seed]
    d3rlpy.seed(seed)
    data = noisy_line(size=size, noise=noise, limit=limit, n_episodes=60)
    imagination = imagination_of(
        data,
        small_ensemble(direction, max_steps=200),
        termination=BeyondTermination(limit),
        penalty=MaxAleatoric(),
    )
    assert faults(mbo.diagnose(imagination, data, seed=seed)) == []


@pytest.mark.parametrize(("error", "ok"), [(1e-7, True), (0.01, False)])
def test_a_column_that_is_always_the_same_may_be_off_by_rounding(error, ok):
    column = ColumnError("s", error, error, naive_error=0, unexplained=None, spread=0)
    assert judge_one_step(OneStep([column, column], None, None, 1.0)).ok is ok
