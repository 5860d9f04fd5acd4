"""A run that is killed goes on, and leaves what one leaves that was not, bit for bit."""

import contextlib
import copy
import dataclasses
import os
import pickle
import re
import signal
import subprocess
import sys

import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
import kept_runs
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from d3rlpy_mbo.support.version import installed_versions
from kept_runs import SORTS, Killed, log_files, parts, run, same
from toys import (
    DISCRETE,
    LEARNERS,
    QUIET,
    line_dataset,
    line_imagination,
    small_ensemble,
    small_learner,
)

pytestmark = pytest.mark.training


@pytest.fixture
def kill_after(monkeypatch):
    """Has the process die once the n-th checkpoint from now on is written."""

    def arrange(n: int) -> None:
        write, written = CheckpointFolder.write, []

        def watched(self, *arguments):
            write(self, *arguments)
            written.append(None)
            if len(written) == n:
                monkeypatch.setattr(CheckpointFolder, "write", write)
                raise Killed

        monkeypatch.setattr(CheckpointFolder, "write", watched)

    return arrange


@pytest.mark.parametrize("sort", SORTS)
def test_killed_wherever_it_is_it_ends_as_if_it_had_not_been(
    sort, tmp_path, kill_after
):
    whole = run(sort, tmp_path / "whole")
    # At its beginning, then after the first, the second, ... checkpoint of what is left.
    n_kills, left = 0, None
    for n in (1, 1, 2, 3, 4, 99):
        kill_after(n)
        with contextlib.suppress(Killed):
            left = run(sort, tmp_path / "killed", tmp_path / "checkpoints")
            break
        n_kills += 1
    assert n_kills >= 2
    assert same(left, whole)
    assert log_files(tmp_path / "killed") == log_files(tmp_path / "whole")


def test_a_call_that_failed_is_made_again_with_the_same_objects(tmp_path, monkeypatch):
    # As in a notebook, whose learner has networks by then, of steps in no checkpoint.
    whole = run("SAC + MOPO", tmp_path / "whole")
    made = parts("SAC + MOPO")
    monkeypatch.setattr(kept_runs, "parts", lambda sort: made)
    settings = {"checkpoint": tmp_path / "checkpoints", "checkpoint_interval": 100}
    mistake = {"mistaken": lambda algo, dataset: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        run("SAC + MOPO", tmp_path / "again", evaluators=mistake, **settings)
    assert made[0].grad_step == 3
    assert same(run("SAC + MOPO", tmp_path / "again", **settings), whole)


@pytest.mark.parametrize(
    "made", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_what_a_callback_makes_of_the_learner_trains_by_itself(tmp_path, made):
    learner, copies = small_learner("td3_plus_bc"), []
    mbo.fit(
        learner,
        line_dataset(),
        [],
        2,
        checkpoint=tmp_path / "kept",
        callback=lambda algo, epoch, total_step: copies.append(made(algo)),
        **QUIET,
    )
    copies[0].fit(line_dataset(), n_steps=3, n_steps_per_epoch=3, **QUIET)
    assert [each.grad_step for each in (learner, *copies)] == [2, 4, 2]


def test_a_users_own_update_is_recorded_and_stays(tmp_path):
    learner, calls = small_learner("td3_plus_bc"), []
    update = learner.update
    learner.update = own = lambda batch: calls.append(1) or update(batch)
    mbo.fit(learner, line_dataset(), [], 2, checkpoint=tmp_path / "kept", **QUIET)
    assert len(calls) == 2
    assert learner.update is own


def test_a_model_that_nothing_changes_is_written_once(tmp_path, monkeypatch):
    asked, state = [], mbo.Imagination.checkpoint_state
    monkeypatch.setattr(
        mbo.Imagination, "checkpoint_state", lambda self: asked.append(1) or state(self)
    )
    mbo.fit(
        small_learner("td3_plus_bc"),
        line_dataset(),
        mbo.ImaginationConfig(small_ensemble(), rollout_batch_size=5).create(),
        3,
        n_steps_per_epoch=1,
        checkpoint=tmp_path / "kept",
        checkpoint_interval=1,
        **QUIET,
    )
    assert len(asked) == 1


def test_a_shared_model_goes_on_as_the_adversary_of_one_imagination_left_it(
    tmp_path, kill_after, monkeypatch
):
    owner, data = kept_runs.rambo(), line_dataset()
    owner.fit(data)
    owner.save(tmp_path / "owner.mbo")

    def sharing(sort):
        adversary = mbo.load_imagination(tmp_path / "owner.mbo")
        config = dataclasses.replace(adversary.config, dynamics_updater=None)
        other = config.create(dynamics=adversary.dynamics)
        return small_learner("sac"), [adversary, other]

    monkeypatch.setattr(kept_runs, "parts", sharing)
    whole = run("shared", tmp_path / "whole", dataset=data)
    folders = tmp_path / "killed", tmp_path / "checkpoints"
    kill_after(4)  # the second epoch's, whose model is another than the first one's
    with pytest.raises(Killed):
        run("shared", *folders, dataset=data)
    assert same(run("shared", *folders, dataset=data), whole)


def test_an_action_set_that_a_callback_assigns_goes_on(tmp_path, kill_after):
    def trained(**settings):
        d3rlpy.seed(3)
        learner, data = small_learner("td3_plus_bc"), line_dataset()
        imagination = line_imagination("forward", real_ratio=0.0)

        def narrow(algo, epoch, total_step):
            if epoch == 2:
                low, high = np.float32([0.9]), np.float32([1.0])
                imagination.action_set = mbo.ActionRange(low, high)

        arguments = {"n_steps_per_epoch": 2, "epoch_callback": narrow, **QUIET}
        mbo.fit(learner, data, imagination, 6, **arguments, **settings)
        return kept_runs.networks(learner)

    whole = trained()
    kept = {"checkpoint": tmp_path / "kept", "checkpoint_interval": 1}
    kill_after(5)  # the first, those of two fits, and of two epochs
    with pytest.raises(Killed):
        trained(**kept)
    assert same(trained(**kept), whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LEARNERS, *DISCRETE])
def test_every_learner_goes_on_with_schedulers_too(
    name, tmp_path, kill_after, monkeypatch
):
    def scheduled(sort):
        learner = small_learner(name)
        schedule = d3rlpy.optimizers.CosineAnnealingLRFactory(T_max=9)
        for field in dataclasses.fields(learner.config):
            if field.name.endswith("optim_factory"):
                getattr(learner.config, field.name).lr_scheduler_factory = schedule
        return learner, []

    monkeypatch.setattr(kept_runs, "parts", scheduled)
    whole = run(name, tmp_path / "whole")
    kill_after(2)
    with pytest.raises(Killed):
        run(name, tmp_path / "killed", tmp_path / "checkpoints")
    assert same(run(name, tmp_path / "killed", tmp_path / "checkpoints"), whole)


def test_a_run_is_not_changed_by_its_checkpoints(tmp_path):
    kept = run("SAC + RAMBO", tmp_path / "kept", tmp_path / "checkpoints")
    assert same(kept, run("SAC + RAMBO", tmp_path / "plain"))
    assert log_files(tmp_path / "kept") == log_files(tmp_path / "plain")


def test_a_complete_run_is_not_trained_again_and_more_steps_go_on(tmp_path):
    longer = run("SAC + MOPO", tmp_path / "a", n_steps=9)
    first = run("SAC + MOPO", tmp_path / "b", tmp_path / "checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("d3rlpy.algos.SAC.update", None)
        again = run("SAC + MOPO", tmp_path / "b", tmp_path / "checkpoints")
    assert same(again, first)
    grown = run("SAC + MOPO", tmp_path / "b", tmp_path / "checkpoints", n_steps=9)
    assert same(grown, longer)
    with pytest.raises(mbo.CheckpointError, match="n_steps is 6, .* 9 steps already"):
        run("SAC + MOPO", tmp_path / "b", tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_stops_it_amid_an_epoch_and_says_how_to_go_on(
    tmp_path, capsys, number, error
):
    steps = []

    def stop(algo, epoch, total_step):
        steps.append((epoch, total_step))
        if total_step == 4 and len(steps) == 4:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    folder = tmp_path / "checkpoints"
    with pytest.raises(error) as stopped:
        run("SAC + MOPO", tmp_path / "killed", folder, callback=stop)
    assert signal.getsignal(number) is before
    if number == signal.SIGTERM:
        assert stopped.value.code == 143
    said = capsys.readouterr().err + str(stopped.value)
    assert (
        f"a checkpoint is written to {folder}. The same call of mbo.fit goes on" in said
    )
    left = run("SAC + MOPO", tmp_path / "killed", folder, callback=stop)
    assert steps == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert same(left, run("SAC + MOPO", tmp_path / "whole"))
    assert log_files(tmp_path / "killed") == log_files(tmp_path / "whole")


def test_a_signal_amid_the_last_evaluations_is_not_lost(tmp_path):
    def stop(algo, dataset):
        if algo.grad_step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    folder, own = tmp_path / "checkpoints", {"own": lambda algo, dataset: 0.0}
    with pytest.raises(KeyboardInterrupt, match="a checkpoint is written to"):
        run("learner alone", tmp_path / "stopped", folder, evaluators={"own": stop})
    left = run("learner alone", tmp_path / "stopped", folder)  # it was complete
    assert same(left, run("learner alone", tmp_path / "whole", evaluators=own))


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(tmp_path, kill_after):
    folder = tmp_path / "checkpoints"
    kill_after(3)
    with pytest.raises(Killed):
        run("learner alone", tmp_path / "logs", folder)
    newest, before = sorted(folder.glob("*.json"), reverse=True)
    part = next(folder.glob(f"learner-{newest.stem.split('-')[1]}.part"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{newest.name} is torn.*{before.name}"):
        left = run("learner alone", tmp_path / "logs", folder)
    assert same(left, run("learner alone", tmp_path / "whole"))


def test_nothing_that_is_whole_is_refused_by_name(tmp_path):
    folder = tmp_path / "checkpoints"
    run("learner alone", tmp_path / "logs", folder)
    for manifest in folder.glob("*.json"):
        manifest.write_bytes(manifest.read_bytes()[:-9])
    with pytest.raises(mbo.CheckpointError, match="None is left to go on from"):
        run("learner alone", tmp_path / "logs", folder)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"dataset": line_dataset(3)}, "dataset.rows is 480 there and 72 here"),
        ({"n_steps_per_epoch": 2}, "n_steps_per_epoch is 3 there and 2 here"),
        ({"sort": "SAC + RAMBO"}, r"imaginations\[0\].type is 'mopo' there"),
        ({"sort": "learner alone"}, "learner.type is 'sac' there and 'td3_plus_bc'"),
    ],
)
def test_checkpoints_of_another_run_are_refused_and_what_differs_is_named(
    tmp_path_factory, tmp_path, other, words
):
    folder = tmp_path / "checkpoints"
    run("SAC + MOPO", tmp_path / "logs", folder, n_steps=3)
    settings = {"sort": "SAC + MOPO", **other}
    with pytest.raises(mbo.CheckpointError, match=words):
        run(logs=tmp_path / "logs", checkpoint=folder, **settings)


@pytest.mark.parametrize("package", ["d3rlpy", "d3rlpy-mbo"])
def test_checkpoints_of_another_version_are_refused_named_and_not_touched(
    tmp_path, monkeypatch, package
):
    folder = tmp_path / "checkpoints"
    run("learner alone", tmp_path / "logs", folder, n_steps=3)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    versions = installed_versions(["d3rlpy", "d3rlpy-mbo"])
    monkeypatch.setattr(
        "d3rlpy_mbo.runs.identity.installed_versions",
        lambda names: {**versions, package: "9.9"},
    )
    words = f"versions.{package} is '{versions[package]}' there and '9.9' here"
    with pytest.raises(mbo.CheckpointError, match=re.escape(words)):
        run("learner alone", tmp_path / "logs", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_checkpoint_of_another_format_is_refused_by_name_and_not_touched(tmp_path):
    folder = tmp_path / "checkpoints"
    run("learner alone", tmp_path / "logs", folder, n_steps=3)
    for path in folder.glob("*.json"):
        written = path.read_text()
        assert "checkpoint, format 1" in written
        path.write_text(written.replace("checkpoint, format 1", "checkpoint, format 2"))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(mbo.CheckpointError, match=r"format 1', found .*format 2'"):
        run("learner alone", tmp_path / "logs", folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


HOLDER = """
import fcntl, os, sys, time
with open(sys.argv[1], "w") as lock:
    print(os.getpid(), end="", file=lock, flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_that_another_process_writes_into_is_refused(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    command = [sys.executable, "-c", HOLDER, str(folder / ".lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(mbo.CompositionError, match=f"process {process.pid}"):
            run("learner alone", tmp_path / "logs", folder)
    finally:
        process.kill()
        process.communicate()
    run("learner alone", tmp_path / "logs", folder)  # its lock died with it


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"checkpoint_interval": 2}, "checkpoint, the folder for checkpoints, is None"),
        ({"checkpoint": "x", "checkpoint_interval": 0}, "checkpoint_interval is 0"),
        ({"checkpoint": 3}, "checkpoint is 3, expected the path"),
        ({"checkpoint": ""}, "checkpoint is .., expected the path"),
    ],
)
def test_what_keeps_no_checkpoints_is_refused_beforehand(settings, words):
    learner = small_learner("td3_plus_bc")
    with pytest.raises(mbo.CompositionError, match=words):
        mbo.fit(learner, line_dataset(), [], 2, **settings)
    assert learner.impl is None
