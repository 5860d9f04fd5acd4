"""A job is done whole or not at all, whatever it prints and wherever it lies."""

import os
from pathlib import Path

import pytest
import torch

pytest.importorskip("joblib")

from d3rlpy_mbo.study.execution import KILLED, error_of, error_path, execute
from d3rlpy_mbo.study.stages import run_stage

PATH = Path(os.fsdecode(b"d\xe9")) / "job"


class Loud:
    """A job that prints what no encoding has a sign for, and may fail with it."""

    path = PATH

    def __init__(self, fails: bool = False):
        self._fails = fails

    def result(self, out: Path) -> Path:
        return out / self.path

    def check(self, out: Path) -> None:
        pass

    def make(self, out: Path) -> None:
        print(f"± in {out / self.path}")
        if self._fails:
            raise ValueError(f"± in {self.path}")
        self.result(out).touch()


def test_a_log_holds_whatever_is_printed(tmp_path):
    execute(Loud(), tmp_path)
    assert Loud().result(tmp_path).exists()
    log = (tmp_path / PATH).with_name("job.log").read_text("utf-8")
    assert log == f"± in {tmp_path}/d\\udce9/job\n"


def test_an_error_is_kept_whatever_it_says(tmp_path):
    execute(Loud(fails=True), tmp_path)
    said = error_of(error_path(Loud(), tmp_path))
    assert said == "ValueError: ± in d\\udce9/job"


class Counting(Loud):
    """A job that notes with how many threads it is done."""

    threads = 0

    def make(self, out: Path) -> None:
        self.threads = torch.get_num_threads()
        super().make(out)


def test_a_job_has_one_thread_and_the_process_as_many_as_before(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        job = Counting()
        execute(job, tmp_path)
        assert (job.threads, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(before)


def test_a_failure_that_nfs_shows_a_while_longer_is_none(tmp_path, monkeypatch):
    exists = Path.exists

    def as_of_a_minute_ago(path):
        return path.name.endswith(".error.txt") or exists(path)

    monkeypatch.setattr(Path, "exists", as_of_a_minute_ago)
    assert run_stage("jobs", [Loud()], tmp_path, 1) == {}
    assert Loud().result(tmp_path).exists()


class Begun(Loud):
    """A job that is made, and while it is checked another process begins the next."""

    path = Path("begun")

    def check(self, out: Path) -> None:
        error_path(Loud(), out).write_text(KILLED, "utf-8")


def test_what_another_process_begins_meanwhile_has_not_failed(tmp_path):
    (tmp_path / PATH).parent.mkdir()
    (tmp_path / "begun").touch()
    assert run_stage("jobs", [Begun(), Loud()], tmp_path, 1) == {}
    assert Loud().result(tmp_path).exists()
