import sys
from pathlib import Path

import numpy as np
import pytest

import d3rlpy_mbo as mbo

pytest.importorskip("minari")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from behaviors import Behavior, behavior


def played(*rewards: list[float]) -> Behavior:
    paths = np.zeros((len(rewards), len(rewards[0]) + 1, 2), dtype=np.float32)
    return Behavior(paths, np.array(rewards, dtype=float))


def test_the_share_in_the_goal_counts_from_the_first_entry_and_where_there_was_one():
    once = played([0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1])
    assert once.goal_share() == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(played([0, 0]).goal_share())
    assert once.returns.tolist() == [2, 0, 4]


def test_the_discrepancy_of_episodes_is_the_mean_over_all_their_states():
    data = mbo.Transitions.from_arrays(
        [[0, 0], [3, 4]], np.zeros((2, 1)), [0, 0], [[0, 0], [0, 0]], [0, 0]
    )
    paths = np.array([[[0, 0], [0, 1], [3, 0]], [[3, 4], [3, 4], [0, 0]]], np.float32)
    both = Behavior(paths, np.zeros((2, 2)))
    assert both.discrepancy(data) == pytest.approx((0 + 1 + 3) / 6)


class Counter:
    """Starts at its seed, adds the action, ends by time after two steps."""

    def reset(self, seed):
        self.state, self.steps = np.array([float(seed % 10)]), 0
        return self.state, {}

    def step(self, action):
        self.state, self.steps = self.state + action, self.steps + 1
        return self.state, float(self.state[0]), False, self.steps == 2, {}


class AddsOne:
    def predict(self, observations):
        assert observations.shape == (2, 1)
        return np.ones((2, 1), np.float32)


def test_episodes_side_by_side_start_apart_and_keep_their_own_states():
    found = behavior([Counter(), Counter()], AddsOne())
    assert found.observations[..., 0].tolist() == [[0, 1, 2], [1, 2, 3]]
    assert found.rewards.tolist() == [[1, 2], [2, 3]]
