"""What stands between OfflineRL-Kit and our evaluations; the kit itself is not needed."""

import json
import sys
import tomllib
import types
from pathlib import Path

import d3rlpy
import numpy as np
import pytest
import torch

pytest.importorskip("minari")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import d3rlpy_mbo as mbo
import peer_models
import peer_mopo
from d3rlpy_mbo.runs import training
from toys import line_dataset, small_learner

SETTINGS = Path(__file__).parents[2] / "benchmarks" / "settings" / "peer_mopo.toml"


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


class Anything:
    """Stands for a part of the kit; notes what it is called with."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        value = Anything()
        setattr(self, name, value)
        return value

    def __call__(self, *args, **kwargs):
        np.random.rand(7)  # the kit draws from numpy's generator as well
        self.calls.append(kwargs)
        return self


class BegunError(Exception):
    """Evaluations have been given their seed."""


@pytest.mark.training
def test_the_kits_evaluations_start_where_those_of_our_runs_start(monkeypatch):
    seeds = []

    def begin(env, evaluator, seed, n_done=0):
        seeds.append(seed)
        raise BegunError

    monkeypatch.setattr(training, "EnvironmentEvaluations", begin)
    monkeypatch.setattr(peer_mopo, "EnvironmentEvaluations", begin)
    settings = tomllib.loads(SETTINGS.read_text())
    dataset = line_dataset()
    env = types.SimpleNamespace(
        spec=types.SimpleNamespace(id="Hopper-v5"), reset=None, step=None
    )
    for seed in (3, 4):
        d3rlpy.seed(seed)
        learner = small_learner("sac")
        run = training.Run(learner, mbo.RealData.of(dataset), [], 10, 5, env, 1)
        with pytest.raises(BegunError):
            run.train(None, None, None, {"show_progress": False})
        with pytest.raises(BegunError):
            peer_mopo.trained(Anything(), settings, dataset, env, seed)
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_actor_critics_and_temperature_learn_at_the_rate_that_is_set(monkeypatch):
    kit = Anything()
    monkeypatch.setattr(peer_mopo, "EnvironmentEvaluations", lambda *args: None)
    settings = tomllib.loads(SETTINGS.read_text()) | {"learning_rate": 7e-4}
    env = types.SimpleNamespace(spec=types.SimpleNamespace(id="Hopper-v5"))
    peer_mopo.trained(kit, settings, line_dataset(), env, 0)
    [asked] = kit.policy.calls
    assert asked.pop("dynamics")
    made = peer_mopo.OfflineRLKit.__new__(peer_mopo.OfflineRLKit)
    made.kit, made.device = Anything(), "cpu"
    made._networks = lambda *args: [torch.nn.Linear(1, 1) for _ in range(3)]
    made.kit.policy.MOPOPolicy = lambda *parts, alpha: [*parts[4:], alpha[2]]
    optimizers = made.policy("mopo", drifting(9), dynamics=None, **asked)
    assert [each.param_groups[0]["lr"] for each in optimizers] == [7e-4] * 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"settings": {"penalty_coef": 5.0}}, "penalty_coef is 5.0 there, 1.0 here"),
        ({"settings": {"penalty_coef": 1.0, "more": 1}}, "more is 1 there, None here"),
        ({"kit": "0000000"}, "kit is '0000000' there, 'abc' here"),
        ({"seed": 2}, "seed is 2 there, 1 here"),
    ],
)
def test_a_file_that_other_settings_or_another_kit_made_is_refused(
    changed, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(peer_mopo, "commit", lambda checkout: "abc")
    settings = tmp_path / "settings.toml"
    settings.write_text("seeds = [1, 0]\nn_last = 1\npenalty_coef = 1.0\n")
    same = {"settings": {"seeds": [1], "n_last": 1, "penalty_coef": 1.0}}
    same |= {"seed": 1, "kit": "abc", "evaluations": [{"return": 5.0}]}
    path = tmp_path / "seed-1.json"
    path.write_text(json.dumps(same))
    asked = tomllib.loads(settings.read_text())
    peer_mopo.require_same(path, {"settings": asked, "seed": 1, "kit": "abc"})
    settings_there = {**same["settings"], **changed.get("settings", {})}
    path.write_text(json.dumps({**same, **changed, "settings": settings_there}))
    arguments = [str(tmp_path / "kit"), str(tmp_path), "--settings", str(settings)]
    assert peer_mopo.main(arguments) == 1
    assert said in capsys.readouterr().err


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
    # In units of the fitted rows' variance, and every page says so.
    few = peer_models.Rows(rows.fitted, rows.later[:30])
    changes = torch.cat([rows.fitted.actions, rows.fitted.rewards], dim=1).var(dim=0)
    unit = float((0.5**2 / changes).mean()) / 2  # the reward has no error
    found = peer_models.judged(asked(0.5), few, direction)["squared_error"]
    assert found == pytest.approx(unit, rel=1e-2)
    results = Path(peer_models.__file__).parent / "results" / "peer-models"
    for page in (peer_models.__doc__, (results / "README.md").read_text()):
        assert "variance" in page
        assert "the fitted rows" in page
    scale = float(rows.fitted.observations.std())
    expected = [0.5 * k / scale for k in range(1, 11)]
    assert off["open_loop"] == pytest.approx(expected, rel=1e-2)
