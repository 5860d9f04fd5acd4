"""Commands that documents show: each parses as it stands, and does what Python does."""

import dataclasses
import re
import shlex
import types
from pathlib import Path
from typing import Any

import click
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.registry.discovery import get_component
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.runs.settings import parse_settings
from pages import blocks

ROOT = Path(__file__).parents[2]
METHODS = sorted((ROOT / "docs" / "methods").glob("*.md"))
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("benchmarks/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
SHOWN = re.compile(r"^```\w*\n((?s:.*?))^```$|^((?: {4}\S.*\n)+)", re.MULTILINE)


def lines_of(text: str) -> list[str]:
    """Returns the lines of code that a page shows, continued ones joined."""
    parts = ["".join(part) for part in SHOWN.findall(text)]
    shown = [part for part in parts if re.search(r"^ *d3rlpy-mbo ", part, re.M)]
    return "\n".join(shown).replace("\\\n", " ").splitlines()


def parsed(words: list[str]) -> click.Context:
    """Returns what click makes of a command, which it does not run.

    Raises:
        click.UsageError: It is none.
    """
    program, verb, *arguments = words
    assert program == "d3rlpy-mbo"
    if verb not in main.commands:
        raise click.UsageError(f"There is no verb {verb!r}.")
    return main.commands[verb].make_context(verb, arguments)


def experiment_of(arguments: dict[str, Any]) -> Experiment:
    """Returns what `train` would run."""
    settings = parse_settings(arguments["settings"])
    known = {field.name for field in dataclasses.fields(Experiment)}
    return Experiment(
        **{name: value for name, value in arguments.items() if name in known},
        learner_settings=settings["learner"],
        imagination_settings=settings["imagination"],
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_command_that_is_shown_parses_as_it_stands(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = page.read_text()
    installs_a_plugin = 'title="pyproject.toml"' in text  # whose names are not here
    for line in lines_of(text):
        words = shlex.split(line, comments=True)
        assert not words or not words[0].startswith("-"), f"nothing continues: {line}"
        if not words or words[0] != "d3rlpy-mbo" or words[1:] == ["--version"]:
            continue
        given = parsed(words).params
        if words[1] == "train" and not installs_a_plugin:
            experiment = experiment_of(given)
            experiment.learner_config()
            experiment.mixture()
        if words[1] == "collect":
            get_component("task", given["task"])


def test_a_command_over_lines_that_nothing_joins_is_found():
    begun = "```text\nd3rlpy-mbo train --dataset a-v0 --learner sac --imagination mopo"
    rest = "--set imagination.rollout_length=5 --n-steps 5\n```\n"
    first, second = lines_of(f"{begun}\n    {rest}")
    with pytest.raises(click.MissingParameter, match="n_steps"):
        parsed(shlex.split(first))
    assert second.split()[0] == "--set"
    [joined] = lines_of(f"{begun} \\\n    {rest}")
    assert parsed(shlex.split(joined)).params["n_steps"] == 5
    [indented] = lines_of("As follows:\n\n    d3rlpy-mbo plugins\n\nthen.\n")
    assert parsed(shlex.split(indented)).params == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_command_within_a_sentence_names_real_options_and_is_whole_if_it_has_data(
    page,
):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for code in re.findall(r"`(d3rlpy-mbo [a-z][^`]*)`", text):
        if "[OPTIONS]" in code:
            continue
        try:
            parsed(shlex.split(code))
        except (click.BadParameter, click.BadOptionUsage):  # missing, or a placeholder
            assert "--dataset" not in code, code


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_study_or_script_within_a_sentence_is_there_and_its_command_whole(
    page, monkeypatch
):
    monkeypatch.chdir(ROOT)
    code = re.findall(r"`([^`\n]+)`", page.read_text())
    for command in [each for each in code if each.startswith("d3rlpy-mbo study ")]:
        if ".toml" in command and "NAME" not in command:
            parsed(shlex.split(command))
    for command in [each for each in code if each.startswith("python benchmarks/")]:
        assert Path(shlex.split(command)[1]).is_file(), command


@pytest.mark.parametrize("page", METHODS, ids=lambda p: p.stem)
def test_the_command_of_a_methods_page_is_its_python(page, monkeypatch):
    ran: dict[str, Any] = {"n_epochs": 0}

    def load(dataset_id: str) -> tuple[None, str]:
        ran["dataset"] = dataset_id
        return None, "Hopper-v5" if "hopper" in dataset_id else "HalfCheetah-v5"

    def fit(learner: Any, dataset: None, imagination: Any, **named: Any) -> None:
        ran.update(learner=learner.config, imagination=imagination.config, **named)

    monkeypatch.setattr(mbo, "load_minari", load)
    monkeypatch.setattr(mbo, "fit", fit)
    monkeypatch.setattr(mbo, "pretrain_policy", lambda *_, **named: ran.update(named))
    python = next(b for b in blocks(page) if b.language == "python")
    exec(compile(python.code, str(page), "exec"), vars(types.ModuleType("page")))

    [command] = [
        line for line in lines_of(page.read_text()) if "d3rlpy-mbo train" in line
    ]
    given = parsed(shlex.split(command))
    run = experiment_of(given.params)
    assert run.dataset == ran["dataset"]
    assert run.n_steps == ran["n_steps"]
    assert run.n_pretraining_epochs == ran["n_epochs"]
    assert run.learner_config() == ran["learner"]
    [imagination] = run.mixture().configs.values()
    if "hopper" in run.dataset:  # it terminates, and train finds its rule
        rule = mbo.termination_for("Hopper-v5")
        imagination = dataclasses.replace(imagination, termination=rule)
    assert imagination == ran["imagination"]
