"""`train` survives: its signals, its --resume, and what --resume refuses."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("gymnasium_robotics")

from d3rlpy.algos import SAC

from d3rlpy_mbo.cli import main
from d3rlpy_mbo.runs.folder import RunFolder
from d3rlpy_mbo.support.checkpoints import CheckpointFolder
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze
from kept_runs import Killed, same, without_times

pytestmark = pytest.mark.training

DATASET = "pointmaze/umaze-sparse-v0"
SETTINGS = [
    "train", "--dataset", DATASET, "--learner", "sac", "--imagination", "mopo",
    "--set", "learner.batch_size=16",
    "--set", "imagination.rollout_batch_size=30",
    "--set", "imagination.rollout_interval=3",
    "--set", "imagination.dynamics.n_models=2",
    "--set", "imagination.dynamics.n_elites=1",
    "--set", "imagination.dynamics.hidden_units=[16]",
    "--set", "imagination.dynamics.weight_decays=[0, 0]",
    "--set", "imagination.dynamics.max_steps=7",
    "--n-steps-per-epoch", "3", "--n-trials", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        collect_pointmaze("pointmaze-umaze-sparse", n_steps=700, n_reference_episodes=2)
    return root


@pytest.fixture
def train(root, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))

    def run(out, *arguments, n_steps=6):
        steps = ["--n-steps", str(n_steps), "--out", str(out)]
        given = [str(each) for each in arguments]
        return CliRunner().invoke(main, [*SETTINGS, *steps, *given])

    return run


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """A run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        arguments = [*SETTINGS, "--n-steps", "6", "--out", str(out)]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return out


def read(out: Path):
    """A result but for times and the command line."""
    result = json.loads((out / "result.json").read_text())
    result["metrics"] = [without_times(each) for each in result["metrics"]]
    return {k: v for k, v in result.items() if k not in ("seconds", "command")}


def weights(out: Path):
    import d3rlpy

    import d3rlpy_mbo as mbo
    from kept_runs import networks

    imagination = mbo.load_imagination(out / "imagination.mbo")
    learner = d3rlpy.load_learnable(str(out / "learner.d3"))
    return [networks(learner), imagination.checkpoint_state()]


def test_a_killed_train_is_refused_without_resume_and_with_it_ends_alike(
    train, whole, tmp_path, monkeypatch
):
    write, written = CheckpointFolder.write, []

    def dies(self, *arguments):
        write(self, *arguments)
        written.append(None)
        if len(written) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "write", dies)
        with pytest.raises(Killed):
            main([*SETTINGS, "--n-steps", "6", "--out", str(tmp_path / "run")])
    refused = train(tmp_path / "run")
    assert refused.exit_code == 1
    assert "Pass --resume to go on with the run in it" in refused.output
    changed = train(tmp_path / "run", "--resume", "--seed", 1)
    assert changed.exit_code == 1
    assert "seed is 0 there and 1 here" in changed.output
    result = train(tmp_path / "run", "--resume")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "run") == read(whole)
    assert same(weights(tmp_path / "run"), weights(whole))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "result.json", "learner.d3", "imagination.mbo", "logs", "report.html",
        "checkpoints",
    }  # fmt: skip


def test_killed_while_it_is_put_in_its_place_it_is_put_there_later(
    train, whole, tmp_path, monkeypatch
):
    replace = Path.replace

    def dies(self, target):
        if self.name == "learner.d3":
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(Killed):
            main([*SETTINGS, "--n-steps", "6", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run" / "result.json").exists()
    assert train(tmp_path / "run", "--resume").exit_code == 0
    assert read(tmp_path / "run") == read(whole)
    assert same(weights(tmp_path / "run"), weights(whole))
    assert not (tmp_path / "run" / "unfinished").exists()


@pytest.mark.parametrize("n_steps", [6, 3])
def test_a_finished_run_says_so_and_nothing_is_touched(train, whole, n_steps):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*")}
    result = train(whole, "--resume", n_steps=n_steps)
    assert result.exit_code == 0
    assert "is finished, with 6 steps: nothing is left to do" in result.output
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*")} == before


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of the run that nobody interrupts, to be changed."""
    shutil.copytree(whole, tmp_path / "finished")
    return tmp_path / "finished"


@pytest.fixture(scope="module")
def longer(root, tmp_path_factory):
    """A run that had more steps from the start."""
    out = tmp_path_factory.mktemp("longer") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
        arguments = [*SETTINGS, "--n-steps", "9", "--out", str(out)]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return out


def logged(out: Path):
    """The log files but for times."""
    files = (out / "logs").iterdir()
    return {p.name: p.read_bytes() for p in files if not p.name.startswith("time_")}


def test_a_finished_run_of_fewer_steps_goes_on_and_ends_as_if_it_had_had_more(
    train, longer, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    assert train(out, n_steps=3).exit_code == 0
    assert len(list((out / "checkpoints").glob("*.json"))) == 1
    learned, n_calls = SAC.update, []
    with monkeypatch.context() as patch:
        patch.setattr(SAC, "update", lambda *each: n_calls.append(1) or learned(*each))
        grown = train(out, "--resume", n_steps=9)
    assert grown.exit_code == 0, grown.output
    assert len(n_calls) == 6
    assert read(out) == read(longer)
    assert same(weights(out), weights(longer))
    assert logged(out) == logged(longer)
    assert not (out / "unfinished").exists()


def test_killed_while_it_grows_the_finished_run_is_whole_and_it_grows_on(
    train, longer, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    assert train(out).exit_code == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    # While the finished one is copied, at its first step, while its files are moved.
    for owner, name in [
        (shutil, "copyfile"), (SAC, "update"), (CheckpointFolder, "keep_last"),
    ]:  # fmt: skip
        with monkeypatch.context() as patch:

            def dies(*arguments, **settings):
                raise Killed

            patch.setattr(owner, name, dies)
            with pytest.raises(Killed):
                main([*SETTINGS, "--n-steps", "9", "--out", str(out), "--resume"])
        if name != "keep_last":
            assert all(path.read_bytes() == each for path, each in before.items())
    assert train(out, "--resume", n_steps=9).exit_code == 0
    assert read(out) == read(longer)
    assert same(weights(out), weights(longer))


def test_a_finished_run_that_cannot_grow_is_refused_and_stays(train, finished):
    none = train(finished, "--resume", n_steps=0)
    assert none.exit_code == 1
    assert "n_steps is 0, expected a whole number" in none.output
    for path in (finished / "checkpoints").glob("*.json"):
        path.write_bytes(path.read_bytes()[:-9])
    torn = train(finished, "--resume", n_steps=9)
    assert torn.exit_code == 1
    assert "None is left to go on from" in torn.output
    shutil.rmtree(finished / "checkpoints")
    refused = train(finished, "--resume", n_steps=9)
    assert refused.exit_code == 1
    assert "with 6 steps, and" in refused.output
    assert "holds no checkpoint to go on from" in refused.output
    assert not (finished / "unfinished").exists()
    assert train(finished, "--resume").exit_code == 0


def test_epochs_cut_short_by_few_steps_are_the_epochs_to_go_on_with(train, tmp_path):
    out = tmp_path / "run"  # epochs of 3 steps are asked for, there is room for 2
    assert train(out, n_steps=2).exit_code == 0
    refused = train(out, "--resume", n_steps=6)
    assert refused.exit_code == 1
    assert "n_steps_per_epoch is 2 there and 3 here" in refused.output
    grown = train(out, "--resume", "--n-steps-per-epoch", 2, n_steps=4)
    assert grown.exit_code == 0, grown.output
    assert [each["step"] for each in read(out)["evaluations"]] == [2, 4]


def test_where_nothing_was_saved_it_begins_and_a_folder_that_is_no_run_is_refused(
    train, tmp_path
):
    begun = train(tmp_path / "new", "--resume", n_steps=3)
    assert begun.exit_code == 0, begun.output
    assert "Nothing was saved" in begun.output
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    refused = train(tmp_path / "other", "--resume")
    assert refused.exit_code == 1
    assert "is not the folder of a run" in refused.output
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("how", ["--force", "--resume"])
def test_a_folder_that_another_process_writes_into_is_refused(train, tmp_path, how):
    with RunFolder(tmp_path, {}).held():
        refused = train(tmp_path, how)
    assert "Another call in this process is writing" in refused.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_its_user_moved_and_linked_is_replaced_like_any_other(tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    (out / "unfinished" / "logs").mkdir(parents=True)
    (out / "unfinished" / "logs" / "new.csv").touch()
    moved.mkdir()
    (moved / "old.csv").touch()
    (out / "logs").symlink_to(moved)
    RunFolder(out, {}).finish({"imagination": None}, keep_checkpoint=False)
    assert sorted(path.name for path in out.iterdir()) == ["logs", "result.json"]
    assert [path.name for path in (out / "logs").iterdir()] == ["new.csv"]
    assert (moved / "old.csv").exists()  # what lies there is the user's


PROGRAM = "from d3rlpy_mbo.cli import main; main()"


def started(root: Path, out: Path, n_steps: int, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *[sys.executable, "-c", PROGRAM, *SETTINGS, "--out", str(out)],
            *["--n-steps", str(n_steps), *arguments],
        ],
        env={**os.environ, "MINARI_DATASETS_PATH": str(root / "minari")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_sigterm_ends_a_process_with_143_a_way_to_go_on_and_no_traceback(
    root, tmp_path
):
    out = tmp_path / "run"
    process = started(root, out, 3_000_000)
    deadline = time.monotonic() + 60
    while not list(out.glob("unfinished/logs/environment.csv")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "The same command goes on from there; train with --resume." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_in_a_models_fit_stops_it_and_it_goes_on_there(
    train, whole, tmp_path, monkeypatch, number, code
):
    out, write = tmp_path / "run", CheckpointFolder.write

    def signalled(self, *arguments):
        write(self, *arguments)
        monkeypatch.setattr(CheckpointFolder, "write", write)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(CheckpointFolder, "write", signalled)
    stopped = train(out)
    assert stopped.exit_code == code, stopped.output
    assert "The same command goes on from there; train with --resume." in stopped.output
    assert train(out, "--resume").exit_code == 0
    assert read(out) == read(whole)
    assert same(weights(out), weights(whole))


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_with_the_same_result(
    root, tmp_path, train
):
    whole, out, n_steps = tmp_path / "whole", tmp_path / "run", 3000
    settings = ["--set", "imagination.dynamics.max_steps=2000"]
    arguments = [*settings, "--n-steps-per-epoch", "100"]
    begun = time.monotonic()
    assert train(whole, *arguments, n_steps=n_steps).exit_code == 0
    seconds = time.monotonic() - begun
    moments, n_killed = random.Random(0), 0
    for _ in range(20):
        process = started(root, out, n_steps, *arguments, "--resume")
        try:
            process.communicate(timeout=4 + moments.random() * seconds / 8)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            n_killed += 1
    print(n_killed, "kills")
    assert n_killed >= 10
    result = train(out, *arguments, "--resume", n_steps=n_steps)
    assert result.exit_code == 0, result.output
    assert read(out) == read(whole)
    assert same(weights(out), weights(whole))
