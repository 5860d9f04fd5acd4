"""The verbs study and report; what they need is imported when they run."""

import importlib.util
from pathlib import Path

import click

__all__ = ["report", "study"]

_EXTRAS = {
    "studies": ["joblib", "matplotlib", "pandas", "rliable"],
    "ray": ["ray"],
    "dask": ["dask", "distributed"],
}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--n-jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes at a time.",
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
    """Run FILE, a grid of datasets, methods and seeds; exit status 1 if a run failed.

    DIR gets datasets' models, every run's result.json and a report. What is there is not
    made again, so the same command continues after an interruption.
    """
    _require("studies")
    if backend != "loky":
        _require(backend)
    try:
        from .grid import run_file

        failures = run_file(file, out, n_jobs, backend)
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. What was complete is kept: the same command continues.",
            err=True,
        )
        context.exit(_INTERRUPTED)
    if (out / "report.md").exists():
        click.echo(f"Wrote {out / 'report.md'}.")
    for name, error in failures.items():
        click.echo(f"failed: {name}: {error}", err=True)
    if failures:
        context.exit(1)


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="DIR...",
    type=click.Path(path_type=Path),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.md",
    help="Write there, with learning curves beside it; by default print the tables.",
)
@click.pass_context
def report(context: click.Context, folders: tuple[Path, ...], out: Path) -> None:
    """Print tables of studies, each its own section; exit status 1 if one is damaged."""
    _require("studies")
    from .report import tables, write

    if out is None:
        text, damaged = tables(folders)
        click.echo(text, nl=False)
    else:
        if not out.parent.is_dir():
            raise click.ClickException(
                f"There is no folder {str(out.parent)!r}. Make it."
            )
        damaged = write(folders, out)
        click.echo(f"Wrote {out}.")
    for message in damaged:
        click.echo(message, err=True)
    if damaged:
        context.exit(1)


def _require(extra: str) -> None:
    """Refuses a verb whose packages are not installed, before hours of work."""
    missing = [name for name in _EXTRAS[extra] if not importlib.util.find_spec(name)]
    if missing:
        group = "studies" if extra == "studies" else "cluster"
        raise click.ClickException(
            f"{' and '.join(missing)} cannot be imported. Studies are an optional extra: "
            f"pip install 'd3rlpy-mbo[{group}]'"
        )
