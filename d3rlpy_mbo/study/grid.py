"""A grid of datasets, methods and seeds, in one command that can be killed and repeated.

Makes what is not there yet: datasets, one model for all runs that share it, one
result.json a run as ``d3rlpy-mbo train`` writes it, and a report. A run that is there is
skipped, one that was interrupted goes on from its last checkpoint, so the same command
continues after any interruption; one that fails is named at the end, with its error in a
file beside it, and does not stop the others.

    DIR/DATASET/model-DIRECTION-DIGEST-seed-N.mbo    the models
    DIR/DATASET/METHOD/seed-N/result.json            the runs
    DIR/report.md                                    see report.py

The backends ray and dask run the same grid on a cluster through joblib, the one named by
RAY_ADDRESS or DASK_SCHEDULER_ADDRESS, else one of this machine. DIR, the datasets and
this package must lie in the same place on every machine.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from ..buffer.shares import batch_shares
from ..data.minari import load_minari, reference_scores
from ..learners.names import learner_config
from ..learners.pretraining import validate_pretraining
from ..registry.discovery import get_component
from ..runs.arguments import validated_epochs
from ..runs.mixtures import parts_of
from ..runs.terminations import known_termination
from ..runs.transformers import validate_target_return
from ..runs.validation import validate_together
from ..support.devices import validate_device
from ..support.errors import (
    CompositionError,
    D3RLPyMBOError,
    UnknownComponentError,
    suggest,
    told_of,
)
from . import report
from .folder import require_same_study, warn_of_other_models, write_settings
from .jobs import CollectDataset, FitModel, RunExperiment
from .settings import Study
from .stages import backend, run_stage

__all__ = ["run", "run_file"]


def run_file(
    settings: Path, out: Path, n_jobs: int = 2, backend_name: str = "loky"
) -> dict[str, str]:
    """Makes everything of a study's file that is not there yet, and the report.

    Args:
        settings: The file.
        out: The study's folder; made if it is not there.
        n_jobs: Processes at most.
        backend_name: ``"loky"``, ``"ray"`` or ``"dask"``.

    Returns:
        The error of each job that failed, or could not begin, by its name.

    Raises:
        D3RLPyMBOError: The file, or the folder, cannot be used; nothing was made.
    """
    out = out.absolute()  # workers may stand elsewhere
    study = Study.read(settings)
    validate(study, out, local=backend_name == "loky")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_settings(settings, out)
    except OSError as error:
        raise CompositionError(
            f"--out {str(out)!r} cannot be written: {error}."
        ) from error
    with backend(backend_name):
        failures = run(study, out, n_jobs)
    if any(out.rglob("result.json")):
        report.write([out], out / "report.md")
    return failures


def validate(study: Study, out: Path, local: bool = True) -> None:
    """Refuses what would fail after hours of work.

    Args:
        study: To be run.
        out: Its folder; it need not exist.
        local: Whether it runs on this machine, whose devices are known.

    Raises:
        D3RLPyMBOError: A learner, imagination, task, dataset, device or setting that is
            not there, steps that are no whole epochs, or runs of another study.
    """
    validated_epochs(study.n_steps, study.n_steps_per_epoch)
    if local:
        validate_device(study.device)
    _validate_tables(study)
    for dataset, collection in study.collect.items():
        with told_of(f"collect.{dataset!r}"):
            collection.validate()
    jobs = [
        RunExperiment(method, study.experiment(dataset, method, seed), [], [])
        for dataset in study.datasets
        for method in study.methods
        for seed in study.seeds
    ]
    for job in jobs[:: len(study.seeds)]:
        with told_of(f"The method {job.method!r} on {job.experiment.dataset!r}"):
            _validate_run(job)
    require_same_study(study, out, jobs)
    for dataset in study.datasets:
        if dataset not in study.collect:
            reference_scores(dataset)  # opens it, and reads no episode


def _validate_run(job: RunExperiment) -> None:
    """Refuses parts of a run that cannot work together, whatever the data.

    Else its model would be fitted first, and each of its runs refused.
    """
    experiment = job.experiment
    learner: Any = experiment.learner_config().create()
    validate_target_return(learner, experiment.target_return)
    if experiment.n_pretraining_epochs:
        validate_pretraining(
            learner, experiment.n_pretraining_epochs, "n_pretraining_epochs"
        )
    mixture = experiment.mixture()
    imaginations = [config.create() for config in mixture.configs.values()]
    shares = batch_shares(imaginations, mixture.real_ratio, mixture.shares)
    validate_together(learner, imaginations, shares)


def _validate_tables(study: Study) -> None:
    """Refuses settings of a learner or an imagination that is not there.

    One that is there and no method has may stay: a study may have fewer methods.
    """
    find: Callable[[str], object]
    for kind, find in (
        ("learner", learner_config),
        ("imagination", _find_imaginations),
    ):
        known = {getattr(method, kind) for method in study.methods.values()} - {"none"}
        if kind == "imagination":  # those of a mixture too
            known |= {part for name in known for part in parts_of(name).values()}
        for name in sorted({*getattr(study, f"{kind}_settings")} - known):
            try:
                find(name)
            except UnknownComponentError as error:
                raise CompositionError(
                    f"[{kind}_settings.{name}]: there is no {kind} {name!r}, and no method "
                    f"has it. {suggest(name, known) if known else error}"
                ) from error


def _find_imaginations(name: str) -> None:
    for part in parts_of(name).values():
        get_component("imagination", part)


def run(study: Study, out: Path, n_jobs: int) -> dict[str, str]:
    """Makes everything that is not there yet.

    Args:
        study: Validated.
        out: Its folder.
        n_jobs: Jobs at a time, with joblib's current backend.

    Returns:
        The error of each job that failed, or could not begin, by its name.
    """
    collected = [CollectDataset(*item) for item in study.collect.items()]
    failures = run_stage("datasets", collected, out, n_jobs)
    experiments = []
    for dataset in study.datasets:
        try:
            termination = _termination(dataset, study.trust_environment)
        except D3RLPyMBOError as error:
            failures.setdefault(dataset, str(error))
            continue
        experiments += [
            (method, study.experiment(dataset, method, seed, termination))
            for seed in study.seeds
            for method in study.methods
        ]
    jobs = [
        RunExperiment(method, each, study.models(each), sys.argv)
        for method, each in experiments
    ]
    warn_of_other_models(out, jobs)
    models = {
        model.path: FitModel(model, study.trust_environment)
        for job in jobs
        if not job.result(out).exists()
        for model in job.models
    }
    failures |= run_stage("models", list(models.values()), out, n_jobs)
    ready = []
    for job in jobs:
        failed = [str(m.path) for m in job.models if str(m.path) in failures]
        if failed:
            failures[str(job.path)] = f"its model {failed[0]} failed."
        else:
            ready.append(job)

    def steps_done() -> int:
        return sum(job.steps_done(out) for job in ready)

    n_steps = study.n_steps * len(ready)
    return failures | run_stage("runs", ready, out, n_jobs, steps_done, n_steps)


def _termination(dataset_id: str, trust_environment: bool) -> Optional[dict[str, Any]]:
    """Returns the environment's, None if the settings, or each run, have to decide."""
    return known_termination(*load_minari(dataset_id, trust_environment))
