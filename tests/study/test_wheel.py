"""The wheel is the product: no checkout is needed for a study."""

import importlib.util
import json
from pathlib import Path

import pytest

from environments import Environment, our_wheel

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

pytestmark = pytest.mark.training

SMOKE = Path(__file__).parents[2] / "benchmarks" / "settings" / "smoke.toml"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    folder = tmp_path_factory.mktemp("wheel")
    environment = Environment(folder)
    environment.install(our_wheel(folder))
    return environment


def test_what_is_imported_is_the_wheels_and_every_verb_explains_itself(environment):
    program = """
import d3rlpy_mbo, d3rlpy_mbo.study.grid as grid
print(d3rlpy_mbo.__file__, grid.__file__)
from click.testing import CliRunner
from d3rlpy_mbo.cli import main
for verb in main.commands:
    done = CliRunner().invoke(main, [verb, "--help"])
    print(verb, done.exit_code, done.output.split()[:1])
"""
    done = environment.run("python", "-c", program)  # a start for each would take long
    assert done.returncode == 0, done.stderr
    imported, *lines = done.stdout.splitlines()
    for file in imported.split():
        assert Path(file).is_relative_to(environment.folder / "env")
    verbs = [line.removesuffix(" 0 ['Usage:']") for line in lines]
    assert {"collect", "train", "check", "plugins", "study", "report"} <= set(verbs)
    assert all(verb.isalpha() for verb in verbs), lines


def test_a_study_runs_and_is_reported(environment):
    smoke = SMOKE.read_text().replace("seeds = [0, 1]", "seeds = [0]")
    (environment.folder / "copy.toml").write_text(smoke)
    arguments = ["study", "copy.toml", "--out", "out", "--n-jobs", "1"]
    done = environment.run("d3rlpy-mbo", *arguments)
    assert done.returncode == 0, done.stderr
    results = list((environment.folder / "out").rglob("result.json"))
    assert len(results) == 4
    assert json.loads(results[0].read_text())["command"][1:] == arguments
    if importlib.util.find_spec("altair") is not None:  # its template is in the wheel
        assert "report.html: open it in a browser" in done.stdout
    said = environment.run("d3rlpy-mbo", "report", "out")
    assert said.returncode == 0, said.stderr
    written = (environment.folder / "out" / "report.md").read_text()
    tables = [line for line in said.stdout.splitlines() if line.startswith("|")]
    assert len(tables) > 10
    assert all(line in written for line in tables)
