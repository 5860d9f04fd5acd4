"""The conformance checks: each catches what it is for, and nothing else does."""

import dataclasses
import itertools
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Optional

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from broken_components import (
    BROKEN,
    SOUND,
    AlwaysForward,
    LinearPolicy,
    PenaltyThatAddsUpBySize,
    PenaltyWithoutDefault,
    SoundDynamics,
    SoundHalt,
    SoundLearnedPenalty,
    SoundLearner,
    SoundPenalty,
    SoundPolicy,
    SoundReward,
    SoundTask,
    SoundTermination,
    SoundUpdater,
)
from d3rlpy_mbo import testing
from d3rlpy_mbo.registry.known_learners import known_learners
from d3rlpy_mbo.testing.another_device import another_device
from d3rlpy_mbo.testing.subject_kinds import subjects_of

CHECKS = [name for name in testing.__all__ if name.startswith("check_")]
CHECKS = [name for name in CHECKS if name != "check_component"]

COMMON = {
    "check_batch_of_one", "check_default_construction", "check_device_kept",
    "check_finite_float32", "check_generators_left_alone", "check_inputs_not_modified",
    "check_json_round_trip", "check_same_seed_same_output", "check_unique_type_name",
}  # fmt: skip
BASIC = {
    "check_default_construction", "check_json_round_trip", "check_unique_type_name",
}  # fmt: skip
LEARNED = {
    "check_config_kept", "check_metrics_can_be_logged", "check_save_and_load_alike",
}  # fmt: skip
FITTED = LEARNED | {"check_fit_goes_on_alike", "check_fit_starts_anew"}
APPLIES = {
    mbo.ProbabilisticEnsembleConfig: COMMON | FITTED | {
        "check_dynamics_direction", "check_holdout_errors",
        "check_log_prob_differentiable", "check_prediction_shapes",
        "check_predictions_stay", "check_reward_units",
        "check_rows_answered_alone", "check_standard_deviations",
        "check_training_loss_and_sample_agrees", "check_truth_is_likelier",
        "check_zero_filled_terminals_ignored",
    },
    mbo.UniformPolicyConfig: COMMON | FITTED | {
        "check_actions_within_bounds", "check_policy_directions",
    },
    SoundPenalty: COMMON | {
        "check_penalty_non_negative", "check_penalty_shape", "check_pure",
        "check_rows_answered_alone", "check_rows_of_nan", "check_when_and_compares",
    },
    SoundLearnedPenalty: COMMON | FITTED | {
        "check_penalty_non_negative", "check_penalty_shape", "check_pure",
        "check_rows_answered_alone", "check_rows_of_nan", "check_when_and_compares",
    },
    SoundHalt: COMMON - {"check_finite_float32"} | FITTED | {
        "check_halt_consistent", "check_halt_shapes_and_types",
        "check_halt_state_kept_by_row", "check_pure", "check_rows_answered_alone",
        "check_rows_of_nan", "check_when_and_compares",
    },
    mbo.NoTermination: COMMON - {"check_finite_float32"} | {
        "check_pure", "check_rows_answered_alone", "check_termination_of_nan",
        "check_termination_reads_next_observations", "check_termination_shape_and_type",
    },
    mbo.LearnedTerminationConfig: COMMON - {"check_finite_float32"} | FITTED | {
        "check_pure", "check_rows_answered_alone", "check_termination_of_nan",
        "check_termination_shape_and_type",
    },
    mbo.AntAngleReward: COMMON | {
        "check_pure", "check_reward_shape", "check_rows_answered_alone",
        "check_rows_of_nan",
    },
    SoundUpdater: COMMON - {"check_batch_of_one"} | LEARNED | {
        "check_holdout_left_out", "check_only_the_dynamics_change",
    },
    mbo.ImaginationConfig: COMMON - {"check_inputs_not_modified"} | LEARNED | {
        "check_real_episodes_stay_real", "check_time_order", "check_trains_learners",
    },
    SoundTask: BASIC | {"check_task_collects"},
    mbo.get_component("task", "ant-angle"): BASIC,  # needs a dataset
    SoundLearner: BASIC | {
        "check_device_kept", "check_generators_left_alone",
        "check_learner_discounts_by_intervals", "check_learner_goes_on_alike",
        "check_learner_loads_alike",
        "check_learner_takes_any_rows", "check_learner_trains",
        "check_same_seed_same_output",
    },
}  # fmt: skip


@pytest.mark.training
@pytest.mark.parametrize("component", SOUND, ids=lambda component: component.get_type())
def test_a_sound_component_passes_every_check(component):
    testing.check_component(component)


broken = pytest.mark.parametrize(
    ("check", "component"), BROKEN, ids=[type(c).__name__ for _, c in BROKEN]
)


@pytest.mark.training
@broken
def test_a_broken_component_fails_the_check_for_its_mistake_and_no_other(
    check, component
):
    results = list(testing.run_checks(component))
    assert [result.check for result in results if result.error] == [check]


@pytest.mark.training
@broken
def test_a_message_states_violation_value_and_likely_cause(check, component):
    with pytest.raises(testing.ConformanceError) as caught:
        getattr(testing, check)(component)
    message = str(caught.value)
    assert message.startswith(f"{type(component).__name__}: ")
    assert "Found: " in message
    assert "Likely cause: " in message
    assert "where it should have worked" not in message


@pytest.mark.training
def test_a_model_that_learned_too_little_is_told_that_a_class_has_its_steps_cut():
    words = "n_steps and max_steps cut to 50: check an instance"
    with pytest.raises(testing.ConformanceError, match=words):
        testing.check_dynamics_direction(AlwaysForward)


@dataclasses.dataclass()
class HalfChoices(mbo.UniformPolicyConfig):
    """Uniform, but for choices it answers what lies between them."""

    @staticmethod
    def get_type():
        return "half_choices"

    def create(self, device=False):
        policy = super().create(device)
        drawn = policy.sample_action
        policy.sample_action = lambda states, learner: (
            drawn(states, learner) + 0.5 * (policy._actions.n_actions is not None)
        )
        return policy


@pytest.mark.training
def test_a_component_is_asked_about_choices_where_it_says_that_it_knows_them():
    check = testing.check_actions_within_bounds
    with pytest.raises(testing.ConformanceError) as caught:
        check(HalfChoices())
    message = str(caught.value)
    assert message.startswith(
        "HalfChoices with discrete actions: actions must be indic"
    )
    assert "Found: 31 others, such as " in message
    check(SoundPolicy())  # says nothing of choices, and is asked about none


def test_a_halt_may_have_a_when_of_its_own(monkeypatch):
    monkeypatch.setattr(SoundHalt.Learned, "when", "late", raising=False)
    testing.check_when_and_compares(SoundHalt())
    monkeypatch.setattr(SoundHalt.Learned, "compares", "member")
    with pytest.raises(testing.ConformanceError, match="compares must be 'members' or"):
        testing.check_when_and_compares(SoundHalt())


def test_a_component_that_knows_no_actions_fails_every_check_instead_of_none():
    class Letters(SoundPenalty):
        @property
        def action_spaces(self):
            return "continuous"

    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_pure(Letters())
    message = str(caught.value)
    assert message.startswith("Letters: its action_spaces must hold 'continuous'")
    assert "Found: 'continuous'. Likely cause: a string" in message


@dataclasses.dataclass()
class SlowDQN(d3rlpy.algos.DQNConfig):
    """A learner of choices, sound."""

    target_update_interval: int = 10

    @staticmethod
    def get_type():
        return "slow_dqn"


@pytest.mark.training
def test_a_discrete_learner_is_checked_on_choices():
    (subject,) = subjects_of(SlowDQN())
    assert subject.world.choices
    testing.check_component(SlowDQN())


def test_every_check_has_a_broken_component():
    assert {check for check, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("component", APPLIES, ids=lambda each: each.__name__)
def test_a_kind_gets_all_its_checks(component):
    checks = {check.__name__ for check in testing.checks_for(component)}
    assert checks == APPLIES[component]


def test_a_learner_that_was_checked_is_not_left_with_d3rlpy():
    before = dict(known_learners())
    testing.check_component(SoundLearner)
    assert known_learners() == before


def test_a_class_without_defaults_fails_that_check_and_needs_no_other():
    (result,) = testing.run_checks(PenaltyWithoutDefault)
    assert result.check == "check_default_construction"
    assert "quantile" in str(result.error)


def test_check_component_names_each_failed_check_and_why():
    class Worse(SoundPenalty):
        def __call__(self, prediction, learner=None):
            return super().__call__(prediction)[:, 0] - 1

    with pytest.raises(AssertionError) as caught:
        testing.check_component(Worse())
    message = str(caught.value)
    assert isinstance(caught.value, mbo.D3RLPyMBOError)
    assert message.startswith("3 of 15 checks of Worse failed.")
    assert "check_penalty_shape: Worse: penalties of 31 rows must have" in message
    assert "check_penalty_non_negative: " in message
    assert "check_unique_type_name: " in message


def test_what_a_component_raises_is_a_violation_that_keeps_its_traceback():
    @dataclasses.dataclass()
    class Raises(SoundPenalty):
        def __call__(self, prediction, learner=None):
            raise KeyError("spread")

    with pytest.raises(testing.ConformanceError, match=r"KeyError: 'spread'") as caught:
        testing.check_pure(Raises())
    assert isinstance(caught.value.__cause__, KeyError)


def test_errors_that_cannot_be_measured_are_found_before_a_fit_is_lost_to_them(
    monkeypatch,
):
    def holdout_errors(self, transitions):
        return {"linear_error": float(self.held_out.rewards.std())}

    monkeypatch.setattr(SoundDynamics.Model, "holdout_errors", holdout_errors)
    words = "must measure the rows that were given to fit.*held_out.*asked after every"
    with pytest.raises(testing.ConformanceError, match=words):
        testing.check_holdout_errors(SoundDynamics())


def test_a_default_constructed_component_learns_for_a_few_steps_only():
    @dataclasses.dataclass()
    class Long(SoundPolicy):
        n_steps: int = 500_000
        max_steps: Optional[int] = None

    long = subjects_of(Long)[0].component
    assert (long.n_steps, long.max_steps) == (50, 50)
    assert subjects_of(Long(n_steps=70))[0].component.n_steps == 70
    inside = subjects_of(mbo.ImaginationConfig)[0].component
    assert (inside.dynamics.max_steps, inside.rollout_batch_size) == (50, 100)


def test_a_learned_component_is_fitted_once_for_many_checks(monkeypatch):
    fits = []
    fit = LinearPolicy.fit
    monkeypatch.setattr(
        LinearPolicy, "fit", lambda self, data: fits.append(1) or fit(self, data)
    )
    policy = SoundPolicy()
    for check in (
        "check_batch_of_one",
        "check_inputs_not_modified",
        "check_finite_float32",
    ):
        getattr(testing, check)(policy)
    assert len(fits) == 1


def test_a_memory_for_as_many_rows_is_found_though_nothing_was_asked_before():
    with pytest.raises(testing.ConformanceError, match="the same inputs must give"):
        testing.check_pure(PenaltyThatAddsUpBySize())


def test_a_changed_instance_is_checked_anew():
    penalty = SoundPenalty()
    testing.check_penalty_non_negative(penalty)
    penalty.coef = -1.0
    with pytest.raises(testing.ConformanceError, match="at least 0"):
        testing.check_penalty_non_negative(penalty)


@pytest.mark.training
@pytest.mark.parametrize("size", [1, 11, 17])
def test_a_rule_is_asked_with_the_sizes_it_reads(size):
    @dataclasses.dataclass()
    class OfOneTask(SoundTermination):
        def __call__(self, observations, actions, next_observations):
            torch.dot(next_observations[0].new_ones(size), next_observations[0])
            (_,) = actions[0]
            return next_observations[:, size - 1, None] > 1

    termination = OfOneTask()
    testing.check_termination_shape_and_type(termination)
    assert subjects_of(termination)[0].sizes == (size, 1)


rules = itertools.count()


def rule(answer, base=SoundTermination):
    """A rule that answers with a function of s, a and s', and has a name of its own."""
    name = f"rule_{next(rules)}"

    @dataclasses.dataclass()
    class OfColumns(base):
        @staticmethod
        def get_type():
            return name

        def __call__(self, observations, actions, next_observations):
            return answer(observations, actions, next_observations)

    return OfColumns()


def for_eleven(refuse):
    def answer(s, a, s_next):
        if s.shape[1] != 11:
            refuse(f"Hopper's rule, not one of {s.shape[1]} columns")
        return s_next[:, :1] < 0.7

    return answer


def fails(error):
    def refuse(message):
        raise error(message)

    return refuse


@pytest.mark.training
@pytest.mark.parametrize(
    ("rule", "size"),
    [
        (rule(lambda s, a, s_next: (s[:, :1] < 1) | (s_next[:, 5:6].abs() > 9)), 6),
        (rule(lambda s, a, s_next: s[:, 8:9] - a.sum(1, keepdim=True), SoundReward), 9),
        (rule(lambda s, a, s_next: s[:, 5:8].mean(1, keepdim=True), SoundReward), 6),
        (rule(for_eleven(fails(mbo.CompositionError))), 11),
        (rule(for_eleven(fails(AssertionError))), 11),
        (rule(for_eleven(fails(KeyError))), 11),
    ],
    ids=["slice", "reward", "mean", "own_error", "assertion", "key"],
)
def test_a_rule_may_refuse_what_it_is_not_for_by_any_error_or_by_an_empty_slice(
    rule, size
):
    testing.check_component(rule)
    assert subjects_of(rule)[0].sizes[0] == size


@pytest.mark.training
@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (
            rule(lambda s, a, s_next: s[:, 599:600] < 0),
            "2 rows answered by shape (2, 0)",
        ),
        (rule(lambda s, a, s_next: s[:, 5] < a.undone), "IndexError: index 5 is out"),
        (
            rule(lambda s, a, s_next: s[:, 5] < a.undone),
            "; AttributeError: 'Tensor' obj",
        ),
    ],
    ids=["beyond", "columns", "mistake"],
)
def test_a_rule_that_accepts_no_size_fails_by_saying_so_and_not_by_its_device(
    rule, found
):
    results = [each.error for each in testing.run_checks(rule) if each.error]
    assert len(results) == 10
    for error in results:
        assert "it accepted no size up to 400 columns of observations" in str(error)
        assert found in str(error)


@pytest.mark.training
def test_a_rule_whose_shape_is_wrong_at_every_size_fails_by_that():
    lost = rule(lambda s, a, s_next: s_next[:, 5:6][:, 0] > 1)
    with pytest.raises(testing.ConformanceError, match=r"Found: \(31,\)"):
        testing.check_termination_shape_and_type(lost)


@pytest.mark.training
def test_a_rule_that_never_works_fails_with_its_own_error():
    @dataclasses.dataclass()
    class Broken(SoundTermination):
        def __call__(self, observations, actions, next_observations):
            raise RuntimeError("no such file")

    with pytest.raises(testing.ConformanceError, match="RuntimeError: no such file"):
        testing.check_pure(Broken())


def test_a_check_leaves_the_callers_random_state_alone():
    states = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    testing.check_same_seed_same_output(SoundPolicy())
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_check_for_another_kind_and_what_is_no_component_are_refused():
    with pytest.raises(mbo.CompositionError, match="is for penalty, not for"):
        testing.check_penalty_shape(SoundPolicy())
    for nothing in (42, SoundPenalty.__call__, mbo.Component):
        with pytest.raises(mbo.CompositionError, match="no component"):
            testing.check_component(nothing)


def test_every_case_of_parametrize_is_named_after_component_and_check():
    mark = testing.parametrize_with_checks([SoundPenalty(), mbo.NoTermination])
    names, cases = mark.args
    assert names == ("component", "check")
    ids = [case.id for case in cases]
    assert ids[0] == "SoundPenalty-check_default_construction"
    assert ids[-1] == "NoTermination-check_termination_shape_and_type"
    assert len(ids) == len(APPLIES[SoundPenalty]) + len(APPLIES[mbo.NoTermination])


def test_expected_failures_carry_their_reason_and_unknown_ones_are_refused():
    mark = testing.parametrize_with_checks(
        [SoundPenalty()], expected_failed_checks={"check_pure": "remembers"}
    )
    marked = {case.id: case.marks for case in mark.args[1] if case.marks}
    assert list(marked) == ["SoundPenalty-check_pure"]
    assert marked["SoundPenalty-check_pure"][0].kwargs["reason"] == "remembers"
    with pytest.raises(mbo.CompositionError, match="Did you mean 'check_pure'"):
        testing.parametrize_with_checks(
            [SoundPenalty()], expected_failed_checks={"check_pur": "remembers"}
        )


STRANGERS_TEST = """
from broken_components import PenaltyWithAMemory, SoundPenalty
from d3rlpy_mbo.testing import parametrize_with_checks

@parametrize_with_checks([SoundPenalty()])
def test_sound(component, check):
    check(component)

@parametrize_with_checks(
    [PenaltyWithAMemory], expected_failed_checks={"check_pure": "by design"}
)
def test_excused(component, check):
    check(component)

@parametrize_with_checks([PenaltyWithAMemory])
def test_broken(component, check):
    check(component)
"""


@pytest.mark.training
def test_a_strangers_tests_pass_fail_and_are_excused(tmp_path):
    (tmp_path / "test_strangers.py").write_text(STRANGERS_TEST)
    here = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rxf", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(here)},
        cwd=tmp_path,
    )
    assert "1 failed, 43 passed, 1 xfailed" in result.stdout, result.stdout
    assert "by design" in result.stdout
    assert "test_broken[PenaltyWithAMemory-check_pure]" in result.stdout


@pytest.mark.training
def test_the_checks_need_pytest_for_parametrize_alone():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import d3rlpy_mbo as mbo\n"
        "from d3rlpy_mbo import testing\n"
        "testing.check_component(mbo.NoTermination())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def there(function, x):
    """Whether a function of a tensor on another device is on it, and what it says."""
    with another_device() as device:
        result = function(x.to(device))
        return str(result.device) == device, result.cpu()


def test_another_device_does_what_a_gpu_does_with_the_cpus_numbers():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for function in (
        lambda x: x * torch.tensor(2.0),
        lambda x: x + torch.zeros(2, device=x.device),
        lambda x: x * torch.tensor([1.0, 2.0]).to(x.device),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: torch.zeros_like(x) + x.new_ones(2) + x.new_tensor([1.0, 2.0]),
        lambda x: torch.as_tensor(x.cpu().numpy(), device=x.device),
        lambda x: torch.ones(2).type_as(x).add_(x[0]),
        lambda x: torch.nn.functional.one_hot(x.long(), 5),
        lambda x: x.to(torch.float64, copy=True).to("cpu").to(x),
    ):
        is_there, found = there(function, x)
        assert is_there
        assert torch.equal(found, function(x))


def test_gradients_and_optimizers_work_on_another_device():
    def learned(device):
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1).to(device)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(4, 2).to(device)).square().sum().backward()
            optimizer.step()
        return [parameter.detach().cpu() for parameter in layer.parameters()]

    expected = learned("cpu")
    with another_device() as device:
        for found, value in zip(learned(device), expected, strict=True):
            assert torch.equal(found, value)


def test_another_device_refuses_what_a_gpu_does():
    x = torch.ones(4, 2)
    assert not there(lambda x: torch.zeros(4, 2), x)[0]
    assert not there(lambda x: torch.zeros(4, 2).to(torch.float64) + 1, x)[0]
    assert not there(lambda x: x.cpu(), x)[0]
    for mistake in (
        lambda x: x * torch.tensor([1.0, 2.0]),
        lambda x: torch.cat([x, torch.zeros(4, 2)]),
        lambda x: x + torch.as_tensor(np.zeros(2, dtype=np.float32)),
        lambda x: x + torch.from_numpy(np.zeros(2, dtype=np.float32)),
        lambda x: x.index_select(0, torch.tensor([1])),
        lambda x: x.numpy(),
        lambda x: np.asarray(x),
    ):
        with pytest.raises((RuntimeError, TypeError), match="same device|numpy"):
            there(mistake, x)
