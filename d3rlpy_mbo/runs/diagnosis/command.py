"""The verb ``diagnose`` of the command line."""

from pathlib import Path
from typing import Any, Optional

import click
import d3rlpy

from ...data.minari import load_minari
from ...data.real_data import RealData
from ...imagination.imagination import ImaginationConfig
from ...imagination.loading import load_imagination
from ...learners.loading import load_learner
from ...registry.discovery import get_component
from ...registry.fields import SEED
from ...support.errors import CompositionError
from ...support.files import atomic_write, utf8, validate_writable
from ..mixtures import parts_of
from ..pages.html import require_pages
from ..settings import apply_settings, parse_settings
from ..terminations import with_known_termination
from .diagnose import diagnose as diagnose_imagination
from .diagnose import validate_learner

__all__ = ["diagnose"]


@click.command()
@click.option("--dataset", required=True, help="Minari id.")
@click.option("--imagination", "name", help="romi, ...; it is fitted first.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="imagination.KEY=VALUE; repeatable; VALUE in JSON.",
)
@click.option(
    "--load", "path", help="A saved imagination instead, such as imagination.mbo."
)
@click.option(
    "--learner",
    "learner_path",
    metavar="FILE.d3",
    help="A saved d3rlpy learner, for its Q-values and for rollouts that ask it. "
    "d3rlpy reads it: only give files that you trust.",
)
@click.option(
    "--held-out",
    is_flag=True,
    help="Judge it on episodes that it was not fitted on: dynamics.holdout=episodes.",
)
@click.option(
    "--leave-out-returns",
    is_flag=True,
    help="Also judge a second model, fitted without the episodes of highest return.",
)
@click.option(
    "--save",
    "save_path",
    metavar="FILE.mbo",
    type=click.Path(path_type=Path),
    help="Save the fitted imagination to this file, for train --dynamics.",
)
@click.option(
    "--json",
    "out",
    type=click.Path(path_type=Path),
    help="Write the diagnosis to this file.",
)
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write it as a page to this file."
)
@click.option("--seed", default=0, show_default=True, type=int)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--trust-environment",
    is_flag=True,
    help="Import and call the environment that the dataset names.",
)
def diagnose(
    dataset: str,
    name: Optional[str],
    settings: tuple[str, ...],
    path: Optional[str],
    learner_path: Optional[str],
    held_out: bool,
    leave_out_returns: bool,
    save_path: Optional[Path],
    out: Optional[Path],
    html: Optional[Path],
    seed: int,
    device: str,
    trust_environment: bool,
) -> None:
    """Say whether an imagination is any good.

    If its rollouts ask a learner, for actions or values, they are judged only if --learner
    is given. Imagined episodes end by the same rule as in train.
    """
    if (name is None) == (path is None):
        raise click.UsageError("Give one of --imagination NAME and --load FILE.")
    if path is not None and (settings or held_out or save_path):
        raise click.UsageError(
            "--set, --held-out and --save are for --imagination only."
        )
    if held_out:
        settings = (*settings, "imagination.dynamics.holdout=episodes")
    SEED.validated("seed", seed)
    written: dict[Path, str] = {}
    for option, file_path in (("--save", save_path), ("--json", out), ("--html", html)):
        if file_path is None:
            continue
        validate_writable(file_path, option)
        other = written.setdefault(file_path.resolve(), option)
        if other != option:
            raise CompositionError(
                f"{other} and {option} both name {str(file_path)!r}. Give each its own."
            )
    if html is not None:
        require_pages()
    d3rlpy.seed(seed)
    learner: Any = None
    if learner_path is not None:
        learner = load_learner(learner_path, device)
    if path is not None:
        imagination = load_imagination(path, device)
        data, env = load_minari(dataset, trust_environment)
    else:
        config, given = _configured(str(name), settings)
        imagination = config.create(device)  # refused before the data is loaded
        data, env = load_minari(dataset, trust_environment)
        completed = with_known_termination(config, given, data, env)
        if completed is not None:
            imagination = completed.create(device)
    real = RealData.of(data)
    if learner is not None:
        validate_learner(learner, real.transitions)
    if not imagination.fitted:
        imagination.fit(real)
        if save_path is not None:  # first: it took longest
            imagination.save(save_path)
            click.echo(f"Wrote {save_path}.")
    diagnosis = diagnose_imagination(
        imagination,
        real,
        learner,
        seed=seed,
        env=env,
        leave_out_returns=leave_out_returns,
    )
    click.echo(str(diagnosis))
    if out is not None:
        with atomic_write(out) as file:
            file.write(utf8(diagnosis.to_json()))
        click.echo(f"Wrote {out}.")
    if html is not None:
        diagnosis.save_html(html)
        click.echo(f"Wrote {html}.")


def _configured(
    name: str, settings: tuple[str, ...]
) -> tuple[ImaginationConfig, dict[str, Any]]:
    """Returns an imagination's config, and what was set of it."""
    parsed = parse_settings(settings)
    if parsed["learner"]:
        raise CompositionError(
            f"diagnose makes no learner, so its {sorted(parsed['learner'])} cannot be "
            "set. Set imagination.KEY=VALUE, or give a saved learner: --learner FILE.d3."
        )
    if len(parts_of(name)) > 1:
        raise CompositionError(
            f"diagnose looks at one imagination at a time, found {name!r}. Give each by "
            "itself; a run of several keeps them in its folder imaginations: --load FILE."
        )
    config: Any = get_component("imagination", name)()
    return apply_settings(config, parsed["imagination"]), parsed["imagination"]
