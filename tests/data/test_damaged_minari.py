"""Damaged Minari datasets are errors that name what is wrong, where it is."""

import fcntl
import json
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.storage import hosting

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.minari_files import dataset_folder, reference_scores
from own_data import box, write_minari


def test_a_folder_of_minaris_that_cannot_be_made_is_named_with_its_variable(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file"))
    for ask in (mbo.load_minari, reference_scores, dataset_folder):
        with pytest.raises(mbo.DatasetError, match="file'.*MINARI_DATASETS_PATH"):
            ask("maze/a-v0")


def test_a_user_without_a_home_is_asked_for_a_folder_and_gets_none_named_tilde(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(
        "pwd.getpwuid", lambda uid: {}[uid]
    )  # a container's, of no name
    for ask in (mbo.load_minari, reference_scores, dataset_folder):
        with pytest.raises(mbo.DatasetError, match="no home .*MINARI_DATASETS_PATH"):
            ask("maze/a-v0")
    assert list(tmp_path.iterdir()) == []


def replaced(name: str, change: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        values = file[f"episode_1/{name}"][()]
        del file[f"episode_1/{name}"]
        file[f"episode_1/{name}"] = change(values)

    return damage


def deleted(name: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[name]

    return damage


def nan_at_2(values: Any) -> Any:
    values[2] = np.nan
    return values


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (replaced("rewards", lambda v: np.zeros(1000)), r"rewards.*1 of.*\(1000,\).*4"),
        (replaced("rewards", lambda v: v + 1j), "rewards of episode 1 .*complex"),
        (replaced("rewards", nan_at_2), "rewards of episode 1 .*row 2: nan"),
        (replaced("rewards", lambda v: np.float64(v) + 1e300), "too large for float32"),
        (replaced("rewards", lambda v: np.zeros((4, 2))), r"rewards .*\(4, 2\)"),
        (replaced("actions", lambda v: v[:3]), "5 observations for 3 actions"),
        (replaced("actions", lambda v: np.zeros((4, 2))), r"actions .*\(4, 2\).*4, 1"),
        (replaced("actions", lambda v: np.zeros(4)), r"actions .*\(4,\).*\(4, 1\)"),
        (replaced("actions", lambda v: np.float32(1)), r"actions .*\(\)"),
        (replaced("observations", lambda v: v[:4]), "4 observations for 4 actions"),
        (replaced("observations", lambda v: v[:, :1]), r"observations .*\(5, 1\)"),
        (replaced("observations", lambda v: v[:, 0]), r"observations .*\(5,\)"),
        (replaced("observations", nan_at_2), "observations of episode 1 .*row 2"),
        (replaced("terminations", lambda v: v[:3]), r"terminations .*\(3,\)"),
        (replaced("terminations", lambda v: v * 2.0 + 2), "terminations .*0 and 1"),
        (replaced("truncations", lambda v: v[:3]), r"truncations .*\(3,\)"),
        (deleted("episode_1"), "cannot be read.*episode_1.*damaged"),
        (deleted("episode_1/rewards"), "cannot be read.*rewards.*damaged"),
        (deleted("episode_1/observations"), "cannot be read.*observations.*damaged"),
    ],
)
def test_damage_to_an_episode_is_named(minari_root, damage, words):
    write_minari("torn/one-v0")
    with h5py.File(minari_root / "torn/one-v0/data/main_data.hdf5", "a") as file:
        damage(file)
    with pytest.raises(mbo.DatasetError, match=words) as caught:
        mbo.load_minari("torn/one-v0")
    assert "torn/one-v0" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_truncated_file_is_called_damaged(minari_root, kept):
    write_minari("torn/one-v0")
    path = minari_root / "torn/one-v0/data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(mbo.DatasetError, match="torn/one-v0.*damaged"):
        mbo.load_minari("torn/one-v0")


@pytest.mark.parametrize(
    "change",
    [
        {"total_episodes": 5},
        {"total_episodes": None},
        {"data_format": "nothing"},
        {"observation_space": None},
        {"observation_space": '{"type": "Sphere"}'},
        {"minari_version": "99.0"},
        {"env_spec": '{"id": 3}'},
    ],
    ids=str,
)
def test_metadata_that_do_not_fit_are_called_damaged(minari_root, change):
    write_minari("torn/one-v0")
    path = minari_root / "torn/one-v0/data/metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(mbo.DatasetError, match="torn/one-v0.*damaged"):
        mbo.load_minari("torn/one-v0")


def test_a_file_that_another_process_holds_is_not_called_damaged(minari_root):
    write_minari("held/one-v0")
    path = minari_root / "held/one-v0/data/main_data.hdf5"
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for read, what in ((mbo.load_minari, "held/one-v0"), (mbo.load_hdf5, path)):
            with pytest.raises(mbo.DatasetError, match="no locks") as caught:
                read(what)
            assert "damaged" not in str(caught.value)


def test_missing_files_are_called_damaged(minari_root):
    write_minari("torn/one-v0")
    for name in ("main_data.hdf5", "metadata.json"):
        (minari_root / "torn/one-v0/data" / name).unlink()
        with pytest.raises(mbo.DatasetError, match="torn/one-v0.*damaged"):
            mbo.load_minari("torn/one-v0")


def test_goals_of_another_length_are_refused(minari_root):
    space = spaces.Dict({"observation": box(2), "desired_goal": box(1)})
    episode = EpisodeBuffer(
        observations={
            "observation": np.zeros((2, 2), np.float32),
            "desired_goal": np.zeros((1, 1), np.float32),
        },
        actions=np.zeros((1, 1), np.float32),
        rewards=[0.0],
        terminations=[False],
        truncations=[True],
    )
    write_minari("torn/goal-v0", [episode], space)
    with pytest.raises(mbo.DatasetError, match=r"episode 0 .* do not fit together"):
        mbo.load_minari("torn/goal-v0")


@pytest.mark.parametrize("value", ["expert", float("nan"), float("inf"), True, [1.0]])
def test_reference_scores_that_are_no_numbers_are_refused_by_name(minari_root, value):
    dataset = write_minari("torn/scores-v0")
    dataset.storage.update_metadata({"ref_min_score": 0.0, "ref_max_score": value})
    with pytest.raises(mbo.DatasetError, match=r"ref_max_score of 'torn/scores-v0'"):
        reference_scores("torn/scores-v0")


def test_a_file_in_the_place_of_an_id_is_told_how_it_becomes_one(minari_root, tmp_path):
    (tmp_path / "walk.hdf5").write_bytes(b"")
    with pytest.raises(mbo.DatasetError, match=r"is a file: mbo\.load_hdf5.*own-data"):
        mbo.load_minari(str(tmp_path / "walk.hdf5"))


def test_d4rls_name_is_told_minaris(minari_root, monkeypatch):
    def away(name: str) -> None:
        raise ValueError(f"no net for {name}")

    monkeypatch.setattr(hosting, "download_dataset", away)
    with pytest.raises(mbo.DatasetError, match="D4RL's name.*mujoco/hopper/medium-v0"):
        mbo.load_minari("hopper-medium-v2")
    with pytest.raises(mbo.DatasetError, match="`d3rlpy-mbo collect` makes them"):
        mbo.load_minari("pointmaze/umaze-sparse-v0")
