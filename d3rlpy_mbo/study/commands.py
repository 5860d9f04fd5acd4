"""The verbs study and report; what they need is imported when they run."""

import importlib.util
import shlex
from pathlib import Path
from typing import Optional

import click

from ..runs.interrupts import INTERRUPTED, TERMINATED, sigterm_raises
from ..support.errors import D3RLPyMBOError

__all__ = ["page_of", "report", "study"]

_EXTRAS = {
    "studies": ["joblib", "matplotlib", "pandas", "rliable"],
    "ray": ["ray"],
    "dask": ["dask", "distributed"],
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--n-jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes at the same time.",
)
@click.option(
    "--backend",
    default="loky",
    show_default=True,
    type=click.Choice(["loky", "ray", "dask"]),
    help="Processes of this machine, or of a cluster.",
)
@click.pass_context
def study(
    context: click.Context, file: Path, out: Path, n_jobs: int, backend: str
) -> None:
    """Run the study in FILE: datasets, methods, seeds.

    DIR gets the models of each dataset, every run's result.json and a report. What is
    already there is not made again, so the same command continues after an interruption.
    Exit status 1 if a run failed.
    """
    _require("studies")
    if backend != "loky":
        _require(backend)
    try:
        from .grid import run_file

        with sigterm_raises():
            failures = run_file(file, out, n_jobs, backend)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != TERMINATED:
            raise
        click.echo(
            "Interrupted. What was complete is kept: the same command continues.",
            err=True,
        )
        context.exit(TERMINATED if isinstance(stop, SystemExit) else INTERRUPTED)
    if (out / "report.md").exists():
        click.echo(f"Wrote {out / 'report.md'}.")
        click.echo(page_of(out))
    for name, error in failures.items():
        click.echo(f"failed: {name}: {error}", err=True)
    if failures:
        context.exit(1)


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="RUN_OR_STUDY...",
    type=click.Path(path_type=Path),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.md",
    help="Write tables to this file, learning curves beside it; by default print them.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write a page to this file, all in one.",
)
@click.pass_context
def report(
    context: click.Context,
    folders: tuple[Path, ...],
    out: Optional[Path],
    html: Optional[Path],
) -> None:
    """Print tables of studies and runs.

    Each study is a section, and so is each dataset of single runs. What is complete is
    shown, also while a study runs. Exit status 1 if a result is damaged.
    """
    _require("studies")
    for path in (out, html):
        if path is not None and not path.parent.is_dir():
            raise click.ClickException(
                f"There is no folder {str(path.parent)!r}. Make it."
            )
    from .page import write_page
    from .report import tables, write

    damaged: list[str] = []
    if html is not None:
        damaged = write_page(folders, html)
        click.echo(f"Wrote {html}.")
    if out is not None:
        damaged = write(folders, out)
        click.echo(f"Wrote {out}.")
    if out is None and html is None:
        text, damaged = tables(folders)
        click.echo(text, nl=False)
    for message in damaged:
        click.echo(message, err=True)
    if damaged:
        context.exit(1)


def page_of(folder: Path) -> str:
    """Writes ``report.html`` into the folder of a run or a study; a second or two.

    Returns:
        Where it is. If none can be written: why, and what would write one; what took
        hours is not to fail because of it.
    """
    # An extra, and slow to import.
    from .page import write_page

    path = folder / "report.html"
    try:
        write_page([folder], path)
    except Exception as error:  # whatever it is: the work is done, and kept
        why = str(error)
        if not isinstance(error, D3RLPyMBOError):
            why = f"{type(error).__name__}: {error}."
        again = shlex.join(["d3rlpy-mbo", "report", str(folder), "--html", str(path)])
        return f"There is no page of it: {why} Then: {again}"
    return f"Wrote {path}: open it in a browser."


def _require(extra: str) -> None:
    """Refuses a verb whose packages are not installed, before hours of work."""
    missing = [name for name in _EXTRAS[extra] if not importlib.util.find_spec(name)]
    if missing:
        group = "studies" if extra == "studies" else "cluster"
        raise click.ClickException(
            f"{' and '.join(missing)} cannot be imported. Studies are an optional extra: "
            f"pip install 'd3rlpy-mbo[{group}]'"
        )
