"""Jobs side by side: in processes of this machine, or on a cluster."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Optional

import joblib
from tqdm import tqdm

from ..support.errors import CompositionError
from .execution import Job, error_path, errors_of, execute, worker_of

__all__ = ["backend", "run_stage"]


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Lets joblib run jobs there; each worker with one thread.

    Networks this small gain nothing from more, and OpenMP and BLAS read their number
    once, when they are loaded: it must stand in a worker's environment. Ray and Dask put
    it there by themselves.

    Args:
        name: ``"loky"``, ``"ray"`` or ``"dask"``.
    """
    with ExitStack() as stack:
        options: dict[str, object] = {}
        if name == "loky":
            options = {
                "inner_max_num_threads": 1,
                "initializer": worker_of,
                "initargs": (os.getpid(),),
            }
        elif name == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif name == "dask":
            stack.enter_context(_dask_client())  # joblib takes the latest one
        stack.enter_context(joblib.parallel_config(backend=name, **options))
        yield


def _dask_client() -> Any:
    """Returns a client of the cluster that is configured, else of one of this machine.

    Raises:
        CompositionError: A worker of the cluster runs several jobs in one process, where
            they would draw from the same random numbers.
    """
    import dask
    from dask.distributed import Client

    if dask.config.get("scheduler-address", None) is None:
        return Client(threads_per_worker=1)
    client = Client()
    threads = {worker: n for worker, n in client.nthreads().items() if n > 1}
    if threads:
        client.close()
        raise CompositionError(
            f"Workers of the Dask cluster have several threads: {threads}. Start them "
            "with --nthreads 1: the jobs of a study need a process each."
        )
    return client


def run_stage(
    name: str,
    jobs: Sequence[Job],
    out: Path,
    n_jobs: int,
    progress: Optional[Callable[[], int]] = None,
    total: int = 0,
) -> dict[str, str]:
    """Does what is not done yet, several at a time, with joblib's current backend.

    Args:
        name: Of the jobs, for the progress bar.
        jobs: In any order.
        out: The study's folder.
        n_jobs: At most as many at a time.
        progress: Returns how much of `total` is done; by default jobs are counted.
        total: What is counted, if not jobs.

    Returns:
        The last line of the error of each job that failed, by its path.
    """
    if not jobs:
        return {}
    for job in jobs:
        error_path(job, out).unlink(missing_ok=True)  # of an earlier attempt
    for job in jobs:
        if job.result(out).exists():
            execute(job, out)  # only checks it
    # One with an error by now is another process's of the same study: it is waited for.
    pending = [job for job in jobs if not job.result(out).exists()]
    with _progress_bar(name, jobs, out, progress, total):
        while pending:
            broken: Optional[Exception] = None
            try:
                joblib.Parallel(n_jobs, batch_size=1, pre_dispatch="all")(
                    joblib.delayed(execute)(job, out) for job in pending
                )
            except Exception as error:  # a worker died, and its pool with it
                broken = error
            left = [job for job in pending if not _is_over(job, out)]
            if broken is not None and len(left) == len(pending):
                raise broken
            pending = left
    return errors_of({str(job.path): error_path(job, out) for job in jobs})


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
