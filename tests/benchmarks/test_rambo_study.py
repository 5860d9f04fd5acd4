"""Stage R's study: the dose that its header asks for, and one model a seed."""

import tomllib
from pathlib import Path

import pytest

import adversary_doses
from d3rlpy_mbo.study.settings import Study

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILE = BENCHMARKS / "studies" / "rambo-hopper-five-seeds.toml"
SCALE = '"dynamics.target_scale" = "change"'


def test_its_dose_is_the_smallest_that_works_in_change_by_the_measurements():
    settings = tomllib.loads((BENCHMARKS / "settings" / "adversary.toml").read_text())
    measured = adversary_doses.doses(settings, BENCHMARKS / "results" / "adversary")
    working = [
        coef
        for scale, coef, dose in measured
        if scale == "change" and dose.n_seeds == len(settings["seeds"]) and dose.works
    ]
    study = Study.read(FILE)
    run = study.experiment(study.datasets[0], "rambo-dose", 0)
    assert run.imagination_settings["dynamics_updater.coef"] == min(working) == 0.3
    assert run.imagination_settings["dynamics.target_scale"] == "change"


@pytest.mark.parametrize("scale", ["change", "state"])
def test_its_methods_share_the_model_of_a_seed_in_the_scale_of_the_dose(
    tmp_path, scale
):
    text = FILE.read_text()
    assert text.count("\n" + SCALE) == 1
    filled = tmp_path / "study.toml"
    filled.write_text(text.replace(SCALE, SCALE.replace("change", scale)))
    study = Study.read(filled)
    runs = [study.experiment(study.datasets[0], name, 3) for name in study.methods]
    models = [model for run in runs for model in study.models(run)]
    assert len(models) == 4
    assert len({model.path for model in models}) == 1
    assert {model.dynamics["params"]["target_scale"] for model in models} == {scale}
