"""A full or read-only disk at every write: named, nothing half-written, nothing lost."""

import os
import shutil
from pathlib import Path

import pytest
from hardship import HARD, disk, finished, read_only, small_imagination

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.checkpoints import CheckpointFolder, Part

pytestmark = HARD


def fill(folder: Path, left: int) -> None:
    """Writes until so many bytes are left."""
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(bytes(max(free - left, 0)))


def test_saving_onto_a_full_disk_keeps_the_old_file_whatever_room_is_left(tmp_path):
    imagination = small_imagination()
    with disk(tmp_path / "disk", "size=256k") as folder:
        path = folder / "x.mbo"
        imagination.save(path)
        before = path.read_bytes()
        for left in range(0, len(before), 4096):
            fill(folder, left)
            with pytest.raises(mbo.CompositionError, match="the disk is full"):
                imagination.save(path)
            assert path.read_bytes() == before
            (folder / "filler").unlink()
            assert os.listdir(folder) == ["x.mbo"]


def test_a_checkpoint_that_finds_no_room_leaves_the_last_one(tmp_path):
    with disk(tmp_path / "disk", "size=1m") as folder:
        checkpoints = CheckpointFolder(folder / "checkpoints")
        checkpoints.write({}, {"part": Part(lambda: {"value": [1] * 100})})
        for left in range(0, 40_000, 4096):
            fill(folder, left)
            with pytest.raises(mbo.CompositionError, match="the disk is full"):
                checkpoints.write({}, {"part": Part(lambda: {"value": [2] * 50_000})})
            (folder / "filler").unlink()
            found = CheckpointFolder(folder / "checkpoints").last()
            assert found is not None
            assert found.parts["part"] == {"value": [1] * 100}


COLLECT = (
    *("collect", "pointmaze-umaze-sparse", "--steps", 600),
    *("--reference-episodes", 1),
)
TRAIN = (
    *("train", "--dataset", "pointmaze/umaze-sparse-v0", "--learner", "td3_plus_bc"),
    *("--imagination", "none", "--n-steps", 4, "--n-steps-per-epoch", 2),
    *("--n-trials", 1, "--set", "learner.batch_size=16"),
)


def test_collecting_onto_a_full_or_a_read_only_disk_is_refused_and_leaves_nothing(
    tmp_path,
):
    pytest.importorskip("gymnasium_robotics")
    with disk(tmp_path / "disk", "size=200k") as folder:
        code, said = finished(folder, *COLLECT)
        assert code == 1, said
        assert "Make room" in said
        assert [p for p in folder.rglob("*") if p.is_file()] == []
        read_only(folder)
        code, said = finished(folder, *COLLECT)
        assert code == 1, said
        assert "cannot be written to" in said
        assert "Traceback" not in said


def test_training_onto_a_full_disk_goes_on_when_there_is_room(tmp_path):
    pytest.importorskip("gymnasium_robotics")
    root = tmp_path / "minari"
    root.mkdir()
    assert finished(root, *COLLECT)[0] == 0
    assert finished(root, *TRAIN, "--out", tmp_path / "whole")[0] == 0
    with disk(tmp_path / "disk", "size=30m") as folder:
        for left in (0, 100_000, 1_500_000, 4_000_000):
            fill(folder, left)
            code, said = finished(root, *TRAIN, "--out", folder / "run", "--resume")
            assert code == 1, said
            assert "Traceback" not in said
            assert not (folder / "run" / "result.json").exists()
            (folder / "filler").unlink()
        code, said = finished(root, *TRAIN, "--out", folder / "run", "--resume")
        assert code == 0, said
        read_only(folder)
        code, said = finished(root, *TRAIN, "--out", folder / "run", "--force")
        assert code == 1
        assert "Traceback" not in said
        assert (folder / "run" / "result.json").exists()
