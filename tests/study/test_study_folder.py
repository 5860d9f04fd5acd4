import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main

pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.study.folder import require_same_study, warn_of_other_models
from d3rlpy_mbo.study.jobs import RunExperiment
from d3rlpy_mbo.study.records import differences
from d3rlpy_mbo.study.settings import Study

TEXT = """
datasets = ["maze/a-v0"]
seeds = [0, 1]
n_steps = 10
n_steps_per_epoch = 5
n_trials = 1
n_last = 2

[methods.bcq]
learner = "bcq"

[methods.romi]
learner = "bcq"
imagination = "romi"

[learner_settings.bcq]
batch_size = 5
"""


@pytest.fixture
def out(tmp_path):
    """A folder of the study with one run, of its seed 0 of romi."""
    out = tmp_path / "out"
    study = read(TEXT, tmp_path)
    never = {"type": "never", "params": {}}  # what the dataset's environment told
    experiment = study.experiment("maze/a-v0", "romi", 0, never)
    path = RunExperiment("romi", experiment, None, []).result(out)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"experiment": vars(experiment)}))
    (out / "study.toml").write_text(TEXT)
    return out


def read(text: str, folder: Path) -> Study:
    (folder / "new.toml").write_text(text)
    return Study.read(folder / "new.toml")


def require(text: str, out: Path) -> None:
    study = read(text, out.parent)
    jobs = [
        RunExperiment(method, study.experiment(dataset, method, seed), None, [])
        for dataset in study.datasets
        for method in study.methods
        for seed in study.seeds
    ]
    require_same_study(study, out, jobs)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("seeds = [0, 1]", "seeds = [0, 1, 2]"),
        ("seeds = [0, 1]", "seeds = [1]"),
        ('["maze/a-v0"]', '["maze/a-v0", "maze/b-v0"]'),
        ("[methods.romi]", "[methods.fomi]"),
        ("n_last = 2", "n_last = 1\ndiffers = ['something']"),
        ("[methods.bcq]", "[methods.sac]\nlearner = 'sac'\n[methods.bcq]"),
    ],
)
def test_more_or_fewer_runs_of_the_same_settings_are_no_other_study(out, old, new):
    require(TEXT.replace(old, new, 1), out)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_steps = 10", "n_steps = 20", r"n_steps is 10 there, 20 here \(bcq, romi\)"),
        (
            "batch_size = 5",
            "batch_size = 6",
            "learner_settings.batch_size is 5 there, 6",
        ),
        ("batch_size = 5", "lam = 0.5", "batch_size is 5 there, not set here"),
        (
            'imagination = "romi"',
            'imagination = "romi"\nimagination_settings = { real_ratio = 0.5 }',
            r"real_ratio is not set there, 0.5 here \(romi\)",
        ),
        (
            "n_last = 2",
            "n_last = 2\nmodel_per_seed = true",
            "model_per_seed is False",
        ),
        ('["maze/a-v0"]', '["maze/b-v0"]', "datasets are .*a-v0.* there"),
    ],
)
def test_another_studys_results_are_refused_and_what_differs_is_named(
    out, old, new, message
):
    before = sorted(out.rglob("*"))
    with pytest.raises(mbo.CompositionError, match=message):
        require(TEXT.replace(old, new, 1), out)
    assert sorted(out.rglob("*")) == before


def test_a_run_on_its_way_makes_a_folder_its_studys_as_a_result_does(out):
    result = next(out.rglob("result.json"))
    experiment = json.loads(result.read_text())["experiment"]
    unfinished = result.with_name("unfinished")
    (unfinished / "checkpoints").mkdir(parents=True)
    result.unlink()
    (unfinished / "experiment.json").write_text(json.dumps(experiment))
    longer = TEXT.replace("n_steps = 10", "n_steps = 20")
    require(TEXT, out)
    with pytest.raises(
        mbo.CompositionError, match=r"unfinished was begun .* is 10 there"
    ):
        require(longer, out)
    (unfinished / "checkpoints" / "checkpoint-1.json").touch()
    with pytest.raises(
        mbo.CompositionError, match="holds runs of another study: n_steps"
    ):
        require(longer, out)
    (unfinished / "experiment.json").write_text("{")
    (out / "study.toml").unlink()
    require(longer, out)  # what cannot be read is nothing to lose


def test_a_folder_without_results_is_anybodys(out):
    next(out.rglob("result.json")).unlink()
    require(TEXT.replace("n_steps = 10", "n_steps = 20"), out)


def test_a_result_beside_no_settings_is_compared_by_itself(out):
    (out / "study.toml").unlink()
    require(TEXT, out)
    with pytest.raises(
        mbo.CompositionError, match=r"result\.json was .* n_steps is 10"
    ):
        require(TEXT.replace("n_steps = 10", "n_steps = 20"), out)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"experiment": {"a": 1}}', "\udcff"]
)
def test_a_damaged_result_is_named_before_anything_is_made(out, content):
    path = next(out.rglob("result.json"))
    path.write_bytes(content.encode(errors="surrogateescape"))
    done = CliRunner().invoke(main, ["study", str(write(out, TEXT)), "--out", str(out)])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert f"{path} is damaged" in done.stderr


def test_a_result_of_a_later_version_is_none_that_is_damaged(out):
    (path,) = out.rglob("result.json")
    content = json.loads(path.read_text())
    content["experiment"]["later"] = 1
    content["versions"] = {"d3rlpy-mbo": "9.0"}
    path.write_text(json.dumps(content))
    done = CliRunner().invoke(main, ["study", str(write(out, TEXT)), "--out", str(out)])
    assert done.exit_code == 1
    assert f"{path} is of another version of d3rlpy-mbo (9.0, here" in done.stderr
    assert "'later'" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'learner = "bcq"',
            'learner = "bqc"',
            "'bqc'. Did you mean",
        ),
        ('imagination = "romi"', 'imagination = "romy"', "'romi'"),
        ("batch_size = 5", "bach_size = 5", "'batch_size'"),
        (
            "[learner_settings.bcq]",
            "[learner_settings.bqc]",
            "no learner 'bqc', and no method has it. Did you mean 'bcq'?",
        ),
        (
            "[learner_settings.bcq]",
            "[imagination_settings.rommi]\nreal_ratio = 0.5\n[learner_settings.bcq]",
            "no imagination 'rommi', and no method has it. Did you mean 'romi'?",
        ),
        (
            "[methods.bcq]",
            "[methods.bcq]\nimagination_settings = { real_ratio = 0.5 }",
            "imagination is 'none', so its ['real_ratio'] cannot be set",
        ),
        ("n_last = 2", "n_last = 2\ndevice = 'gpu'", "device is 'gpu'"),
        ("n_last = 2", "n_last = 2\ndevice = 'cuda:99'", "'cuda:99' is not here"),
        ("n_steps = 10", "n_steps = 11", "whole number of epochs"),
        (
            "n_last = 2",
            "n_last = 2\n[collect.'a/b-v0']\ntask = 'ant-angel'",
            "ant-angle",
        ),
        (
            'imagination = "romi"',
            'imagination = "romi"\nimagination_settings = { rollout_policy = "learner" }',
            "learner",
        ),
        ("", "", "The dataset 'maze/a-v0' is not in"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_made(
    tmp_path, minari_root, monkeypatch, old, new, message
):
    def unreachable(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", unreachable)
    out = tmp_path / "out"
    file = write(out, TEXT.replace(old, new, 1))
    done = CliRunner().invoke(main, ["study", str(file), "--out", str(out)])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert message in done.stderr
    assert not out.exists()


def write(out: Path, text: str) -> Path:
    path = out.parent / "study.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("verb", "missing", "extra"),
    [
        (["study", "x", "--out", "y"], "joblib", "studies"),
        (["report", "x"], "matplotlib", "studies"),
        (["study", "x", "--out", "y", "--backend", "ray"], "ray", "cluster"),
    ],
)
def test_a_missing_extra_is_named_with_what_installs_it(
    monkeypatch, verb, missing, extra
):
    from d3rlpy_mbo.study import commands

    there = commands.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: None if name == missing else there(name),
    )
    done = CliRunner().invoke(main, verb)
    assert done.exit_code == 1
    assert f"{missing} cannot be imported" in done.stderr
    assert f"pip install 'd3rlpy-mbo[{extra}]'" in done.stderr


@pytest.mark.training
def test_the_command_line_imports_nothing_of_the_studies_until_they_run():
    program = (
        "import sys, d3rlpy_mbo.cli; "
        "modules = {'matplotlib', 'rliable', 'd3rlpy_mbo.study.grid'}; "
        "print(modules & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_a_folder_that_cannot_be_made_is_named(tmp_path, minari_root, monkeypatch):
    monkeypatch.setattr("d3rlpy_mbo.study.grid.reference_scores", lambda dataset: None)
    (tmp_path / "taken").write_text("mine")
    file = write(tmp_path / "out", TEXT)
    out = tmp_path / "taken" / "out"
    done = CliRunner().invoke(main, ["study", str(file), "--out", str(out)])
    assert done.exit_code == 1
    assert f"--out {str(out)!r} cannot be written" in done.stderr
    done = CliRunner().invoke(
        main, ["report", "x", "--out", str(tmp_path / "a" / "b.md")]
    )
    assert done.exit_code == 1
    assert "There is no folder" in done.stderr


def test_a_field_that_a_rule_got_since_makes_no_other_run():
    def run(parameters):
        rule = {"type": "mountain_car", "params": parameters}
        settings = {"termination": rule}
        return Experiment("some-v0", "bcq", "mopo", 0, imagination_settings=settings)

    before, now = run({}), run({"goal_velocity": 0.0})
    assert differences(before, now) == []
    [difference] = differences(before, run({"goal_velocity": 0.1}))
    assert difference.startswith("imagination_settings.termination is")
    rule = {"termination": {"type": "cart_pole", "params": {}}}
    other = dataclasses.replace(before, imagination_settings=rule)
    assert len(differences(before, other)) == 1


def test_a_folder_of_a_version_with_other_models_is_warned_of_once_a_model(tmp_path):
    study = read(TEXT.replace("[0, 1]", "[0, 1, 2]"), tmp_path)
    experiments = [study.experiment("maze/a-v0", "romi", seed) for seed in study.seeds]
    jobs = [RunExperiment("romi", e, study.models(e), []) for e in experiments]
    ours = str(jobs[0].models[0].path)
    assert {str(job.models[0].path) for job in jobs} == {ours}

    def made(job: RunExperiment, model: str) -> None:
        job.result(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        content = {"experiment": vars(job.experiment), "model": {"file": model}}
        job.result(tmp_path).write_text(json.dumps(content))

    made(jobs[0], ours)
    warn_of_other_models(tmp_path, jobs)  # warnings are errors here
    made(jobs[0], "maze-a-v0/model-reverse-0ldname1-seed-0.mbo")
    with pytest.warns(UserWarning, match="0ldname1.* another version") as warned:
        warn_of_other_models(tmp_path, jobs)
    assert len(warned) == 1
    assert ours.rpartition("-seed-")[0] in str(warned[0].message)
    made(jobs[1], "maze-a-v0/model-reverse-0ldname1-seed-0.mbo")
    made(jobs[2], ours)
    warn_of_other_models(tmp_path, jobs)  # nothing is left to be made


def test_models_of_another_version_are_seen_across_seeds_that_have_their_own(tmp_path):
    study = read("model_per_seed = true\n" + TEXT, tmp_path)
    experiments = [study.experiment("maze/a-v0", "romi", seed) for seed in study.seeds]
    jobs = [RunExperiment("romi", e, study.models(e), []) for e in experiments]
    assert jobs[0].models[0].path != jobs[1].models[0].path
    result = jobs[0].result(tmp_path)
    result.parent.mkdir(parents=True)

    def made(model: str) -> None:
        content = {"experiment": vars(jobs[0].experiment), "model": {"file": model}}
        result.write_text(json.dumps(content))

    made(str(jobs[0].models[0].path))
    warn_of_other_models(tmp_path, jobs)
    made("maze-a-v0/model-reverse-0ldname1-seed-0.mbo")
    with pytest.warns(UserWarning, match="0ldname1.* another version"):
        warn_of_other_models(tmp_path, jobs)
