"""A grid of datasets, methods and seeds, in one command that can be killed and repeated.

    python benchmarks/study.py --settings FILE --out DIR [--n-jobs 2] [--backend loky]

Makes what is not there yet: datasets, one model for all runs that share it, one
result.json a run as `d3rlpy-mbo train` writes it, and a report. A run that is there is
skipped, so the same command continues after any interruption; one that fails is named
at the end, with its error in a file beside it, and does not stop the others.

    DIR/DATASET/model-DIRECTION-DIGEST-seed-N.mbo    the models
    DIR/DATASET/METHOD/seed-N/result.json            the runs
    DIR/report.md                                    see report.py

--backend ray or dask runs the same grid on a cluster through joblib's backends, the one
named by RAY_ADDRESS or DASK_SCHEDULER_ADDRESS, else one of this machine. DIR, the datasets
and this repository must lie in the same place on every machine.
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Optional

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import joblib
from tqdm import tqdm

import d3rlpy_mbo as mbo
from d3rlpy_mbo.study import report

from ..registry.json_form import encode
from .jobs import (
    CollectDataset,
    FitModel,
    Job,
    RunExperiment,
    error_path,
    execute,
    write_settings,
)
from .settings import Study


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Returns the exit status: 1 if something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--backend", choices=["loky", "ray", "dask"], default="loky")
    chosen = parser.parse_args(arguments)
    out: Path = chosen.out.absolute()  # workers may stand elsewhere
    out.mkdir(parents=True, exist_ok=True)
    try:
        study = Study.read(chosen.settings)
        write_settings(chosen.settings, out)
        with _backend(chosen.backend):
            failures = run(study, out, chosen.n_jobs)
    except mbo.D3RLPyMBOError as error:
        parser.exit(1, f"{error}\n")
    if any(out.rglob("result.json")):
        report.write(out, out / "report.md")
        print(f"Wrote {out / 'report.md'}.")
    for name, error in failures.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    return 1 if failures else 0


def run(study: Study, out: Path, n_jobs: int) -> dict[str, str]:
    """Makes everything that is not there yet.

    Returns:
        The error of each job that failed, or could not begin, by its name.
    """
    collected = [CollectDataset(*item) for item in study.collect.items()]
    failures = _stage("datasets", collected, out, n_jobs)
    experiments = []
    for dataset in study.datasets:
        try:
            termination = _termination(dataset)
        except mbo.D3RLPyMBOError as error:
            failures.setdefault(dataset, str(error))
            continue
        experiments += [
            (method, study.experiment(dataset, method, seed, termination))
            for seed in study.seeds
            for method in study.methods
        ]
    for _, each in experiments:
        each.learner_config()  # a misspelt setting is refused before hours of work
    jobs = [
        RunExperiment(method, each, study.model(each), sys.argv)
        for method, each in experiments
    ]
    models = {
        job.model.path: FitModel(job.model)
        for job in jobs
        if job.model is not None and not job.result(out).exists()
    }
    failures |= _stage("models", list(models.values()), out, n_jobs)
    ready = []
    for job in jobs:
        if job.model is not None and str(job.model.path) in failures:
            failures[str(job.path)] = f"its model {job.model.path} failed."
        else:
            ready.append(job)

    def steps_done() -> int:
        return sum(job.steps_done(out) for job in ready)

    n_steps = study.n_steps * len(ready)
    return failures | _stage("runs", ready, out, n_jobs, steps_done, n_steps)


def _termination(dataset_id: str) -> Optional[dict[str, Any]]:
    """Returns the JSON form of the environment's, None if nothing terminates."""
    dataset, env = mbo.load_minari(dataset_id)
    if env is None or not any(episode.terminated for episode in dataset.episodes):
        return None
    try:
        return encode(mbo.termination_for(env))
    except mbo.TerminationRequiredError:
        return None  # the settings may know one; else each run says what is needed


def _stage(
    name: str,
    jobs: Sequence[Job],
    out: Path,
    n_jobs: int,
    progress: Optional[Callable[[], int]] = None,
    total: int = 0,
) -> dict[str, str]:
    if not jobs:
        return {}
    for job in jobs:
        error_path(job, out).unlink(missing_ok=True)  # of an earlier attempt
    for job in jobs:
        if job.result(out).exists():
            execute(job, out)  # only checks it
    pending = [job for job in jobs if not _is_over(job, out)]
    with _progress_bar(name, jobs, out, progress, total):
        while pending:
            broken: Optional[Exception] = None
            try:
                joblib.Parallel(n_jobs, batch_size=1, pre_dispatch="all")(
                    joblib.delayed(execute)(job, out, os.getpid()) for job in pending
                )
            except Exception as error:  # a worker died, and its pool with it
                broken = error
            left = [job for job in pending if not _is_over(job, out)]
            if broken is not None and len(left) == len(pending):
                raise broken
            pending = left
    return {
        str(job.path): error_path(job, out).read_text().strip().splitlines()[-1]
        for job in jobs
        if error_path(job, out).exists()
    }


def _is_over(job: Job, out: Path) -> bool:
    return error_path(job, out).exists() or job.result(out).exists()


@contextmanager
def _progress_bar(
    name: str,
    jobs: Sequence[Job],
    out: Path,
    progress: Optional[Callable[[], int]],
    total: int,
) -> Iterator[None]:
    """Shows how far the jobs are, by what lies in the folder, and the time left."""

    def n_finished() -> int:
        return sum(job.result(out).exists() for job in jobs)

    at_start = progress() if progress else 0
    interval = 1 if sys.stderr.isatty() else 60  # seconds; files need not see more
    bar = tqdm(
        desc=name,
        total=total or len(jobs),
        initial=at_start,
        unit=" steps" if progress else "",
        mininterval=0,
        smoothing=0,  # rates differ too much from run to run for the last to count
    )
    stop = threading.Event()

    def show() -> None:
        bar.n = progress() if progress else n_finished()
        bar.set_postfix_str(f"{n_finished()} of {len(jobs)} {name} done", refresh=True)

    def watch() -> None:
        while not stop.wait(interval):
            show()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        show()
        bar.close()


@contextmanager
def _backend(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        if name == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif name == "dask":
            from dask.distributed import Client

            stack.enter_context(Client())  # joblib takes the latest one
        stack.enter_context(joblib.parallel_config(backend=name))
        yield


if __name__ == "__main__":
    sys.exit(main())
