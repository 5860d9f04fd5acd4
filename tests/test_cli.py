import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

pytest.importorskip("gymnasium_robotics")

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.runs.folder import RunFolder
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze
from page_reader import PageReader
from strangers import hook
from toys import LEARNERS

SMALL = [
    "--set", "learner.batch_size=16",
    "--n-steps", "4", "--n-steps-per-epoch", "2", "--n-trials", "1",
]  # fmt: skip
ROMI = [
    "--imagination", "romi",
    "--set", "imagination.rollout_policy=uniform",
    "--set", "imagination.rollout_batch_size=50",
    "--set", "imagination.dynamics.n_models=2",
    "--set", "imagination.dynamics.n_elites=1",
    "--set", "imagination.dynamics.hidden_units=[16]",
    "--set", "imagination.dynamics.weight_decays=[0, 0]",
    "--set", "imagination.dynamics.max_steps=5",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a small dataset in ``minari``."""
    root = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        collect_pointmaze("pointmaze-umaze-sparse", n_steps=700, n_reference_episodes=2)
    return root


@pytest.fixture
def invoke(root, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
    monkeypatch.chdir(root)

    def run(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    return run


def train(invoke, out, *arguments, learner="td3_plus_bc", dataset=None):
    dataset = dataset or "pointmaze/umaze-sparse-v0"
    return invoke(
        "train",
        "--dataset",
        dataset,
        "--learner",
        learner,
        "--out",
        out,
        *SMALL,
        *arguments,
    )


@pytest.mark.training
def test_train_writes_everything_needed_to_run_it_again(invoke, tmp_path):
    result = train(invoke, tmp_path / "run", *ROMI, "--seed", 3)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [e["step"] for e in written["evaluations"]] == [2, 4]
    low, high = written["reference_scores"]
    for evaluation in written["evaluations"]:
        score = 100 * (evaluation["return"] - low) / (high - low)
        assert evaluation["normalized_score"] == pytest.approx(score)
    assert written["experiment"]["seed"] == 3
    assert written["learner"]["params"]["batch_size"] == 16
    assert written["imagination"]["params"]["rollout_policy"]["type"] == "uniform"
    assert written["versions"]["d3rlpy"].startswith("2.8")
    assert written["seconds"] > 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "result.json", "learner.d3", "imagination.mbo", "logs", "report.html",
        "checkpoints",
    }  # fmt: skip


@pytest.mark.training
def test_train_ends_with_its_page_or_with_what_would_write_one(
    invoke, tmp_path, monkeypatch
):
    pytest.importorskip("altair")
    out = tmp_path / "run"
    result = train(invoke, out, "--imagination", "none")
    assert result.stdout.splitlines()[-1] == (
        f"Wrote {out / 'report.html'}: open it in a browser."
    )
    written = json.loads((out / "result.json").read_text())
    read = PageReader(out / "report.html")
    assert read.data["evaluations"] == {str(out): written["evaluations"]}
    missing = "altair", "no_such_package_for_pages"
    monkeypatch.setattr("d3rlpy_mbo.runs.pages.html._PACKAGES", missing)
    result = train(invoke, out, "--imagination", "none", "--force")
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert "pip install 'd3rlpy-mbo[report]'" in last
    assert f"d3rlpy-mbo report {out} --html" in last


def shown_by_a_verb(text):
    @click.group(cls=type(main))
    def group():
        pass

    @group.command()
    def verb():
        print(text)

    group.main(["verb"], standalone_mode=False)


def test_what_the_terminal_has_no_sign_for_ends_no_work(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "latin-1"))
    shown_by_a_verb("0.5 ± 0.1 \u2587")
    sys.stdout.flush()
    assert shown.getvalue() == "0.5 ± 0.1 ?\n".encode("latin-1")


def test_train_hands_on_whether_the_environment_is_trusted(
    invoke, tmp_path, monkeypatch
):
    found = []

    def load(dataset, trust_environment):
        found.append(trust_environment)
        raise mbo.DatasetError("asked")

    monkeypatch.setattr("d3rlpy_mbo.runs.experiment.load_minari", load)
    train(invoke, tmp_path / "a", *ROMI)
    train(invoke, tmp_path / "b", *ROMI, "--trust-environment")
    assert found == [False, True]


@pytest.mark.training
def test_train_with_the_same_seed_gives_the_same_result_evaluation_included(
    invoke, tmp_path
):
    written = []
    for name in ("a", "b"):
        train(invoke, tmp_path / name, *ROMI)
        result = json.loads((tmp_path / name / "result.json").read_text())
        for metrics in result["metrics"]:
            for key in [key for key in metrics if key.startswith("time_")]:
                del metrics[key]
        written.append((result["evaluations"], result["metrics"]))
    assert written[0] == written[1]


@pytest.mark.training
def test_imagination_none_is_the_algorithm_alone(invoke, tmp_path):
    result = train(invoke, tmp_path / "run", "--imagination", "none", learner="iql")
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["imagination"] is None
    assert not (tmp_path / "run" / "imagination.mbo").exists()


@pytest.mark.training
def test_a_taken_output_folder_is_kept_without_force_and_replaced_with_it(
    invoke, tmp_path
):
    out = tmp_path / "run"
    out.mkdir()
    (out / "result.json").write_text("old")
    (out / "notes.txt").write_text("mine")
    result = train(invoke, out, "--imagination", "none")
    assert result.exit_code == 1
    assert "--force" in result.output
    assert (out / "result.json").read_text() == "old"
    assert train(invoke, out, "--imagination", "none", "--force").exit_code == 0
    assert json.loads((out / "result.json").read_text())["evaluations"]
    assert (out / "notes.txt").read_text() == "mine"


def test_a_place_that_may_not_be_read_is_named_instead_of_a_traceback(
    invoke, tmp_path, monkeypatch
):
    def closed(*_):  # simulated: a superuser is let in everywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/closed/run")

    monkeypatch.setattr(RunFolder, "validate_free", closed)
    result = train(invoke, tmp_path / "run", "--imagination", "none")
    assert result.exit_code == 1
    assert (
        "Error: Permission denied: '/closed/run'. Choose another place" in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--imagination", "romy"], "'romi'"),
        (["--imagination", "none", "--set", "learner.bach_size=1"], "'batch_size'"),
        (
            ["--imagination", "romi", "--set", "imagination.rolout_length=1"],
            "rollout_length",
        ),
        (["--imagination", "none", "--set", "imagination.rollout_length=1"], "none"),
        (["--imagination", "none", "--set", "gamma=1"], "--set"),
        (["--imagination", "none", "--n-steps", "3"], "whole number of epochs"),
    ],
)
def test_wrong_names_and_keys_are_refused_and_nothing_is_written(
    invoke, tmp_path, arguments, words
):
    result = train(invoke, tmp_path / "run", *arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_an_unknown_learner_or_dataset_is_refused_with_the_nearest(
    invoke, tmp_path, monkeypatch
):
    def unreachable(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("minari.storage.hosting.download_dataset", unreachable)
    result = train(invoke, tmp_path / "run", "--imagination", "none", learner="td3_bc")
    assert "Did you mean 'td3_plus_bc'" in result.output
    result = train(
        invoke,
        tmp_path / "run",
        "--imagination",
        "none",
        dataset="pointmaze/umaze-spars-v0",
    )
    assert "pointmaze/umaze-sparse-v0" in result.output
    assert result.exit_code == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pointmaze-umaze-dense", "--steps", 0], "0"),
        (
            ["pointmaze-umaze-dense", "--device", "cpu"],
            "--device is for hiv, replay only",
        ),
        (["pointmaze-umaze-dense", "--env", "Hopper-v5"], "--env is for replay only"),
        (["replay", "--reference-episodes", 5], "dense, pointmaze-umaze-sparse only"),
        (["ant-angle", "--steps", 5], "-dense, pointmaze-umaze-sparse, replay only"),
        (
            ["ant-angle", "--seed", 0],
            "--seed is for hiv, icu-sepsis, pointmaze-",
        ),
        (["ant-angle", "--steps", 5, "--set", "n_steps=5"], "both say what n_steps is"),
        (["ant-angle", "--set", "n_steps=5"], "'n_steps' is not a field here"),
        (["ant-angle", "--set", "source"], "KEY=VALUE"),
        (["pointmaze-umaze-dense", "--set", "n_steps=many"], "expected an integer"),
        (["pointmaze-umaze-dense", "--set", "n_steps=null"], "cannot be left out"),
        (["replay", "--set", "n_steps=5"], "collect replay needs --env"),
        (["replay", "--set", "environment=5", "--steps", 5], "expected text"),
        (["pointmaze-umaze-spars", "--steps", 5], "'pointmaze-umaze-sparse'"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused_and_nothing_is_collected(
    invoke, root, arguments, words
):
    before = sorted((root / "minari").rglob("*"))
    result = invoke("collect", *arguments)
    assert result.exit_code
    assert words in result.output
    assert sorted((root / "minari").rglob("*")) == before


def test_a_scaler_that_hides_unknown_returns_is_refused_before_anything_is_written(
    invoke, tmp_path
):
    forward = "--set", "imagination.dynamics.direction=forward"
    clip = "--set", 'learner.reward_scaler={"type": "clip", "params": {"low": -1}}'
    result = train(invoke, tmp_path / "run", *ROMI, *forward, *clip, learner="cal_ql")
    assert "return-to-go that is not known" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.training
@pytest.mark.parametrize("name", ["cal_ql", "decision_transformer", "tacr"])
def test_learners_that_ask_what_follows_train_by_name(invoke, tmp_path, name):
    arguments = list(ROMI)
    if name != "cal_ql":
        context = "--set", "learner.context_size=5", "--set", "learner.num_layers=1"
        arguments += [*context, "--target-return", "12.5"]
    result = train(invoke, tmp_path / "run", *arguments, learner=name)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    target = None if name == "cal_ql" else 12.5
    assert written["target_return"] == written["experiment"]["target_return"] == target
    assert [each["step"] for each in written["evaluations"]] == [2, 4]
    assert len(written["metrics"]) == 2
    assert all(each["imagined_share"] > 0 for each in written["metrics"])
    learner = mbo.load_learner(tmp_path / "run" / "learner.d3")
    assert learner.config.get_type() == name
    assert getattr(learner.config, "context_size", 5) == 5


@pytest.mark.training
@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "cal_ql"])
def test_every_continuous_learner_trains_by_name(invoke, tmp_path, monkeypatch, name):
    monkeypatch.setattr("d3rlpy_mbo.study.commands.page_of", lambda folder: "no page")
    result = train(invoke, tmp_path / "run", *ROMI, learner=name)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["learner"]["type"] == name
    assert [each["step"] for each in written["evaluations"]] == [2, 4]
    assert written["metrics"][-1]["imagined_share"] > 0


def test_collect_writes_a_dataset_once_and_names_the_nearest_task(invoke, root):
    arguments = [
        "collect",
        "pointmaze-umaze-dense",
        "--steps",
        320,
        "--id",
        "mine/small-v0",
    ]
    result = invoke(*arguments, "--reference-episodes", 1)
    assert result.exit_code == 0, result.output
    again = invoke(*arguments, "--reference-episodes", 1)
    assert again.exit_code == 1
    assert "force" in again.output
    unknown = invoke("collect", "pointmaze-umaze-spars")
    assert "pointmaze-umaze-sparse" in unknown.output


def test_collect_replay_then_relabel_it_from_the_command_line(invoke):
    missing = invoke("collect", "replay", "--env", "HalfCheetah-v5")
    assert missing.exit_code == 2
    assert "--steps" in missing.output
    arguments = ["--env", "HalfCheetah-v5", "--steps", 120, "--id", "replay/cheetah-v0"]
    result = invoke("collect", "replay", *arguments)
    assert result.exit_code == 0, result.output
    assert "--from" in invoke("collect", "halfcheetah-jump").output
    result = invoke("collect", "halfcheetah-jump", "--from", "replay/cheetah-v0")
    assert result.exit_code == 0, result.output
    assert "mopo/halfcheetah-jump-v0" in result.output
    assert "replay" in invoke("collect", "reply").output


def test_collect_refuses_options_of_another_task(invoke):
    for option, task in (
        ("--env", "replay"),
        ("--from", "ant-angle, halfcheetah-jump"),
    ):
        result = invoke("collect", "pointmaze-umaze-sparse", option, "x")
        assert result.exit_code == 2
        assert f"{option} is for {task}" in result.output


@pytest.mark.training
def test_collect_sets_any_field_of_a_task_and_its_options_are_short_for_that(invoke):
    small = ["--set", "n_steps=320", "--set", "n_reference_episodes=1"]
    names = ["mine/set-v0", "mine/mixed-v0"]
    first = invoke("collect", "pointmaze-umaze-dense", "--id", names[0], *small)
    assert first.exit_code == 0, first.output
    assert f"Wrote {names[0]}." in first.output
    mixed = ["--steps", 320, *small[2:], "--seed", 0, "--id", names[1]]
    assert invoke("collect", "pointmaze-umaze-dense", *mixed).exit_code == 0
    one, other = (mbo.load_minari(name)[0].episodes for name in names)
    assert len(one) == len(other) == 2
    for episode, same in zip(one, other, strict=True):
        assert episode.observations.tolist() == same.observations.tolist()


STRANGERS = "Learner, Task = learner('theirs'), task('their-walk')\n" + hook(
    "return [Learner, Task]"
)


@pytest.mark.training
def test_a_plugins_task_is_collected_and_its_learner_trains_and_loads(
    invoke, tmp_path, install
):
    install("good", STRANGERS)
    shown = invoke("plugins").output
    assert "good 1.2: main\n  learner theirs" in shown
    assert "  task their-walk - " in shown
    assert "  task pointmaze-umaze-sparse - A walk through PointMaze" in shown
    result = invoke("collect", "their-walk", "--steps", 3)
    assert "Wrote theirs/their-walk-v0 with 3." in result.output
    result = invoke("collect", "their-walk", "--set", "n_steps=3", "--id", "a-v0")
    assert "Wrote a-v0." in result.output
    result = invoke("collect", "their-walk", "--seed", 3)
    assert result.exit_code == 2
    assert "--seed is for" in result.output
    assert "their-walk" in invoke("collect", "ant-angle", "--steps", 3).output

    result = train(
        invoke, tmp_path / "run", *ROMI, "--set", "learner.alpha=2", learner="theirs"
    )
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["learner"]["type"] == "theirs"
    loaded = mbo.load_learner(tmp_path / "run" / "learner.d3")
    assert type(loaded.config).__module__ == "good"
    assert loaded.config.alpha == 2
    missing = train(invoke, tmp_path / "other", *ROMI, learner="thiers")
    assert "Did you mean 'theirs'" in missing.output


def test_plugins_lists_what_each_distribution_provides(invoke):
    result = invoke("plugins")
    assert result.exit_code == 0
    assert "d3rlpy-mbo" in result.output
    assert "imagination romi" in result.output
    assert "rollout_policy cvae" in result.output


def test_plugins_exits_with_one_and_shows_the_plugin_that_failed(invoke, monkeypatch):
    from d3rlpy_mbo.registry import discovery
    from d3rlpy_mbo.registry.discovery import Plugin, Registry

    broken = Plugin("theirs", "1.2", "odd", error=ValueError("no such thing"))
    monkeypatch.setattr(discovery, "registry", lambda: Registry([broken]))
    result = invoke("plugins")
    assert result.exit_code == 1
    assert "theirs 1.2" in result.output
    assert "no such thing" in result.output


def test_the_command_line_runs_as_a_module_too_and_cuts_no_summary():
    asked = [sys.executable, "-m", "d3rlpy_mbo", "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("Usage: python -m d3rlpy_mbo [OPTIONS] COMMAND")
    commands = shown.partition("Commands:")[2].split("\n")
    assert len(list(filter(None, commands))) == 7
    assert not [line for line in commands if line.endswith("...")]
