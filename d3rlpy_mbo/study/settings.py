"""A study's TOML file: a grid of datasets, methods and seeds.

    datasets = ["pointmaze/umaze-sparse-v0"]
    seeds = [0, 1, 2]
    n_steps = 50_000
    n_steps_per_epoch = 5_000
    n_trials = 20
    n_last = 5              # evaluations whose mean is the score
    n_final_trials = 50     # default 0: episodes of the final policy, for pairs
    device = "cpu"          # the default
    model_per_seed = false  # the default: one model per dataset, with seed 0
    trust_environment = false  # the default, see load_minari

    [methods.bcq]
    learner = "bcq"
    imagination = "none"    # the default

    [methods.fomi]
    learner = "bcq"
    imagination = "romi"
    imagination_settings = {"dynamics.direction" = "forward"}  # of this method alone
    n_pretraining_epochs = 0  # the default: of the policy, as RAMBO does

    [methods.transformer]
    learner = "decision_transformer"
    target_return = 300     # default: the return of the data's best episode

    [methods.both]              # two imaginations in one buffer
    learner = "bcq"
    imagination = "romi+mopo"
    imagination_settings = {real_ratio = 0.5, shares = [2, 1], "mopo.rollout_length" = 1}

    [learner_settings.bcq]      # of all methods with this learner, by dotted path
    batch_size = 100
    [imagination_settings.romi] # likewise, also where it is one of several
    rollout_length = 5
    penalty = "none"            # nothing, where a field may be empty
    [imagination_settings.romi."pointmaze/large-sparse-v0"]  # of one dataset alone
    real_ratio = 0.7

    [collect."pointmaze/umaze-sparse-v0"]  # how to make a dataset that is not there
    task = "pointmaze-umaze-sparse"
    n_steps = 1_000_000     # and other settings of the task

Those for the report, compare, paper and differs, are described there. Version 0.1 wrote
what follows ``d3rlpy-mbo collect`` as one string; it is still read.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Optional

from ..registry.json_form import encode
from ..runs.experiment import Experiment
from ..runs.mixtures import parts_of, paths_to
from ..runs.settings import with_open_ends
from .collecting import Collection
from .names import folder_name
from .reading import build, read_toml
from .validation import validate

__all__ = ["Method", "Model", "Study"]

_MODEL_SEED = 0


@dataclasses.dataclass(frozen=True)
class Method:
    """A learner with or without imaginations, and the settings of it alone."""

    learner: str
    imagination: str = "none"
    learner_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    imagination_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    n_pretraining_epochs: int = 0
    target_return: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Study:
    """The file; see the module for its fields."""

    datasets: list[str]
    seeds: list[int]
    n_steps: int
    n_steps_per_epoch: int
    n_trials: int
    n_last: int
    methods: dict[str, Method]
    n_final_trials: int = 0
    device: str = "cpu"
    model_per_seed: bool = False
    learner_settings: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    imagination_settings: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    collect: dict[str, Collection] = dataclasses.field(default_factory=dict)
    compare: list[list[str]] = dataclasses.field(default_factory=list)
    paper: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    differs: list[str] = dataclasses.field(default_factory=list)
    trust_environment: bool = False

    @classmethod
    def read(cls, path: Path) -> "Study":
        """Reads a file.

        Raises:
            CompositionError: No such file, no TOML, or entries that are unknown, missing,
                mistyped or out of range, or names that would lead out of a folder.
        """
        entries = read_toml(path)
        for name, read in (
            ("methods", lambda entry, where: build(Method, entry, where)),
            ("collect", Collection.read),
        ):
            if isinstance(entries.get(name), dict):  # else refused with the other types
                entries[name] = {
                    key: read(entry, f"{path}, {name}.{key}")
                    for key, entry in entries[name].items()
                }
        study = build(cls, entries, str(path))
        validate(study, str(path))
        return study

    def experiment(
        self,
        dataset: str,
        method: str,
        seed: int,
        termination: Optional[dict[str, Any]] = None,
    ) -> Experiment:
        """Returns one run of the grid.

        Args:
            dataset: One of the study's datasets.
            method: Name of one of its methods.
            seed: One of its seeds.
            termination: JSON form of the environment's, for imaginations in which the
                settings choose none.
        """
        chosen = self.methods[method]
        imagination_settings = self._of_imaginations(dataset, chosen)
        if termination is not None:
            for path in paths_to(chosen.imagination, "termination").values():
                imagination_settings.setdefault(path, termination)
        return Experiment(
            dataset=dataset,
            learner=chosen.learner,
            imagination=chosen.imagination,
            n_steps=self.n_steps,
            seed=seed,
            device=self.device,
            n_steps_per_epoch=self.n_steps_per_epoch,
            n_trials=self.n_trials,
            n_final_trials=self.n_final_trials,
            n_pretraining_epochs=chosen.n_pretraining_epochs,
            learner_settings=self._merged(
                dataset,
                self.learner_settings.get(chosen.learner, {}),
                chosen.learner_settings,
            ),
            imagination_settings=imagination_settings,
            trust_environment=self.trust_environment,
            target_return=chosen.target_return,
        )

    def _of_imaginations(self, dataset: str, method: Method) -> dict[str, Any]:
        """Returns settings of a method's imaginations: of their types, then its own."""
        parts = parts_of(method.imagination)
        if len(parts) <= 1:
            return self._merged(
                dataset,
                self.imagination_settings.get(method.imagination, {}),
                method.imagination_settings,  # of none: refused with the run's config
            )
        merged: dict[str, Any] = {}
        for name, type_name in parts.items():
            table = self.imagination_settings.get(type_name, {})
            of_part = self._merged(dataset, table)
            of_part.pop("real_ratio", None)  # a mixture's is the buffer's
            merged.update({f"{name}.{path}": v for path, v in of_part.items()})
        table = self.imagination_settings.get(method.imagination, {})
        return merged | self._merged(dataset, table, method.imagination_settings)

    def _merged(self, dataset: str, *tables: dict[str, Any]) -> dict[str, Any]:
        """Later tables win, and in each what is for the dataset alone."""
        merged: dict[str, Any] = {}
        for table in tables:
            merged.update({k: v for k, v in table.items() if k not in self.datasets})
            merged.update(table.get(dataset, {}))
        return {
            k: None if v == "none" else with_open_ends(v) for k, v in merged.items()
        }

    def models(self, experiment: Experiment) -> list["Model"]:
        """Returns the models that a run imagines with, one for each imagination."""
        seed = experiment.seed if self.model_per_seed else _MODEL_SEED
        models = []
        for config in experiment.mixture().configs.values():
            encoded = encode(config.dynamics)
            assert encoded is not None
            models.append(Model(experiment.dataset, encoded, seed, self.device))
        return models


@dataclasses.dataclass(frozen=True)
class Model:
    """A dynamics model that rows of the grid share.

    Args:
        dataset: It is fitted on.
        dynamics: JSON form of its config.
        seed: Of its fit.
        device: It is fitted on.
    """

    dataset: str
    dynamics: dict[str, Any]
    seed: int
    device: str

    @property
    def path(self) -> Path:
        """Its file in the study's folder: two models with one name are the same."""
        text = json.dumps(self.dynamics, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        direction = self.dynamics["params"]["direction"]
        name = f"model-{direction}-{digest}-seed-{self.seed}.mbo"
        return Path(folder_name(self.dataset)) / name
