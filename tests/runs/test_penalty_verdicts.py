"""What is said of a penalty that does not rank rows as their errors do."""

import dataclasses

import numpy as np
import pytest
import torch
from diagnosis_toys import (
    FirstColumn,
    ModelOfNoise,
    ModelOfNoiseConfig,
    imagination_of,
    judgement,
    noisy_line,
    text_of,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis.model_verdicts import judge_direction, judge_open_loop
from d3rlpy_mbo.runs.diagnosis.penalty_verdicts import (
    judge_penalty,
    judge_penalty_outside,
    penalty_undecided,
)
from d3rlpy_mbo.runs.diagnosis.results import (
    ColumnError,
    OneStep,
    OpenLoop,
    Outside,
    PenaltyRank,
)
from d3rlpy_mbo_mopo import MaxAleatoric
from toys import ConstantPenalty


def rank(name: str, spearman, null: float = 0.0, own: bool = False) -> PenaltyRank:
    return PenaltyRank(name, own, spearman, 0.1, null, 0.1)


def diagnosis(own: float, null=0.0, other=0.0, unexplained=0.1, rows=2500, there=None):
    """Numbers of a model with one column and the reward; `there`: by the simulator."""
    column = ColumnError("x", 0.3, 0.0, 1.0, unexplained, 1.0)
    outside = None
    if there is not None:
        ranks = [rank("mine", there[0], own=True), rank("other", there[1])]
        outside = Outside(1000, [there[2]], [0.0], ranks)
    return mbo.Diagnosis(
        imagination="custom", direction="forward", rollout_length=3, rows=rows,
        judged_on="rows", seed=0, one_step=OneStep([column, column], None, 0.9, 1.0),
        calibration=None, open_loop=[], ends=None, rollouts=None, values=None,
        left_out=[], outside=outside,
        penalties=[rank("mine", own, null, own=True), rank("other", other)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "null", "other", "said"),
    [
        (0.4, 0.5, 0.0, "mine ranks"),
        (-0.127, 0.0014, -0.02, "inverted"),  # a penalty that a stranger wrote
        (0.09, 0.7, 0.0, "blind"),
        (0.09, 0.0, 0.3, "blind"),
        (0.09, 0.0, 0.0, None),
        (-0.09, 0.4, 0.1, None),
    ],
)
def test_a_rank_of_about_nothing_is_never_ok(own, null, other, said):
    found = diagnosis(own, null, other)
    verdicts = [*judge_penalty(found)]
    assert [verdict.ok for verdict in verdicts] == [said == "mine ranks"] * bool(said)
    if said is not None:
        assert verdicts[0].text.startswith(said)
        assert penalty_undecided(found) is None
        return
    left_out = penalty_undecided(found)
    assert f"mine does not rank rows as their errors do ({own:.2f})" in left_out
    assert "env= or leave_out_returns=True" in left_out


def test_few_rows_may_be_inverted_by_chance():
    # Three standard errors of 100 rows are 0.3.
    assert not [*judge_penalty(diagnosis(-0.25, rows=100))]
    assert "(-0.25)" in penalty_undecided(diagnosis(-0.25, rows=100))
    (verdict,) = judge_penalty(diagnosis(-0.35, rows=100))
    assert verdict.text.startswith("inverted")


@pytest.mark.parametrize("own", [-0.5, 0.0])
def test_errors_that_are_too_small_to_matter_need_no_ranking(own):
    (verdict,) = judge_penalty(diagnosis(own, unexplained=0.009))
    assert verdict.ok
    assert "too small to matter" in verdict.text


@pytest.mark.parametrize(
    ("own", "other", "error", "ok", "words"),
    [
        (
            0.11,
            0.5,
            0.3,
            True,
            "ranks rows as their errors do with a correlation of 0.11",
        ),
        (-0.195, 0.211, 0.3, False, "other has 0.21: use that"),
        (0.09, 0.09, 0.3, False, "No other known penalty does"),
        (-0.195, 0.211, 0.09, True, "too small to matter"),
    ],
)
def test_a_penalty_that_is_blind_outside_the_data_is_told_so(
    own, other, error, ok, words
):
    (verdict,) = judge_penalty_outside(diagnosis(0.4, there=(own, other, error)))
    assert verdict.subject == "penalty outside"
    assert verdict.ok is ok
    assert words in verdict.text
    assert "10% of the worst tenth" in verdict.text


@pytest.mark.parametrize(("error", "ok"), [(1e-5, True), (0.1, False)])
def test_a_column_that_never_changes_may_be_off_by_rounding_outside_too(error, ok):
    """As a maze's goal is: nothing is the hundredth part of no change."""
    found = diagnosis(0.4, there=(0.0, 0.0, 0.01))
    goal = ColumnError("goal", error, 0.0, naive_error=0.0, unexplained=None, spread=2)
    columns = [found.one_step.columns[0], goal, found.one_step.columns[-1]]
    assert found.outside is not None
    found = dataclasses.replace(
        found,
        one_step=dataclasses.replace(found.one_step, columns=columns),
        outside=dataclasses.replace(found.outside, errors=[0.01, error]),
    )
    (verdict,) = judge_penalty_outside(found)
    assert verdict.ok is ok


def test_without_a_simulator_or_a_rank_nothing_is_said_of_outside():
    assert not [*judge_penalty_outside(diagnosis(0.4))]
    assert not [*judge_penalty_outside(diagnosis(0.4, there=(None, 0.2, 0.3)))]
    undecided = penalty_undecided(diagnosis(0.0, there=(0.4, 0.2, 0.3)))
    assert "see penalty outside" in undecided


@pytest.mark.parametrize(
    ("cosine", "ok", "words"),
    [
        (0.12, True, "a cosine of 0.12"),
        (0.08, False, "nothing to do with each other"),
        (-0.2, False, "nothing to do with each other"),
        (-0.4, False, "the wrong way in time"),
    ],
)
def test_changes_that_have_nothing_to_do_with_the_true_ones_are_not_ok(
    cosine, ok, words
):
    found = dataclasses.replace(diagnosis(0.4).one_step, alignment=cosine)
    (verdict,) = judge_direction(found, "forward")
    assert verdict.ok is ok
    assert words in verdict.text


@pytest.mark.parametrize(("error", "ok"), [(0.88, True), (0.92, False), (1.05, False)])
def test_a_model_that_is_no_better_than_standing_still_is_not_ok(error, ok):
    errors = [0.5, error]
    none = [0.0, 0.0]
    loop = OpenLoop(500, errors, none, none, [1.0, 1.0], [], [1.0, 1.0])
    (verdict,) = judge_open_loop([loop], 2)
    assert verdict.ok is ok
    assert ok or "up to step 1:" in verdict.text


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


@pytest.mark.training
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


@pytest.mark.training
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


@pytest.mark.training
def test_a_penalty_that_never_varies_is_not_judged():
    data = noisy_line()
    model = ModelOfNoiseConfig()
    imagination = imagination_of(data, model, penalty=ConstantPenalty())
    diagnosis = mbo.diagnose(imagination, data)
    assert diagnosis.penalties[0].spearman is None
    assert "penalty" not in judgement(diagnosis)
