import os
import subprocess
import sys

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.dataset._storages.hdf5_storage import HDF5Storage
from minari.namespace import list_local_namespaces

from d3rlpy_mbo.support.errors import DatasetError
from d3rlpy_mbo.tasks import local_datasets, places
from d3rlpy_mbo.tasks.local_datasets import validate_free, write_local_dataset

ENV = gymnasium.spec("CartPole-v1")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def episode(value, n_steps=3):
    return EpisodeBuffer(
        observations=np.full((n_steps + 1, 4), value, dtype=np.float32),
        actions=np.zeros(n_steps, dtype=np.int64),
        rewards=np.ones(n_steps),
        terminations=np.zeros(n_steps, dtype=bool),
        truncations=np.eye(n_steps, dtype=bool)[-1],
    )


def write(dataset_id="toys/cart-v0", value=1.0, **kwargs):
    return write_local_dataset(dataset_id, [episode(value)], env=ENV, **kwargs)


def first_value(dataset_id="toys/cart-v0"):
    return minari.load_dataset(dataset_id)[0].observations[0, 0]


def fail_midway(monkeypatch):
    written = HDF5Storage.update_episodes

    def update_episodes(self, episodes):
        written(self, episodes)
        raise KeyboardInterrupt

    monkeypatch.setattr(HDF5Storage, "update_episodes", update_episodes)


def visible_and_hidden(root):
    return [path for path in root.rglob("*") if path.is_file()]


def test_minari_reads_what_was_written():
    episodes = [episode(1.0, 3), episode(2.0, 5)]
    metadata = {"ref_max_score": 2.5, "description": "toy", "d4rl_ref_max_score": 3.5}
    write_local_dataset("toys/deep/cart-v0", episodes, env=ENV, metadata=metadata)

    dataset = minari.load_dataset("toys/deep/cart-v0")
    assert [len(e.rewards) for e in dataset] == [3, 5]
    assert dataset.total_steps == 8
    assert dataset[1].observations.shape == (6, 4)
    assert metadata.items() <= dataset.storage.metadata.items()
    assert dataset.recover_environment(eval_env=True).spec.id == "CartPole-v1"
    assert list(minari.list_local_datasets()) == ["toys/deep/cart-v0"]
    assert list_local_namespaces() == ["toys", "toys/deep"]


def test_an_id_without_a_namespace_works():
    write("cart-v0", value=4.0)
    assert first_value("cart-v0") == 4.0


def test_evaluation_environment_may_differ():
    write(eval_env=gymnasium.spec("Acrobot-v1"))
    dataset = minari.load_dataset("toys/cart-v0")
    assert dataset.recover_environment(eval_env=True).spec.id == "Acrobot-v1"
    assert dataset.recover_environment().spec.id == "CartPole-v1"


def test_nothing_but_the_dataset_is_left_behind(root):
    write()
    assert sorted(path.name for path in root.iterdir()) == ["toys"]


def test_existing_dataset_is_kept_without_force():
    write(value=1.0)
    with pytest.raises(DatasetError, match=r"already exists at .*--force"):
        write(value=2.0)
    assert first_value() == 1.0


def test_force_replaces_an_existing_dataset(root):
    write(value=1.0)
    write(value=2.0, force=True)
    assert first_value() == 2.0
    assert sorted(path.name for path in root.iterdir()) == ["toys"]


def test_interrupted_writing_leaves_nothing(root, monkeypatch):
    fail_midway(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert visible_and_hidden(root) == []


def test_interrupted_replacement_keeps_the_old_dataset(monkeypatch):
    write(value=1.0)
    fail_midway(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write(value=2.0, force=True)
    assert first_value() == 1.0


def test_old_dataset_returns_when_the_new_one_cannot_be_moved(root, monkeypatch):
    monkeypatch.setattr(local_datasets, "exchange", lambda one, other: False)
    path = write(value=1.0)
    rename = type(root).rename

    def refuse_new(self, target):
        if self.name == "complete":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(type(root), "rename", refuse_new)
    with pytest.raises(OSError, match="no space"):
        write(value=2.0, force=True)
    assert path.is_dir()
    assert first_value() == 1.0


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import test_local_datasets as t
written = t.HDF5Storage.update_episodes
def update_episodes(self, episodes):
    written(self, episodes)
    os._exit(9)
t.HDF5Storage.update_episodes = update_episodes
t.write(value=1.0)
"""


@pytest.mark.training
def test_killed_writing_leaves_no_dataset(root):
    script = KILLED.format(tests=os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True
    )
    assert killed.returncode == 9, killed.stderr
    assert visible_and_hidden(root) != []  # it was killed after writing something
    assert minari.list_local_datasets() == {}
    write(value=2.0)
    assert first_value() == 2.0


@pytest.mark.filterwarnings("ignore:This process .*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("in_one_step", [True, False])
def test_killed_at_any_step_of_a_replacement_a_dataset_is_there_or_comes_back(
    root, monkeypatch, in_one_step
):
    write(value=1.0)
    rename = type(root).rename
    swap = local_datasets.exchange

    def dies_after(self, target):
        rename(self, target)
        os._exit(9)

    for name in ("complete", "cart-v0"):
        pid = os.fork()
        if pid == 0:  # dies after the swap, or between the two renames

            def swapped(one, other, name=name):
                done = in_one_step and swap(one, other)
                if done:
                    os._exit(9)
                return done

            local_datasets.exchange = swapped
            type(root).rename = lambda self, target, name=name: (
                dies_after(self, target) if self.name == name else rename(self, target)
            )
            write(value=2.0, force=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        if in_one_step:
            assert first_value() == 2.0
        with places.write_alone("toys/cart-v0"):  # as the next collection does
            assert first_value() in (1.0, 2.0)
        assert sorted(path.name for path in root.iterdir()) == ["toys"]


def test_nobody_collects_a_dataset_beside_another(root):
    with (
        places.write_alone("toys/cart-v0"),
        pytest.raises(DatasetError, match="is writing the dataset 'toys/cart-v0'"),
        places.write_alone("toys/cart-v0"),
    ):
        pass
    with places.write_alone("toys/cart-v0"), places.write_alone("toys/other-v0"):
        assert minari.list_local_datasets() == {}


def test_a_disk_without_room_is_refused_before_anything_is_written(root, monkeypatch):
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(places.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        DatasetError, match="needs up to 1.0 MB, and .* has 1.0 MB left"
    ):
        write()
    assert visible_and_hidden(root) == []


def test_a_folder_that_cannot_be_written_to_is_refused_before_collecting(
    root, monkeypatch
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", "/proc/datasets")
    with (
        pytest.raises(DatasetError, match="cannot be written to: .*proc"),
        places.write_alone("toys/cart-v0"),
    ):
        pass


@pytest.mark.parametrize(
    "dataset_id", ["cart", "toys/cart", "to ys/cart-v0", "../cart-v0", "", "toys/-v"]
)
def test_malformed_id_is_refused(dataset_id):
    with pytest.raises(DatasetError, match="is no Minari dataset id"):
        validate_free(dataset_id, force=True)


def test_force_never_replaces_a_directory_of_other_datasets(root):
    write("toys-v0/cart-v0", value=1.0)
    with pytest.raises(DatasetError, match="is no Minari dataset"):
        write("toys-v0", value=2.0, force=True)
    assert first_value("toys-v0/cart-v0") == 1.0
