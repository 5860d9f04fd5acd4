"""Every way to fail has its verdict, and twenty healthy models have none against them."""

import dataclasses
import types

import d3rlpy
import numpy as np
import pytest
import torch
from diagnosis_toys import (
    NOISE,
    ModelOfNoise,
    ModelOfNoiseConfig,
    imagination_of,
    judgement,
    noisy_line,
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
    Distribution,
    Ends,
    MonteCarlo,
    Nearness,
    OneStep,
    Rollouts,
    Values,
)
from d3rlpy_mbo.runs.diagnosis.rollout_verdicts import (
    judge_imagined_rewards,
    judge_monte_carlo,
    judge_states,
    judge_termination,
    judge_values,
    values_undecided,
)
from d3rlpy_mbo.testing.line_world import line_dataset as line_world
from d3rlpy_mbo.testing.line_world import line_learner
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import (
    BeyondTermination,
    ConstantPenalty,
    ScriptedPolicyConfig,
    small_ensemble,
)

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore:All [0-9]+ episodes that end"),  # of the toys
]


def faults(diagnosis: mbo.Diagnosis) -> list[str]:
    return [verdict.subject for verdict in diagnosis.verdicts if not verdict.ok]


def text_of(diagnosis: mbo.Diagnosis, subject: str) -> str:
    (text,) = (v.text for v in diagnosis.verdicts if v.subject == subject)
    return text


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


@dataclasses.dataclass()
class FirstColumn(mbo.RewardFunction):
    @staticmethod
    def get_type() -> str:
        return "first_column"

    def __call__(self, observations, actions, next_observations):
        return observations[:, :1]


def test_a_known_reward_is_judged_in_the_place_of_the_predicted_one():
    data = noisy_line()
    model = ModelOfNoiseConfig(constant_reward=0.0)
    imagination = imagination_of(data, model, reward_function=FirstColumn())
    diagnosis = mbo.diagnose(imagination, data)
    assert faults(diagnosis) == []
    assert diagnosis.one_step.columns[-1].error == pytest.approx(NOISE, rel=0.1)
    assert [c.name for c in diagnosis.calibration.columns] == ["s[0]", "s[1]"]


@dataclasses.dataclass()
class SeesItsErrorsConfig(ModelOfNoiseConfig):
    """Errs in s[0] where s[1] is large, and says so; its reward is wrong, and sure."""

    @staticmethod
    def get_type() -> str:
        return "sees_its_errors"

    def create(self, device=False):
        return SeesItsErrors(self, device)


class SeesItsErrors(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        if found.means is None:
            return found
        size = 0.1 * observations[:, 1].abs()
        means, stds = found.means.clone(), torch.full_like(found.stds, 1e-3)
        means[..., 0] += size * torch.randn(len(size))
        means[..., 2] = 1000 / (1 + observations[:, 1].abs())
        stds[..., 0] += size
        return dataclasses.replace(found, means=means, stds=stds)


def test_a_penalty_is_not_held_against_a_predicted_reward_that_nobody_uses():
    data = noisy_line(noise=0.0)

    def diagnosed(**settings):
        imagination = imagination_of(
            data, SeesItsErrorsConfig(), penalty=MaxAleatoric(), **settings
        )
        return mbo.diagnose(imagination, data, n_rollouts=20)

    assert text_of(diagnosed(), "penalty").startswith("inverted")
    found = diagnosed(reward_function=FirstColumn())
    assert judgement(found)["penalty"]
    assert found.penalties[0].spearman == pytest.approx(
        found.penalties[0].null_spearman, abs=0.1
    )


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


@pytest.mark.parametrize(
    ("limit", "words"), [(2.0, "precision 0"), (30.0, "recall 0.00")]
)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_termination_that_comes_too_early_or_never_is_wrong(direction, limit, words):
    data = noisy_line(limit=4.0)
    model = ModelOfNoiseConfig(direction)
    right = imagination_of(data, model, termination=BeyondTermination(4.0))
    assert faults(mbo.diagnose(right, data)) == []
    wrong = imagination_of(data, model, termination=BeyondTermination(limit))
    diagnosis = mbo.diagnose(wrong, data)
    assert faults(diagnosis) == ["termination"]
    assert words in text_of(diagnosis, "termination")


def test_a_termination_where_nothing_ends_is_wrong_and_none_is_right():
    data = noisy_line()
    model = ModelOfNoiseConfig()
    never = imagination_of(data, model, termination=mbo.NoTermination())
    assert judgement(mbo.diagnose(never, data))["termination"]
    ends = imagination_of(data, model, termination=BeyondTermination(0.0))
    assert not judgement(mbo.diagnose(ends, data))["termination"]


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


@dataclasses.dataclass()
class DeviationPenalty(mbo.Penalty):
    """The first member's deviation of s[1], or what it is short of 1000."""

    inverted: bool = False

    @staticmethod
    def get_type() -> str:
        return "deviation"

    def __call__(self, prediction, learner=None):
        deviation = prediction.stds[0, :, 1:2]
        return 1000 - deviation if self.inverted else deviation


@dataclasses.dataclass()
class RowwiseNoiseConfig(ModelOfNoiseConfig):
    """Says that s'[1] is drawn anew with deviation s[0]^2, where s' = s + a otherwise."""

    @staticmethod
    def get_type() -> str:
        return "rowwise_noise"

    def create(self, device=False):
        return RowwiseNoise(self, device)


class RowwiseNoise(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        said = super().predict(observations, actions, True)
        means, stds = said.means.clone(), said.stds.clone()
        means[..., 1], stds[..., 0], stds[..., 2] = 0, 0.01, 0.01
        stds[..., 1] = observations[:, 0].square() + 0.001
        return dataclasses.replace(said, means=means, stds=stds)


def rowwise_noise(as_said: bool):
    """Data as `RowwiseNoise` has it, or the same spread everywhere."""
    data = noisy_line(noise=0.0)
    for episode in data.episodes:
        states = episode.observations
        sizes = states[:-1, 0] ** 2 if as_said else np.full(len(states) - 1, 2.0)
        states[1:, 1] = sizes * np.random.randn(len(sizes))
    return data


@pytest.mark.parametrize(
    ("as_said", "inverted", "word"),
    [(True, False, ""), (True, True, "inverted"), (False, False, "blind")],
)
def test_a_penalty_that_does_not_see_errors_is_inverted_or_blind(
    as_said, inverted, word
):
    data = rowwise_noise(as_said)
    penalty = DeviationPenalty(inverted)
    imagination = imagination_of(data, RowwiseNoiseConfig(), penalty=penalty)
    diagnosis = mbo.diagnose(imagination, data)
    assert judgement(diagnosis)["penalty"] is not bool(word)
    assert text_of(diagnosis, "penalty").startswith(word or "deviation ranks")


def test_a_penalty_that_never_varies_is_not_judged():
    data = noisy_line()
    model = ModelOfNoiseConfig()
    imagination = imagination_of(data, model, penalty=ConstantPenalty())
    diagnosis = mbo.diagnose(imagination, data)
    assert diagnosis.penalties[0].spearman is None
    assert "penalty" not in judgement(diagnosis)


def test_imagined_rewards_that_nobody_got_and_states_far_from_the_data_are_told():
    data = noisy_line(noise=0.0)
    model = ModelOfNoiseConfig(shift=20.0)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert {"imagined rewards", "states"} <= set(faults(diagnosis))


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


def test_a_learner_that_believes_in_more_than_anybody_got_is_told_so():
    data = line_world(terminated=True, n_episodes=20)
    imagination = imagination_of(
        data, ModelOfLineWorldConfig(), termination=mbo.NoTermination()
    )
    learner = line_learner()

    def diagnosis_with(bias: float) -> mbo.Diagnosis:
        with torch.no_grad():
            for critic in learner.impl.q_function:
                critic._fc.bias += bias
        return mbo.diagnose(imagination, data, learner)

    # It has not begun: its 0 is above all real returns, which nobody may call ok.
    young = diagnosis_with(0.0)
    assert "values" not in judgement(young)
    assert any("hardly trained" in text for text in young.left_out)
    below = diagnosis_with(-20.0)
    assert judgement(below)["values"]
    assert not any("hardly trained" in text for text in below.left_out)
    diagnosis = diagnosis_with(10_000)
    assert not judgement(diagnosis)["values"]
    assert diagnosis.values.rollout_ends.quantiles[2] > 9_000


@dataclasses.dataclass()
class ModelOfLineWorldConfig(ModelOfNoiseConfig):
    """s' = s + (a1, a2, a1)."""

    @staticmethod
    def get_type() -> str:
        return "model_of_line_world"

    def create(self, device=False):
        return ModelOfLineWorld(self, device)


class ModelOfLineWorld(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        moves = torch.cat([actions, actions[:, :1]], dim=1)
        said = super().predict(observations, moves, all_members)
        return dataclasses.replace(said, actions=actions)


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


def alike(*quantiles: float) -> Distribution:
    """Five quantiles, or one of which all are."""
    five = list(quantiles) if len(quantiles) == 5 else list(quantiles) * 5
    return Distribution(five[2], 0.0, five)


def rollouts_with(**parts) -> Rollouts:
    near = Nearness([0.0], [0.0], 0.0, 0.0)
    whole = {"rewards": alike(0.0), "real_rewards": alike(0.0), "states": near}
    whole |= parts
    return Rollouts(
        10, 10, survival=[1.0], real_survival=[1.0], clipped_share=0.0,
        dropped_share=0.0, actions=near, **whole,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("n_held_out", "recall", "ok"),
    [(17, 0.54, False), (17, 0.95, True), (4, 0.5, True)],
)
def test_a_learned_termination_is_judged_by_ends_that_it_was_not_fitted_on(
    n_held_out, recall, ok
):
    """It knows nine tenths of the rows by heart, so that of all of them it finds most."""
    found = Ends(
        terminals=166, rows=60_000, claimed=160, precision=0.99, recall=0.95,
        model_recall=None, model_false_alarms=None, learned=True,
        unseen_terminals=n_held_out, unseen_precision=0.97, unseen_recall=recall,
    )  # fmt: skip
    verdict = judge_termination(found)
    assert verdict.ok is ok
    assert (
        f"with {n_held_out} ends that it held out, 0.97 and {recall:.2f}"
        in verdict.text
    )
    assert "LearnedTerminationConfig" not in verdict.text  # it is one
    of_file = dataclasses.replace(found, unseen_terminals=None, unseen_recall=None)
    assert judge_termination(of_file).text.endswith("learned from most of them.")


def test_what_a_learned_termination_held_out_is_in_the_diagnosis():
    d3rlpy.seed(0)
    data = noisy_line(limit=3.0)
    learned = mbo.LearnedTerminationConfig([8], n_steps=20)
    imagination = imagination_of(data, ModelOfNoiseConfig(), termination=learned)
    found, metrics = mbo.diagnose(imagination, data, n_rollouts=20), imagination.metrics
    assert found.ends.learned
    assert found.ends.unseen_terminals == metrics["termination_holdout_terminals"]
    assert found.ends.unseen_precision == metrics["termination_precision"]
    assert found.ends.unseen_recall == metrics["termination_recall"]
    said = f"held out {found.ends.unseen_terminals} ends"
    assert said in " ".join(str(found).split())
    assert mbo.Diagnosis.from_json(found.to_json()).ends == found.ends


def test_a_termination_is_judged_on_data_that_were_held_out():
    d3rlpy.seed(0)
    data, other = noisy_line(limit=3.0), noisy_line(n_episodes=25, limit=4.0)
    rule, learned = (
        imagination_of(data, ModelOfNoiseConfig(), termination=termination)
        for termination in (
            BeyondTermination(3.0),
            mbo.LearnedTerminationConfig([8], n_steps=20),
        )
    )
    assert judgement(mbo.diagnose(rule, data, n_rollouts=20))["termination"]
    found = mbo.diagnose(rule, data, n_rollouts=20, held_out=other)
    rows = mbo.RealData.of(other).for_models
    assert (found.ends.rows, found.ends.terminals) == (len(rows), rows.terminals.sum())
    assert found.ends.terminals
    assert found.ends.held_out
    assert not judgement(found)["termination"]  # there it comes too early
    found = mbo.diagnose(learned, data, n_rollouts=20, held_out=other)
    assert found.ends.unseen_terminals  # what it held out itself
    assert "learned from others; with" in text_of(found, "termination")
    assert mbo.Diagnosis.from_json(found.to_json()).ends == found.ends


@pytest.mark.parametrize(
    ("real", "imagined", "ok"),
    [
        (1.0, 1.0, True),
        (1.0, 1.4, True),
        (1.0, 1.6, False),
        (1.0, 1e6, False),
        (1.0, -1e6, False),
        (-100.0, -140.0, True),
        (-100.0, -160.0, False),
        (0.0, 0.4, True),
        (0.0, 0.6, False),
    ],
)
def test_a_reward_that_never_varies_is_held_against_its_size(real, imagined, ok):
    found = rollouts_with(real_rewards=alike(real), rewards=alike(imagined))
    assert judge_imagined_rewards(found).ok is ok
    # The same, computed: off by rounding.
    computed = alike(*[real + i * 1e-8 * abs(real) for i in range(5)])
    found = rollouts_with(real_rewards=computed, rewards=alike(imagined))
    assert judge_imagined_rewards(found).ok is ok


@pytest.mark.parametrize(
    ("last", "real", "ok"),
    [
        (1e-6, 0.0, True),
        (0.09, 0.0, True),
        (0.19, 0.0, False),
        (0.09, 0.01, True),
        (0.5, 0.2, True),
        (0.7, 0.2, False),
    ],
)
def test_states_that_repeat_have_no_distance_and_no_model_is_that_exact(last, real, ok):
    verdict = judge_states(
        rollouts_with(states=Nearness([0.0, last, None], [0.0, last, None], 0.0, real))
    )
    assert verdict.ok is ok
    assert ("Up to 0.10 is near" in verdict.text) is (real < 0.03)
    assert "in step 2" in verdict.text


def test_values_where_all_returns_are_alike_are_held_against_their_size():
    def judged(believed, returns):
        same = alike(believed)
        found = Values(same, same, same, alike(returns), 10)
        return [v.ok for v in judge_values(found)], values_undecided(found)

    assert judged(0.0, 0.0) == ([True], None)
    said, left_out = judged(0.003, 0.0)  # a young learner, where nobody got anything
    assert said == []
    assert "all alike" in left_out
    assert judged(0.6, 0.0) == ([False], None)
    assert judged(160.0, 100.0) == ([False], None)
    gets = alike(0.0)
    for excess, ok in ((0.003, True), (0.6, False)):
        found = MonteCarlo(10, gets, gets, 0.0, gets, gets, excess)
        assert [verdict.ok for verdict in judge_monte_carlo(found)] == [ok]


@pytest.mark.parametrize(("error", "ok"), [(1e-7, True), (0.01, False)])
def test_a_column_that_is_always_the_same_may_be_off_by_rounding(error, ok):
    column = ColumnError("s", error, error, naive_error=0, unexplained=None, spread=0)
    assert judge_one_step(OneStep([column, column], None, None, 1.0)).ok is ok


def values_of(at_end, returns=(-16.0, -1.0)) -> Values:
    def at(least, median, greatest):
        return Distribution(median, 1.0, [least, least, median, greatest, greatest])

    low, high = returns
    same = at(at_end, at_end, at_end)
    return Values(same, same, same, at(low, (low + high) / 2, high), 10)


def test_values_above_all_real_returns_are_never_called_ok():
    (verdict,) = judge_values(values_of(-1.0))
    assert verdict.ok
    assert values_undecided(values_of(-1.0)) is None
    # A learner that has not begun: 0 is above returns of -16 to -1, but not by much.
    assert not [*judge_values(values_of(0.0))]
    assert "above 0, beyond every real return-to-go (-1 at" in values_undecided(
        values_of(0.0)
    )
    (verdict,) = judge_values(values_of(7.0))  # by more than half of their range
    assert not verdict.ok
    assert values_undecided(values_of(7.0)) is None
    assert values_undecided(None) is None
