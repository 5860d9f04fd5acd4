"""A stranger's package, from its installation to its removal."""

import ast
import shutil
import warnings
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from environments import LITTER, Environment, our_wheel

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_plugin"
TRAIN = """
train --dataset toys/line-v0 --learner td3_plus_bc --set learner.batch_size=16
--n-steps 4 --n-steps-per-epoch 2 --out run --imagination mopo
--set imagination.penalty=reward_dispute --set imagination.penalty.coef=0.5
--set imagination.rollout_policy=replayed_actions
--set imagination.rollout_batch_size=20 --set imagination.dynamics.n_models=2
--set imagination.dynamics.n_elites=1 --set imagination.dynamics.max_steps=5
--set imagination.dynamics.hidden_units=[16] --set imagination.dynamics.batch_size=16
--set imagination.dynamics.weight_decays=[0,0]
"""
LOAD = """
import d3rlpy_mbo as mbo
print(mbo.__file__)
print(mbo.load_imagination("run/imagination.mbo").config.penalty)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    """Ours and the example, built and installed."""
    folder = tmp_path_factory.mktemp("stranger")
    example = folder / "example"
    shutil.copytree(EXAMPLE, example, ignore=LITTER)
    # It says that 0.2 is not for it, and is refused: tests/registry/test_isolation.py.
    project = example / "pyproject.toml"
    text = project.read_text()
    assert '"d3rlpy-mbo>=0.1,<0.2"' in text
    project.write_text(text.replace(">=0.1,<0.2", ">=0.1,<1"))
    environment = Environment(folder)
    environment.install(our_wheel(folder), example)
    return environment


def test_the_example_has_at_most_61_lines_and_imports_public_names_alone():
    files = [p for p in EXAMPLE.rglob("*") if p.suffix in (".py", ".toml")]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 61
    allowed = {"dataclasses", "torch", "d3rlpy_mbo", "replayed_actions"}
    for path in EXAMPLE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed
            if isinstance(node, ast.ImportFrom):
                assert node.module in ("d3rlpy_mbo.testing", "replayed_actions")
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mbo":
                assert node.attr in mbo.__all__


def test_its_own_tests_pass_where_it_is_installed(environment):
    done = environment.run("python", "-m", "pytest", "-q", "example/tests")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_it_is_listed_trains_saves_and_loads_and_is_missed_by_name_once_removed(
    environment, monkeypatch
):
    listed = environment.run("d3rlpy-mbo", "plugins")
    assert listed.returncode == 0, listed.stderr
    assert "replayed-actions 1.2: main\n" in listed.stdout
    assert "  penalty reward_dispute" in listed.stdout
    assert "  rollout_policy replayed_actions" in listed.stdout

    write_dataset(environment.folder / "minari", monkeypatch)
    trained = environment.run("d3rlpy-mbo", *TRAIN.split())
    assert trained.returncode == 0, trained.stderr

    loaded = environment.run("python", "-c", LOAD)
    file, penalty = loaded.stdout.splitlines()
    assert Path(file).is_relative_to(environment.folder / "env")
    assert penalty == "RewardDispute(coef=0.5)"

    environment.pip("uninstall", "--yes", "replayed-actions")
    missed = environment.run("python", "-c", LOAD)
    assert missed.returncode == 1
    last = missed.stderr.splitlines()[-1]
    assert "LoadError" in last
    assert "from replayed-actions 1.2, which is not installed" in last


def write_dataset(root: Path, monkeypatch) -> None:
    """s' = s + a, r = s, as ``toys/line-v0``."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    episodes = []
    for _ in range(10):
        actions = np.random.uniform(-1, 1, (10, 1)).astype(np.float32)
        observations = np.cumsum(np.vstack([[[0]], actions]), axis=0, dtype=np.float32)
        never, last = np.zeros(10, bool), np.arange(10) == 9
        episodes.append(
            EpisodeBuffer(
                observations=observations,
                actions=actions,
                rewards=list(observations[:-1, 0]),
                terminations=list(never),
                truncations=list(last),
            )
        )
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has neither an author nor an environment
        minari.create_dataset_from_buffers(
            "toys/line-v0",
            episodes,
            observation_space=space,
            action_space=spaces.Box(-1, 1, (1,), np.float32),
        )
