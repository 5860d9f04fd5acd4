"""`d3rlpy-mbo diagnose`, on a small maze."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("gymnasium_robotics")

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.components.dynamics.ensemble import ProbabilisticEnsemble
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze
from page_reader import PageReader
from toys import LineDynamicsConfig, small_learner

pytestmark = pytest.mark.training

MAZE = "pointmaze/umaze-sparse-v0"
SMALL = {
    "rollout_policy": "uniform",
    "dynamics.n_models": 2,
    "dynamics.n_elites": 1,
    "dynamics.hidden_units": [16],
    "dynamics.weight_decays": [0, 0],
    "dynamics.max_steps": 5,
}
SET = [
    word
    for key, value in SMALL.items()
    for word in (
        "--set",
        f"imagination.{key}="
        + (value if isinstance(value, str) else json.dumps(value)),
    )
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("diagnose")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        collect_pointmaze("pointmaze-umaze-sparse", n_steps=700, n_reference_episodes=1)
    return root


@pytest.fixture
def invoke(root, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))

    def run(*arguments):
        return CliRunner().invoke(main, ["diagnose", *map(str, arguments)])

    return run


def test_it_fits_the_named_imagination_prints_and_writes_the_numbers(invoke, tmp_path):
    out = tmp_path / "numbers.json"
    given = "--dataset", MAZE, "--imagination", "romi", *SET, "--seed", 3
    result = invoke(*given, "--json", out)
    assert result.exit_code == 0, result.output
    assert "Diagnosis of 'romi', reverse" in result.output
    assert "VERDICTS" in result.output
    assert "v_x" in result.output  # the maze's columns have names
    assert str(out) in result.output
    numbers = json.loads(out.read_text())
    assert numbers["seed"] == 3
    again = tmp_path / "again.json"
    invoke(*given, "--json", again)
    assert again.read_text() == out.read_text()


def test_it_writes_a_page_with_the_same_numbers_and_rollouts_in_the_maze(
    invoke, tmp_path
):
    pytest.importorskip("altair")
    numbers, page = tmp_path / "numbers.json", tmp_path / "model.html"
    given = "--dataset", MAZE, "--imagination", "romi", *SET
    result = invoke(*given, "--json", numbers, "--html", page)
    assert result.exit_code == 0, result.output
    assert str(page) in result.output
    read = PageReader(page)
    found = json.loads(numbers.read_text())
    assert read.data["diagnosis"] == found
    assert "Rollouts in the maze" in read.charts
    maze = found["maze"]
    assert maze["goal"] == [-1.0, 1.0]  # the U's upper left
    assert [-2.0, 2.0] in maze["walls"]
    assert len(maze["rollouts"]) == 40
    # The maze is its own simulator: a model of five steps is off there and here.
    assert found["outside"]["rows"] > 100
    rows = dict(read.tables["Outside the data: one step with random actions"][1:])
    there, here = found["outside"]["errors"], found["outside"]["errors_inside"]
    assert rows["v_x"] == [there[2], here[2]]
    # Of five steps each, in time order: a reverse one ends in a real state.
    assert all(len(path) == 6 for path in maze["rollouts"])


def test_it_fits_on_other_episodes_than_it_is_judged_on_if_asked_to(invoke):
    given = "--dataset", MAZE, "--imagination", "romi", *SET, "--held-out"
    result = invoke(*given, "--set", "imagination.dynamics.max_holdout=60")
    assert result.exit_code == 0, result.output
    assert "whole episodes that the model was not fitted on" in " ".join(
        result.output.split()
    )


def test_it_loads_a_fitted_imagination(invoke, tmp_path, monkeypatch):
    dynamics = mbo.ProbabilisticEnsembleConfig(
        n_models=2, n_elites=1, hidden_units=[16], weight_decays=[0.0, 0.0], max_steps=5
    )

    data, _ = mbo.load_minari(MAZE)
    imagination = mbo.ImaginationConfig(dynamics=dynamics).create()
    imagination.fit(data)
    imagination.save(tmp_path / "fitted.mbo")
    monkeypatch.setattr(mbo.Imagination, "fit", lambda *_: pytest.fail("fitted again"))
    result = invoke("--dataset", MAZE, "--load", tmp_path / "fitted.mbo")
    assert result.exit_code == 0, result.output
    assert "Diagnosis of 'custom', forward" in result.output


def test_what_it_fitted_is_kept_if_asked_and_trained_with_instead_of_fitted_again(
    invoke, tmp_path, monkeypatch
):
    model, out = tmp_path / "romi.mbo", tmp_path / "run"
    result = invoke("--dataset", MAZE, "--imagination", "romi", *SET, "--save", model)
    assert result.exit_code == 0, result.output
    assert str(model) in result.output
    monkeypatch.setattr(ProbabilisticEnsemble, "fit", None)
    given = ["--dataset", MAZE, "--learner", "bc", "--imagination", "romi"]
    given += ["--set", "imagination.rollout_policy=uniform", "--dynamics", str(model)]
    few = ["--n-steps", "1", "--n-trials", "1", "--out", str(out)]
    trained = CliRunner().invoke(main, ["train", *given, *few])
    assert trained.exit_code == 0, trained.output
    kept, used = (
        mbo.load_imagination(path).dynamics for path in (model, out / "imagination.mbo")
    )
    assert used.config == kept.config


@pytest.fixture(scope="module")
def saved(root) -> dict[str, Path]:
    """A learner of the maze's sizes, one of others, and what is none."""
    paths = {name: root / f"{name}.d3" for name in ("maze", "other", "text")}
    for name, shape in (("maze", (4,)), ("other", (5,))):
        learner = small_learner("sac")
        learner.create_impl(shape, 2)
        learner.save(str(paths[name]))
    paths["text"].write_text("not a learner")
    return paths


def test_a_saved_learner_takes_the_policys_place_and_is_asked_for_its_values(
    invoke, saved
):
    asks = ["--set", "imagination.rollout_policy=learner"]
    given = "--dataset", MAZE, "--imagination", "mopo", *SET, *asks
    without = invoke(*given)
    assert without.exit_code == 0, without.output
    assert "give learner= (from the shell --learner FILE)" in " ".join(
        without.output.split()
    )
    result = invoke(*given, "--learner", saved["maze"])
    assert result.exit_code == 0, result.output
    for part in ("ROLLOUTS", "Q-VALUES", "IN THE SIMULATOR"):
        assert part in result.output
        assert part not in without.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "There is no file"),
        ("text", "is no saved learner"),
        ("other", "SAC was built for observations of shape (5,)"),
    ],
)
def test_a_learner_that_is_none_or_for_other_data_is_refused_before_anything_is_fitted(
    invoke, saved, monkeypatch, name, words
):
    monkeypatch.setattr(mbo.Imagination, "fit", lambda *_: pytest.fail("fitted"))
    path = saved.get(name, "nowhere.d3")
    result = invoke("--dataset", MAZE, "--imagination", "romi", "--learner", path)
    assert result.exit_code == 1
    assert words in result.output
    assert "Traceback" not in result.output


def test_it_hands_on_whether_the_environment_is_trusted(invoke, tmp_path, monkeypatch):
    def load(dataset, trust_environment):
        found.append(trust_environment)
        raise mbo.DatasetError("asked")

    found: list[bool] = []
    data, _ = mbo.load_minari(MAZE)
    imagination = mbo.ImaginationConfig(dynamics=LineDynamicsConfig()).create()
    imagination.fit(data)
    imagination.save(tmp_path / "fitted.mbo")
    monkeypatch.setattr("d3rlpy_mbo.runs.diagnosis.command.load_minari", load)
    for given in (["--imagination", "mopo"], ["--load", tmp_path / "fitted.mbo"]):
        invoke("--dataset", MAZE, *given)
        invoke("--dataset", MAZE, *given, "--trust-environment")
    assert found == [False, True] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of --imagination NAME and --load FILE"),
        (["--imagination", "romi", "--load", "x"], "one of --imagination NAME"),
        (
            ["--load", "x", "--set", "imagination.rollout_length=1"],
            "are for --imagination only",
        ),
        (["--load", "x", "--held-out"], "are for --imagination only"),
        (["--load", "x", "--save", "y"], "are for --imagination only"),
        (["--load", "nowhere.mbo"], "nowhere.mbo"),
        (["--imagination", "romy"], "'romi'"),
        (
            ["--imagination", "romi", "--set", "learner.gamma=1"],
            "diagnose makes no learner",
        ),
        (
            ["--imagination", "romi", "--seed", -1],
            "Error: seed is -1, expected a whole",
        ),
        (
            ["--imagination", "romi", "--seed", 2**32],
            "at least 0 and at most 4294967295",
        ),
        (["--imagination", "romi", "--json", "no/folder/x.json"], "no/folder"),
        (["--imagination", "romi", "--html", "no/folder/x.html"], "no/folder"),
        (["--imagination", "romi", "--save", "no/folder/x.mbo"], "no/folder"),
        (["--imagination", "romi", "--save", "/"], "is a folder"),
        (["--imagination", "romi", "--html", "/dev/null"], "a device or a pipe"),
        (["--imagination", "romi", "--json", "/proc/x"], "cannot be written"),
        (
            ["--imagination", "romi", "--save", "x", "--json", "./x"],
            "--save and --json both name 'x'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(
    invoke, monkeypatch, arguments, words
):
    monkeypatch.setattr(mbo.Imagination, "fit", lambda *_: pytest.fail("fitted"))
    result = invoke("--dataset", MAZE, *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert "Traceback" not in result.output
