"""A study's folder: what lies there already must be of this study."""

import dataclasses
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from ..runs.experiment import UNFINISHED, Experiment
from ..runs.mixtures import paths_to
from ..support.errors import CompositionError, listed
from ..support.files import atomic_write
from .jobs import RunExperiment
from .records import (
    differences,
    other_settings,
    read_begun,
    read_experiment,
    read_models,
)
from .settings import Study

__all__ = ["require_same_study", "warn_of_other_models", "write_settings"]

_FILE = "study.toml"

# What took time: results, models, and runs on their way.
_MADE = (
    "*/*/seed-*/result.json",
    "*/model-*.mbo",
    f"*/*/seed-*/{UNFINISHED}/checkpoints/*.json",
)


def require_same_study(study: Study, out: Path, jobs: Iterable[RunExperiment]) -> None:
    """Refuses a folder with runs of another study, before anything is made.

    More datasets, methods or seeds than before are no other study, nor are fewer.

    Args:
        study: Whose runs are to be made.
        out: The folder; it need not exist.
        jobs: Its runs, without terminations that only their datasets tell.

    Raises:
        CompositionError: Names the settings that differ, or a damaged result.
    """
    if any(any(out.glob(pattern)) for pattern in _MADE):
        path = out / _FILE
        changed = _changes(Study.read(path), study) if path.exists() else []
        if changed:
            raise CompositionError(
                f"{out} holds runs of another study: {listed(changed, '; ')}. Choose "
                "another --out, or move it away."
            )
    for job in jobs:
        path, was = job.result(out), "made"
        found: Optional[Experiment]
        if path.exists():
            found = read_experiment(path)
        else:
            path, was = path.with_name(UNFINISHED), "begun"
            found = read_begun(path.parent)
        if found is None:
            continue
        changed = differences(_comparable(found, job.experiment), job.experiment)
        if changed:
            raise other_settings(path, was, changed)


def _changes(before: Study, study: Study) -> list[str]:
    """Returns which settings of runs that both studies have differ."""
    methods = [name for name in study.methods if name in before.methods]
    datasets = [name for name in study.datasets if name in before.datasets]
    if not methods:
        return [f"methods are {[*before.methods]} there, {[*study.methods]} here"]
    if not datasets:
        return [f"datasets are {before.datasets} there, {study.datasets} here"]
    found: dict[str, list[str]] = {}
    for method in methods:
        for dataset in datasets:
            theirs, ours = (s.experiment(dataset, method, 0) for s in (before, study))
            for difference in differences(theirs, ours):
                whose = found.setdefault(difference, [])
                whose += [method] if method not in whose else []
    if before.model_per_seed != study.model_per_seed:
        there, here = before.model_per_seed, study.model_per_seed
        found[f"model_per_seed is {there} there, {here} here"] = methods
    return [f"{what} ({', '.join(whose)})" for what, whose in found.items()]


def _comparable(found: Experiment, ours: Experiment) -> Experiment:
    """Returns a recorded run without the termination that its environment told."""
    told = {*paths_to(found.imagination, "termination").values()}
    told -= {*ours.imagination_settings}
    settings = {k: v for k, v in found.imagination_settings.items() if k not in told}
    return dataclasses.replace(found, imagination_settings=settings)


def warn_of_other_models(out: Path, jobs: Iterable[RunExperiment]) -> None:
    """Warns where runs to be made get another model than those of theirs that are made.

    A model's file is named by its config, which may have got fields since: then a folder
    of an older version goes on with a model of its own, and pairs differ by that as well.

    Args:
        out: The study's folder.
        jobs: Its runs, with their models.
    """
    theirs: dict[str, set[str]] = {}
    to_be_made = set[str]()
    for job in jobs:
        ours = [_without_seed(str(model.path)) for model in job.models]
        if not job.result(out).exists():
            to_be_made.update(ours)
            continue
        used = [_without_seed(file) for file in read_models(job.result(out))]
        for one, other in zip(ours, used, strict=False):  # a run fitted its own: none
            if one != other:
                theirs.setdefault(one, set()).add(other)
    for file in sorted(to_be_made & set(theirs)):
        names = ", ".join(map(repr, sorted(theirs[file])))
        warnings.warn(
            f"Runs in {out} imagined with {names}, which this version names {file!r}: "
            "they are of another version, whose models had other settings. The remaining "
            "runs get a model of this version. To compare like with like, choose another "
            "--out, or finish with the version that their result.json names.",
            stacklevel=2,
        )


def _without_seed(model: str) -> str:
    """Returns a model's file without its seed: the seeds of one study are no settings."""
    return model.rpartition("-seed-")[0] or model


def write_settings(path: Path, out: Path) -> None:
    """Keeps the study's settings beside its results, for the report."""
    with atomic_write(out / _FILE) as file:
        file.write(path.read_bytes())
