import tomllib
from pathlib import Path

import d3rlpy
import pytest

from d3rlpy_mbo import get_component
from d3rlpy_mbo.learners.names import learner_configs
from d3rlpy_mbo.runs.settings import apply_settings

FOLDER = Path(__file__).parents[2] / "benchmarks" / "settings"
METHODS = ("combo", "mobile", "mopo", "morel", "rambo", "romi")
PAPERS = [FOLDER / f"{name}.toml" for name in METHODS]


@pytest.mark.parametrize("path", PAPERS, ids=lambda p: p.stem)
def test_every_setting_is_a_field_with_a_value_of_its_type(path):
    settings = tomllib.loads(path.read_text())
    base = apply_settings(
        get_component("imagination", path.stem)(), settings["imagination"]
    )
    for environment in settings["environment"].values():
        apply_settings(base, environment).create()
    for name, learner in settings["learner"].items():
        config = apply_settings(learner_configs()[name](), learner)
        config.create()
        for environment, on_it in settings.get("learner_on", {}).items():
            assert environment in settings["environment"]
            apply_settings(config, on_it).create()


def test_romis_table_6_is_complete():
    settings = tomllib.loads((FOLDER / "romi.toml").read_text())
    ratios = {name: row["real_ratio"] for name, row in settings["environment"].items()}
    assert len(ratios) == 9
    assert ratios["maze2d-umaze"] == pytest.approx(1 - 0.7)
    assert ratios["maze2d-large"] == pytest.approx(1 - 0.3)


def test_romi_imagines_4_million_rows_whatever_the_length():
    settings = tomllib.loads((FOLDER / "romi.toml").read_text())
    for name, row in settings["environment"].items():
        fields = {**settings["imagination"], **row}
        assert fields["rollout_length"] * fields["rollout_batch_size"] == 4e6, name


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


def test_rambo_lowers_the_rewards_of_antmaze_by_1():
    settings = tomllib.loads((FOLDER / "rambo.toml").read_text())
    rows = settings["learner_on"]
    assert set(rows) == {k for k in settings["environment"] if k.startswith("antmaze")}
    sac = apply_settings(learner_configs()["sac"](), settings["learner"]["sac"])
    for row in rows.values():
        scaler = apply_settings(sac, row).reward_scaler
        assert scaler == d3rlpy.preprocessing.ConstantShiftRewardScaler(shift=-1.0)


def test_mobiles_settings_are_whole():
    settings = tomllib.loads((FOLDER / "mobile.toml").read_text())
    rows = settings["environment"]
    assert len(rows) == 12 + 9 + 2
    assert rows["hopper-random"]["penalty.coef"] == 5.0
    learners = settings["learner_on"]
    fixed = {k for k, v in learners.items() if v.get("temp_learning_rate") == 0}
    assert fixed == {
        "hopper-medium", "hopper-medium-replay",
        "neorl-hopper-low", "neorl-hopper-medium", "neorl-hopper-high",
    }  # fmt: skip
    ratios = {k: row["real_ratio"] for k, row in rows.items() if "real_ratio" in row}
    assert ratios == {
        "halfcheetah-medium-expert": 0.5,
        "neorl-hopper-high": 0.5, "neorl-walker2d-high": 0.5,
        "pen-cloned": 0.5, "pen-human": 0.8,
    }  # fmt: skip


@pytest.mark.parametrize("environment", ["pen-cloned", "pen-human"])
def test_mobile_on_adroit_is_the_official_config(environment):
    settings = tomllib.loads((FOLDER / "mobile.toml").read_text())
    base = learner_configs()["mobile_sac"]()
    on_gym = apply_settings(base, settings["learner"]["mobile_sac"])
    config = apply_settings(on_gym, settings["learner_on"][environment])
    # alpha is learned, log alpha from 0 on; rewards are (r - mean) / (std + 1e-3).
    assert (config.temp_learning_rate, config.initial_temperature) == (3e-5, 1.0)
    assert isinstance(config.reward_scaler, d3rlpy.preprocessing.StandardRewardScaler)
    assert (config.reward_scaler.mean, config.reward_scaler.eps) == (None, 1e-3)
    assert on_gym.actor_optim_factory.lr_scheduler_factory is not None
    assert config.actor_optim_factory.lr_scheduler_factory is None
    assert config.max_q_backup == (environment == "pen-cloned")
    assert (config.n_critics, config.deterministic_backup) == (10, True)


def test_models_stop_where_offlinerl_kits_do_which_does_not_wait_for_one_more():
    # cnt >= max_epochs_since_update there: 5, of adroit's 10 and 20; here more than.
    mobile = tomllib.loads((FOLDER / "mobile.toml").read_text())
    combo = tomllib.loads((FOLDER / "combo.toml").read_text())
    key = "dynamics.patience"
    assert mobile["imagination"][key] == combo["imagination"][key] == 5 - 1
    of_adroit = {
        name: row[key] for name, row in mobile["environment"].items() if key in row
    }
    assert of_adroit == {"pen-cloned": 10 - 1, "pen-human": 20 - 1}


def test_combos_settings_are_whole():
    settings = tomllib.loads((FOLDER / "combo.toml").read_text())
    betas = {k: v["conservative_weight"] for k, v in settings["learner_on"].items()}
    assert len(betas) == len(settings["environment"]) == 9
    assert {k for k, v in betas.items() if v == 0.5} == {
        "halfcheetah-medium", "halfcheetah-medium-replay", "hopper-medium-replay",
        "walker2d-medium-replay",
    }  # fmt: skip
    lengths = {k: v["rollout_length"] for k, v in settings["environment"].items()}
    assert {k for k, v in lengths.items() if v == 1} == {
        k for k in lengths if k.startswith("walker2d")
    }
    # OfflineRL-Kit's run_combo.py has MOBILE's schedule, over its 1000 epochs.
    config = apply_settings(learner_configs()["combo"](), settings["learner"]["combo"])
    schedule = config.actor_optim_factory.lr_scheduler_factory
    assert isinstance(
        schedule, d3rlpy.optimizers.lr_schedulers.CosineAnnealingLRFactory
    )
    assert schedule.T_max == 1_000_000


def test_edacs_settings_are_whole_and_ravls_are_fields_of_an_imagination():
    settings = tomllib.loads((FOLDER / "edac.toml").read_text())
    base = apply_settings(learner_configs()["edac"](), settings["learner"]["edac"])
    rows = settings["learner_on"]
    assert len(rows) == 9 + 1
    configs = {name: apply_settings(base, row) for name, row in rows.items()}
    for config in configs.values():
        config.create()
    assert {k for k, v in configs.items() if v.n_critics == 50} == {
        k for k in rows if k.startswith("hopper")
    }
    assert {k for k, v in configs.items() if v.eta == 5.0} == {
        "halfcheetah-medium-expert", "walker2d-medium-expert",
    }  # fmt: skip
    ravl = {**settings["ravl"], "penalty": "none"}
    apply_settings(get_component("imagination", "mopo")(), ravl).create()
