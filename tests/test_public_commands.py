"""Freezes what files and shells rely on; `python tests/test_public_commands.py` writes it.

The verbs and options, the entries of a study's file, and the keys of result.json.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("joblib")

from d3rlpy_mbo.cli import main
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.study.settings import Method, Study
from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

FROZEN = Path(__file__).with_name("public_commands.txt")


def public_commands() -> str:
    return "\n".join([*_options(), *_entries()]) + "\n"


def _options() -> Iterator[str]:
    for verb, command in sorted(main.commands.items()):
        yield f"d3rlpy-mbo {verb}"
        for parameter in command.params:
            names = "/".join(parameter.opts) if parameter.opts else str(parameter.name)
            yield f"d3rlpy-mbo {verb} {names}"


def _entries() -> Iterator[str]:
    for whose, owner in (
        ("study.toml", Study),
        ("study.toml methods.NAME", Method),
        ("result.json experiment", Experiment),
    ):
        for field in dataclasses.fields(owner):
            yield f"{whose}: {field.name}"


def test_options_and_entries_are_frozen():
    assert public_commands() == FROZEN.read_text(), (
        "An option, a study's entry or a field of result.json's experiment changed. They "
        "may be added, never renamed or removed; if that is what happened, write the file "
        "anew: python tests/test_public_commands.py"
    )


@pytest.mark.training
def test_the_keys_of_a_result_are_those_of_0_1_and_what_came_since(
    tmp_path, monkeypatch
):
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    collect_pointmaze("pointmaze-umaze-dense", n_steps=400, n_reference_episodes=2)
    run = Experiment(
        "pointmaze/umaze-dense-v0", "bc", "none", 1, n_trials=1, n_final_trials=1
    )
    result = run.run(tmp_path / "run")
    assert sorted(result) == [
        "command", "d4rl_reference_scores", "evaluations", "experiment",
        "final_evaluation", "imagination", "learner", "metrics", "reference_scores",
        "seconds", "target_return", "versions",
    ]  # fmt: skip
    assert sorted(result["evaluations"][0]) == ["normalized_score", "return", "step"]
    final = sorted(result["final_evaluation"])
    assert final == ["normalized_score", "return", "returns"]
    assert sorted(result["learner"]) == ["params", "type"]


if __name__ == "__main__":
    FROZEN.write_text(public_commands())
