"""Calls in a script, killed at random moments: save alone, and a fit with checkpoints."""

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import d3rlpy
import pytest
import torch
from hardship import HARD

import d3rlpy_mbo as mbo
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from kept_runs import log_files, networks, same, without_times
from toys import line_dataset, small_ensemble, small_learner

pytestmark = HARD


@pytest.fixture
def begun(monkeypatch):
    """Begins a function in a process of its own, forked where all is imported."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    # What takes seconds to import; the tests' own modules are not on its path.
    plugins = ["mobile", "mopo", "morel", "rambo", "romi"]
    names = [f"d3rlpy_mbo_{name}" for name in plugins]
    context.set_forkserver_preload(["d3rlpy_mbo", "pytest", *names])

    def begin(function, *arguments):
        process = context.Process(target=function, args=arguments, daemon=True)
        process.start()
        return process

    return begin


def rambo(max_steps: int) -> mbo.Imagination:
    updater = AdversarialUpdaterConfig(update_interval=5, n_updates=4, batch_size=16)
    return RAMBOConfig(
        dynamics=small_ensemble("forward", batch_size=16, max_steps=max_steps),
        dynamics_updater=updater,
        rollout_batch_size=30,
        rollout_interval=20,
    ).create()


def save_in_turn(files: list[Path], path: Path) -> None:
    torch.set_num_threads(1)
    imaginations = [mbo.load_imagination(file) for file in files]
    path.with_name("ready").touch()
    while True:
        for each in imaginations:
            each.save(path)


def test_saving_leaves_the_old_file_or_the_new_one_and_no_more_than_one_leftover(
    begun, tmp_path
):
    dataset = line_dataset(n_episodes=4)
    learner = small_learner("sac")
    imagination = rambo(max_steps=3)
    imagination.fit(dataset)
    files = [tmp_path / "before.mbo", tmp_path / "after.mbo"]
    imagination.save(files[0])
    logs = d3rlpy.logging.NoopAdapterFactory()
    mbo.fit(learner, dataset, imagination, 7, logger_adapter=logs, show_progress=False)
    imagination.save(files[1])
    states = [mbo.load_imagination(file).checkpoint_state() for file in files]
    assert not same(*states)  # the updater's Adam has moved, and the model with it

    out = tmp_path / "out"
    out.mkdir()
    path, ready = out / "x.mbo", out / "ready"
    imagination.save(path)
    moments, n_torn, found = random.Random(0), 0, set()
    for _ in range(15):
        process = begun(save_in_turn, files, path)
        while not ready.exists():
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(moments.random() * 0.1)
        process.kill()
        process.join()
        ready.unlink()
        left = [each for each in out.iterdir() if each != path]
        assert len(left) <= 1
        n_torn += len(left)
        state = mbo.load_imagination(path).checkpoint_state()
        assert any(same(state, each) for each in states)
        found.add(same(state, states[1]))
    assert n_torn >= 2  # that many were hit while they wrote
    assert found == {True, False}
    imagination.save(path)
    assert list(out.iterdir()) == [path]


def fit(folder: Path, checkpoint: Path) -> None:
    """A script's call; what it leaves goes into a file."""
    torch.set_num_threads(1)
    d3rlpy.seed(3)
    learner, imagination = small_learner("sac"), rambo(max_steps=200)
    metrics = mbo.fit(
        learner,
        line_dataset(),
        imagination,
        200,
        n_steps_per_epoch=10,
        logger_adapter=d3rlpy.logging.FileAdapterFactory(str(folder / "logs")),
        checkpoint=checkpoint,
        checkpoint_interval=1,
        show_progress=False,
    )
    left = {
        "weights": [networks(learner), imagination.checkpoint_state()],
        "metrics": [[epoch, without_times(each)] for epoch, each in metrics],
    }
    torch.save(left, folder / "left.part")
    (folder / "left.part").rename(folder / "left")


def newest(folder: Path) -> int:
    numbers = (int(path.stem.partition("-")[2]) for path in folder.glob("*.json"))
    return max(numbers, default=0)


def left_by(folder: Path) -> Any:
    return torch.load(folder / "left", weights_only=True)


def test_a_fit_killed_at_random_moments_leaves_what_one_leaves_that_was_not(
    begun, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    process = begun(fit, whole, tmp_path / "checkpoints-of-whole")
    process.join()
    assert process.exitcode == 0
    checkpoint, moments, stages = tmp_path / "checkpoints", random.Random(1), []
    for _ in range(20):
        process = begun(fit, killed, checkpoint)
        n_more = moments.randrange(4)  # checkpoints, however fast the machine is
        last = newest(checkpoint) + n_more
        while process.is_alive() and newest(checkpoint) < last:
            time.sleep(0.005)
        process.join(moments.random() * (0.2 if n_more else 2))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        saved = CheckpointFolder(checkpoint).last() if checkpoint.exists() else None
        stages.append(None if saved is None else saved.parts["run"]["stage"])
    print(stages)
    assert stages.count("fitting") >= 3
    assert stages.count("training") >= 3
    process = begun(fit, killed, checkpoint)
    process.join()
    assert process.exitcode == 0
    assert same(left_by(killed), left_by(whole))
    assert log_files(killed / "logs") == log_files(whole / "logs")
    assert len(list(checkpoint.glob("*.json"))) == 2
    assert not list(checkpoint.glob(".*"))
