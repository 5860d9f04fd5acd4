import dataclasses
import json
import sys
from pathlib import Path

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.json_form import encode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

pytest.importorskip("joblib")

from d3rlpy_mbo.study.jobs import RunExperiment  # noqa: E402
from d3rlpy_mbo.study.settings import Study  # noqa: E402

STUDIES = [BENCHMARKS / "settings/smoke.toml", *sorted(BENCHMARKS.glob("studies/*"))]

TEXT = """
datasets = ["maze/a-v0", "maze/b-v0"]
seeds = [3, 4]
n_steps = 10
n_steps_per_epoch = 5
n_trials = 1
n_last = 2

[methods.bcq]
learner = "bcq"

[methods.romi]
learner = "bcq"
imagination = "romi"
learner_settings = { batch_size = 7 }

[methods.romi.imagination_settings]
rollout_length = 3
real_ratio = 0.1

[methods.romi.imagination_settings."maze/b-v0"]
real_ratio = 0.2

[methods.fomi]
learner = "bcq"
imagination = "romi"
imagination_settings = { "dynamics.direction" = "forward" }

[methods.mbpo]
learner = "sac"
imagination = "mopo"
imagination_settings = { penalty = "none" }

[methods.mopo]
learner = "sac"
imagination = "mopo"

[learner_settings.bcq]
batch_size = 5
lam = 0.5

[imagination_settings.romi]
rollout_length = 1
real_ratio = 0.8

[imagination_settings.romi."maze/b-v0"]
rollout_length = 2
"""


@pytest.fixture
def read(tmp_path):
    def read(text=TEXT):
        (tmp_path / "study.toml").write_text(text)
        return Study.read(tmp_path / "study.toml")

    return read


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_made_of_fields_with_values_of_their_type(path):
    study = Study.read(path)
    for dataset in study.datasets:
        for method in study.methods:
            experiment = study.experiment(dataset, method, study.seeds[0])
            experiment.learner_config()
            study.model(experiment)


def test_a_method_overrides_the_learner_and_a_dataset_overrides_both(read):
    study = read()
    bcq, romi = (study.experiment("maze/a-v0", name, 3) for name in ("bcq", "romi"))
    assert bcq.learner_settings == {"batch_size": 5, "lam": 0.5}
    assert romi.learner_settings == {"batch_size": 7, "lam": 0.5}
    assert romi.imagination_settings == {"rollout_length": 3, "real_ratio": 0.1}
    there = study.experiment("maze/b-v0", "romi", 3).imagination_settings
    assert there == {"rollout_length": 3, "real_ratio": 0.2}
    fomi = study.experiment("maze/b-v0", "fomi", 3).imagination_settings
    assert fomi["rollout_length"] == 2


def test_the_environments_termination_is_used_unless_one_is_set(read):
    never, hopper = encode(mbo.NoTermination()), encode(mbo.HopperTermination())
    assert (
        "termination"
        not in read().experiment("maze/a-v0", "bcq", 3, hopper).imagination_settings
    )
    mopo = read().experiment("maze/a-v0", "mopo", 3, hopper)
    assert isinstance(mopo.imagination_config().termination, mbo.HopperTermination)
    chosen = TEXT.replace(
        "[imagination_settings.romi]\n",
        '[imagination_settings.mopo]\ntermination = "never"\n[imagination_settings.romi]\n',
    )
    mopo = read(chosen).experiment("maze/a-v0", "mopo", 3, hopper)
    assert encode(mopo.imagination_config().termination) == never


def test_a_field_that_may_be_empty_can_be_emptied(read):
    mbpo = read().experiment("maze/a-v0", "mbpo", 3).imagination_config()
    assert mbpo.penalty is None


def test_rows_share_a_model_if_and_only_if_it_would_be_the_same(read):
    def path(method, dataset="maze/a-v0", seed=3, text=TEXT):
        study = read(text)
        return study.model(study.experiment(dataset, method, seed)).path

    assert path("fomi") == path("mopo") == path("mbpo")
    assert path("romi") != path("fomi")
    assert path("romi") == path("romi", seed=4)
    assert path("romi") != path("romi", dataset="maze/b-v0")
    per_seed = "model_per_seed = true\n" + TEXT
    assert path("romi", text=per_seed) != path("romi", seed=4, text=per_seed)
    table = "[imagination_settings.romi]\n"
    larger = TEXT.replace(table, table + '"dynamics.n_models" = 9\n')
    assert path("romi") != path("romi", text=larger)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_trials = 1", "n_trails = 1", "n_trials"),
        ("seeds = [3, 4]", "", "lacks seeds"),
        ('learner = "sac"', 'lerner = "sac"', r"methods\.mbpo.*learner"),
        ("n_last = 2", 'n_last = 2\ncompare = [["romi", "bqc"]]', "'bqc'.*bcq"),
    ],
)
def test_what_a_study_cannot_have_is_refused_and_the_nearest_named(
    read, old, new, message
):
    with pytest.raises(mbo.CompositionError, match=message):
        read(TEXT.replace(old, new, 1))


def test_a_result_of_other_settings_is_refused_and_left_alone(read, tmp_path):
    experiment = read().experiment("maze/a-v0", "romi", 3)
    job = RunExperiment("romi", experiment, None, [])
    path = job.result(tmp_path)
    path.parent.mkdir(parents=True)
    assert path.relative_to(tmp_path) == Path("maze-a-v0/romi/seed-3/result.json")

    def write(found):
        path.write_text(json.dumps({"experiment": dataclasses.asdict(found)}))

    write(experiment)
    job.check(tmp_path)
    write(dataclasses.replace(experiment, n_steps=99))
    with pytest.raises(mbo.CompositionError, match="n_steps is 99 there, 10 here"):
        job.check(tmp_path)


def test_mopos_committed_results_are_those_of_its_study():
    folder = BENCHMARKS / "results/mopo-hopper-replay"
    study = Study.read(BENCHMARKS / "studies/mopo-hopper-replay.toml")
    termination = encode(mbo.HopperTermination())
    for method in study.methods:
        for seed in study.seeds:
            experiment = study.experiment(study.datasets[0], method, seed, termination)
            RunExperiment(method, experiment, None, []).check(folder)
