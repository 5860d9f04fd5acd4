import tomllib
from pathlib import Path

import pytest

from d3rlpy_mbo import get_component
from d3rlpy_mbo.learners.names import learner_configs
from d3rlpy_mbo.runs.settings import apply_settings

FOLDER = Path(__file__).parents[2] / "benchmarks" / "settings"
PAPERS = [FOLDER / f"{name}.toml" for name in ("mopo", "rambo", "romi")]


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_every_setting_is_a_field_with_a_value_of_its_type(path):
    settings = tomllib.loads(path.read_text())
    base = apply_settings(
        get_component("imagination", path.stem)(), settings["imagination"]
    )
    for environment in settings["environment"].values():
        apply_settings(base, environment).create()
    for name, learner in settings["learner"].items():
        apply_settings(learner_configs()[name](), learner).create()


def test_romis_table_6_is_complete():
    settings = tomllib.loads((FOLDER / "romi.toml").read_text())
    ratios = {name: row["real_ratio"] for name, row in settings["environment"].items()}
    assert len(ratios) == 9
    assert ratios["maze2d-umaze"] == pytest.approx(1 - 0.7)
    assert ratios["maze2d-large"] == pytest.approx(1 - 0.3)


def test_rambos_settings_are_the_three_of_the_paper():
    settings = tomllib.loads((FOLDER / "rambo.toml").read_text())
    rows = settings["environment"]
    assert len(rows) == 12 + 6
    chosen = {
        (row["rollout_length"], row.get("dynamics_updater.coef", 0.0))
        for row in rows.values()
    }
    assert chosen == {(2, 3e-4), (5, 3e-4), (5, 0.0)}
    never = [name for name, row in rows.items() if "dynamics_updater" in row]
    assert len(never) == 4 + 4
