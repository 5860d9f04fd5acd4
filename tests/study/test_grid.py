import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main

pytest.importorskip("gymnasium_robotics")
pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMOKE = BENCHMARKS / "settings" / "smoke.toml"
sys.path.insert(0, str(BENCHMARKS))

from d3rlpy_mbo.study import stages  # noqa: E402
from d3rlpy_mbo.study.execution import (  # noqa: E402
    error_path,
    execute,
    worker_of,
)
from d3rlpy_mbo.study.jobs import RunExperiment  # noqa: E402
from d3rlpy_mbo.study.settings import Study  # noqa: E402

pytestmark = pytest.mark.training

N_RUNS = 4
ONE_SEED = SMOKE.read_text().replace("seeds = [0, 1]", "seeds = [0]")
PROGRAM = "from d3rlpy_mbo.cli import main; main()"


def command(out: Path, *arguments: str) -> list[str]:
    file = out.with_suffix(".toml")
    file.write_text(ONE_SEED)
    options = ["study", str(file), "--out", str(out)]
    return [sys.executable, "-c", PROGRAM, *options, *arguments]


def written(out: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob(pattern)}


def processes(session: int) -> str:
    if shutil.which("ps") is None:
        return ""
    ps = ["ps", "-o", "stat=,command=", "-g", str(session)]
    return subprocess.run(ps, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A seed of the smoke study, killed half-way and started again.

    Its folder, the files it had when it was killed, the second start, and the processes
    of the first that were left when the second had ended.
    """
    root = tmp_path_factory.mktemp("smoke")
    out = root / "out"
    environment = {**os.environ, "MINARI_DATASETS_PATH": str(root / "minari")}
    first = subprocess.Popen(
        command(out),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that what is left of it can be found
    )
    try:
        deadline = time.monotonic() + 300
        while not written(out, "result.json") and time.monotonic() < deadline:
            time.sleep(0.05)
        first.kill()  # it alone: its workers must notice
        first.wait()
        before = {**written(out, "result.json"), **written(out, "model-*.mbo")}
        second = subprocess.run(command(out), env=environment, capture_output=True)
        left = processes(first.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
    return out, before, second, left


def test_a_killed_study_goes_on_where_it_was_and_repeats_nothing(smoke):
    out, before, second, _ = smoke
    n_finished = sum(path.name == "result.json" for path in before)
    assert 1 <= n_finished < N_RUNS  # else the kill came too late to show anything
    assert second.returncode == 0, second.stderr.decode()
    after = {**written(out, "result.json"), **written(out, "model-*.mbo")}
    assert {path: after[path] for path in before} == before
    assert sum(path.name == "result.json" for path in after) == N_RUNS


def test_the_workers_of_a_killed_study_end_with_it(smoke):
    assert not [line for line in smoke[-1].splitlines() if "loky" in line]


def test_a_killed_study_leaves_no_torn_file(smoke):
    out, *_ = smoke
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.error.txt"))
    for path in out.rglob("result.json"):
        assert len(json.loads(path.read_text())["evaluations"]) == 2
    for path in out.glob("smoke*/**/*.mbo"):
        assert mbo.load_imagination(path).fitted


def test_one_model_serves_every_row_that_it_fits(smoke):
    out, *_ = smoke
    names = [path.name for path in out.rglob("model-*.mbo")]
    assert sorted(name.split("-")[1] for name in names) == ["forward", "reverse"]
    results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    files: dict[str, set[str]] = {}
    for result in results:
        model = result["model"] and result["model"]["file"]
        files.setdefault(result["method"], set()).add(str(model))
    assert files["bcq"] == {"None"}
    assert len(files["romi"]) == 1
    assert files["fomi"] == files["mopo"] != files["romi"]


def test_a_study_ends_with_its_report(smoke):
    out, *_ = smoke
    text = (out / "report.md").read_text()
    assert f"{N_RUNS} of {N_RUNS} runs" in text
    assert (out / "report-smoke-umaze-sparse-v0.png").stat().st_size > 10_000
    page = out / "report.html"
    assert page.exists() == (importlib.util.find_spec("altair") is not None)


def test_a_failed_run_is_named_and_does_not_stop_the_others(
    smoke, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(smoke[0].parent / "minari"))
    text = ONE_SEED[: ONE_SEED.index("compare")] + (
        '[methods.choosing]\nlearner = "dqn"\n'  # only the data can tell
        '[methods.bcq]\nlearner = "bcq"\n'
        "[learner_settings.bcq]\nbatch_size = 16\n"
        '[methods.simulator]\nlearner = "bcq"\nimagination = "custom"\n'
        "imagination_settings.rollout_batch_size = 20\n"
        'imagination_settings.dynamics = "pointmaze_simulator"\n'
    )
    (tmp_path / "study.toml").write_text(text)
    out = tmp_path / "out"
    arguments = ["study", str(tmp_path / "study.toml"), "--out", str(out)]
    done = CliRunner().invoke(main, [*arguments, "--n-jobs", "1"])
    assert done.exit_code == 1
    failed = Path("smoke-umaze-sparse-v0/choosing/seed-0")
    assert f"failed: {failed}: " in done.stderr
    assert "DQN is for discrete actions" in (out / f"{failed}.error.txt").read_text()
    for method in ("bcq", "simulator"):
        path = out / "smoke-umaze-sparse-v0" / method / "seed-0" / "result.json"
        assert json.loads(path.read_text())["method"] == method
    assert f"Failed: {failed}" in (out / "report.md").read_text()


def test_a_dataset_that_cannot_be_made_is_a_failure_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(
        "minari.load_dataset", lambda *a, **k: (_ for _ in ()).throw(OSError("no"))
    )

    def fail(*arguments, **options):
        raise mbo.DatasetError("The disk is full.")

    monkeypatch.setattr("d3rlpy_mbo.tasks.pointmaze_collection.collect_pointmaze", fail)
    arguments = ["study", str(SMOKE), "--n-jobs", "1"]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "smoke-umaze-sparse-v0/dataset: " in done.stderr
    assert "The disk is full." in done.stderr
    assert "failed: smoke/umaze-sparse-v0: The dataset" in done.stderr


@dataclasses.dataclass(frozen=True)
class Touch:
    """A job that takes its time and says how often it was done."""

    path: Path = Path("there")
    fails: bool = False

    def result(self, out: Path) -> Path:
        return out / self.path

    def check(self, out: Path) -> None:
        pass

    def make(self, out: Path) -> None:
        with (out / "count").open("a") as file:
            file.write("x")
        time.sleep(0.2)
        if self.fails:
            raise ValueError("no")
        (out / self.path).touch()


def test_two_processes_never_do_one_job_twice(tmp_path):
    threads = [
        threading.Thread(target=execute, args=(Touch(), tmp_path)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "count").read_text() == "x"


def test_an_error_is_there_from_the_start_and_gone_at_the_end(tmp_path):
    job = Touch()
    thread = threading.Thread(target=execute, args=(job, tmp_path))
    thread.start()
    while not (tmp_path / "count").exists():
        time.sleep(0.01)
    assert "killed" in error_path(job, tmp_path).read_text()
    thread.join()
    assert not error_path(job, tmp_path).exists()


def test_what_a_killed_process_left_is_removed_before_the_job_is_done_anew(tmp_path):
    (tmp_path / ".there.abc.tmp").touch()
    (tmp_path / ".elsewhere.abc.tmp").touch()
    execute(Touch(), tmp_path)
    assert not (tmp_path / ".there.abc.tmp").exists()
    assert (tmp_path / ".elsewhere.abc.tmp").exists()


def test_what_a_killed_run_had_done_is_not_counted_as_progress(tmp_path):
    settings = Study.read(SMOKE)
    experiment = settings.experiment("smoke/umaze-sparse-v0", "bcq", 0, None)
    run = RunExperiment("bcq", experiment, None, [])
    log = tmp_path / run.path / "unfinished" / "logs" / "environment.csv"
    log.parent.mkdir(parents=True)
    log.write_text("1,3,0.5\n2,6,0.7\n")
    assert run.steps_done(tmp_path) == 0  # as a study finds it that starts again
    error_path(run, tmp_path).touch()  # as execute marks a run that it has begun
    assert run.steps_done(tmp_path) == 6


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_own_job_and_the_others_go_on(tmp_path):
    jobs = [Die(), *(Touch(Path(f"there-{i}")) for i in range(3))]
    with stages.backend("loky"):
        failures = stages.run_stage("jobs", jobs, tmp_path, 2)
    assert "killed" in (tmp_path / "die.error.txt").read_text()
    assert "die" in failures
    left = [job for job in jobs[1:] if str(job.path) not in failures]
    assert left
    assert all(job.result(tmp_path).exists() for job in left)


@dataclasses.dataclass(frozen=True)
class Die(Touch):
    """A job for which there is not memory enough."""

    path: Path = Path("die")

    def make(self, out: Path) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Environment(Touch):
    """A job that says with how many threads it would compute, and whose child it is."""

    def make(self, out: Path) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        said = [*(os.environ.get(name) for name in names), os.getppid()]
        (out / self.path).write_text(json.dumps(said))


def test_workers_have_one_thread_each_and_leave_the_studys_environment_alone(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    jobs = [Environment(Path(f"said-{i}")) for i in range(2)]
    with stages.backend("loky"):
        assert stages.run_stage("jobs", jobs, tmp_path, 2) == {}
    for job in jobs:
        said = json.loads(job.result(tmp_path).read_text())
        assert said == ["1", "1", "1", os.getpid()]
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("seconds", [0, 3])
def test_a_worker_ends_with_its_study_even_one_that_was_killed_before(
    monkeypatch, seconds
):
    # A worker that is still importing when its study is killed finds another parent.
    parents = iter([*[5] * seconds, 1])
    slept, ended = [], threading.Event()
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "_exit", lambda status: status == 1 and ended.set())
    monkeypatch.setattr(time, "sleep", slept.append)
    answers = signal.getsignal(signal.SIGINT)
    try:
        worker_of(5)
        assert ended.wait(10)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, answers)
    assert slept == [1] * seconds


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_study_says_how_to_go_on_and_leaves_no_process(
    tmp_path, number, status
):
    environment = {**os.environ, "MINARI_DATASETS_PATH": str(tmp_path / "minari")}
    # A shell's background jobs, this test may be one, ignore the keyboard.
    heard = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); " + PROGRAM
    python, option, _, *arguments = command(tmp_path / "out")
    running = subprocess.Popen(
        [python, option, heard, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out" / ".locks").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if number == "SIGINT":
            os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        else:
            running.terminate()  # as a scheduler does
        _, said = running.communicate(timeout=120)
        assert running.returncode == status
        assert "Interrupted. What was complete is kept" in said
        assert "Traceback" not in said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_cluster_runs_the_same_grid_with_the_same_numbers(smoke, tmp_path, backend):
    pytest.importorskip(backend)
    out, *_ = smoke
    environment = {
        **os.environ,
        "MINARI_DATASETS_PATH": str(out.parent / "minari"),
        "RAY_AUTH_MODE": "disabled",
    }
    arguments = command(tmp_path, "--backend", backend)
    assert subprocess.run(arguments, env=environment).returncode == 0
    paths = [path.relative_to(out) for path in out.rglob("result.json")]
    assert len(paths) == N_RUNS
    for path in paths:
        ours, theirs = (json.loads((f / path).read_text()) for f in (out, tmp_path))
        assert ours["evaluations"] == theirs["evaluations"], path


def test_the_case_study_measures_every_model_and_every_run(smoke, monkeypatch):
    import case_study

    out, *_ = smoke
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(out.parent / "minari"))
    monkeypatch.setattr(sys, "argv", ["case_study.py", str(out)])
    monkeypatch.setattr(case_study, "_EPISODES", 2)
    assert case_study.main() == 0
    name = "case-study-smoke-umaze-sparse-v0"
    found = json.loads((out / f"{name}.json").read_text())
    directions = [model["direction"] for model in found["models"]]
    assert sorted(directions) == ["forward", "reverse"]
    for model in found["models"]:
        assert model["one_step_error"] > 0
        assert 0 < model["model_reward_error"] < 2
        members = model["members_reward_there"]
        assert len(members) == (2 if model["rows_with_reward"] else 0)
    runs = {(run["method"], run["seed"]): run for run in found["runs"]}
    assert len(runs) == N_RUNS
    assert all(run["trajectory_discrepancy"] > 0 for run in found["runs"])
    assert (out / f"{name}.png").stat().st_size > 10_000


def test_a_run_shows_the_same_behavior_whichever_other_runs_are_there(
    smoke, tmp_path, monkeypatch
):
    import case_study

    out, *_ = smoke
    fewer = tmp_path / "fewer"
    shutil.copytree(out, fewer)
    shutil.rmtree(fewer / "smoke-umaze-sparse-v0" / "bcq" / "seed-0")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(out.parent / "minari"))
    monkeypatch.setattr(case_study, "_EPISODES", 2)
    runs = []
    for folder in (out, fewer):
        monkeypatch.setattr(sys, "argv", ["case_study.py", str(folder)])
        assert case_study.main() == 0
        path = folder / "case-study-smoke-umaze-sparse-v0.json"
        runs.append(json.loads(path.read_text())["runs"])
    assert len(runs[0]) == len(runs[1]) + 1
    assert runs[0][1:] == runs[1]
