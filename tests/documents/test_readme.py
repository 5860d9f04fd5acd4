"""The README's code runs, at sizes that fit a test."""

import json
import re
import warnings
from pathlib import Path

import pytest
import torch

import d3rlpy_mbo as mbo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE, PLUGIN = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.training
def test_the_30_second_example_trains(minari_root, tmp_path, monkeypatch):
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks.pointmaze_collection import collect_pointmaze

    collect_pointmaze("pointmaze-umaze-sparse", n_steps=700, n_reference_episodes=1)
    monkeypatch.chdir(tmp_path)  # d3rlpy writes its logs here
    small = (
        ("real_ratio=0.3", "real_ratio=0.3, rollout_batch_size=20, dynamics=MODEL"),
        ("n_steps=100_000", "n_steps=2, n_steps_per_epoch=1, show_progress=False"),
        ("EnvironmentEvaluator(env)", "EnvironmentEvaluator(env, n_trials=1)"),
    )
    code = EXAMPLE
    for old, new in small:
        assert old in code
        code = code.replace(old, new)
    model = mbo.ProbabilisticEnsembleConfig("reverse", max_steps=2)
    names = {"MODEL": model}
    exec(code, names)
    assert names["bcq"].grad_step == 2


def test_the_plugin_is_a_penalty():
    names: dict = {}
    exec(PLUGIN, names)
    (penalty,) = names["register_components"]()
    assert issubclass(penalty, mbo.Penalty)
    means = torch.tensor([[[0.0, 1.0]], [[0.0, 3.0]]])
    zeros = torch.zeros(1, 1)
    said = mbo.Prediction(zeros, zeros, zeros, zeros, means, means)
    assert penalty(2.0)(said).tolist() == [[pytest.approx(2 * 2**0.5)]]


def test_the_shell_commands_name_real_options():
    from d3rlpy_mbo.cli import main

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for command in ("train", "collect"):
            options = {o for p in main.commands[command].params for o in p.opts}
            line = README.split(f"d3rlpy-mbo {command} ")[1].split("```")[0]
            used = set(re.findall(r"--[a-z-]+", line.split("d3rlpy-mbo")[0]))
            assert used <= options


def test_its_table_of_speed_has_every_row_that_was_measured():
    result = json.loads((ROOT / "benchmarks/speed/results/speed.json").read_text())
    table = README.split("## How fast\n")[1].split("\n## ")[0]
    line = r"^\| .+ \| .+ \| (.+) \| (\d\S*)(?: s)? \|$"
    shown = [
        (set(re.findall(r"[\d.]*\d", measured)), float(goal))
        for measured, goal in re.findall(line, table, re.MULTILINE)
    ]
    for row in result["rows"]:
        median, goal = row["ratio"]["median"], float(row["goal"].split()[1])
        rounded = {f"{median:.2g}", f"{median:.3g}"}
        its = [numbers for numbers, other in shown if other == goal]
        assert any(numbers & rounded for numbers in its), row["work"]
