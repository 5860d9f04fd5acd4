"""Files of somebody hostile: nothing of theirs runs."""

import hashlib
import io
import json
import os
import pickle
import warnings

import pytest
import torch
from hardship import HARD, small_imagination

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from kept_runs import run

pytestmark = HARD


class Bomb:
    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


def bombs(mark):
    """Bytes that make a folder if they are run, in every shape that somebody may try."""
    packed = io.BytesIO()
    torch.save(
        {"format": "d3rlpy-mbo component, format 1", "state": Bomb(mark)}, packed
    )
    old = io.BytesIO()
    torch.save({"state": Bomb(mark)}, old, _use_new_zipfile_serialization=False)
    plain = [pickle.dumps(Bomb(mark), protocol) for protocol in range(6)]
    return [packed.getvalue(), old.getvalue(), *plain]


def test_imaginations_learners_and_checkpoints_run_nothing(tmp_path):
    mark = tmp_path / "ran"
    folder = tmp_path / "checkpoints"
    run("learner alone", tmp_path / "logs", folder, n_steps=3)
    for content in bombs(mark):
        for name in ("x.mbo", "x.d3"):
            (tmp_path / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(mbo.LoadError):
                mbo.load_imagination(tmp_path / "x.mbo")
            with pytest.raises(mbo.LoadError):
                mbo.load_learner(tmp_path / "x.d3")
            # Even with digests that fit.
            for path in folder.glob("run-*.part"):
                path.write_bytes(content)
            for path in folder.glob("*.json"):
                found = json.loads(path.read_text())
                found["parts"]["run"]["digest"] = hashlib.sha256(content).hexdigest()
                del found["digest"]
                text = json.dumps(found, sort_keys=True)
                found["digest"] = hashlib.sha256(text.encode()).hexdigest()
                path.write_text(json.dumps(found))
            with pytest.raises(mbo.CheckpointError):
                CheckpointFolder(folder).last()
    assert not mark.exists()


def test_a_datasets_environment_runs_nothing(tmp_path, monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

    root, mark = tmp_path / "minari", tmp_path / "ran"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    collect_pointmaze("pointmaze-umaze-sparse", n_steps=600, n_reference_episodes=1)
    [path] = root.rglob("metadata.json")
    metadata = json.loads(path.read_text())
    for name in ("env_spec", "eval_env_spec"):
        spec = json.loads(metadata[name])
        spec |= {"entry_point": "os:mkdir", "kwargs": {"path": str(mark)}}
        metadata[name] = json.dumps(spec)
    path.write_text(json.dumps(metadata))
    with pytest.warns(UserWarning, match="environment"):
        _, env = mbo.load_minari("pointmaze/umaze-sparse-v0")
    assert env is None
    assert not mark.exists()


def test_a_small_file_does_not_become_a_large_one(tmp_path):
    path = tmp_path / "x.mbo"
    small_imagination().save(path)
    content = torch.load(path, weights_only=True)
    dynamics = content["state"]["components"]["dynamics"]
    dynamics["inputs"]["mean"] = torch.zeros(1).expand(10**10)
    del content["digest"]
    torch.save(content, path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(mbo.LoadError, match="claims a size"):
        mbo.load_imagination(path)
