"""The conformance checks: each catches what it is for, and nothing else does."""

import pytest

import d3rlpy_mbo as mbo
from broken_components import BROKEN, SOUND, SoundPenalty
from d3rlpy_mbo import testing

CHECKS = [name for name in testing.__all__ if name.startswith("check_")]
CHECKS = [name for name in CHECKS if name != "check_component"]

COMMON = {
    "check_batch_of_one", "check_default_construction", "check_device_kept",
    "check_finite_float32", "check_inputs_not_modified", "check_json_round_trip",
    "check_same_seed_same_output", "check_unique_type_name",
}  # fmt: skip
LEARNED = {"check_metrics_can_be_logged", "check_save_and_load_alike"}
APPLIES = {
    mbo.ProbabilisticEnsembleConfig: COMMON | LEARNED | {
        "check_dynamics_direction", "check_log_prob_differentiable",
        "check_prediction_shapes", "check_zero_filled_terminals_ignored",
    },
    mbo.UniformPolicyConfig: COMMON | LEARNED | {
        "check_actions_within_bounds", "check_policy_directions",
    },
    SoundPenalty: COMMON | {
        "check_penalty_non_negative", "check_penalty_shape", "check_pure",
    },
    mbo.NoTermination: COMMON - {"check_finite_float32"} | {
        "check_pure", "check_termination_shape_and_type",
    },
    mbo.LearnedTerminationConfig: COMMON - {"check_finite_float32"} | LEARNED | {
        "check_pure", "check_termination_shape_and_type",
    },
    mbo.AntAngleReward: COMMON | {"check_pure", "check_reward_shape"},
    type(SOUND[6]): COMMON - {"check_batch_of_one"} | {
        "check_metrics_can_be_logged", "check_only_the_dynamics_change",
    },
    mbo.ImaginationConfig: COMMON - {"check_inputs_not_modified"} | LEARNED | {
        "check_real_episodes_stay_real", "check_time_order", "check_trains_learners",
    },
}  # fmt: skip


@pytest.mark.parametrize("component", SOUND, ids=lambda component: component.get_type())
def test_a_sound_component_passes_every_check(component):
    testing.check_component(component)


broken = pytest.mark.parametrize(
    ("check", "component"), BROKEN, ids=[type(c).__name__ for _, c in BROKEN]
)


@broken
def test_a_broken_component_fails_the_check_for_its_mistake_and_no_other(
    check, component
):
    results = list(testing.run_checks(component))
    assert [result.check for result in results if result.error] == [check]


@broken
def test_a_message_states_violation_value_and_likely_cause(check, component):
    with pytest.raises(testing.ConformanceError) as caught:
        getattr(testing, check)(component)
    message = str(caught.value)
    assert message.startswith(f"{type(component).__name__}: ")
    assert "Found: " in message
    assert "Likely cause: " in message
    assert "it raised where it should have worked" not in message


def test_every_check_has_a_broken_component():
    assert {check for check, _ in BROKEN} == set(CHECKS)


@pytest.mark.parametrize("component", APPLIES, ids=lambda each: each.__name__)
def test_a_kind_gets_all_its_checks(component):
    checks = {check.__name__ for check in testing.checks_for(component)}
    assert checks == APPLIES[component]
