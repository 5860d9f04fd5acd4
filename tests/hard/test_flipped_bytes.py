"""Flipped and missing bytes of every file that we read: named, or without effect."""

import json
import random
import shutil
import warnings

import pytest
from hardship import HARD, small_imagination

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.folder import RunFolder
from d3rlpy_mbo.study.records import read_scores
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from kept_runs import run, same
from toys import line_dataset, small_learner

pytestmark = HARD


def damages(content: bytes, n: int, seed: int):
    """Yields n copies: two thirds with a flipped bit, a third cut off."""
    moments = random.Random(seed)
    for i in range(n):
        damaged = bytearray(content)
        place = moments.randrange(len(content))
        if i % 3:
            damaged[place] ^= 1 << moments.randrange(8)
        else:
            del damaged[place:]
        yield bytes(damaged)


def test_a_saved_imagination(tmp_path):
    path = tmp_path / "x.mbo"
    small_imagination().save(path)
    good, content = mbo.load_imagination(path).checkpoint_state(), path.read_bytes()
    n_refused = 0
    for damaged in damages(content, 1000, 0):
        path.write_bytes(damaged)
        try:
            found = mbo.load_imagination(path).checkpoint_state()
        except mbo.LoadError:
            n_refused += 1
        else:
            assert same(found, good) or repr(found) == repr(good)
    assert n_refused > 500


def test_checkpoints(tmp_path):
    folder = tmp_path / "checkpoints"
    run("SAC + MOPO", tmp_path / "logs", folder)
    good = CheckpointFolder(folder).last()
    assert good is not None
    before = min(folder.glob("*.json"))
    before.unlink()  # the one that would be used instead
    files = [*folder.glob("*.json"), *folder.glob("*.part")]
    for path in files:
        content = path.read_bytes()
        for damaged in damages(content, 1000 // len(files), len(content)):
            path.write_bytes(damaged)
            try:
                found = CheckpointFolder(folder).last()
            except mbo.CheckpointError:
                continue
            # Nothing is used that is not what was written.
            assert found is not None
            assert damaged == content or same(found.parts, good.parts)
        path.write_bytes(content)


def test_a_saved_learner(tmp_path):
    learner = small_learner("td3_plus_bc")
    learner.build_with_dataset(line_dataset())
    path = tmp_path / "x.d3"
    learner.save(str(path))
    content = path.read_bytes()
    for damaged in damages(content, 1000, 2):
        path.write_bytes(damaged)
        try:
            mbo.load_learner(path)
        except mbo.LoadError:
            continue  # d3rlpy's format has no digest: some flips are numbers


def test_json_of_runs(tmp_path):
    settings = {"dataset": "a/b-v0", "n_steps": 4, "n_steps_per_epoch": 2, "seed": 0}
    folder = RunFolder(tmp_path / "run", settings)
    with folder.held():
        folder.begin()
        folder.checkpoints.mkdir()
    path = folder.work / "experiment.json"
    content = path.read_bytes()
    for damaged in damages(content, 1000, 3):
        path.write_bytes(damaged)
        try:
            folder.state()
        except mbo.D3RLPyMBOError:
            continue
        found = json.loads(damaged)
        assert {**found, "n_steps": 4} == settings  # n_steps may differ
    result = tmp_path / "result.json"
    written = {
        "experiment": settings,
        "evaluations": [{"step": 2, "return": 1.5, "normalized_score": None}],
        "metrics": [{"loss": 0.5}],
        "seconds": 1.0,
        "final_evaluation": None,
        "reference_scores": [0.0, 1.0],
    }
    for damaged in damages(json.dumps(written).encode(), 1000, 4):
        result.write_bytes(damaged)
        named = None
        try:
            read_scores(result)
        except mbo.D3RLPyMBOError as error:
            named = str(error)
        assert named is None or str(result) in named


def test_a_minari_dataset(tmp_path, monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

    root = tmp_path / "minari"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    collect_pointmaze("pointmaze-umaze-sparse", n_steps=600, n_reference_episodes=1)
    files = [path for path in root.rglob("*") if path.is_file()]
    kept = tmp_path / "kept"
    shutil.copytree(root, kept)
    for path in files:
        content = path.read_bytes()
        for damaged in damages(content, 300 // len(files), len(content)):
            path.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    dataset, _ = mbo.load_minari("pointmaze/umaze-sparse-v0")
                    mbo.Transitions.from_dataset(dataset)
                except mbo.D3RLPyMBOError:
                    pass
        path.write_bytes(content)
