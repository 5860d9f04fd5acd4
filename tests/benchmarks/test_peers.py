"""What stands between OfflineRL-Kit and our evaluations; the kit itself is not needed."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("minari")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import d3rlpy_mbo as mbo
import peer_models
import peer_mopo


def test_the_kits_value_is_the_least_of_its_critics_and_entropy_is_rewarded():
    policy = types.SimpleNamespace(
        critic1=lambda x, a: x + a,
        critic2=lambda x, a: 2 * x,
        actforward=lambda x: (x, torch.full((len(x), 1), 3.0)),
        select_action=lambda x, deterministic: -x if deterministic else x,
        _alpha=torch.tensor(0.5),
    )
    learner = peer_mopo.KitLearner(policy)
    states, actions = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [1.0]])
    assert learner.values(states, actions).tolist() == [2.0, 5.0]
    assert learner.entropy_rewards(states).tolist() == [-1.5, -1.5]
    assert learner.predict(np.array([[1.0]])).tolist() == [[-1.0]]  # greedy


def drifting(n_rows):
    """Rows of two episodes: s' = s + a, r = a; the second begins after a third."""
    actions = torch.linspace(0.5, 1.5, n_rows)[:, None]
    after = actions.cumsum(0)
    before = after - actions
    later = torch.arange(n_rows)[:, None] >= n_rows // 3
    before, after = before + 100.0 * later, after + 100.0 * later
    return mbo.Transitions.from_arrays(
        observations=before.numpy(),
        actions=actions.numpy(),
        rewards=actions.numpy(),
        next_observations=after.numpy(),
        terminals=torch.zeros(n_rows).numpy(),
    )


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_true_model_has_no_error_and_an_offset_adds_up_in_the_open_loop(direction):
    rows = peer_models.Rows(drifting(60), drifting(60))
    sign = 1.0 if direction == "forward" else -1.0

    def asked(offset):
        def ask(states, actions):
            mean = torch.cat([states + sign * actions + offset, actions], dim=1)
            means = mean.expand(2, -1, -1)
            return means, torch.full_like(means, 0.1)

        return ask

    exact = peer_models.judged(asked(0.0), rows, direction)
    assert exact["squared_error"] == pytest.approx(0, abs=1e-6)
    # Two columns, each of standard deviation 0.1.
    assert exact["log_likelihood"] == pytest.approx(-np.log(2 * np.pi * 0.01), rel=1e-3)
    assert exact["open_loop"] == pytest.approx([0.0] * 10, abs=1e-3)
    off = peer_models.judged(asked(0.5), rows, direction)
    scale = float(rows.fitted.observations.std())
    expected = [0.5 * k / scale for k in range(1, 11)]
    assert off["open_loop"] == pytest.approx(expected, rel=1e-2)
