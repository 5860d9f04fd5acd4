import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("joblib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import pessimism
from pessimism import Episode, discounted_sums, judge, play
from toys import small_learner

pytestmark = pytest.mark.training


def episode(n_steps: int, terminated: bool, reward: float = 1.0) -> Episode:
    zeros = np.zeros((n_steps, 1), np.float32)
    return Episode(zeros, zeros, np.full(n_steps, reward), terminated)


def test_later_rewards_count_less():
    assert discounted_sums(np.array([1.0, 2.0, 4.0]), 0.5).tolist() == [3, 4, 4]


def test_q_is_compared_with_what_followed_and_errors_are_those_of_episodes():
    played = [episode(2, True), episode(2, True, reward=3.0)]
    values = [np.array([2.5, 0.0]), np.array([7.5, 0.0])]
    entropies = [np.array([8.0, -1.0])] * 2
    found = judge(played, values, entropies, 0.5, None, only_starts=True)
    assert found["states"] == found["episodes"] == 2
    assert (found["q"], found["monte_carlo"]) == (5, 3)
    assert found["entropy"] == -0.5  # from the next state on, and counted
    # 1.5 and 3.5: the standard error of a mean of two is half their distance.
    assert (found["difference"], found["standard_error"]) == (2.5, pytest.approx(1))


def test_states_that_a_time_limit_follows_too_soon_are_left_out_whatever_the_end():
    ended, cut = episode(60, True), episode(60, False)
    zeros = [np.zeros(60)] * 2
    endless = judge([ended, ended], zeros, zeros, 0.99, None)
    assert (endless["states"], endless["unseen"]) == (4, 0)  # steps 25 and 50
    soon_forgotten = judge([ended, cut], zeros, zeros, 0.9, 60)  # 0.9 ** 35 is 0.025
    assert (soon_forgotten["states"], soon_forgotten["episodes"]) == (2, 2)
    assert soon_forgotten["unseen"] == pytest.approx(0.9**35 * 10 / 2)
    alone = judge([cut], zeros[:1], zeros[:1], 0.9, 60)
    assert (alone["states"], alone["standard_error"]) == (1, None)
    for played in ([ended], [cut]):
        for gamma in (0.99, 1.0):
            found = judge(played, zeros[:1], zeros[:1], gamma, 60, only_starts=True)
            assert found == {"states": 0}
    json.dumps([endless, soon_forgotten, alone])


@pytest.mark.parametrize("hazard", [0.002, 0.001, 0.0003])
def test_of_an_exact_q_no_more_is_missing_than_what_was_cut(hazard):
    n, limit, gamma = 600, 1000, 0.99
    shares = (np.arange(n) + 0.5) / n  # how long episodes last, without chance
    lasts = np.ceil(np.log1p(-shares) / np.log1p(-hazard)).astype(int)
    played = [episode(min(last, limit), bool(last <= limit)) for last in lasts]
    exact = [np.full(len(e.rewards), 1 / (1 - gamma * (1 - hazard))) for e in played]
    zeros = [np.zeros(len(each.rewards)) for each in played]
    found = judge(played, exact, zeros, gamma, limit)
    assert found["unseen"] < 0.8
    assert -0.1 < found["difference"] < found["unseen"]


def test_the_time_limit_is_the_environments_or_that_of_the_longest_that_was_cut():
    played = [episode(9, True), episode(4, False), episode(7, False)]
    stated = types.SimpleNamespace(spec=types.SimpleNamespace(max_episode_steps=50))
    silent = types.SimpleNamespace(spec=None)
    assert pessimism.time_limit(stated, played) == 50
    assert pessimism.time_limit(silent, played) == 7
    assert pessimism.time_limit(silent, played[:1]) is None


def test_methods_are_compared_by_seed_and_states_without_a_value_are_left_out():
    def measured(difference):
        judged = {"states": 3, "difference": difference, "unseen": abs(difference) / 2}
        return {"on_the_way": judged, "start": {"states": 0}}

    found = {
        "rambo": {1: measured(-3.0), 0: measured(1.0), 2: measured(9.0)},
        "coef-0": {0: measured(2.0), 1: measured(0.0)},
    }
    pairs = [["rambo", "coef-0"], ["rambo", "not-run"]]
    study = types.SimpleNamespace(compare=pairs, seeds=[0, 1, 2])
    lines = pessimism.table(found, study)
    # -1 and -3: mean -2, half of the 95 % t-interval 12.706
    said = "| rambo - coef-0 | 2 of 3 (without 2) | -2.0 [-14.7, +10.7] | -1.0, -3.0 |"
    assert said in lines
    assert "May have followed what was cut, at most: rambo 4.5, coef-0 1.0." in lines
    assert not any("not-run" in line for line in lines)
    at_starts = lines[lines.index("") :]
    assert not any(line.startswith("| rambo") for line in at_starts)


def test_a_value_that_is_not_finite_is_named_and_left_out_of_its_pairs():
    values = {"rambo": {0: 3.0, 1: float("inf"), 2: 5.0}, "coef-0": {0: 1.0, 1: 1.0}}
    lines = pessimism.differences("Q", values, [["rambo", "coef-0"]], [0, 1, 2])
    assert lines[2].startswith("| rambo | 2 of 3 (without 1) | +4.0 [")
    assert lines[2].endswith("| +3.0, +inf, +5.0 |")
    assert lines[4] == (
        "| rambo - coef-0 | 1 of 3 (without 1, 2) | +2.0 [-] | +2.0, +inf |"
    )


@pytest.mark.parametrize(("name", "samples"), [("mobile_sac", True), ("combo", False)])
def test_the_policy_that_is_played_is_the_one_that_q_is_of(name, samples):
    learner = small_learner(name)
    learner.create_impl((1,), 1)
    act, states = pessimism.policy_of_q(learner), np.zeros((9, 1), np.float32)
    assert bool((act(states) != act(states)).any()) == samples


def test_rewards_on_the_way_are_those_of_the_data_of_a_maze_before_the_step():
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze import PointMaze

    maze = PointMaze("umaze", "sparse")
    states = np.zeros((2, 4), np.float32)
    states[1, :2] = maze.goal
    played = Episode(states, states[:, :2], np.array([1.0, 0.0]), False)
    assert pessimism.as_in_data(maze, played).rewards.tolist() == [0, 1]
    other = types.SimpleNamespace(unwrapped=None)
    assert pessimism.as_in_data(other, played) is played


class Counter:
    """Starts at its seed, adds the action, terminates at 5."""

    def reset(self, seed):
        self.state = np.array([float(seed)])
        return self.state, {}

    def step(self, action):
        self.state = self.state + action
        return self.state, float(self.state[0]), bool(self.state[0] >= 5), False, {}


class AddsOne:
    def predict(self, observations):
        return np.ones((len(observations), 1), np.float32)


def test_an_episode_keeps_states_beside_the_actions_taken_in_them():
    played = play(Counter(), AddsOne().predict, seed=3)
    assert played.observations.tolist() == [[3], [4]]
    assert played.actions.tolist() == [[1], [1]]
    assert played.rewards.tolist() == [4, 5]
    assert played.terminated
