"""`train` and `diagnose` take the termination of the dataset's own environment."""

import json
import warnings
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from click.testing import CliRunner
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.cli import main
from d3rlpy_mbo.registry.json_form import encode
from d3rlpy_mbo.runs.terminations import known_termination, with_known_termination
from own_data import by_episode, walk

DATASET = "cartpole/random-v0"
CART_POLE = encode(mbo.CartPoleTermination())
SMALL = [
    word
    for setting in (
        "rollout_policy=uniform", "rollout_batch_size=50", "dynamics.max_steps=3",
        "dynamics.n_models=2", "dynamics.n_elites=1", "dynamics.hidden_units=[16]",
        "dynamics.weight_decays=[0, 0]", "dynamics.batch_size=16",
    )
    for word in ("--set", f"imagination.{setting}")
]  # fmt: skip


def dataset(terminal: tuple[int, ...]) -> Any:
    parts = by_episode(walk(terminal=terminal))
    return mbo.dataset_from_arrays(
        parts["observations"],
        parts["actions"],
        parts["rewards"],
        terminals=[bool(each.any()) for each in parts["terminals"]],
    )


def test_a_rule_is_looked_up_where_the_data_terminates_and_somebody_knows_it():
    env = gymnasium.make("CartPole-v1")
    unknown = gymnasium.make("MountainCarContinuous-v0")
    assert known_termination(dataset(terminal=(1,)), env) == CART_POLE
    assert known_termination(dataset(terminal=()), env) is None
    assert known_termination(dataset(terminal=(1,)), None) is None
    assert known_termination(dataset(terminal=(1,)), unknown) is None


def test_what_the_user_or_the_paper_chose_stays_be_it_none(capsys):
    env, data = gymnasium.make("CartPole-v1"), dataset(terminal=(1,))
    config = mbo.ImaginationConfig()
    learned = mbo.ImaginationConfig(termination=mbo.LearnedTerminationConfig())
    assert with_known_termination(config, {"termination": None}, data, env) is None
    assert with_known_termination(learned, {}, data, env) is None
    assert with_known_termination(config, {}, data, None) is None
    assert capsys.readouterr().out == ""
    found = with_known_termination(config, {"rollout_length": 5}, data, env)
    assert found == mbo.ImaginationConfig(termination=mbo.CartPoleTermination())
    [line] = capsys.readouterr().out.splitlines()
    assert "'cart_pole'" in line
    assert "--set imagination.termination=NAME" in line


@pytest.fixture(scope="module")
def falls(tmp_path_factory) -> Any:
    """Where Minari finds a few episodes of CartPole, each of which ends in a fall."""
    root = tmp_path_factory.mktemp("falls")
    env, episodes = gymnasium.make("CartPole-v1"), []
    for seed in range(12):
        observations, rewards, fallen = [env.reset(seed=seed)[0]], [], False
        while not fallen:
            observation, reward, fallen, *_ = env.step(int(len(rewards) % 4 == 0))
            observations.append(observation)
            rewards.append(reward)
        ends = [False] * (len(rewards) - 1)
        episodes.append(
            EpisodeBuffer(
                observations=np.array(observations),
                actions=np.int64(np.arange(len(rewards)) % 4 == 0),
                rewards=rewards,
                terminations=[*ends, True],
                truncations=[*ends, False],
            )
        )
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        minari.create_dataset_from_buffers(DATASET, episodes, env=env)
        yield


def train(out, *settings: str) -> Any:
    arguments = ["train", "--dataset", DATASET, "--learner", "dqn", "--out", str(out)]
    arguments += ["--imagination", "romi", "--n-steps", "2", "--n-trials", "1", *SMALL]
    return CliRunner().invoke(main, [*arguments, *settings])


@pytest.mark.training
def test_train_imagines_with_the_rule_it_found_as_if_it_had_been_set(falls, tmp_path):
    found = train(tmp_path / "found")
    assert found.exit_code == 0, found.output
    assert "the rule of its environment, 'cart_pole'." in found.output
    told = train(tmp_path / "told", "--set", "imagination.termination=cart_pole")
    assert told.exit_code == 0, told.output
    assert "its environment's rule" not in told.output
    results = [
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("found", "told")
    ]
    assert [r["imagination"]["params"]["termination"] for r in results] == [
        CART_POLE,
        CART_POLE,
    ]
    first, second = (
        [
            {k: v for k, v in metrics.items() if not k.startswith("time_")}
            for metrics in result["metrics"]
        ]
        for result in results
    )
    assert first == second
    assert results[0]["evaluations"] == results[1]["evaluations"]
    # The user chose nothing, and the run goes on with what the user said.
    assert "termination" not in results[0]["experiment"]["imagination_settings"]
    loaded = mbo.load_imagination(tmp_path / "found" / "imagination.mbo")
    assert loaded.termination == mbo.CartPoleTermination()


@pytest.mark.training
def test_a_run_without_a_rule_is_refused_in_the_words_of_the_command_line(
    falls, tmp_path
):
    refused = train(tmp_path / "run", "--set", "imagination.termination=none")
    assert refused.exit_code == 1
    assert "--set imagination.termination=NAME, such as learned" in refused.output
    assert "cart_pole" in refused.output
    assert not (tmp_path / "run").exists()


@pytest.mark.training
def test_diagnose_fits_and_judges_with_the_rule_it_found(falls, tmp_path, monkeypatch):
    judged = []
    fit = mbo.Imagination.fit

    def watched(imagination: Any, *arguments: Any) -> None:
        judged.append(imagination.termination)
        fit(imagination, *arguments)

    monkeypatch.setattr(mbo.Imagination, "fit", watched)
    arguments = ["diagnose", "--dataset", DATASET, "--imagination", "romi", *SMALL]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "the rule of its environment, 'cart_pole'." in result.output
    assert judged == [mbo.CartPoleTermination()]
