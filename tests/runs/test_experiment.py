import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium_robotics")

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics.ensemble import ProbabilisticEnsemble
from d3rlpy_mbo.imagination.file_content import digest_of
from d3rlpy_mbo.metrics import normalized_score
from d3rlpy_mbo.runs.evaluation import EnvironmentEvaluations
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
    seed = np.int64(1)  # as a loop over an array has it
    other = experiment(seed=seed, n_final_trials=2).run(tmp_path / "1")
    assert other["experiment"]["seed"] == 1
    assert json.loads((tmp_path / "1" / "result.json").read_bytes())
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
        dynamics=[model],
        evaluators={"seven": lambda algo, dataset: 7.0},
        record={"model": "model.mbo"},
    )
    assert result["metrics"][-1]["seven"] == 7.0
    assert result["model"] == "model.mbo"
    error = "custom_model_holdout_error"
    assert result["metrics"][-1][error] == own["metrics"][-1][error]


def test_a_model_is_taken_from_a_saved_imagination_instead_of_fitted(
    root, tmp_path, monkeypatch
):
    forward().run(tmp_path / "own")
    file = tmp_path / "own" / "imagination.mbo"
    monkeypatch.setattr(ProbabilisticEnsemble, "fit", None)
    # MOPO's ensemble has other defaults: the file's settings are those of the model.
    named = experiment(
        seed=1,
        imagination="mopo",
        imagination_settings={"rollout_batch_size": 50},
        dynamics_file=str(file),
    )
    result = named.run(tmp_path / "taken")
    assert result["experiment"]["dynamics_file"] == str(file)
    taken = mbo.load_imagination(tmp_path / "taken" / "imagination.mbo")
    model = mbo.load_imagination(file).dynamics
    assert taken.config.get_type() == "mopo"
    assert taken.dynamics.config == model.config
    elites = taken.dynamics.state_dict()["elites"]
    for name, tensor in model.state_dict()["elites"].items():
        assert torch.equal(elites[name], tensor)
    again = Experiment(**result["experiment"]).run(tmp_path / "again")
    assert again["evaluations"] == result["evaluations"]


def test_a_model_that_cannot_be_taken_is_refused_before_anything_is_written(
    root, tmp_path
):
    forward().run(tmp_path / "own")
    file = str(tmp_path / "own" / "imagination.mbo")
    wrong = {
        "imagines reverse.*dynamics.direction=forward": experiment(
            imagination="romi", dynamics_file=file
        ),
        "'dynamics.max_steps'.* cannot be set": forward(dynamics_file=file),
        "nothing imagines with": experiment(dynamics_file=file),
        "no_such_file": experiment(imagination="mopo", dynamics_file="no_such_file"),
    }
    for message, refused in wrong.items():
        with pytest.raises(mbo.D3RLPyMBOError, match=message):
            refused.run(tmp_path / "refused")
        assert not (tmp_path / "refused").exists()


def test_romi_with_a_forward_model_of_a_file_is_fomi(root, tmp_path):
    forward().run(tmp_path / "own")
    settings = {"rollout_batch_size": 50, "rollout_policy": "uniform"}
    settings["dynamics.direction"] = "forward"
    fomi = experiment(
        imagination="romi",
        imagination_settings=settings,
        dynamics_file=str(tmp_path / "own" / "imagination.mbo"),
    )
    fomi.run(tmp_path / "fomi")
    taken = mbo.load_imagination(tmp_path / "fomi" / "imagination.mbo")
    assert (taken.config.get_type(), taken.dynamics.direction) == ("romi", "forward")


def test_a_model_that_an_adversary_has_changed_is_taken_with_a_warning(root, tmp_path):
    forward().run(tmp_path / "own")
    path, changed = tmp_path / "own" / "imagination.mbo", tmp_path / "changed.mbo"
    imagination = mbo.load_imagination(path)
    imagination._changed = True
    imagination.save(changed)
    taken = experiment(
        imagination="mopo",
        imagination_settings={"rollout_batch_size": 50},
        dynamics_file=str(changed),
    )
    with pytest.warns(UserWarning, match="changed while another learner trained"):
        taken.run(tmp_path / "taken")


def test_a_run_goes_on_with_the_model_that_it_began_with_and_no_other(root, tmp_path):
    for seed in (0, 1):
        forward(seed=seed).run(tmp_path / str(seed))
    file, out = tmp_path / "model.mbo", tmp_path / "run"
    shutil.copy(tmp_path / "0" / "imagination.mbo", file)
    taken = experiment(
        imagination="mopo",
        imagination_settings={"rollout_batch_size": 50},
        dynamics_file=str(file),
    )
    taken.run(out, keep_checkpoint=True)
    per_epoch = taken.n_steps  # as the epoch of so short a run was
    longer = dataclasses.replace(
        taken, n_steps=2 * per_epoch, n_steps_per_epoch=per_epoch
    )
    shutil.copy(tmp_path / "1" / "imagination.mbo", file)
    with pytest.warns(UserWarning, match="replaced by the run's own"):
        result = longer.run(out, resume=True)
    assert result["experiment"]["n_steps"] == longer.n_steps
    used, began = (
        mbo.load_imagination(path / "imagination.mbo").dynamics.state_dict()
        for path in (out, tmp_path / "0")
    )
    assert digest_of(used) == digest_of(began)


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


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_final_trials": -1}, "n_final_trials is -1"),
        ({"n_steps": 1e2}, "n_steps is 100.0"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"learner_settings": {"gamma": "x"}}, "gamma"),
        ({"learner_settings": {"gamma": np.float32("nan")}}, "gamma is nan"),
    ],
)
def test_a_setting_of_no_use_is_refused_and_nothing_is_replaced_or_written(
    root, tmp_path, wrong, words
):
    kept = tmp_path / "result.json"
    kept.write_text("of a run that is finished")
    with pytest.raises(mbo.CompositionError, match=words):
        experiment(**wrong).run(tmp_path, force=True)
    assert kept.read_text() == "of a run that is finished"
    assert [*tmp_path.iterdir()] == [kept]


def test_numbers_of_numpys_among_the_settings_are_pythons_in_all_files(root, tmp_path):
    settings = {"batch_size": np.int64(16), "gamma": np.float32(0.5)}
    experiment(learner_settings=settings).run(tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["learner"]["params"]["gamma"] == 0.5
    assert written["experiment"]["learner_settings"] == {"batch_size": 16, "gamma": 0.5}
    assert mbo.load_learner(tmp_path / "learner.d3").config.batch_size == 16


@pytest.mark.filterwarnings("ignore:.*reward is a NaN value")
def test_a_return_that_is_no_number_is_null_and_costs_no_result(
    root, tmp_path, monkeypatch
):
    step = PointMaze.step

    def worthless(self, action):
        observation, _, *rest = step(self, action)
        return observation, float("nan"), *rest

    monkeypatch.setattr(PointMaze, "step", worthless)
    experiment(n_final_trials=1).run(tmp_path)
    text = (tmp_path / "result.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)  # JSON has no NaN
    none = {"return": None, "normalized_score": None}
    assert written["evaluations"] == [{"step": 2, **none}]
    assert written["final_evaluation"] == {"returns": [None], **none}
    assert written["metrics"][0]["environment"] is None


def test_runs_of_a_seed_are_evaluated_from_the_same_starts_whatever_they_are(
    root, tmp_path, monkeypatch
):
    seeds = []

    class Noting(EnvironmentEvaluations):
        def __init__(self, env, evaluator, seed, n_done):
            seeds.append(seed)
            super().__init__(env, evaluator, seed, n_done)

    monkeypatch.setattr("d3rlpy_mbo.runs.training.EnvironmentEvaluations", Noting)
    settings = forward().imagination_settings
    asking = dataclasses.replace(  # a critic, for which the learner is built first
        forward(),
        imagination_settings={
            **settings,
            "dynamics.n_elites": 2,
            "penalty": "bellman_spread",
        },
    )
    for i, each in enumerate(
        [experiment(), forward(), asking, experiment(n_pretraining_epochs=1)]
    ):
        each.run(tmp_path / str(i))
    assert len(seeds) == 4
    assert len(set(seeds)) == 1


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
