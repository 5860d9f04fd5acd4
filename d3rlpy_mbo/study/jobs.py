"""The jobs of a study: each is done whole or not at all, and by one process."""

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import shlex
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Protocol

import d3rlpy
import torch
from minari.storage import get_dataset_path

import d3rlpy_mbo as mbo

from ..cli import main as command_line
from ..registry.json_form import decode
from ..runs.experiment import Experiment
from ..support.files import atomic_write
from ..tasks import simulator  # noqa: F401  # settings find it by name
from .evaluators import evaluators
from .settings import Model, folder_name

_KILLED = (
    "The process was killed before this was complete: out of memory, or stopped from "
    "outside. Start the study again to repeat it."
)


class Job(Protocol):
    """Something to make in the study's folder."""

    @property
    def path(self) -> Path:
        """Folder or file, relative to the study's folder."""

    def result(self, out: Path) -> Path:
        """What is there once it is made, and whole."""

    def check(self, out: Path) -> None:
        """Raises CompositionError if what is there is not what is wanted."""

    def make(self, out: Path) -> None:
        """Makes it."""


@dataclasses.dataclass(frozen=True)
class CollectDataset:
    """Makes a local Minari dataset by ``d3rlpy-mbo collect``."""

    dataset: str
    command: str

    @property
    def path(self) -> Path:
        return Path(folder_name(self.dataset)) / "dataset"

    def result(self, out: Path) -> Path:
        return Path(get_dataset_path(self.dataset), "data")

    def check(self, out: Path) -> None:
        pass  # whatever has that name is what the user means

    def make(self, out: Path) -> None:
        arguments = ["collect", *shlex.split(self.command), "--id", self.dataset]
        command_line.main(arguments, standalone_mode=False)


@dataclasses.dataclass(frozen=True)
class FitModel:
    """Fits a model that runs share."""

    model: Model

    @property
    def path(self) -> Path:
        return self.model.path

    def result(self, out: Path) -> Path:
        return out / self.path

    def check(self, out: Path) -> None:
        pass  # its name says how it was made

    def make(self, out: Path) -> None:
        dataset, _ = mbo.load_minari(self.model.dataset)
        dynamics: Any = decode("dynamics", self.model.dynamics)
        d3rlpy.seed(self.model.seed)
        # A model is fitted on single steps and ends nothing.
        config = mbo.ImaginationConfig(dynamics, termination=mbo.NoTermination())
        imagination = config.create(device=self.model.device)
        imagination.fit(dataset)
        imagination.save(out / self.path)


@dataclasses.dataclass(frozen=True)
class RunExperiment:
    """One row of the grid.

    Args:
        method: Name of the method in the study.
        experiment: What is run.
        model: What it imagines with, None if it imagines nothing.
        command: The study's, for the record.
    """

    method: str
    experiment: Experiment
    model: Optional[Model]
    command: list[str]

    @property
    def path(self) -> Path:
        name = f"seed-{self.experiment.seed}"
        return Path(folder_name(self.experiment.dataset)) / self.method / name

    def result(self, out: Path) -> Path:
        return out / self.path / "result.json"

    def check(self, out: Path) -> None:
        path = self.result(out)
        found = Experiment(**json.loads(path.read_text())["experiment"])
        # As JSON has it: lists for tuples.
        ours, theirs = (
            json.loads(json.dumps(dataclasses.asdict(each)))
            for each in (self.experiment, found)
        )
        changed = [
            f"{name} is {theirs[name]!r} there, {ours[name]!r} here"
            for name in ours
            if ours[name] != theirs[name]
        ]
        if changed:
            raise mbo.CompositionError(
                f"{path} was made with other settings: {'; '.join(changed)}. Choose "
                "another --out, or move it away."
            )

    def make(self, out: Path) -> None:
        dynamics, model = None, None
        if self.model is not None:
            path = out / self.model.path
            dynamics = mbo.load_imagination(path, self.experiment.device).dynamics
            model = {"file": str(self.model.path), "seed": self.model.seed}
        self.experiment.run(
            out / self.path,
            force=True,
            dynamics=dynamics,
            evaluators=evaluators(self.experiment.dataset),
            record={
                "method": self.method,
                "model": model,
                "command": self.command,
            },
            show_progress=False,
        )

    def steps_done(self, out: Path) -> int:
        """Returns the gradient steps taken so far, as d3rlpy's logs have them."""
        if self.result(out).exists():
            return self.experiment.n_steps
        if not error_path(self, out).exists():  # not begun, or killed: to be repeated
            return 0
        try:
            log = (out / self.path / "logs" / "environment.csv").read_text()
            return int(log.splitlines()[-1].split(",")[1])
        except (OSError, IndexError, ValueError):  # no log yet, or a line half written
            return 0


def execute(job: Job, out: Path, study_process: Optional[int] = None) -> None:
    """Makes what is not there yet; an exception is written beside it, not raised.

    What it prints goes to a log file there.

    Args:
        job: What to make.
        out: The study's folder.
        study_process: Id of the process that ordered it; where that is this one's
            parent, this one ends with it.
    """
    _end_with(study_process)
    torch.set_num_threads(1)  # networks this small gain nothing from more
    path = out / job.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(out / ".locks" / "--".join(job.path.parts)):
        try:
            if job.result(out).exists():
                job.check(out)
                return
            # Until it is complete: a process that is killed cannot say so itself.
            error_path(job, out).write_text(_KILLED)
            _clear(path)
            with (
                path.with_name(path.name + ".log").open("w", buffering=1) as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("once")
                job.make(out)
            error_path(job, out).unlink(missing_ok=True)
        except Exception:
            error_path(job, out).write_text(traceback.format_exc())


def error_path(job: Job, out: Path) -> Path:
    """Returns where a job's failure is written."""
    path = out / job.path
    return path.with_name(path.name + ".error.txt")


@functools.cache
def _end_with(parent: Optional[int]) -> None:
    """Watches the parent: joblib's workers would outlive a kill of it, for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if os.getppid() == parent:
        threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process holds the path.

    The system lets go of it when a process ends, however it ends; a file that is
    simply there would outlive a kill.
    """
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear(path: Path) -> None:
    """Removes what a killed process left: half a run, temporary files."""
    shutil.rmtree(path, ignore_errors=True)
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        temporary.unlink()


def write_settings(path: Path, out: Path) -> None:
    """Keeps the study's settings beside its results, for the report."""
    with atomic_write(out / "study.toml") as file:
        file.write(path.read_bytes())
