"""The command line: plugins, collect, train, check, study, report."""

import os
import sys
from pathlib import Path
from typing import Any, Optional

import click

from .registry import discovery
from .registry.component import Component
from .registry.entry_points import DISABLE_VARIABLE
from .runs.experiment import Experiment
from .runs.settings import parse_settings
from .study import commands as study_commands
from .support.errors import D3RLPyMBOError, UnknownComponentError, suggest
from .testing import checks_for, module_components, run_checks

__all__ = ["main"]


class _Group(click.Group):
    """Shows our errors as messages, not as tracebacks."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except D3RLPyMBOError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.version_option(package_name="d3rlpy-mbo")
def main() -> None:
    """Model-based offline reinforcement learning for d3rlpy."""


main.add_command(study_commands.study)
main.add_command(study_commands.report)


@main.command()
@click.pass_context
def plugins(context: click.Context) -> None:
    """List plugins and what they provide; exit status 1 if one failed, or two clash."""
    registry = discovery.registry()
    for plugin in registry.plugins:
        click.echo(f"{plugin.distribution} {plugin.version}: {plugin.entry_point}")
        for component in plugin.components:
            click.echo(
                f"  {component.kind} {component.get_type()}{_summary(component)}"
            )
        if plugin.error is not None:
            click.echo(f"  failed: {plugin.reason}")
        if plugin.disabled:
            click.echo(f"  disabled by {DISABLE_VARIABLE}")
    for (kind, name), claimants in registry.duplicates().items():
        names = " and ".join(f"{p.name} ({p.version})" for p in claimants)
        click.echo(f"duplicate: {kind} {name} is provided by {names}")
    if registry.failures() or registry.duplicates():
        context.exit(1)


def _summary(component: type[Component]) -> str:
    lines = (component.__doc__ or "").strip().splitlines()
    return f" - {lines[0]}" if lines else ""


@main.command()
@click.argument("task")
@click.option(
    "--steps", "n_steps", type=int, help="Transitions; mazes: 1,000,000 by default."
)
@click.option("--env", "environment", help="For replay: Gymnasium's id, Hopper-v5.")
@click.option("--from", "source", help="For relabelling: a local Minari id.")
@click.option("--seed", type=int, help="Mazes and replay; 0 by default.")
@click.option("--device", help="For replay; cpu by default.")
@click.option("--id", "dataset_id", help="Minari id; by default named after the task.")
@click.option(
    "--reference-episodes",
    "n_reference_episodes",
    type=int,
    help="Mazes: episodes behind each reference score; 1000 by default.",
)
@click.option("--force", is_flag=True, help="Replace a dataset of that id.")
def collect(
    task: str,
    n_steps: Optional[int],
    environment: Optional[str],
    source: Optional[str],
    seed: Optional[int],
    device: Optional[str],
    n_reference_episodes: Optional[int],
    **common: Any,
) -> None:
    """Collect TASK as a local Minari dataset.

    Tasks: pointmaze-{umaze,medium,large}-{sparse,dense}; replay --env ID --steps N;
    halfcheetah-jump or ant-angle --from ID.
    """
    # Simulators are optional extras.
    from .tasks.pointmaze_collection import POINTMAZE_TASKS, collect_pointmaze
    from .tasks.relabel import RELABELLED_TASKS, relabel
    from .tasks.replay import collect_replay

    mazes, relabelled = "the mazes", " and ".join(RELABELLED_TASKS)
    kinds_of = {
        "replay": "replay",
        **dict.fromkeys(POINTMAZE_TASKS, mazes),
        **dict.fromkeys(RELABELLED_TASKS, relabelled),
    }
    if task not in kinds_of:
        raise UnknownComponentError(
            f"There is no task {task!r}. {suggest(task, kinds_of)}"
        )
    for option, value, kinds in (
        ("--steps", n_steps, [mazes, "replay"]),
        ("--env", environment, ["replay"]),
        ("--from", source, [relabelled]),
        ("--seed", seed, [mazes, "replay"]),
        ("--device", device, ["replay"]),
        ("--reference-episodes", n_reference_episodes, [mazes]),
    ):
        if value is not None and kinds_of[task] not in kinds:
            raise click.UsageError(f"{option} is for {' and '.join(kinds)} only.")
    if task == "replay":
        if environment is None or n_steps is None:
            raise click.UsageError("collect replay needs --env ID and --steps N.")
        written = collect_replay(
            environment,
            n_steps=n_steps,
            seed=seed or 0,
            device=device or "cpu",
            **common,
        )
    elif task in RELABELLED_TASKS:
        if source is None:
            raise click.UsageError(f"collect {task} needs --from ID, a local dataset.")
        written = relabel(task, source, **common)
    else:
        written = collect_pointmaze(
            task,
            n_steps=1_000_000 if n_steps is None else n_steps,
            n_reference_episodes=(
                1000 if n_reference_episodes is None else n_reference_episodes
            ),
            seed=seed or 0,
            **common,
        )
    click.echo(f"Wrote {written}.")


@main.command()
@click.option("--dataset", required=True, help="Minari id.")
@click.option("--learner", required=True, help="bcq, cql, sac, iql, td3_plus_bc, ...")
@click.option("--imagination", required=True, help="romi, ..., or none.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="learner.KEY=VALUE or imagination.KEY=VALUE; repeatable; VALUE in JSON.",
)
@click.option("--n-steps", required=True, type=int)
@click.option("--n-steps-per-epoch", default=10_000, show_default=True, type=int)
@click.option("--n-trials", default=10, show_default=True, type=int)
@click.option(
    "--n-pretraining-epochs",
    default=0,
    show_default=True,
    type=int,
    help="Of the policy on the dataset's actions, as RAMBO does: 50.",
)
@click.option("--seed", default=0, show_default=True, type=int)
@click.option("--device", default="cpu", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Default: runs/...")
@click.option("--force", is_flag=True, help="Replace the run in the output folder.")
def train(
    dataset: str,
    learner: str,
    imagination: str,
    settings: tuple[str, ...],
    out: Optional[Path],
    force: bool,
    **numbers: Any,
) -> None:
    """Train LEARNER on a dataset with or without an imagination."""
    parsed = parse_settings(settings)
    experiment = Experiment(
        dataset,
        learner,
        imagination,
        learner_settings=parsed["learner"],
        imagination_settings=parsed["imagination"],
        **numbers,
    )
    name = f"{learner}-{imagination}-seed{experiment.seed}"
    out = out or Path("runs") / dataset.replace("/", "-") / name
    result = experiment.run(out, force)
    for evaluation in result["evaluations"]:
        score = evaluation["normalized_score"]
        shown = "no reference scores" if score is None else f"{score:.1f}"
        click.echo(
            f"step {evaluation['step']:>9,}  return {evaluation['return']:>10.2f}  "
            f"normalised score {shown}"
        )
    click.echo(f"Wrote {out / 'result.json'}.")


@main.command()
@click.argument("module")
@click.pass_context
def check(context: click.Context, module: str) -> None:
    """Check MODULE's components against their contracts; exit status 1 if one fails.

    MODULE is a name as in an import statement; the current folder is looked in too. Its
    components are those that it registers, or else those that it defines.
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
