"""What a model promises, minus what is paid: by hand, and kept only while it is true."""

import dataclasses
import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("minari")
pytest.importorskip("joblib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import d3rlpy_mbo as mbo
import model_noise
import promises
import toys
from d3rlpy_mbo.runs.diagnosis.simulators import Simulator
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig
from measured import measured

pytestmark = pytest.mark.training


class Stands:
    """s' = s + 1 whatever is done; pays s, ends beyond 2."""

    def put(self, observation):
        self.state = observation.copy()

    def step(self, action):
        reward = self.state[0]
        self.state = self.state + 1
        return np.float32(self.state), reward, bool(self.state[0] > 2), False, {}


def learner():
    made = toys.small_learner("td3_plus_bc")
    made.create_impl((1,), 1)
    return made


def test_rewards_are_discounted_until_an_episode_ends():
    world = Stands()
    steps = promises.steps_from(Simulator(world, world.put), torch.tensor([0.0]))
    found = promises.discounted(steps, learner(), torch.tensor([[0.0]]))
    assert found.tolist() == pytest.approx([0 + 0.99 * 1 + 0.99**2 * 2])


def test_a_maze_pays_for_the_state_before_a_step_as_its_data_does():
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze import PointMaze

    maze = PointMaze("umaze", "dense")
    start, _ = maze.reset(seed=0)
    start = torch.as_tensor(start, dtype=torch.float32)
    made = toys.small_learner("td3_plus_bc", gamma=0.1)  # three steps
    made.create_impl((4,), 2)
    before, paid = start.double().numpy(), []
    for _ in range(3):
        paid.append(float(maze.compute_rewards(before)))
        maze.set_state(before)
        before = maze.step(made.predict(before[None].astype(np.float32))[0])[0]
    steps = promises.steps_from(Simulator(maze, maze.set_state), start)
    found = promises.discounted(steps, made, start[None])
    expected = paid[0] + 0.1 * paid[1] + 0.01 * paid[2]
    assert found.tolist() == pytest.approx([expected], rel=1e-6)


def test_states_end_one_by_one_and_each_keeps_its_own_sum():
    def step(states, actions):
        return states + 1, states, (states + 1 > 2).float()

    found = promises.discounted(step, learner(), torch.tensor([[2.0], [0.0], [1.0]]))
    expected = [2.0, 0.99 + 0.99**2 * 2, 1 + 0.99 * 2]
    assert found.tolist() == pytest.approx(expected)


def test_the_model_pays_its_own_rewards_without_penalty_and_ends_by_the_rule():
    dataset = toys.line_dataset()
    config = MOPOConfig(
        dynamics=toys.LineDynamicsConfig(),
        penalty=MaxAleatoric(coef=1e6),
        termination=mbo.NoTermination(),
    )
    imagination = config.create()
    imagination.fit(dataset)
    step = promises.model_step(imagination)
    states, actions = torch.tensor([[0.5]]), torch.tensor([[0.25]])
    reached, rewards, ends = step(states, actions)
    assert float(reached) == pytest.approx(0.75, abs=0.05)
    assert float(rewards) < 10  # nothing of a million is subtracted
    assert ends.tolist() == [[0.0]]


def test_by_means_a_step_is_the_mean_of_the_elites_whatever_is_drawn(tmp_path):
    class Draws(toys.LineDynamics):
        """Two members apart from each other, of which the first imagines."""

        def predict(self, observations, actions, all_members):
            found = super().predict(observations, actions, all_members)
            means = found.means
            if means is not None:
                means = torch.stack([means[0], means[0] + 5])
            drawn = found.observations + torch.randn_like(found.observations)
            return dataclasses.replace(
                found, observations=drawn, means=means, n_elites=1
            )

    config = mbo.ImaginationConfig(
        dynamics=toys.LineDynamicsConfig(), rollout_policy=mbo.UniformPolicyConfig()
    )
    imagination = config.create()
    imagination.dynamics = Draws(toys.LineDynamicsConfig())
    step = promises.model_step(imagination, by_means=True)
    imagination.fit(toys.line_dataset())
    states, actions = torch.tensor([[0.5]]), torch.tensor([[0.25]])
    for _ in range(2):
        reached, rewards, _ = step(states, actions)
        assert (float(reached), float(rewards)) == pytest.approx((0.75, 0.5))


def test_what_noise_costs_is_measured_from_the_same_states_both_ways(tmp_path):
    config = mbo.ImaginationConfig(
        dynamics=toys.LineDynamicsConfig(), rollout_policy=mbo.UniformPolicyConfig()
    )
    imagination = config.create()
    imagination.fit(toys.line_dataset())
    imagination.save(tmp_path / "imagination.mbo")
    learner().save(str(tmp_path / "learner.d3"))
    found = model_noise.measure_run(tmp_path, torch.tensor([[0.5], [-0.5]]))
    assert found["sampled"] == found["by_means"]  # the toy's sample is its mean
    n_steps = math.ceil(math.log(0.01) / math.log(0.99))
    assert found["sampled"]["steps"] == n_steps


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_a_model_that_leads_back_promises_nothing(direction, tmp_path, monkeypatch):
    config = mbo.ImaginationConfig(
        dynamics=toys.LineDynamicsConfig(direction=direction),
        rollout_policy=mbo.UniformPolicyConfig(),
    )
    imagination = config.create()
    imagination.fit(toys.line_dataset())
    imagination.save(tmp_path / "imagination.mbo")
    env = types.SimpleNamespace()
    simulator = Simulator(env, print)
    monkeypatch.setattr(
        promises.mbo, "load_minari", lambda _: (toys.line_dataset(), env)
    )
    monkeypatch.setattr(promises, "open_minari", lambda _: None)
    monkeypatch.setattr(promises, "evaluation_environment", lambda _: env)
    monkeypatch.setattr(promises, "simulator_of", lambda *_: (simulator, ""))
    asked = []

    def measured(out, settings, measure):
        asked.append(out)
        return {"difference": 0.0}

    monkeypatch.setattr(promises, "measured", measured)
    run = types.SimpleNamespace(folder=tmp_path, seed=0)
    task = types.SimpleNamespace(dataset="line", methods={"its": [run]})
    found = promises._of_task(task)
    assert bool(asked) is (direction == "forward")
    assert found == ({"its": {0: 0.0}} if asked else {})


def test_what_was_measured_is_kept_while_learner_and_settings_are_the_same(tmp_path):
    out, made = tmp_path / "promises.json", []

    def measure():
        made.append(len(made))
        return {"difference": len(made)}

    assert measured(out, {"states": 3}, measure) is None  # no learner, nothing there
    (tmp_path / "learner.d3").write_bytes(b"one")
    first = measured(out, {"states": 3}, measure)
    assert measured(out, {"states": 3}, measure) == first == json.loads(out.read_text())
    assert made == [0]
    assert measured(out, {"states": 4}, measure)["difference"] == 2
    (tmp_path / "learner.d3").write_bytes(b"another run")
    assert measured(out, {"states": 4}, measure)["difference"] == 3
    (tmp_path / "learner.d3").unlink()
    assert measured(out, {"states": 4}, measure)["difference"] == 3
    with pytest.raises(mbo.CompositionError, match="its learner is gone"):
        measured(out, {"states": 3}, measure)
