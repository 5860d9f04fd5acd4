import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.metrics import normalized_score
from toys import (
    QUIET,
    ConstantPenalty,
    LineDynamicsConfig,
    line_dataset,
    line_imagination,
    small_learner,
)


class Says(mbo.Dynamics):
    """A model that always gives one answer."""

    fitted = True

    def __init__(self, direction, observation, reward):
        super().__init__(LineDynamicsConfig(direction=direction))
        self.answer = torch.tensor([observation]), torch.tensor([[reward]])

    def fit(self, transitions):
        raise NotImplementedError

    def predict(self, observations, actions, all_members):
        return mbo.Prediction(observations, actions, *self.answer)

    state_dict = load_state_dict = fit


def test_a_dataset_in_the_place_of_its_transitions_is_told_how_to_read_it():
    words = r"a ReplayBuffer, expected .*Transitions.from_dataset\(dataset\)"
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.ProbabilisticEnsembleConfig().create().fit(line_dataset())
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.metrics.one_step_model_error(Says("forward", [0.0], 0.0), line_dataset())
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.metrics.average_trajectory_discrepancy(line_dataset(), [[0.0]])


def test_one_step_error_forward_sums_over_dimensions_and_reward():
    # By hand.
    rows = mbo.Transitions.from_arrays([[0.0, 0.0]], [[0.0]], [1.0], [[1.0, 2.0]], [0])
    error = mbo.metrics.one_step_model_error(Says("forward", [1.5, 2.0], 0.8), rows)
    assert error == pytest.approx(0.29, rel=1e-5)


def test_one_step_error_reverse_leads_the_sampled_state_forward_by_the_truth():
    rows = mbo.Transitions.from_arrays([[4.0]], [[1.0]], [1.0], [[5.0]], [0])
    model = Says("reverse", [4.2], 0.5)
    error = mbo.metrics.one_step_model_error(model, rows, lambda s, a: s + a)
    assert error == pytest.approx(0.29, rel=1e-5)
    with pytest.raises(mbo.CompositionError, match="true_dynamics"):
        mbo.metrics.one_step_model_error(model, rows)


def test_trajectory_discrepancy_is_the_mean_distance_to_the_nearest_observation():
    # By hand: distances 0, 1 and 3.
    zeros = np.zeros(2)
    data = np.array([[0.0, 0.0], [3.0, 4.0]])
    rows = mbo.Transitions.from_arrays(data, zeros.reshape(2, 1), zeros, data, zeros)
    path = [[0, 0], [0, 1], [3, 0]]
    value = mbo.metrics.average_trajectory_discrepancy(rows, path)
    assert value == pytest.approx(4 / 3, rel=1e-6)


def test_trajectory_discrepancy_is_exact_far_from_the_origin():
    data = np.array([[1000.0, 0.0]])
    zeros = np.zeros((1, 1))
    rows = mbo.Transitions.from_arrays(data, zeros, zeros, data, zeros)
    value = mbo.metrics.average_trajectory_discrepancy(rows, [[1000.0, 0.01]])
    assert value == pytest.approx(0.01, rel=1e-4)


def test_of_nothing_there_is_no_error_and_no_distance():
    zeros = np.zeros((2, 1))
    rows = mbo.Transitions.from_arrays(zeros, zeros, zeros, zeros, zeros)
    with pytest.raises(mbo.DatasetError, match="None of the 0 transitions"):
        mbo.metrics.one_step_model_error(Says("forward", [0.0], 0.0), rows[:0])
    with pytest.raises(mbo.DatasetError, match="no transitions that a path"):
        mbo.metrics.average_trajectory_discrepancy(rows[:0], [[0.0]])
    with pytest.raises(mbo.CompositionError, match=r"shape \(0, 1\), expected"):
        mbo.metrics.average_trajectory_discrepancy(rows, np.zeros((0, 1)))


def test_normalised_score_is_d4rls():
    # By hand.
    assert normalized_score(216.38, (23.85, 161.86)) == pytest.approx(139.504, abs=1e-3)
    spread = normalized_score(10, (23.85, 161.86)) - normalized_score(
        0, (23.85, 161.86)
    )
    assert spread == pytest.approx(7.2459, abs=1e-4)


def test_evaluators_put_what_is_imagined_into_d3rlpys_logs():
    dataset = line_dataset()
    imagination = line_imagination("reverse", dataset, penalty=ConstantPenalty(0.25))
    learner = small_learner("td3_plus_bc")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner, real_ratio=0.5)
    evaluators = mbo.imagination_evaluators(buffer)
    assert not any("/" in name for name in evaluators)
    _, metrics = learner.fit(
        buffer, n_steps=4, n_steps_per_epoch=4, evaluators=evaluators, **QUIET
    )[0]
    reward = buffer.sources[0].ring.rows()[:, 2].mean()  # s, a, r, s', a', terminal
    assert metrics["custom_reward_mean"] == pytest.approx(reward, rel=1e-4)
    assert metrics["custom_penalty_mean"] == pytest.approx(0.25)
    assert metrics["custom_penalty_p95"] == pytest.approx(0.25)
    assert [metrics[f"custom_survival_{i}"] for i in range(1, 6)] == [1.0] * 5
    assert metrics["custom_dropped_share"] == 0.0
    assert metrics["custom_rows"] == 1000
    assert metrics["imagined_share"] == pytest.approx(0.5)
    rewards = mbo.Transitions.from_dataset(dataset).for_learners().rewards
    assert metrics["real_reward_mean"] == pytest.approx(float(rewards.mean()), rel=1e-4)


def test_two_imaginations_of_one_type_have_their_own_numbers():
    dataset = line_dataset()
    both = [line_imagination(d, dataset) for d in ("reverse", "forward")]
    buffer = mbo.ImaginedReplayBuffer(dataset, both, real_ratio=0.5)
    names = mbo.imagination_evaluators(buffer)
    assert {"custom_0_rows", "custom_1_rows"} <= set(names)


def test_a_components_own_numbers_are_logged_and_a_slash_in_a_name_is_refused():
    dataset = line_dataset()
    imagination = line_imagination("reverse", dataset)
    imagination.dynamics.metrics = {"spread": 2.5}
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination)
    evaluators = mbo.imagination_evaluators(buffer)
    assert evaluators["custom_spread"](None, None) == 2.5
    imagination.dynamics.metrics = {"model/spread": 2.5}
    with pytest.raises(mbo.CompositionError, match="model/spread"):
        mbo.imagination_evaluators(buffer)


def test_evaluators_of_the_buffer_before_say_so():
    # As where a notebook's cell makes the buffer anew, but not the evaluators.
    dataset = line_dataset()
    imagination = line_imagination("forward", dataset)
    learner = small_learner("td3_plus_bc")
    before, buffer = (
        mbo.ImaginedReplayBuffer(dataset, imagination, learner) for _ in range(2)
    )
    for evaluator in mbo.imagination_evaluators(before).values():
        with pytest.warns(UserWarning, match="of another buffer.*Make new ones"):
            evaluator(learner, buffer)
        evaluator(learner, dataset)
