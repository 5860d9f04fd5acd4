"""What version 0.1 wrote still loads: see version_0_1/README.md."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.experiment import Experiment
from d3rlpy_mbo.testing import line_world as world
from d3rlpy_mbo_mopo import MaxAleatoric
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig

FILES = Path(__file__).parent / "version_0_1"
ANSWERS = json.loads((FILES / "answers.json").read_text())


@pytest.fixture
def datasets(minari_root):
    shutil.copytree(FILES / "datasets", minari_root)  # Minari may write into it


@pytest.mark.parametrize("name", ANSWERS)
def test_a_saved_imagination_says_what_it_said_when_it_was_saved(name):
    imagination = mbo.load_imagination(FILES / name)
    rows = world.line_transitions(5)
    said = imagination.dynamics.predict(rows.observations, rows.actions, True)
    for values, expected in (
        (said.means, ANSWERS[name]["means"]),
        (said.stds, ANSWERS[name]["stds"]),
        (imagination.action_range.low, ANSWERS[name]["low"]),
    ):
        torch.testing.assert_close(values, torch.tensor(expected))


def test_a_saved_imagination_has_all_its_parts_and_imagines():
    romi = mbo.load_imagination(FILES / "romi.mbo")
    assert romi.config.get_type() == "romi"
    assert romi.config.rollout_policy.hidden_units == 8
    data = world.complete_dataset(world.ending_transitions(200))
    assert len(romi.imagine(data, 10)) > 0

    penalised = mbo.load_imagination(FILES / "penalised.mbo")
    assert penalised.config.penalty == MaxAleatoric(coef=0.5)
    assert penalised.config.dynamics_updater == AdversarialUpdaterConfig(
        n_updates=2, batch_size=8
    )
    assert penalised.dynamics_updater is not None
    adam = penalised.dynamics_updater.state_dict()["optimizer"]
    assert all(int(state["step"]) == 2 for state in adam["state"].values())


def test_a_result_says_how_to_run_it_again():
    for path in sorted((FILES / "study").rglob("result.json")):
        run = Experiment(**json.loads(path.read_text())["experiment"])
        assert run.learner_config().get_type() == "td3_plus_bc"
        configs = [*run.mixture().configs.values()]
        assert (not configs) == (path.parts[-3] == "td3_plus_bc")
        for config in configs:
            assert config.penalty is not None
            assert config.rollout_policy.get_type() == "uniform"
            assert config.real_ratio == 0.3


@pytest.mark.parametrize(
    ("dataset_id", "n_rows", "sizes", "path"),
    [
        ("v01/umaze-v0", 1200, (4, 2), "d3rlpy_mbo.tasks.pointmaze:PointMaze"),
        (
            "v01/cheetah-jump-v0",
            1000,
            (17, 6),
            "d3rlpy_mbo.tasks.relabel:RelabelledEnvironment",
        ),
    ],
)
def test_a_local_dataset_loads_with_the_environment_that_it_records(
    datasets, dataset_id, n_rows, sizes, path
):
    dataset, env = mbo.load_minari(dataset_id)
    transitions = mbo.Transitions.from_dataset(dataset)
    assert len(transitions.for_models()) == n_rows
    assert (transitions.observation_size, transitions.action_size) == sizes
    assert env is not None
    assert type(env.unwrapped).__name__ == path.partition(":")[2]
    assert env.spec.entry_point == path
    observation, _ = env.reset(seed=0)
    assert np.isfinite(observation).all()
    env.step(env.action_space.sample())
