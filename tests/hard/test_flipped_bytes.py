"""Flipped and missing bytes of every file that we read: named, or without effect."""

import contextlib
import json
import random
import shutil
import warnings

import h5py
import numpy as np
import pytest
from hardship import HARD, small_imagination
from test_random_kills import STUDY

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.folder import RunFolder
from d3rlpy_mbo.study.grid import validate
from d3rlpy_mbo.study.page import write_page
from d3rlpy_mbo.study.records import read_scores
from d3rlpy_mbo.study.report import tables
from d3rlpy_mbo.study.settings import Study
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from d3rlpy_mbo.tasks.replay_store import Checkpoint
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


MORE_OF_A_STUDY = """
[paper.romi]
source = "Table 1"
"pointmaze/umaze-sparse-v0" = 62.5
"""


def test_a_studys_file(tmp_path, monkeypatch):
    def unreachable(*arguments):
        raise OSError("no network")

    # A dataset whose name was hit is looked for elsewhere.
    monkeypatch.setattr("minari.storage.hosting.download_dataset", unreachable)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    path, out = tmp_path / "study.toml", tmp_path / "out"
    n_refused, content = 0, f'compare = [["romi", "alone"]]\n{STUDY}{MORE_OF_A_STUDY}'
    for damaged in damages(content.encode(), 1000, 5):
        path.write_bytes(damaged)
        try:
            validate(Study.read(path), out)
        except mbo.D3RLPyMBOError:
            n_refused += 1
    assert 500 < n_refused < 1000
    path.write_text(content)
    validate(Study.read(path), out)


def test_what_a_page_reads_of_a_study_that_runs(tmp_path, monkeypatch):
    pytest.importorskip("altair")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    study, run = tmp_path / "study", "pointmaze-umaze-sparse-v0/alone/seed-0"
    (study / run / "unfinished" / "logs").mkdir(parents=True)
    (study / "study.toml").write_text(STUDY)
    logs = study / run / "unfinished" / "logs" / "environment.csv"
    logs.write_text("1,50,0.5\n2,100,1.25\n")
    failed = study / "pointmaze-umaze-sparse-v0/romi/seed-0.error.txt"
    failed.parent.mkdir()
    failed.write_text("Traceback (most recent call last):\nBoom: what was wrong\n")
    for path in (logs, failed):
        content = path.read_bytes()
        for i, damaged in enumerate(damages(content, 300, 6)):
            path.write_bytes(damaged)
            tables([study])
            if i % 50 == 0:
                write_page([study], tmp_path / "page.html")
        path.write_bytes(b"")  # of a process that was killed as it began it
        tables([study])
        path.write_bytes(content)


def test_a_diagnosis():
    dataset = line_dataset(n_episodes=4)
    content = mbo.diagnose(small_imagination(dataset), dataset).to_json()
    for damaged in damages(content.encode(), 1000, 7):
        with contextlib.suppress(mbo.CompositionError):
            str(mbo.Diagnosis.from_json(damaged.decode(errors="replace")))


def test_a_file_of_d4rls(tmp_path):
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.arange(60, dtype=np.float32).reshape(20, 3)
        file["actions"] = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
        file["rewards"] = np.arange(20, dtype=np.float32)
        file["terminals"] = np.arange(20) % 7 == 6
        file["timeouts"] = np.arange(20) == 19
    content = path.read_bytes()
    for damaged in damages(content, 1000, 8):
        path.write_bytes(damaged)
        with (
            contextlib.suppress(mbo.DatasetError),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            mbo.load_hdf5(path)


def test_a_replay_that_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    state, part = {"learner": np.arange(50)}, {"rewards": np.arange(50.0)}
    kept = Checkpoint("a/b-v0", {"seed": 0})
    assert kept.read(force=False) is None
    kept.write(state, part, start=0)
    (folder,) = tmp_path.iterdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        for damaged in damages(content, 500, len(content)):
            path.write_bytes(damaged)
            try:
                found = Checkpoint("a/b-v0", {"seed": 0}).read(force=False)
            except mbo.DatasetError:
                continue
            assert found is not None
            assert (found[0]["learner"] == state["learner"]).all()
            assert (found[1][0]["rewards"] == part["rewards"]).all()
        path.write_bytes(content)
