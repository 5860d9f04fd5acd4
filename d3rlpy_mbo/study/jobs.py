"""The jobs of a study: a dataset, a model, a run."""

import dataclasses
from pathlib import Path
from typing import Any

import d3rlpy

from ..components.dynamics.interface import Dynamics
from ..components.terminations.interface import NoTermination
from ..data.minari import load_minari
from ..data.minari_files import dataset_folder
from ..data.real_data import RealData
from ..imagination.imagination import ImaginationConfig
from ..imagination.loading import load_imagination
from ..registry.json_form import decode
from ..runs.checkpoint import FitCheckpoint, lost
from ..runs.experiment import UNFINISHED, Experiment
from ..support.errors import CheckpointError
from ..support.json_values import one_or_all
from ..tasks import simulator  # noqa: F401  # settings find it by name
from .collecting import Collection
from .evaluators import evaluators
from .execution import error_path
from .names import folder_name
from .records import differences, other_settings, read_begun, read_experiment
from .settings import Model

__all__ = [
    "CollectDataset",
    "FitModel",
    "RunExperiment",
]


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
        return dataset_folder(self.dataset) / "data"

    def check(self, out: Path) -> None:
        """Does nothing: whatever has that name is what the user means."""

    def make(self, out: Path) -> None:
        """Collects it."""
        self.collection.collect(self.dataset)


@dataclasses.dataclass(frozen=True)
class FitModel:
    """Fits a model that runs share."""

    model: Model
    trust_environment: bool = False

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
        """Fits and saves it; a fit that was interrupted goes on."""
        dataset, _ = load_minari(self.model.dataset, self.trust_environment)
        real = RealData.of(dataset)
        dynamics: Any = decode("dynamics", self.model.dynamics)
        d3rlpy.seed(self.model.seed)
        # A model is fitted on single steps and ends nothing.
        config = ImaginationConfig(dynamics, termination=NoTermination())
        imagination = config.create(device=self.model.device)
        path = out / self.path
        kept = FitCheckpoint(path.with_name(f".{path.name}.checkpoints"))
        with kept.of(imagination, real):
            imagination.fit(real)
        imagination.save(path)
        kept.clear()


@dataclasses.dataclass(frozen=True)
class RunExperiment:
    """One row of the grid.

    Args:
        method: Name of the method in the study.
        experiment: What is run.
        models: What it imagines with, one for each imagination.
        command: The study's, for the record.
    """

    method: str
    experiment: Experiment
    models: list[Model]
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
            raise other_settings(path, "made", changed)

    resumes = True

    def make(self, out: Path) -> None:
        """Trains and evaluates, from where an interruption left it.

        Raises:
            CompositionError: A run of other settings is on its way there; it stays.
            CheckpointError: Of another dataset or device; likewise.
        """
        run = out / self.path
        begun = read_begun(run)
        changed = differences(begun, self.experiment) if begun is not None else []
        if changed:
            raise other_settings(run / UNFINISHED, "begun", changed)
        folder = self.experiment.folder(run)
        try:
            self._make(out, resume=folder.on_its_way)
        except CheckpointError as error:
            if begun is not None and not lost(folder.checkpoints):
                raise
            print(f"{error} The run begins anew.")
            self._make(out, resume=False)

    def _make(self, out: Path, resume: bool) -> None:
        dynamics: list[Dynamics] = []
        models: list[dict[str, Any]] = []
        for model in self.models:
            saved = load_imagination(out / model.path, self.experiment.device)
            dynamics.append(saved.dynamics)
            models.append({"file": str(model.path), "seed": model.seed})
        self.experiment.run(
            out / self.path,
            force=True,
            resume=resume,
            dynamics=dynamics,
            evaluators=evaluators(
                self.experiment.dataset, self.experiment.trust_environment
            ),
            record={
                "method": self.method,
                "model": one_or_all(models),
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
            log = out / self.path / UNFINISHED / "logs" / "environment.csv"
            return int(log.read_text("utf-8").splitlines()[-1].split(",")[1])
        except (OSError, IndexError, ValueError):  # no log yet, or a line half written
            return 0
