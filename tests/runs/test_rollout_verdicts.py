"""Verdicts on rollouts: where they end and lead, what they pay, what that is worth."""

import dataclasses

import d3rlpy
import pytest
import torch
from diagnosis_toys import (
    ModelOfLineWorldConfig,
    ModelOfNoiseConfig,
    faults,
    imagination_of,
    judgement,
    noisy_line,
    text_of,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis.results import (
    Distribution,
    Ends,
    MonteCarlo,
    Nearness,
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
from toys import (
    BeyondTermination,
)

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore:All [0-9]+ episodes that end"),  # of the toys
]


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


def test_imagined_rewards_that_nobody_got_and_states_far_from_the_data_are_told():
    data = noisy_line(noise=0.0)
    model = ModelOfNoiseConfig(shift=20.0)
    diagnosis = mbo.diagnose(imagination_of(data, model), data)
    assert {"imagined rewards", "states"} <= set(faults(diagnosis))


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
