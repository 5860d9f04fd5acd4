"""Core's tasks: settings by name, work by the collectors, refused before any of it."""

import importlib
import json
import subprocess
import sys

import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.settings import apply_settings
from d3rlpy_mbo.tasks import pointmaze_collection, relabel, replay
from d3rlpy_mbo.tasks.recipes import TASKS

NAMES = [
    "pointmaze-umaze-sparse", "pointmaze-umaze-dense", "pointmaze-medium-sparse",
    "pointmaze-medium-dense", "pointmaze-large-sparse", "pointmaze-large-dense",
    "replay", "hiv", "icu-sepsis", "halfcheetah-jump", "ant-angle",
]  # fmt: skip


def task(name, **settings):
    return apply_settings(mbo.get_component("task", name)(), settings)


@pytest.fixture
def calls(monkeypatch):
    """What the collectors are asked for, instead of hours of work."""
    made = []

    def record(*arguments, **named):
        made.append((*arguments, named))
        return "written/x-v0"

    monkeypatch.setattr(pointmaze_collection, "collect_pointmaze", record)
    monkeypatch.setattr(replay, "collect_replay", record)
    monkeypatch.setattr(relabel, "relabel", record)
    return made


def test_every_task_has_its_name_its_class_and_comes_back_from_json():
    assert [each.get_type() for each in TASKS] == NAMES
    assert len({each.__name__ for each in TASKS}) == len(NAMES)
    for name, each in zip(NAMES, TASKS, strict=True):
        assert mbo.get_component("task", name) is each
        assert each.deserialize(json.dumps(each().serialize_to_dict())) == each()
        assert each.kind == "task"


def test_equal_settings_of_two_mazes_are_not_the_same_task():
    assert task("pointmaze-umaze-sparse") != task("pointmaze-umaze-dense")


def test_settings_reach_the_collector_of_the_task(calls):
    common = {"dataset_id": "mine/x-v0", "force": True}
    task("pointmaze-large-dense", n_steps=5, seed=2).collect("mine/x-v0", force=True)
    task("replay", environment="Hopper-v5", n_steps=7, device="cuda:1").collect()
    task("ant-angle", source="a/b-v0").collect("mine/x-v0", force=True)
    assert calls == [
        (
            "pointmaze-large-dense",
            {"n_steps": 5, "seed": 2, "n_reference_episodes": 1000, **common},
        ),
        (
            "Hopper-v5",
            {
                "n_steps": 7,
                "seed": 0,
                "device": "cuda:1",
                "dataset_id": None,
                "force": False,
            },
        ),
        ("ant-angle", "a/b-v0", common),
    ]


@pytest.mark.parametrize(
    ("name", "settings", "needed"),
    [
        ("replay", {}, "needs environment and n_steps"),
        ("replay", {"environment": "Hopper-v5"}, "needs n_steps,"),
        ("halfcheetah-jump", {}, "needs source, .*HalfcheetahJump.source=.*--set KEY"),
    ],
)
def test_what_has_no_default_has_to_be_set(calls, name, settings, needed):
    with pytest.raises(mbo.CompositionError, match=needed):
        task(name, **settings).collect()
    assert calls == []


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("pointmaze-umaze-dense", "n_steps", 0),
        ("pointmaze-umaze-dense", "n_steps", 2.5),
        ("pointmaze-umaze-dense", "seed", -1),
        ("pointmaze-umaze-dense", "n_reference_episodes", True),
        ("replay", "n_steps", 0),
        ("replay", "n_steps", "many"),
        ("replay", "environment", 5),
        ("replay", "environment", ""),
        ("replay", "device", None),
        ("ant-angle", "source", ["a"]),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused_by_name(
    name, setting, value
):
    with pytest.raises(mbo.CompositionError, match=setting):
        task(name, **{setting: value})


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("pointmaze-umaze-sparse", {}, "pointmaze/umaze-sparse-v0"),
        ("replay", {"environment": "Hopper-v5", "n_steps": 1}, "replay/hopper-v5-v0"),
        ("ant-angle", {"source": "a/b-v0"}, "mopo/ant-angle-v0"),
    ],
)
def test_the_default_id_says_what_is_collected(name, settings, expected):
    assert task(name, **settings).default_id == expected


def test_a_task_writes_its_default_id(minari_root):
    small = task("replay", environment="Pendulum-v1", n_steps=10)
    assert small.collect() == small.default_id == "replay/pendulum-v1-v0"
    dataset, _ = mbo.load_minari(small.default_id)
    assert dataset.transition_count == 10
    with pytest.raises(mbo.DatasetError, match="force"):
        small.collect()
    assert small.collect(force=True) == small.default_id


@pytest.mark.training
def test_looking_a_task_up_imports_no_simulator():
    code = (
        "import sys\n"
        "import d3rlpy_mbo as mbo\n"
        "assert 'd3rlpy_mbo.tasks.recipes' not in sys.modules\n"
        "mbo.get_component('task', 'pointmaze-umaze-sparse')()\n"
        "assert not {'mujoco', 'gymnasium_robotics'} & {*sys.modules}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "path",
    [
        "d3rlpy_mbo.tasks.pointmaze:PointMaze",
        "d3rlpy_mbo.tasks.relabel:RelabelledEnvironment",
        "d3rlpy_mbo.tasks.hiv:HIV",
        "d3rlpy_mbo.tasks.icu_sepsis:ICUSepsis",
    ],
)
def test_what_datasets_record_as_their_environment_stays_importable(path):
    module, _, name = path.partition(":")
    assert getattr(importlib.import_module(module), name).__name__ == name


def test_without_simulators_a_mazes_collection_is_not_checked(monkeypatch):
    from d3rlpy_mbo.tasks import recipes
    from d3rlpy_mbo.testing import checks_for

    maze = mbo.get_component("task", "pointmaze-umaze-sparse")
    monkeypatch.setattr(recipes, "find_spec", lambda name: None)
    assert "check_task_collects" not in [each.__name__ for each in checks_for(maze)]
