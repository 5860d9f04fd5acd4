from types import SimpleNamespace

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data import real_data, transitions
from d3rlpy_mbo.learners.names import learner_config
from d3rlpy_mbo.study.evaluators import ImaginedQ, InsideWalls, RealQ
from d3rlpy_mbo.tasks.simulator import PointMazeSimulatorConfig
from toys import line_dataset, line_imagination, small_learner


class SumQ:
    """Q(s, a) = s + a."""

    def __init__(self, reward_scaler=None):
        self.config = SimpleNamespace(reward_scaler=reward_scaler)

    def predict_value(self, observations, actions):
        return (observations + actions)[:, 0]


def imagined_buffer(**settings):
    dataset = line_dataset()
    imagination = line_imagination("forward", dataset, **settings)
    return mbo.ImaginedReplayBuffer(dataset, imagination)


def test_q_is_of_real_rows_and_of_imagined_ones():
    buffer = imagined_buffer(rollout_length=1)
    assert np.isnan(ImaginedQ()(SumQ(), buffer))  # nothing has been imagined yet
    buffer.refresh()
    rows = mbo.Transitions.from_dataset(buffer)
    expected = float((rows.observations + rows.actions).mean())
    assert RealQ()(SumQ(), buffer) == pytest.approx(expected, abs=0.05)
    rows = buffer.sample_imagined(2000)  # the generator stands where it stood
    assert ImaginedQ()(SumQ(), buffer) == pytest.approx(
        float((rows.observations + rows.actions).mean())
    )


def test_the_data_is_not_read_a_second_time_beside_the_buffer(monkeypatch):
    buffer = imagined_buffer()
    assert buffer.real_data.dataset is not buffer
    packed = buffer.real_data.packed

    def read(dataset):
        raise AssertionError("read twice: what is read is held twice")

    monkeypatch.setattr(transitions, "read_columns", read)
    monkeypatch.setattr(real_data, "read_columns", read)
    expected = float((packed[:, 0] + packed[:, 1]).mean())
    assert RealQ()(SumQ(), buffer) == pytest.approx(expected, abs=0.05)


def test_q_is_in_dataset_units_whatever_the_learners_reward_scaler():
    buffer = imagined_buffer(rollout_length=1)
    buffer.refresh()
    scaler = d3rlpy.preprocessing.StandardRewardScaler(mean=7.0, std=2.0, eps=0.0)
    for evaluator in (RealQ, ImaginedQ):
        plain = evaluator()(SumQ(), buffer)
        assert evaluator()(SumQ(scaler), buffer) == pytest.approx(2 * plain, abs=0.05)


def test_behavioural_cloning_has_no_q():
    buffer = imagined_buffer()
    learner = small_learner("bc")
    learner.build_with_dataset(buffer)
    assert np.isnan(RealQ()(learner, buffer))


@pytest.mark.parametrize(
    "name", ["decision_transformer", "discrete_decision_transformer", "tacr"]
)
def test_a_transformer_has_no_q_either(name):
    buffer = imagined_buffer(rollout_length=1)
    buffer.refresh()
    learner = learner_config(name)().create()
    assert np.isnan(RealQ()(learner, buffer))
    assert np.isnan(ImaginedQ()(learner, buffer))


def test_looking_at_imagined_rows_leaves_the_random_numbers_of_training_alone():
    buffer = imagined_buffer()
    buffer.refresh()
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    ImaginedQ()(SumQ(), buffer)
    InsideWalls(np.zeros((1, 1)))(SumQ(), buffer)
    assert np.random.random() == expected


def test_a_position_is_in_a_wall_within_half_a_cell_of_its_centre():
    columns = np.array([[0.4, 0.4], [0.4, 0.6], [1.4, 0.0], [5.0, 0.0]])
    walls = np.array([[0.0, 0.0], [1.0, 0.0]])
    zeros = np.zeros((4, 1))
    rows = mbo.Transitions.from_arrays(columns, zeros, zeros, columns * 0 + 9, zeros)
    buffer = SimpleNamespace(sample_imagined=lambda n_rows: rows)
    # Two of four observations; none of the next ones, which are at 9.
    assert InsideWalls(walls)(None, buffer) == pytest.approx(0.25)


@pytest.mark.training
def test_the_simulator_as_a_model_says_what_the_task_does():
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze import PointMaze

    maze = PointMaze("umaze", "sparse")
    before, _ = maze.reset(seed=0)
    observations, actions, after = [before], np.random.uniform(-1, 1, (50, 2)), []
    for action in actions:
        after.append(maze.step(action)[0])
        observations.append(after[-1])
    dynamics = PointMazeSimulatorConfig().create()
    prediction = dynamics.predict(
        torch.tensor(np.array(observations[:-1]), dtype=torch.float32),
        torch.tensor(actions, dtype=torch.float32),
        all_members=False,
    )
    reached = prediction.observations.numpy()
    np.testing.assert_allclose(reached, np.array(after), atol=1e-5)
    # Beside the goal's radius of 0.5, once leaving and once about to enter: rewards are
    # of the state before the step.
    states = torch.tensor([[0.495, 0.0, 5.0, 0.0], [0.505, 0.0, -5.0, 0.0]])
    states[:, :2] += torch.tensor(maze.goal)
    rewards = dynamics.predict(states, torch.zeros(2, 2), all_members=False).rewards
    assert rewards.tolist() == [[1.0], [0.0]]


def test_the_simulator_is_found_by_name_and_knows_no_way_back():
    assert mbo.get_component("dynamics", "pointmaze_simulator")
    with pytest.raises(mbo.CompositionError, match="cannot go backwards"):
        PointMazeSimulatorConfig(direction="reverse").create()
