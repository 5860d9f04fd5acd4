"""Loading a dataset runs no code that only the dataset names."""

import dataclasses
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.environments import evaluation_environment
from d3rlpy_mbo.data.minari_files import open_minari, reference_scores
from d3rlpy_mbo.tasks.pointmaze import pointmaze_spec
from own_data import box, episode_buffers, write_minari

CODE = """
import pathlib, gymnasium
pathlib.Path(__file__).with_name("ran").touch()
gymnasium.register("Registered-v0", entry_point="strangers_code:make")
def make(**anything):
    return gymnasium.make("Pendulum-v1")
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is there once the code that the dataset names has run."""
    (tmp_path / "strangers_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("strangers_code", None)
    gymnasium.registry.pop("Registered-v0", None)


def set_spec(root: Path, key: str, spec: Optional[dict[str, Any]]) -> None:
    path = root / "strange/one-v0/data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata[key] = json.dumps(spec)
    path.write_text(json.dumps(metadata))


def spec(point: str = "strangers_code:make", **changed: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        EnvSpec("Strange-v0", entry_point=point, max_episode_steps=7).to_json()
    )
    return {**found, **changed}


def wrapped(point: str) -> list[dict[str, Any]]:
    return [{"name": "Wrapper", "entry_point": point, "kwargs": {}}]


STRANGE = {
    "entry point": spec(),
    "id that imports": spec(id="strangers_code:Registered-v0"),
    "registered id that imports": spec(
        "gymnasium.envs.classic_control:PendulumEnv",
        id="strangers_code:Pendulum-v1",
    ),
    "wrapper": spec(
        id="Pendulum-v1", additional_wrappers=wrapped("strangers_code:make")
    ),
    "wrapper beside Gymnasium's": spec(
        id="Pendulum-v1",
        additional_wrappers=[
            *wrapped("gymnasium.wrappers.common:TimeLimit"),
            *wrapped("strangers_code:make"),
        ],
    ),
    "argument": spec(
        id="GymV26Environment-v0", kwargs={"env_id": "strangers_code:Registered-v0"}
    ),
    "nearly ours": spec("d3rlpy_mbo.tasks.pointmaze:gymnasium.make"),
    "also ours": spec("d3rlpy_mbo.tasks.pointmaze:pointmaze_spec"),
    "ours under an id that imports": spec(
        "d3rlpy_mbo.tasks.pointmaze:PointMaze", id="strangers_code:Registered-v0"
    ),
    "ours, wrapped": spec(
        "d3rlpy_mbo.tasks.pointmaze:PointMaze",
        additional_wrappers=wrapped("strangers_code:make"),
    ),
}


@pytest.mark.parametrize("key", ["env_spec", "eval_env_spec"])
@pytest.mark.parametrize("name", STRANGE)
def test_what_only_the_dataset_names_is_not_run(minari_root, ran, name, key):
    write_minari("strange/one-v0")
    set_spec(minari_root, key, STRANGE[name])
    with pytest.warns(UserWarning, match="not made.*trust_environment=True") as caught:
        dataset, env = mbo.load_minari("strange/one-v0")
    assert env is None
    assert dataset.transition_count
    assert caught[0].filename == __file__
    assert not ran.exists()
    assert "strangers_code" not in sys.modules
    reference_scores("strange/one-v0")
    assert not ran.exists()


def test_with_trust_it_is_run_as_minari_does(minari_root, ran):
    write_minari("strange/one-v0")
    set_spec(minari_root, "eval_env_spec", spec())
    _, env = mbo.load_minari("strange/one-v0", trust_environment=True)
    assert ran.exists()
    assert isinstance(env.unwrapped, type(gymnasium.make("Pendulum-v1").unwrapped))


def test_what_is_registered_is_made_by_the_registry_whatever_the_dataset_says(
    minari_root, ran
):
    write_minari("strange/one-v0")
    set_spec(
        minari_root,
        "env_spec",
        spec(id="Pendulum-v1", vector_entry_point="strangers_code:make"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, env = mbo.load_minari("strange/one-v0")
    assert not ran.exists()
    assert type(env.unwrapped).__name__ == "PendulumEnv"
    assert env.spec.max_episode_steps == 7  # the dataset's


def test_gymnasiums_own_wrappers_and_arguments_are_kept(minari_root):
    env = gymnasium.wrappers.TimeAwareObservation(
        gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1", g=5.0), -1, 1)
    )
    write_minari("strange/one-v0")
    set_spec(minari_root, "env_spec", json.loads(env.spec.to_json()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, found = mbo.load_minari("strange/one-v0")
    assert found.unwrapped.g == 5.0
    assert found.observation_space.shape == (4,)
    assert found.action_space.high.tolist() == [1.0]


def test_an_environment_registered_by_the_user_is_made(minari_root, ran):
    write_minari("strange/one-v0")
    set_spec(minari_root, "env_spec", spec(id="Registered-v0"))
    import strangers_code  # noqa: F401  # what the message advises

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mbo.load_minari("strange/one-v0")[1] is not None


def test_ours_is_made_though_it_is_not_registered(minari_root):
    pytest.importorskip("gymnasium_robotics")
    write_minari("strange/one-v0")
    recorded = json.loads(pointmaze_spec("umaze", "sparse").to_json())
    set_spec(minari_root, "env_spec", recorded)
    assert recorded["id"] not in gymnasium.registry
    _, env = mbo.load_minari("strange/one-v0")
    assert env.spec.max_episode_steps == 300


def test_minaris_robotics_datasets_find_their_environment_by_themselves(minari_root):
    pytest.importorskip("gymnasium_robotics")
    # Vectors that somebody recorded from it: place and velocity, then the goal.
    [episode] = episode_buffers((3,), ())
    episode = dataclasses.replace(episode, observations=np.zeros((4, 6), np.float32))
    write_minari("strange/one-v0", [episode], box(6))
    recorded = json.loads(gymnasium.spec("PointMaze_UMaze-v3").to_json())
    set_spec(minari_root, "env_spec", recorded)
    # In a process of its own: here it is imported, and what it registered is known.
    asked = """
import sys
import d3rlpy_mbo as mbo
assert "gymnasium_robotics" not in sys.modules
print(mbo.load_minari("strange/one-v0")[1].observation_space.shape)
"""
    answer = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    assert answer.stdout.strip().endswith("(6,)"), answer.stderr


def test_a_missing_robotics_package_is_named_and_so_is_what_installs_it(
    minari_root, monkeypatch
):
    write_minari("strange/one-v0")
    point = "gymnasium_robotics.envs.maze.point_maze:PointMazeEnv"
    set_spec(minari_root, "env_spec", spec(point, id="PointMaze_None-v3"))
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)  # importing it fails
    with pytest.warns(match=r"gymnasium_robotics.*pip install 'd3rlpy-mbo\[mujoco\]'"):
        assert mbo.load_minari("strange/one-v0")[1] is None


def test_spaces_that_only_an_environment_would_tell_are_not_asked_for(minari_root, ran):
    write_minari("strange/one-v0")
    set_spec(minari_root, "env_spec", spec())
    path = minari_root / "strange/one-v0/data/metadata.json"
    metadata = json.loads(path.read_text())
    for name in ("observation_space", "action_space"):
        metadata.pop(name)
        path.write_text(json.dumps(metadata))
        with pytest.raises(mbo.DatasetError, match=r"_space.*trust_environment=True"):
            mbo.load_minari("strange/one-v0")
        with pytest.raises(mbo.DatasetError, match="trust_environment=True"):
            open_minari("strange/one-v0")
        assert reference_scores("strange/one-v0") is None
    assert not ran.exists()
    minari.load_dataset("strange/one-v0")  # else this test shows nothing
    assert ran.exists()


def test_a_dataset_without_an_environment_says_so(minari_root):
    write_minari("strange/one-v0")
    with pytest.warns(UserWarning, match="records none") as caught:
        assert mbo.load_minari("strange/one-v0")[1] is None
    assert "mujoco" not in str(caught[0].message)  # it would not help


def test_who_opens_a_dataset_itself_has_the_same_rule(minari_root, ran):
    write_minari("strange/one-v0")
    set_spec(minari_root, "env_spec", spec())
    with pytest.warns(UserWarning, match="not made"):
        assert evaluation_environment(open_minari("strange/one-v0")) is None
    assert not ran.exists()


class Robot(gymnasium.Env[Any, Any]):
    """Shows a dictionary, whose vector somebody recorded."""

    observation_space = spaces.Dict(
        {"image": spaces.Box(0, 1, (2, 2)), "state": spaces.Box(0, 1, (2,))}
    )
    action_space = spaces.Box(-1, 1, (1,))


def test_vectors_that_were_recorded_from_a_dictionary_load_without_its_environment(
    minari_root, monkeypatch
):
    monkeypatch.setitem(
        gymnasium.registry,
        "Robot-v0",
        EnvSpec("Robot-v0", entry_point=f"{__name__}:Robot", disable_env_checker=True),
    )
    write_minari("robot/one-v0", env="Robot-v0")
    with pytest.warns(
        UserWarning, match="are a Dict of .*the dataset's are vectors of shape"
    ):
        dataset, env = mbo.load_minari("robot/one-v0")
    assert env is None
    assert dataset.episodes
