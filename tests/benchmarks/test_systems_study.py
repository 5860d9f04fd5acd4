"""The study of five systems side by side: what its rows share, and that it runs."""

import tomllib
from pathlib import Path

import pytest

from d3rlpy_mbo.study.settings import Study

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILE = BENCHMARKS / "studies" / "systems-hopper.toml"
SETTINGS = BENCHMARKS / "settings"


def runs_of(study):
    return {
        name: study.experiment(study.datasets[0], name, 0) for name in study.methods
    }


def test_systems_differ_in_what_their_papers_differ_in_and_share_the_rest():
    study = Study.read(FILE)
    runs = runs_of(study)
    assert list(runs) == ["mopo", "combo", "morel", "mobile", "rambo"]
    models = {name: study.models(run)[0].path for name, run in runs.items()}
    assert len({models[name] for name in runs if name != "rambo"}) == 1
    for run in runs.values():
        [config] = run.mixture().configs.values()
        assert (config.rollout_batch_size, config.dynamics.max_steps) == (
            10_000,
            20_000,
        )
        assert run.learner_config().batch_size == 256
        run.learner_config().create()
        config.create()


def test_their_settings_are_those_of_the_settings_files():
    runs = runs_of(Study.read(FILE))
    rows = {
        "mopo": "hopper-mixed",
        "combo": "hopper-medium-replay",
        "morel": "hopper",
        "mobile": "hopper-medium-replay",
        "rambo": "hopper-medium-replay",
    }
    for name, row in rows.items():
        settings = tomllib.loads((SETTINGS / f"{name}.toml").read_text())
        here = {"rollout_length": 5, **runs[name].imagination_settings}
        for field, value in settings["environment"][row].items():
            assert here[field] == value, (name, field)
        learner = runs[name].learner_config()
        for field, value in settings.get("learner_on", {}).get(row, {}).items():
            assert getattr(learner, field) == value, (name, field)


@pytest.mark.slow
@pytest.mark.training
def test_the_study_runs_at_toy_size(minari_root, tmp_path):
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("rliable")
    from d3rlpy_mbo.study.grid import run_file

    small = tmp_path / "small.toml"
    small.write_text(shrunk(FILE.read_text()))
    out = tmp_path / "out"
    assert run_file(small, out, n_jobs=1) == {}
    assert len(list(out.rglob("result.json"))) == 5
    assert "mobile" in (out / "report.md").read_text()


def shrunk(text):
    """A study's file with tiny data, networks and budgets, and data that can be made."""
    for old, new in (
        ("seeds = [0, 1, 2, 3, 4]", "seeds = [0]"),
        ("n_steps = 50_000", "n_steps = 4"),
        ("n_steps_per_epoch = 2_500", "n_steps_per_epoch = 2"),
        ("n_trials = 10", "n_trials = 1"),
        ("n_final_trials = 50", "n_final_trials = 1"),
        ("n_last = 5", "n_last = 2"),
        ("replay/hopper-early-v0", "smoke/umaze-sparse-v0"),
        ("n_pretraining_epochs = 50", "n_pretraining_epochs = 1"),
        ("rollout_batch_size = 10_000", "rollout_batch_size = 20"),
        (
            '"dynamics_updater.coef" = 3e-4',
            '"dynamics_updater.coef" = 3e-4\n"dynamics_updater.n_updates" = 2',
        ),
        ('"halt.offset" = -50.0', '"halt.offset" = -1e4'),
        (
            '"dynamics.max_steps" = 20_000',
            '"dynamics.max_steps" = 5\n"dynamics.hidden_units" = [8]\n'
            '"dynamics.weight_decays" = [0.0, 0.0]\n'
            '"dynamics.n_models" = 2\n"dynamics.n_elites" = 2',
        ),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text + (
        '\n[collect."smoke/umaze-sparse-v0"]\ntask = "pointmaze-umaze-sparse"\n'
        "n_steps = 2_000\nn_reference_episodes = 2\n"
    )
