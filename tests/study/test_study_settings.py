import dataclasses
import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.json_form import encode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OF_0_1 = Path(__file__).parents[1] / "version_0_1" / "study" / "study.toml"

pytest.importorskip("joblib")

from d3rlpy_mbo.study import grid  # noqa: E402
from d3rlpy_mbo.study.jobs import RunExperiment  # noqa: E402
from d3rlpy_mbo.study.settings import Study  # noqa: E402

STUDIES = [
    BENCHMARKS / "settings/smoke.toml",
    *sorted(BENCHMARKS.glob("studies/*")),
    *sorted(BENCHMARKS.glob("results/*/study.toml")),
    OF_0_1,
]

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


@pytest.mark.parametrize(
    "path", STUDIES, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_study_is_made_of_fields_with_values_of_their_type(path):
    study = Study.read(path)
    installed = {each.value for each in entry_points(group="d3rlpy_mbo")}
    for folder in re.findall(r"pip install .*/([\w-]+)", path.read_text()):
        if folder.replace("-", "_") not in installed:
            pytest.skip(f"it needs the plugin {folder}, as it says")
    for dataset in study.datasets:
        for method in study.methods:
            experiment = study.experiment(dataset, method, study.seeds[0])
            experiment.learner_config()
            study.models(experiment)
    for collection in study.collect.values():
        collection.validate()


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


def test_a_table_of_a_dataset_without_a_namespace_is_for_it_alone(read):
    assert TEXT.count("maze/b-v0") == 3
    text = TEXT.replace("maze/b-v0", "plain-v0")
    study = read(text)
    there, here = (
        study.experiment(dataset, "romi", 3).imagination_settings
        for dataset in ("plain-v0", "maze/a-v0")
    )
    assert there == {"rollout_length": 3, "real_ratio": 0.2}
    assert here == {"rollout_length": 3, "real_ratio": 0.1}
    with pytest.raises(mbo.CompositionError, match="expected a table"):
        read(text.replace("batch_size = 5", '"plain-v0" = 3'))


def test_settings_of_a_learner_that_no_method_has_may_stay(read, tmp_path):
    study = read(TEXT + "[learner_settings.iql]\nexpectile = 0.9\n")
    with pytest.raises(mbo.DatasetError, match="maze/a-v0"):  # nothing else is wrong
        grid.validate(study, tmp_path)


def test_on_a_cluster_a_device_need_not_be_here(read, tmp_path):
    study = read(TEXT.replace("n_last = 2", 'n_last = 2\ndevice = "cuda:99"'))
    with pytest.raises(mbo.DatasetError, match="maze/a-v0"):  # nothing else is wrong
        grid.validate(study, tmp_path, local=False)


def test_the_environments_termination_is_used_unless_one_is_set(read):
    never, hopper = encode(mbo.NoTermination()), encode(mbo.HopperTermination())
    assert (
        "termination"
        not in read().experiment("maze/a-v0", "bcq", 3, hopper).imagination_settings
    )
    mopo = read().experiment("maze/a-v0", "mopo", 3, hopper)
    assert isinstance(mopo.mixture().configs["mopo"].termination, mbo.HopperTermination)
    chosen = TEXT.replace(
        "[imagination_settings.romi]\n",
        '[imagination_settings.mopo]\ntermination = "never"\n[imagination_settings.romi]\n',
    )
    mopo = read(chosen).experiment("maze/a-v0", "mopo", 3, hopper)
    assert encode(mopo.mixture().configs["mopo"].termination) == never


def test_a_methods_target_return_is_its_runs_and_for_transformers_alone(read, tmp_path):
    head = TEXT[: TEXT.index("[methods.bcq]")]
    asked = head + '[methods.asked]\nlearner = "LEARNER"\ntarget_return = 300\n'
    asked += '[methods.best]\nlearner = "decision_transformer"\n'
    study = read(asked.replace("LEARNER", "decision_transformer"))
    runs = [study.experiment("maze/a-v0", name, 3) for name in ("asked", "best")]
    assert [run.target_return for run in runs] == [300, None]
    with pytest.raises(mbo.DatasetError, match="maze/a-v0"):  # nothing else is wrong
        grid.validate(study, tmp_path)
    with pytest.raises(
        mbo.CompositionError, match=r"300, but BCQ .* only transformers"
    ):
        grid.validate(read(asked.replace("LEARNER", "bcq")), tmp_path)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            'learner = "iql"\nn_pretraining_epochs = 3',
            "IQL cannot be pretrained",
        ),
        (
            'learner = "decision_transformer"\nimagination = "mopo"',
            "'mopo' imagines forwards.*transformer",
        ),
        (
            'learner = "decision_transformer"\nimagination = "romi"\n'
            'imagination_settings = { "dynamics_updater" = "adversarial" }',
            "'romi' asks the learner .* DecisionTransformer acts from a whole",
        ),
        (
            'learner = "cal_ql"\nimagination = "mobile"',
            "CalQL trains on the rewards that follow a row",
        ),
        (
            'learner = "cal_ql"\nimagination = "mopo"\n'
            "imagination_settings = { steps_per_row = 2 }",
            "CalQL needs every step on the way",
        ),
        ('learner = "combo"', "real_ratio of 1 there are none"),
    ],
)
def test_parts_of_a_run_that_cannot_work_together_are_refused_before_any_model(
    read, tmp_path, method, words
):
    head = TEXT[: TEXT.index("[methods.bcq]")]
    study = read(f"{head}[methods.bad]\n{method}\n")
    with pytest.raises(mbo.CompositionError, match=words):
        grid.validate(study, tmp_path)


def test_a_field_that_may_be_empty_can_be_emptied(read):
    [mbpo] = read().experiment("maze/a-v0", "mbpo", 3).mixture().configs.values()
    assert mbpo.penalty is None


def test_rows_share_a_model_if_and_only_if_it_would_be_the_same(read):
    def path(method, dataset="maze/a-v0", seed=3, text=TEXT):
        study = read(text)
        [model] = study.models(study.experiment(dataset, method, seed))
        return model.path

    assert path("fomi") == path("mopo") == path("mbpo")
    assert path("romi") != path("fomi")
    assert path("romi") == path("romi", seed=4)
    assert path("romi") != path("romi", dataset="maze/b-v0")
    per_seed = "model_per_seed = true\n" + TEXT
    assert path("romi", text=per_seed) != path("romi", seed=4, text=per_seed)
    table = "[imagination_settings.romi]\n"
    larger = TEXT.replace(table, table + '"dynamics.n_models" = 9\n')
    assert path("romi") != path("romi", text=larger)


BAD = [
    (
        "[methods.bcq]",
        "[methods.bcq]\nimaginaton = 'romi'",
        "methods.bcq.*'imagination'",
    ),
    ("n_last = 2", "n_last = 2\n[colect]", "'collect'"),
    ("n_last = 2", "n_last = 2\n[learner_settings]\nbc = 3", "learner_settings"),
    ('"maze/b-v0"]\nreal', '"maze/c-v0"]\nreal', "methods.romi.*'maze/c-v0'.*maze/"),
    ('"maze/b-v0"]\nroll', '"maze/c-v0"]\nroll', "imagination_settings.romi.*maze/c"),
    ("n_steps = 10", 'n_steps = "x"', "n_steps is 'x', expected a whole number"),
    ("n_steps = 10", "n_steps = 1e1", "n_steps is 10.0, expected a whole number"),
    ("n_steps = 10", "n_steps = true", "n_steps is True, expected a whole number"),
    ("n_steps = 10", "n_steps = 0", "n_steps is 0, expected 1 or more"),
    ("seeds = [3, 4]", "seeds = 3", "seeds is 3, expected a list"),
    ("seeds = [3, 4]", "seeds = [3, 4.5]", "seeds.*4.5, expected a whole number"),
    ("seeds = [3, 4]", "seeds = [-1]", "seeds holds -1"),
    ("seeds = [3, 4]", "seeds = [3, 3]", "seeds holds something twice"),
    ("seeds = [3, 4]", "seeds = []", "seeds is empty"),
    ('datasets = ["maze/a-v0", "maze/b-v0"]', "datasets = 'maze/a-v0'", "datasets is"),
    ("n_last = 2", "n_last = 2\nmodel_per_seed = 1", "expected true or false"),
    ('learner = "sac"', "learner = 1", "methods.mbpo, learner is 1, expected a string"),
    (
        "[methods.bcq]",
        "[methods.bcq]\ntarget_return = 'best'",
        "methods.bcq, target_return is 'best', expected a number",
    ),
    ("batch_size = 5", "batch_size = {", "cannot be read"),
    ("n_last = 2", 'n_last = 2\ncompare = [["romi"]]', "pairs of methods"),
    ("n_last = 2", "n_last = 2\n[paper.rom]", "'rom'.*'romi'"),
    ("n_last = 2", 'n_last = 2\n[paper.romi]\n"maze/a-v1" = 1', "'maze/a-v0'"),
    ("n_last = 2", 'n_last = 2\n[paper.romi]\n"maze/a-v0" = "1"', "a number"),
    ("[methods.bcq]", '[methods."../../escape"]', "folder"),
    ("[methods.bcq]", '[methods."/tmp/escape"]', "folder"),
    ("[methods.bcq]", '[methods.".."]', "folder"),
    ("[methods.bcq]", '[methods."a\\\\b"]', "folder"),
    ("[methods.bcq]", "[methods.dataset]", "cannot be called 'dataset'"),
    ('"maze/a-v0", ', '"maze/../../a-v0", ', "'..' in the dataset"),
    ('"maze/a-v0", ', '"/maze/a-v0", ', "'' in the dataset"),
    ('"maze/a-v0", ', '"maze-b/v0", "maze/b-v0", ', "twice"),
    ('"maze/a-v0", ', '"maze-b-v0", ', "share the folder 'maze-b-v0'"),
    (
        "n_last = 2",
        "n_last = 2\n[collect]\n'../a-v0' = 'replay'",
        "'..' in the dataset",
    ),
    ("n_last = 2", "n_last = 2\n[collect]\n'maze/a-v0' = 3", "expected a table"),
    ("n_last = 2", "n_last = 2\n[collect.'maze/a-v0']\nn_steps = 3", "lacks task"),
    ("n_last = 2", "n_last = 2\n[collect]\n'maze/a-v0' = 'x --stebs 3'", "--steps"),
    ("n_last = 2", "n_last = 2\n[collect]\n'maze/a-v0' = 'x --steps x'", "integer"),
    ("n_last = 2", "n_last = 2\n[collect]\n'maze/a-v0' = 'x \"'", "quotation"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[new for _, new, _ in BAD])
def test_a_file_that_is_no_studys_is_refused_by_name(read, tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(mbo.CompositionError, match=message) as caught:
        read(TEXT.replace(old, new, 1))
    assert str(tmp_path / "study.toml") in str(caught.value)


def test_a_file_without_methods_or_that_is_no_text_is_refused(read, tmp_path):
    with pytest.raises(mbo.CompositionError, match="lacks methods"):
        read(TEXT[: TEXT.index("[methods.bcq]")])
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(mbo.CompositionError, match=r"binary\.toml cannot be read"):
        Study.read(tmp_path / "binary.toml")


def test_a_byte_order_mark_is_no_part_of_a_file(read, tmp_path):
    expected = read()
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert Study.read(tmp_path / "marked.toml") == expected


def test_what_0_1_wrote_as_a_command_is_the_same_task_as_an_object(read):
    line = '[collect]\n"maze/a-v0" = "pointmaze-umaze-sparse --steps 2000 --seed=3"\n'
    table = (
        '[collect."maze/a-v0"]\ntask = "pointmaze-umaze-sparse"\n'
        "n_steps = 2_000\nseed = 3\n"
    )
    assert read(TEXT + line).collect == read(TEXT + table).collect
    line = '"maze/a-v0" = "replay --env \'Hopper-v5\' --steps 9 --device cpu --force"\n'
    collection = read(TEXT + "[collect]\n" + line).collect["maze/a-v0"]
    expected = {"environment": "Hopper-v5", "n_steps": 9, "device": "cpu"}
    assert (collection.task, collection.settings) == ("replay", expected)
    line = '"maze/a-v0" = "ant-angle --from maze/b-v0"\n'
    collection = read(TEXT + "[collect]\n" + line).collect["maze/a-v0"]
    assert collection.settings == {"source": "maze/b-v0"}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('task = "pointmaze-umaze-spars"', "'pointmaze-umaze-sparse'"),
        ('task = "replay"\nn_stebs = 3', "'n_steps'"),
        ('task = "replay"\nn_steps = "3"', "n_steps.*'3'"),
        ('task = "ant-angle"\nn_steps = 3', "source"),
    ],
)
def test_a_task_or_a_setting_of_it_that_is_not_there_is_refused(read, task, message):
    study = read(TEXT + f'[collect."maze/a-v0"]\n{task}\n')
    with pytest.raises(mbo.D3RLPyMBOError, match=message):
        study.collect["maze/a-v0"].validate()


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


MIXED = """
[methods.both]
learner = "bcq"
imagination = "romi+mopo"
imagination_settings = { real_ratio = 0.5, "mopo.rollout_length" = 7 }

[imagination_settings."romi+mopo"]
shares = [2, 1]

[imagination_settings."romi+mopo"."maze/b-v0"]
real_ratio = 0.25
"romi.rollout_length" = 9
"""


def test_a_mixture_has_the_settings_of_its_types_and_then_its_own(read):
    study, hopper = read(TEXT + MIXED), encode(mbo.HopperTermination())
    assert study.experiment("maze/a-v0", "both", 3, hopper).imagination_settings == {
        "romi.rollout_length": 1,  # and not ROMI's own real_ratio, .8
        "shares": [2, 1],
        "real_ratio": 0.5,
        "mopo.rollout_length": 7,
        "romi.termination": hopper,
        "mopo.termination": hopper,
    }
    run = study.experiment("maze/b-v0", "both", 3)
    mixture = run.mixture()
    lengths = [config.rollout_length for config in mixture.configs.values()]
    assert lengths == [9, 7]
    assert mixture.real_ratio == 0.5  # a method's own comes last


def test_a_mixture_shares_its_models_with_the_methods_of_its_types(read):
    study = read(TEXT + MIXED)
    by_method = {
        name: study.models(study.experiment("maze/a-v0", name, 3))
        for name in ("romi", "mopo", "both", "bcq")
    }
    assert by_method["both"] == [*by_method["romi"], *by_method["mopo"]]
    assert by_method["bcq"] == []
