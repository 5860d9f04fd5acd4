"""A study goes on inside its runs and models, and hands on whom it trusts."""

import json
from pathlib import Path

import pytest

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("joblib")

from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.study.execution import error_path, execute
from d3rlpy_mbo.study.folder import require_same_study
from d3rlpy_mbo.study.jobs import FitModel, RunExperiment
from d3rlpy_mbo.study.settings import Model, Study
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from d3rlpy_mbo.support.errors import CompositionError
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

pytestmark = pytest.mark.training

DATASET = "pointmaze/umaze-sparse-v0"


class Killed(BaseException):
    """What a job does not catch."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study_resumes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        collect_pointmaze("pointmaze-umaze-sparse", n_steps=700, n_reference_episodes=2)
        yield root


@pytest.fixture
def kill_after(monkeypatch):
    """Has the process die once the n-th checkpoint from now on is written."""

    due = "d3rlpy_mbo.runs.checkpoint.RunCheckpoint._is_due"
    monkeypatch.setattr(due, lambda self: True)  # so short a run would have few

    def arrange(n: int) -> None:
        write, written = CheckpointFolder.write, []

        def watched(self, *arguments):
            write(self, *arguments)
            written.append(None)
            if len(written) == n:
                monkeypatch.setattr(CheckpointFolder, "write", write)
                raise Killed

        monkeypatch.setattr(CheckpointFolder, "write", watched)

    return arrange


def job(**changes) -> RunExperiment:
    settings = {"n_steps_per_epoch": 2, "n_trials": 1, **changes}
    experiment = Experiment(
        DATASET,
        "td3_plus_bc",
        "none",
        4,
        learner_settings={"batch_size": 16},
        **settings,
    )
    return RunExperiment("alone", experiment, [], [])


def test_a_killed_run_of_a_study_goes_on_from_its_checkpoint(
    root, tmp_path, kill_after
):
    execute(job(), tmp_path / "whole")
    kill_after(2)  # after its first epoch
    with pytest.raises(Killed):
        execute(job(), tmp_path / "killed")
    logs = tmp_path / "killed" / job().path / "unfinished" / "logs" / "environment.csv"
    assert len(logs.read_text().splitlines()) == 1
    before = logs.stat().st_ino
    moved = tmp_path / "killed" / job().path / "logs" / "environment.csv"
    execute(job(), tmp_path / "killed")
    assert moved.stat().st_ino == before  # continued, not begun anew
    whole, killed = (
        json.loads(job().result(tmp_path / name).read_text())["evaluations"]
        for name in ("whole", "killed")
    )
    assert killed == whole


@pytest.fixture
def killed(root, tmp_path, kill_after) -> Path:
    """The folder of a run that was killed after its first epoch; notes lie beside it."""
    kill_after(2)
    with pytest.raises(Killed):
        execute(job(), tmp_path)
    run = tmp_path / job().path
    (run / "notes.txt").write_text("mine")
    return run


def test_a_run_of_other_settings_on_its_way_is_refused_and_stays(killed, tmp_path):
    before = {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()}
    changed = job(n_trials=2)
    execute(changed, tmp_path)
    said = error_path(changed, tmp_path).read_text()
    assert "unfinished was begun with other settings: n_trials is 1 there, 2" in said
    assert {p: p.read_bytes() for p in killed.rglob("*") if p.is_file()} == before


def test_a_study_of_other_settings_than_a_run_on_its_way_is_refused_before(
    killed, tmp_path
):
    text = (
        f'datasets = ["{DATASET}"]\nseeds = [0]\nn_steps = 4\nn_steps_per_epoch = 2\n'
        'n_trials = 1\nn_last = 1\n[methods.alone]\nlearner = "td3_plus_bc"\n'
        "learner_settings.batch_size = 16\n"
    )

    def require(text: str) -> None:
        (tmp_path / "new.toml").write_text(text)
        study = Study.read(tmp_path / "new.toml")
        ours = study.experiment(DATASET, "alone", 0)
        require_same_study(study, tmp_path, [RunExperiment("alone", ours, [], [])])

    require(text)
    with pytest.raises(CompositionError, match=r"batch_size is 16 there, 8 here"):
        require(text.replace("= 16", "= 8"))


@pytest.mark.parametrize("how", ["torn", "another version"])
def test_what_nobody_can_go_on_from_is_begun_anew_and_nothing_else_is_removed(
    killed, tmp_path, monkeypatch, how
):
    if how == "torn":
        for path in (killed / "unfinished" / "checkpoints").glob("*.json"):
            path.write_bytes(path.read_bytes()[:-9])
    else:
        monkeypatch.setattr(
            "d3rlpy_mbo.runs.identity.installed_versions", lambda names: {"d3rlpy": "9"}
        )
    execute(job(), tmp_path)
    assert not error_path(job(), tmp_path).exists()
    assert len(json.loads(job().result(tmp_path).read_text())["evaluations"]) == 2
    assert "begins anew" in killed.with_name(f"{killed.name}.log").read_text()
    assert (killed / "notes.txt").read_text() == "mine"


def test_a_run_on_its_way_on_another_device_is_refused_and_stays(
    killed, tmp_path, monkeypatch
):
    monkeypatch.setattr("d3rlpy_mbo.runs.identity.device_name", lambda device: "cuda:9")
    execute(job(), tmp_path)
    said = error_path(job(), tmp_path).read_text()
    assert "device.learner is 'cpu' there and 'cuda:9' here" in said
    assert any((killed / "unfinished" / "checkpoints").glob("*.json"))


def test_a_killed_fit_of_a_model_goes_on_and_leaves_the_same_model(
    root, tmp_path, kill_after
):
    dynamics = {
        "type": "probabilistic_ensemble",
        "params": {
            "direction": "forward", "n_models": 2, "n_elites": 1,
            "hidden_units": [8], "weight_decays": [0.0, 0.0], "max_steps": 9,
        },
    }  # fmt: skip
    model = FitModel(Model(DATASET, dynamics, 0, "cpu"))
    execute(model, tmp_path / "whole")
    kill_after(3)  # in its second epoch
    with pytest.raises(Killed):
        execute(model, tmp_path / "killed")
    execute(model, tmp_path / "killed")
    assert model.result(tmp_path / "killed").read_bytes() == (
        model.result(tmp_path / "whole").read_bytes()
    )
    assert not list((tmp_path / "killed").rglob("*.checkpoints"))


def test_a_study_trains_a_transformer_to_its_result(root, tmp_path):
    experiment = Experiment(
        DATASET,
        "decision_transformer",
        "none",
        1,
        n_steps_per_epoch=1,
        n_trials=1,
        learner_settings={"batch_size": 4, "context_size": 3, "num_layers": 1},
    )
    alone = RunExperiment("dt", experiment, [], [])
    execute(alone, tmp_path)
    assert not error_path(alone, tmp_path).exists()
    result = json.loads(alone.result(tmp_path).read_text())
    assert len(result["evaluations"]) == 1
    assert [each["q_real_mean"] for each in result["metrics"]] == [None]


def test_a_study_hands_on_whether_environments_are_trusted(tmp_path):
    text = (
        f'datasets = ["{DATASET}"]\nseeds = [0]\nn_steps = 4\nn_steps_per_epoch = 2\n'
        'n_trials = 1\nn_last = 1\n[methods.bc]\nlearner = "bc"\n'
    )
    for trusted in (False, True):
        line = "trust_environment = true\n" if trusted else ""
        (tmp_path / "study.toml").write_text(line + text)
        study = Study.read(tmp_path / "study.toml")
        assert study.experiment(DATASET, "bc", 0).trust_environment is trusted
