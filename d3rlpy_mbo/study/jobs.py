"""The jobs of a study: each is done whole or not at all, and by one process."""

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
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

from ..components.terminations.interface import NoTermination
from ..data.minari import load_minari
from ..imagination.imagination import ImaginationConfig, load_imagination
from ..registry.json_form import decode
from ..runs.experiment import Experiment
from ..support.errors import CompositionError
from ..tasks import simulator  # noqa: F401  # settings find it by name
from .collecting import Collection
from .evaluators import evaluators
from .names import folder_name
from .records import differences, read_experiment
from .settings import Model

__all__ = [
    "CollectDataset",
    "FitModel",
    "Job",
    "RunExperiment",
    "error_path",
    "execute",
    "worker_of",
]

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
    """Makes a local Minari dataset."""

    dataset: str
    collection: Collection

    @property
    def path(self) -> Path:
        """Of its log; the dataset itself lies among Minari's."""
        return Path(folder_name(self.dataset)) / "dataset"

    def result(self, out: Path) -> Path:
        """Returns where Minari looks for it."""
        return Path(get_dataset_path(self.dataset), "data")

    def check(self, out: Path) -> None:
        """Does nothing: whatever has that name is what the user means."""

    def make(self, out: Path) -> None:
        """Collects it."""
        self.collection.collect(self.dataset)


@dataclasses.dataclass(frozen=True)
class FitModel:
    """Fits a model that runs share."""

    model: Model

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.model.path

    def result(self, out: Path) -> Path:
        """Returns its file."""
        return out / self.path

    def check(self, out: Path) -> None:
        """Does nothing: the file's name says how it was made."""

    def make(self, out: Path) -> None:
        """Fits and saves it."""
        dataset, _ = load_minari(self.model.dataset)
        dynamics: Any = decode("dynamics", self.model.dynamics)
        d3rlpy.seed(self.model.seed)
        # A model is fitted on single steps and ends nothing.
        config = ImaginationConfig(dynamics, termination=NoTermination())
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
        """The run's folder."""
        name = f"seed-{self.experiment.seed}"
        return Path(folder_name(self.experiment.dataset)) / self.method / name

    def result(self, out: Path) -> Path:
        """Returns the last file that a run writes."""
        return out / self.path / "result.json"

    def check(self, out: Path) -> None:
        """Refuses a result of other settings, or a damaged one.

        Raises:
            CompositionError: Names the file, and which settings differ.
        """
        path = self.result(out)
        changed = differences(read_experiment(path), self.experiment)
        if changed:
            raise CompositionError(
                f"{path} was made with other settings: {'; '.join(changed)}. Choose "
                "another --out, or move it away."
            )

    def make(self, out: Path) -> None:
        """Trains and evaluates."""
        dynamics, model = None, None
        if self.model is not None:
            path = out / self.model.path
            dynamics = load_imagination(path, self.experiment.device).dynamics
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


def execute(job: Job, out: Path) -> None:
    """Makes what is not there yet; an exception is written beside it, not raised.

    What it prints goes to a log file there.

    Args:
        job: What to make.
        out: The study's folder.
    """
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


def worker_of(study_process: int) -> None:
    """Lets this process end with the study that started it, before its first job.

    joblib's workers would outlive a kill of it, for ever. An interrupt from the keyboard
    reaches every process; it is the study that answers, and ends its workers.

    Args:
        study_process: Its id; this process is a child of it, or has outlived it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == study_process:
            time.sleep(1)
        os._exit(1)

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
