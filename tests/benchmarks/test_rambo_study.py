"""Stage R's study: refused without its dose, and one model a seed whatever its scale."""

from pathlib import Path

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.study.settings import Study

FILE = (
    Path(__file__).parents[2]
    / "benchmarks"
    / "studies"
    / "rambo-hopper-five-seeds.toml"
)
OPEN, SCALE = '"FILL IN: see the header" }', '"dynamics.target_scale" = "change"'


def test_it_is_refused_before_the_dose_is_filled_in():
    text = FILE.read_text()
    assert text.count(OPEN) == 1
    study = Study.read(FILE)
    with pytest.raises(mbo.CompositionError, match="coef"):
        study.experiment(study.datasets[0], "rambo-dose", 0).imagination_config()


@pytest.mark.parametrize("scale", ["change", "state"])
def test_its_methods_share_the_model_of_a_seed_in_the_scale_of_the_dose(
    tmp_path, scale
):
    text = FILE.read_text()
    assert text.count("\n" + SCALE) == 1
    filled = tmp_path / "study.toml"
    text = text.replace(OPEN, "0.1 }").replace(SCALE, SCALE.replace("change", scale))
    filled.write_text(text)
    study = Study.read(filled)
    runs = [study.experiment(study.datasets[0], name, 3) for name in study.methods]
    models = [study.model(run) for run in runs]
    assert len(models) == 4
    assert len({model.path for model in models}) == 1
    assert {model.dynamics["params"]["target_scale"] for model in models} == {scale}
