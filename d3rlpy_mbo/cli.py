"""The command line: plugins, collect, train, diagnose, check, study, report."""

import dataclasses
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, Optional

import click

from .registry import discovery
from .registry.entry_points import DISABLE_VARIABLE
from .registry.kinds import Provided, key_of
from .runs.diagnosis.command import diagnose
from .runs.experiment import Experiment
from .runs.interrupts import INTERRUPTED
from .runs.settings import apply_settings, parse_fields, parse_settings
from .study import commands as study_commands
from .support.errors import D3RLPyMBOError
from .tasks.interface import Task
from .testing import checks_for, module_components, run_checks

__all__ = ["main"]


class _Group(click.Group):
    """Shows our errors as messages, not as tracebacks."""

    def invoke(self, context: click.Context) -> Any:
        _take_any_text()
        try:
            return super().invoke(context)
        except D3RLPyMBOError as error:
            raise click.ClickException(str(error)) from error
        except PermissionError as error:
            raise click.ClickException(
                f"Permission denied: {str(error.filename or error)!r}. Choose another "
                "place, or ask its owner for access."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise click.ClickException(
                f"The disk is full: {error}. Make room, and give the same command again; "
                "train goes on with --resume."
            ) from error
        except KeyboardInterrupt as interrupt:
            click.echo(str(interrupt) or "Interrupted.", err=True)
            context.exit(INTERRUPTED)


def _take_any_text() -> None:
    """Replaces what the output's encoding lacks, instead of failing: it may be Latin-1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@click.group(cls=_Group)
@click.version_option(package_name="d3rlpy-mbo")
def main() -> None:
    """Model-based offline reinforcement learning for d3rlpy."""


main.add_command(study_commands.study)
main.add_command(study_commands.report)


@main.command()
@click.pass_context
def plugins(context: click.Context) -> None:
    """List plugins and what they provide.

    Each plugin is named on the error output before it is imported, so that one that ends
    the process, or hangs, is the last one named. Exit status 1 if a plugin failed, or if
    two provide the same name.
    """
    registry = discovery.announced(
        lambda name: click.echo(f"importing {name}", err=True)
    )
    for plugin in registry.plugins:
        click.echo(f"{plugin.distribution} {plugin.version}: {plugin.entry_point}")
        for component in plugin.components:
            kind, name = key_of(component)
            click.echo(f"  {kind} {name}{_summary(component)}")
        if plugin.error is not None:
            click.echo(f"  failed: {plugin.reason}")
        if plugin.disabled:
            click.echo(f"  disabled by {DISABLE_VARIABLE}")
    for (kind, name), claimants in registry.duplicates().items():
        names = " and ".join(f"{p.name} ({p.version})" for p in claimants)
        click.echo(f"duplicate: {kind} {name} is provided by {names}")
    if registry.failures() or registry.duplicates():
        context.exit(1)


def _summary(component: type[Provided]) -> str:
    lines = (component.__doc__ or "").strip().splitlines()
    return f" - {lines[0]}" if lines else ""


# The options that set a field of the task, and the field.
_TASK_FIELDS = {
    "--steps": "n_steps",
    "--env": "environment",
    "--from": "source",
    "--seed": "seed",
    "--device": "device",
    "--reference-episodes": "n_reference_episodes",
}


@main.command()
@click.argument("task")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A field of the task; repeatable; VALUE in JSON.",
)
@click.option(
    "--steps", "n_steps", type=int, help="Transitions; for mazes 1,000,000 by default."
)
@click.option("--env", "environment", help="For replay: Gymnasium's id, Hopper-v5.")
@click.option("--from", "source", help="For relabelling: a local Minari id.")
@click.option("--seed", type=int, help="For all but relabelling; 0 by default.")
@click.option("--device", help="For replay and hiv; cpu by default.")
@click.option("--id", "dataset_id", help="Minari id; by default named after the task.")
@click.option(
    "--reference-episodes",
    "n_reference_episodes",
    type=int,
    help="For mazes: episodes behind each reference score; 1000 by default.",
)
@click.option("--force", is_flag=True, help="Replace a dataset of that id.")
def collect(
    task: str,
    settings: tuple[str, ...],
    dataset_id: Optional[str],
    force: bool,
    **options: Any,
) -> None:
    """Collect TASK as a local Minari dataset.

    Tasks: pointmaze-{umaze,medium,large}-{sparse,dense}; replay --env ID --steps N;
    hiv, and with --set discrete=true its variant with four discrete actions; icu-sepsis;
    halfcheetah-jump or ant-angle --from ID; and those of plugins, which `d3rlpy-mbo
    plugins` lists. --steps N is short for --set n_steps=N, and likewise the others.
    """
    recipe: Any = discovery.get_component("task", task)
    fields = parse_fields(settings)
    for option, name in _TASK_FIELDS.items():
        if options[name] is not None:
            _refuse_option(recipe, option, name, fields)
            fields[name] = options[name]
    configured = apply_settings(recipe(), fields)
    unset = configured.unset()
    if unset:
        shown = {name: f"{option} ..." for option, name in _TASK_FIELDS.items()}
        needed = [shown.get(name, f"--set {name}=...") for name in unset]
        raise click.UsageError(f"collect {task} needs {' and '.join(needed)}.")
    click.echo(f"Wrote {configured.collect(dataset_id, force=force)}.")


def _refuse_option(
    task: type[Task], option: str, name: str, given: dict[str, Any]
) -> None:
    """Refuses an option that would do nothing, or say again what --set says."""
    if name in given:
        raise click.UsageError(f"{option} and --set {name} both say what {name} is.")
    if not _has_field(task, name):
        takers = {
            component.get_type()
            for plugin in discovery.registry().plugins
            for component in plugin.components
            if issubclass(component, Task) and _has_field(component, name)
        }
        raise click.UsageError(f"{option} is for {', '.join(sorted(takers))} only.")


def _has_field(task: type[Task], name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(task)}


@main.command()
@click.option("--dataset", required=True, help="Minari id.")
@click.option(
    "--learner",
    required=True,
    help="bcq, cql, sac, iql, td3_plus_bc, ..., or a plugin's.",
)
@click.option(
    "--imagination",
    required=True,
    help="romi, ..., or none; several in one buffer: romi+mopo.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="learner.KEY=VALUE or imagination.KEY=VALUE, of several "
    "imagination.romi.KEY=VALUE; repeatable; VALUE in JSON.",
)
@click.option(
    "--dynamics",
    "dynamics_file",
    metavar="FILE.mbo",
    help="A saved imagination, whose model is used instead of fitting one.",
)
@click.option("--n-steps", required=True, type=int, help="Gradient steps.")
@click.option(
    "--n-steps-per-epoch",
    default=10_000,
    show_default=True,
    type=int,
    help="Steps from one evaluation to the next.",
)
@click.option(
    "--n-trials",
    default=10,
    show_default=True,
    type=int,
    help="Episodes of an evaluation.",
)
@click.option(
    "--target-return",
    type=float,
    help="The return asked of a transformer; by default the data's best.",
)
@click.option(
    "--n-pretraining-epochs",
    default=0,
    show_default=True,
    type=int,
    help="Epochs of behavior cloning before training; RAMBO uses 50.",
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Decides everything."
)
@click.option(
    "--device", default="cpu", show_default=True, help="A torch device, such as cuda:0."
)
@click.option(
    "--trust-environment",
    is_flag=True,
    help="Import and call the environment that the dataset names.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Default: runs/...")
@click.option("--force", is_flag=True, help="Replace the run in the output folder.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an interrupted run, or with a finished one of fewer steps.",
)
def train(
    dataset: str,
    learner: str,
    imagination: str,
    settings: tuple[str, ...],
    out: Optional[Path],
    force: bool,
    resume: bool,
    **fields: Any,
) -> None:
    """Train LEARNER, with or without an imagination.

    While it trains, a run is kept in OUT/unfinished: however it was interrupted, the same
    command with --resume goes on from there, to the same result. A run can also be given
    more --n-steps than before, to the result of one that had them from the start; a
    finished run goes on from OUT/checkpoints.

    If the data holds terminals, imagined episodes must end too: by default by the rule of
    the dataset's environment, where one is known; else by --set
    imagination.termination=NAME.

    Several imaginations in one buffer need a real_ratio of the buffer, and take shares:
    --imagination romi+mopo --set imagination.real_ratio=0.5 --set
    'imagination.shares=[2,1]'.
    """
    parsed = parse_settings(settings)
    experiment = Experiment(
        dataset,
        learner,
        imagination,
        learner_settings=parsed["learner"],
        imagination_settings=parsed["imagination"],
        **fields,
    )
    name = f"{learner}-{imagination}-seed{experiment.seed}"
    out = out or Path("runs") / dataset.replace("/", "-") / name
    if resume:
        state = experiment.folder(out).state()
        if state == "finished":
            n_steps = experiment.folder(out).result()["experiment"]["n_steps"]
            click.echo(
                f"The run in {out} is finished, with {n_steps} steps: nothing is left to "
                "do."
            )
            return
        if state == "new":
            click.echo(f"Nothing was saved in {out} yet: the run begins.")
    result = experiment.run(out, force, resume=resume, keep_checkpoint=True)
    for evaluation in result["evaluations"]:
        score = evaluation["normalized_score"]
        shown = "no reference scores" if score is None else f"{score:.1f}"
        value = evaluation["return"]
        returned = "not finite" if value is None else f"{value:.2f}"
        click.echo(
            f"step {evaluation['step']:>9,}  return {returned:>10}  "
            f"normalised score {shown}"
        )
    click.echo(f"Wrote {out / 'result.json'}.")
    click.echo(study_commands.page_of(out))


main.add_command(diagnose)


@main.command()
@click.argument("module")
@click.pass_context
def check(context: click.Context, module: str) -> None:
    """Check the components of MODULE, a plugin's.

    Each component is tested against its kind's contract; exit status 1 if a check fails.
    MODULE is a name as in an import statement, and may be a file of the current folder.
    Its components are those that it registers, or else those that it defines, made with
    their defaults and n_steps and max_steps of at most 50. Tests can check others:
    d3rlpy_mbo.testing.parametrize_with_checks.
    """
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    components = module_components(module)
    widths = [
        max(map(len, names))
        for names in (
            [component.__name__ for component in components],
            [
                each.__name__
                for component in components
                for each in checks_for(component)
            ],
        )
    ]
    n_failed = n_checks = 0
    for component in components:
        for result in run_checks(component):
            outcome = "passed" if result.error is None else f"failed: {result.error}"
            click.echo(
                f"{result.component:{widths[0]}}  {result.check:{widths[1]}}  {outcome}"
            )
            n_checks += 1
            n_failed += result.error is not None
    click.echo(f"{n_checks} checks of {len(components)} components, {n_failed} failed.")
    if n_failed:
        context.exit(1)
