import dataclasses
import json

import pytest

pytest.importorskip("gymnasium_robotics")

import d3rlpy_mbo as mbo
from d3rlpy_mbo.metrics import normalized_score
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.tasks.pointmaze import PointMaze
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

pytestmark = pytest.mark.training

DATASET = "pointmaze/umaze-dense-v0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiment") / "minari"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        collect_pointmaze("pointmaze-umaze-dense", n_steps=700, n_reference_episodes=2)
        yield root


def experiment(**changes) -> Experiment:
    settings = {
        "dataset": DATASET,
        "learner": "td3_plus_bc",
        "imagination": "none",
        "n_steps": 2,
        "n_trials": 1,
        "learner_settings": {"batch_size": 16},
    }
    return Experiment(**{**settings, **changes})


def forward(**changes) -> Experiment:
    settings = {
        "dynamics.n_models": 2,
        "dynamics.n_elites": 1,
        "dynamics.hidden_units": [16],
        "dynamics.weight_decays": [0.0, 0.0],
        "dynamics.max_steps": 5,
        "rollout_batch_size": 50,
    }
    return experiment(imagination="custom", imagination_settings=settings, **changes)


def test_final_episodes_start_alike_whatever_the_seed_and_are_listed(
    root, tmp_path, monkeypatch
):
    starts = []
    reset = PointMaze.reset

    def watched(self, *, seed=None, options=None):
        observation, info = reset(self, seed=seed, options=options)
        starts.append(tuple(observation))
        return observation, info

    monkeypatch.setattr(PointMaze, "reset", watched)
    result = experiment(seed=0, n_final_trials=2).run(tmp_path / "0")
    experiment(seed=1, n_final_trials=2).run(tmp_path / "1")
    first, second = starts[: len(starts) // 2], starts[len(starts) // 2 :]
    assert first[-2:] == second[-2:]
    assert first[-1] != first[-2]
    assert first[:-2] != second[:-2]  # the evaluations' own starts follow the seed
    final = result["final_evaluation"]
    assert len(final["returns"]) == 2
    assert final["return"] == pytest.approx(sum(final["returns"]) / 2)
    expected = normalized_score(final["return"], result["reference_scores"])
    assert final["normalized_score"] == pytest.approx(expected)


def test_both_reference_scores_are_recorded(root, tmp_path):
    experiment().run(tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["final_evaluation"] is None
    assert result["d4rl_reference_scores"] == [68.54, 193.66]
    assert result["reference_scores"] != [68.54, 193.66]


def test_a_given_model_more_numbers_and_more_entries_reach_the_result(root, tmp_path):
    own = forward().run(tmp_path / "own")
    model = mbo.load_imagination(tmp_path / "own" / "imagination.mbo").dynamics
    model.fit = None
    result = forward(seed=1).run(
        tmp_path / "given",
        dynamics=model,
        evaluators={"seven": lambda algo, dataset: 7.0},
        record={"model": "model.mbo"},
    )
    assert result["metrics"][-1]["seven"] == 7.0
    assert result["model"] == "model.mbo"
    error = "custom_model_holdout_error"
    assert result["metrics"][-1][error] == own["metrics"][-1][error]


def test_a_run_is_not_replaced_by_one_that_is_refused(root, tmp_path):
    experiment().run(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    updater = {"dynamics_updater": "adversarial"}
    refused = forward(learner="bc")
    refused = dataclasses.replace(
        refused, imagination_settings={**refused.imagination_settings, **updater}
    )
    with pytest.raises(mbo.CompositionError, match="BC has no critic"):
        refused.run(tmp_path, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == files


def test_the_policy_is_pretrained_if_asked_and_a_policy_that_cannot_be_is_refused(
    root, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        "d3rlpy_mbo.runs.training.pretrain_policy",
        lambda learner, dataset, n_epochs: calls.append((learner.grad_step, n_epochs)),
    )
    experiment(n_pretraining_epochs=3).run(tmp_path / "pretrained")
    assert calls == [(0, 3)]
    experiment().run(tmp_path / "plain")
    assert len(calls) == 1
    monkeypatch.undo()
    with pytest.raises(mbo.CompositionError, match="IQL cannot be pretrained"):
        experiment(learner="iql", n_pretraining_epochs=1).run(tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
