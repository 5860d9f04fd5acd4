"""Killed at random moments, whatever it was doing: goes on, and nothing is torn."""

import json
import random
import subprocess
import time

import pytest
from hardship import HARD, finished, started

import d3rlpy_mbo as mbo

pytestmark = HARD

pytest.importorskip("gymnasium_robotics")

DATASET = "pointmaze/umaze-sparse-v0"
COLLECT = (
    *("collect", "pointmaze-umaze-sparse", "--steps", 3000),
    *("--reference-episodes", 20, "--force"),
)


def killed_at_random(root, arguments, n_kills, seed, longest):
    """Kills a command n times, each at another moment; returns how often it was done."""
    moments, n_done = random.Random(seed), 0
    for _ in range(n_kills):
        process = started(root, *arguments)
        try:
            process.communicate(timeout=2 + moments.random() * longest)
            n_done += 1
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    return n_done


def test_collect_leaves_the_old_dataset_or_the_new_one(tmp_path, monkeypatch):
    root = tmp_path / "minari"
    root.mkdir()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    assert finished(root, *COLLECT)[0] == 0
    begun = time.monotonic()
    assert finished(root, *COLLECT)[0] == 0
    longest = time.monotonic() - begun
    moments = random.Random(0)
    for _ in range(8):
        killed_at_random(root, COLLECT, 1, moments.random(), longest)
        dataset, _ = mbo.load_minari(DATASET)
        assert dataset.transition_count == 3000
    assert finished(root, *COLLECT)[0] == 0
    assert sorted(path.name for path in root.iterdir()) == ["pointmaze"]


STUDY = f"""
datasets = ["{DATASET}"]
seeds = [0, 1]
n_steps = 400
n_steps_per_epoch = 50
n_trials = 1
n_last = 2
[collect."{DATASET}"]
task = "pointmaze-umaze-sparse"
n_steps = 700
n_reference_episodes = 1
[methods.alone]
learner = "td3_plus_bc"
[methods.romi]
learner = "td3_plus_bc"
imagination = "romi"
[learner_settings.td3_plus_bc]
batch_size = 16
[imagination_settings.romi]
rollout_policy = "uniform"
rollout_batch_size = 50
"dynamics.n_models" = 2
"dynamics.n_elites" = 1
"dynamics.hidden_units" = [16]
"dynamics.weight_decays" = [0.0, 0.0]
"dynamics.max_steps" = 300
"""


def test_a_study_ends_with_the_numbers_of_one_that_nobody_killed(tmp_path):
    pytest.importorskip("joblib")
    root = tmp_path / "minari"
    root.mkdir()
    (tmp_path / "study.toml").write_text(STUDY)
    command = ("study", tmp_path / "study.toml", "--n-jobs", 1, "--out")
    begun = time.monotonic()
    code, said = finished(root, *command, tmp_path / "whole")
    assert code == 0, said
    longest = time.monotonic() - begun
    killed_at_random(root, (*command, tmp_path / "killed"), 8, 1, longest / 2)
    code, said = finished(root, *command, tmp_path / "killed")
    assert code == 0, said
    for whole in (tmp_path / "whole").rglob("result.json"):
        path = tmp_path / "killed" / whole.relative_to(tmp_path / "whole")
        ours, theirs = (json.loads(p.read_text()) for p in (whole, path))
        assert ours["evaluations"] == theirs["evaluations"]
    assert not list((tmp_path / "killed").rglob("*.tmp"))
    assert not list((tmp_path / "killed").rglob("*checkpoints*"))


def test_of_two_that_write_into_one_place_one_is_refused(tmp_path):
    root = tmp_path / "minari"
    root.mkdir()
    pair = [started(root, *COLLECT) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in pair]
    codes = sorted(process.returncode for process in pair)
    assert codes in ([0, 1], [0, 0]), said  # or one after the other
    if codes == [0, 1]:
        assert any("Another process" in each for each in said)
    assert sum("Wrote" in each for each in said) == codes.count(0)
