"""Conformance checks: whether components keep their contracts, and if not, why.

Tests of a plugin, with pytest::

    @parametrize_with_checks([MyPenalty(coef=2.0), MyPolicyConfig(n_steps=50)])
    def test_conformance(component, check):
        check(component)

Elsewhere ``check_component(MyPenalty())``; on the command line
``d3rlpy-mbo check my_module``. Everything runs on the CPU, without a network.
"""

from ..support.errors import ConformanceError
from .another_device import another_device
from .basic_checks import (
    check_default_construction,
    check_json_round_trip,
    check_unique_type_name,
)
from .common_checks import (
    check_batch_of_one,
    check_config_kept,
    check_device_kept,
    check_finite_float32,
    check_fit_starts_anew,
    check_generators_left_alone,
    check_inputs_not_modified,
    check_metrics_can_be_logged,
    check_same_seed_same_output,
)
from .dynamics_checks import (
    check_dynamics_direction,
    check_log_prob_differentiable,
    check_prediction_shapes,
    check_predictions_stay,
    check_training_loss_and_sample_agrees,
    check_truth_is_likelier,
    check_zero_filled_terminals_ignored,
)
from .halt_checks import (
    check_halt_consistent,
    check_halt_shapes_and_types,
    check_halt_state_kept_by_row,
)
from .holdout_checks import check_holdout_errors, check_holdout_left_out
from .imagination_checks import (
    check_real_episodes_stay_real,
    check_time_order,
    check_trains_learners,
)
from .learner_checks import (
    check_learner_discounts_by_intervals,
    check_learner_goes_on_alike,
    check_learner_loads_alike,
    check_learner_takes_any_rows,
    check_learner_trains,
)
from .modules import module_components
from .policy_checks import check_actions_within_bounds, check_policy_directions
from .rule_checks import (
    check_penalty_non_negative,
    check_penalty_shape,
    check_pure,
    check_reward_shape,
    check_rows_answered_alone,
    check_rows_of_nan,
    check_termination_of_nan,
    check_termination_reads_next_observations,
    check_termination_shape_and_type,
    check_when_and_compares,
)
from .running import (
    CheckResult,
    check_component,
    checks_for,
    parametrize_with_checks,
    run_checks,
)
from .saving_checks import check_fit_goes_on_alike, check_save_and_load_alike
from .task_checks import check_task_collects
from .unit_checks import check_reward_units, check_standard_deviations
from .updater_checks import check_only_the_dynamics_change

__all__ = [
    "CheckResult",
    "ConformanceError",
    "another_device",
    "check_actions_within_bounds",
    "check_batch_of_one",
    "check_component",
    "check_config_kept",
    "check_default_construction",
    "check_device_kept",
    "check_dynamics_direction",
    "check_finite_float32",
    "check_fit_goes_on_alike",
    "check_fit_starts_anew",
    "check_generators_left_alone",
    "check_halt_consistent",
    "check_halt_shapes_and_types",
    "check_halt_state_kept_by_row",
    "check_holdout_errors",
    "check_holdout_left_out",
    "check_inputs_not_modified",
    "check_json_round_trip",
    "check_learner_discounts_by_intervals",
    "check_learner_goes_on_alike",
    "check_learner_loads_alike",
    "check_learner_takes_any_rows",
    "check_learner_trains",
    "check_log_prob_differentiable",
    "check_metrics_can_be_logged",
    "check_only_the_dynamics_change",
    "check_penalty_non_negative",
    "check_penalty_shape",
    "check_policy_directions",
    "check_prediction_shapes",
    "check_predictions_stay",
    "check_pure",
    "check_real_episodes_stay_real",
    "check_reward_shape",
    "check_reward_units",
    "check_rows_answered_alone",
    "check_rows_of_nan",
    "check_same_seed_same_output",
    "check_save_and_load_alike",
    "check_standard_deviations",
    "check_task_collects",
    "check_termination_of_nan",
    "check_termination_reads_next_observations",
    "check_termination_shape_and_type",
    "check_time_order",
    "check_training_loss_and_sample_agrees",
    "check_trains_learners",
    "check_truth_is_likelier",
    "check_unique_type_name",
    "check_when_and_compares",
    "check_zero_filled_terminals_ignored",
    "checks_for",
    "module_components",
    "parametrize_with_checks",
    "run_checks",
]
