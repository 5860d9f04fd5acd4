"""What is an edge, what a state is worth, and the study that asks, at toy size."""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.known_learners import with_learner
from toys import (
    BeyondTermination,
    LineDynamicsConfig,
    ScriptedPolicyConfig,
    line_dataset,
    small_learner,
)

pytest.importorskip("minari")
pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import acting_samples
import edge_of_reach
from edge_of_reach import Reached, judge, monte_carlo, reached
from edge_of_reach_picture import edges_table
from edge_parts import ControlledBCQConfig, WithoutLastLinkConfig

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
FILE = STUDIES / "edge-of-reach.toml"


def states_of(config, direction, **settings):
    """Of rollouts of three steps with the actions 1, 2, 3 from s = 4 (reverse s' = 5)."""
    dataset = mbo.dataset_from_arrays(
        [np.array([[4.0], [5.0], [8.0]])],
        [np.array([[1.0], [3.0]])],
        [np.array([4.0, 5.0])],
        terminals=[False],
    )
    imagination = config(
        dynamics=LineDynamicsConfig(direction=direction),
        rollout_policy=ScriptedPolicyConfig(script=[1.0, 2.0, 3.0]),
        rollout_length=3,
        **settings,
    ).create()
    imagination.fit(dataset)
    rows = mbo.RealData.of(dataset).transitions[:1]
    [imagined] = imagination.rollouts(rows, 2)
    found = reached(imagined, direction, rows)
    return set(
        zip(
            found.indices.tolist(),
            found.states[:, 0].tolist(),
            found.left.tolist(),
            strict=True,
        )
    )


def test_forwards_the_last_state_is_an_edge():
    assert states_of(mbo.ImaginationConfig, "forward") == {
        (0, 4, True), (1, 5, True), (2, 7, True), (3, 10, False),
    }  # fmt: skip


def test_a_terminal_state_is_no_edge_as_no_target_asks_for_its_value():
    ended = BeyondTermination(limit=6.0)
    found = states_of(mbo.ImaginationConfig, "forward", termination=ended)
    assert found == {(0, 4, True), (1, 5, True)}  # 7 is terminal


def test_in_reverse_there_is_no_edge_until_the_row_into_the_real_state_is_dropped():
    within = {(0, 5, True), (2, 2, True), (3, -1, True)}
    assert states_of(mbo.ImaginationConfig, "reverse") == {*within, (1, 4, True)}
    assert states_of(WithoutLastLinkConfig, "reverse") == {*within, (1, 4, False)}
    assert states_of(WithoutLastLinkConfig, "reverse", n_links=2) == {
        (0, 5, True), (2, 2, False), (3, -1, True),
    }  # fmt: skip


def test_all_lengths_share_the_first_indices_and_long_ones_are_judged_to_their_end():
    assert edge_of_reach.judged_indices(1) == {0, 1}
    assert edge_of_reach.judged_indices(5) == {0, 1, 2, 3, 4, 5}
    assert edge_of_reach.judged_indices(9) == {0, 1, 2, 3, 4, 5, 9}
    assert edge_of_reach.judged_indices(50) == {0, 1, 2, 3, 4, 5, 10, 20, 30, 40, 50}


class Line:
    """s' = s + a, and the reward is s."""

    def set_state(self, state):
        self.state = state

    def step(self, action):
        self.state = self.state + action
        return self.state, -1.0, False, False, {}

    def compute_rewards(self, states):
        return states[:, 0]


class AddsOne:
    def predict(self, observations):
        return np.ones((len(observations), 1), np.float32)


def test_a_state_is_worth_the_rewards_from_itself_on_by_the_first_action_then_greedily():
    # From 0 by 2: 0, 2, 3, 4, 5, 6, 7, halved each time; then 1/128 < .01 is left out.
    states, actions = np.zeros((1, 1), np.float32), np.full((1, 1), 2, np.float32)
    expected = 2 / 2 + 3 / 4 + 4 / 8 + 5 / 16 + 6 / 32 + 7 / 64
    assert monte_carlo(Line(), AddsOne(), states, actions, 0.5) == [expected]
    assert states == 0  # the caller's are left as they are


def test_rewards_count_as_the_learners_scaler_shifts_them():
    learner = small_learner("td3_plus_bc", gamma=0.5)
    learner.create_impl((1,), 1)
    shift = d3rlpy.preprocessing.ConstantShiftRewardScaler(-1.0, 2.0)
    learner.config.reward_scaler = shift
    counted = functools.partial(edge_of_reach._counted, learner)
    states, actions = np.zeros((1, 1), np.float32), np.full((1, 1), 2, np.float32)
    plain = monte_carlo(Line(), AddsOne(), states, actions, 0.5)
    found = monte_carlo(Line(), AddsOne(), states, actions, 0.5, counted)
    assert found == pytest.approx(plain - (2 - 2**-6))  # 1 less in each of seven steps


def test_means_are_of_an_index_and_kind_and_states_in_walls_are_counted():
    states = np.array([[0, 0], [2, 0], [2, 0], [2.4, 0.4]], np.float32)
    found = Reached(
        states, np.array([0, 1, 1, 2]), np.array([True, True, False, False])
    )
    walls = np.array([[2.5, 0.0], [9.0, 9.0]])
    values, returns = np.array([1.0, 2.0, 50.0, 7.0]), np.array([1.0, 1.0, 10.0, 9.0])
    rows = judge(found, values, returns, walls)
    kinds = [(row["index"], row["kind"], row["difference"]) for row in rows]
    assert kinds == [
        (0, "real", 0), (1, "interior", 1), (1, "edge", 40), (2, "edge", -2)
    ]  # fmt: skip
    assert [row["in_walls"] for row in rows] == [0, 0, 0, 1]  # 2 is 0.5 away: outside


def test_the_table_has_means_and_deviations_over_seeds():
    def run(seed, difference):
        row = {"index": 1, "kind": "edge", "states": 10, "in_walls": 1}
        row |= {"q": difference + 3.0, "monte_carlo": 3.0, "difference": difference}
        return {"seed": seed, "by_index": [row]}

    assert (
        "| fomi | 1 | edge | 10 | 15.0 | 3.0 | 12.0 ± 2.8 | 10.0, 14.0 | 10.0% |\n"
    ) in edges_table({"fomi": [run(0, 10.0), run(1, 14.0)]})


def judged_run(seed, *rows, direction="forward"):
    """What edge-of-reach.json holds, of rows (index, kind, difference)."""
    means = {"states": 9, "in_walls": 0, "q": 0.0, "monte_carlo": 0.0}
    return {
        "seed": seed,
        "direction": direction,
        "by_index": [
            {"index": index, "kind": kind, "difference": difference, **means}
            for index, kind, difference in rows
        ],
    }


def test_an_edge_is_held_against_the_interior_state_of_the_same_index_and_seed():
    found = {
        "long": [
            judged_run(seed, (0, "real", 1), (1, "interior", 1), (2, "interior", inner))
            for seed, inner in ((0, 2.0), (1, 30.0))
        ],
        "short": [
            judged_run(seed, (0, "real", 4), (1, "interior", 1), (2, "edge", edge))
            for seed, edge in ((1, 38.0), (0, 4.0), (7, 99.0))
        ],
        "reverse": [
            judged_run(0, (0, "real", 0), (2, "interior", 0.0), direction="reverse")
        ],
    }
    table = edges_table(found, [["long", "short"], ["reverse", "short"], ["long", "?"]])
    # 4 - 2 and 38 - 30: 5 on average; 12.706 deviations of 3 sqrt(2) / sqrt(2) around it.
    expected = "| 5.0 [-33.1, 43.1] | 2 of 2 | 8.0, 2.0 |\n"
    assert f"| short - long | 2 | edge - interior {expected}" in table
    # 3 of each are there at real states too: the level, no edge's.
    own = "| 2.0 [-36.1, 40.1] | 1 of 2 | 5.0, -1.0 |\n"
    assert f"| short - long | 2 | edge - interior, beyond index 0 {own}" in table
    assert "| short - long | 1 | interior - interior | 0.0 [0.0, 0.0] | 0 of 2" in table
    assert table.count("| short - ") == 4  # states of another direction are others


def test_a_run_without_edges_is_held_against_edges_at_the_index_where_it_believes_most():
    found = {
        "romi": [
            judged_run(
                seed, (0, "real", 1.0), (1, "interior", most), (2, "interior", 2)
            )
            for seed, most in ((0, 7.0), (1, 9.0))
        ],
        "fomi": [
            judged_run(seed, (0, "real", 3), (1, "interior", 50), (2, "edge", 8))
            for seed in (0, 1)
        ],
    }
    for pair in (["romi", "fomi"], ["fomi", "romi"]):
        table = edges_table(found, [pair, ["romi", "romi"], ["fomi", "fomi"]])
        assert table.endswith(
            "\n| romi - fomi | 0.0 [-12.7, 12.7] | 1 of 2 | -1.0, 1.0 |\n"
            "| romi - fomi, beyond index 0 | 2.0 [-10.7, 14.7] | 0 of 2 | 1.0, 3.0 |\n"
        )


@pytest.mark.training
def test_a_policy_that_acts_on_more_samples_takes_actions_of_greater_value():
    learner = small_learner("bcq", imitator_learning_rate=0.1)
    learner.build_with_dataset(line_dataset())
    states = np.zeros((50, 1), np.float32)
    found = {}
    for n_samples in (1, 30):
        acting_samples.act_on(learner, n_samples)
        actions = torch.from_numpy(learner.predict(states))
        # The first critic chooses.
        found[n_samples] = learner.impl.q_function[0](
            torch.from_numpy(states), actions
        ).q_value
    assert found[30].mean() > found[1].mean()
    assert found[30].std() < found[1].std()


@pytest.fixture
def installed():
    with with_learner(ControlledBCQConfig):
        yield


def read(name):
    from d3rlpy_mbo.study.settings import Study

    study = Study.read(STUDIES / f"{name}.toml")
    runs = [study.experiment(study.datasets[0], each, 0) for each in study.methods]
    return study, dict(zip(study.methods, runs, strict=True))


def changes(run, before):
    """Returns in what a run's learner differs from d3rlpy's BCQ as set in another run."""
    plain = {
        **ControlledBCQConfig().serialize_to_dict(),
        **before.learner_config().serialize_to_dict(),
    }
    found = run.learner_config().serialize_to_dict()
    assert found.keys() == plain.keys()
    return {name: value for name, value in found.items() if value != plain[name]}


def test_bcq_alone_is_stage_a_s_and_with_the_papers_networks_differs_in_these(
    installed,
):
    stage_a = read("romi-umaze-sparse")[1]["bcq"]
    now, large = read("bcq")[1], read("bcq-paper-size")[1]
    assert changes(now["bcq"], stage_a) == {}
    assert changes(now["bcq-tanh"], stage_a) == {"squashes_decoder": True}
    networks = changes(large["bcq"], stage_a)
    units = {name: each["params"]["hidden_units"] for name, each in networks.items()}
    assert units == {
        "actor_encoder_factory": [400, 300],
        "critic_encoder_factory": [400, 300],
        "imitator_encoder_factory": [750, 750],
    }


def config_of(run):
    [config] = run.mixture().configs.values()
    return config


def test_the_studies_rows_differ_in_what_they_are_about_and_in_nothing_else(installed):
    pytest.importorskip("gymnasium_robotics")
    from d3rlpy_mbo.tasks import simulator  # noqa: F401

    stage_a, then = read("romi-umaze-sparse")
    study, now = read("edge-of-reach")
    vae, imitated = read("edge-of-reach-vae")
    reverse = stage_a.models(then["romi"])
    assert reverse == study.models(now["romi"]) == vae.models(imitated["romi-real-vae"])
    assert reverse == study.models(now["romi-no-link"])
    assert stage_a.models(then["fomi"]) == vae.models(imitated["fomi-real-vae"])
    nine = {name: config_of(now[name]) for name in ("romi-9", "romi-no-4-links")}
    for run in [*now.values(), *imitated.values()]:
        config = config_of(run)
        if config not in nine.values():
            assert config.rollout_length * config.rollout_batch_size == 4_000_000
    for run, before, changed in (
        (now["romi"], then["romi"], {}),
        (now["simulator"], then["fomi-simulator"], {}),
        (
            now["simulator-clipped"],
            then["fomi-simulator"],
            {"least_target": 0.0, "greatest_target": 100.0},
        ),
        (imitated["romi-real-vae"], then["romi"], {"imitates_imagined": False}),
        (imitated["fomi-real-vae"], then["fomi"], {"imitates_imagined": False}),
        (imitated["fomi"], then["fomi"], {}),
    ):
        assert config_of(run) == config_of(before)
        assert changes(run, before) == changed
    for without, control, n_links in (
        (config_of(now["romi-no-link"]), config_of(now["romi"]), 1),
        (nine["romi-no-4-links"], nine["romi-9"], 4),
    ):
        expected = {**control.serialize_to_dict(), "n_links": n_links}
        assert without.serialize_to_dict() == expected
    left = nine["romi-no-4-links"].rollout_length - 4
    assert left * nine["romi-no-4-links"].rollout_batch_size == 4_000_000
    assert changes(now["romi-9"], now["romi"]) == {}
    longer = dataclasses.replace(config_of(now["romi"]), rollout_length=9)
    assert nine["romi-9"] == longer


@pytest.mark.training
def test_the_study_and_what_is_measured_run_at_toy_size(
    installed, minari_root, tmp_path, monkeypatch
):
    pytest.importorskip("gymnasium_robotics")
    pytest.importorskip("rliable")
    from d3rlpy_mbo.study.grid import run_file

    small = tmp_path / "small.toml"
    small.write_text(shrunk(FILE.read_text()))
    out = tmp_path / "out"
    assert run_file(small, out, n_jobs=1) == {}  # in this process: nothing is installed
    monkeypatch.setattr(edge_of_reach, "_ROLLOUTS", 2)
    monkeypatch.setattr(edge_of_reach, "_UNSEEN", 0.9)
    judged = []
    monkeypatch.setattr(
        edge_of_reach, "judge", lambda *a: judged.append(a[0]) or judge(*a)
    )
    assert edge_of_reach.main([str(out)]) == 0
    states = dict(zip(read("edge-of-reach")[1], judged, strict=True))
    edges = {}
    for path in out.rglob("edge-of-reach.json"):
        rows = json.loads(path.read_text())["by_index"]
        assert all(np.isfinite(row["difference"]) for row in rows)
        edges[path.parts[-3]] = [r["index"] for r in rows if r["kind"] == "edge"]
    assert edges == {
        "romi": [], "romi-no-link": [1], "romi-9": [], "romi-no-4-links": [4],
        "simulator": [5], "simulator-1": [1], "simulator-50": [50],
        "simulator-clipped": [5],
    }  # fmt: skip
    for edge, interior in (
        ("romi-no-link", "romi"),
        ("romi-no-4-links", "romi-9"),
        ("simulator", "simulator-50"),
        ("simulator-1", "simulator"),
    ):
        [at] = edges[edge]
        one, other = (states[name].at([at]).states for name in (edge, interior))
        assert np.array_equal(one, other)
    monkeypatch.setattr(acting_samples, "_EPISODES", 1)
    assert acting_samples.main([str(out)]) == 0
    for path in out.rglob("learner.d3"):
        found = json.loads(path.with_name("acting-samples.json").read_text())
        assert [len(found["returns"][n]) for n in ("10", "100")] == [1, 1]
    compared = (out / "acting-samples-pointmaze-umaze-sparse-v0.md").read_text()
    assert compared.count("\n| simulator") == 4
    table = (out / "edge-of-reach-pointmaze-umaze-sparse-v0.md").read_text()
    assert "| romi-no-link | 1 | edge | 2 |" in table
    for pair in (
        "romi-no-link - romi | 1", "romi-no-4-links - romi-9 | 4",
        "simulator - simulator-50 | 5", "simulator-1 - simulator | 1",
    ):  # fmt: skip
        assert f"\n| {pair} | edge - interior | " in table
    assert table.count("edge - interior |") == 4
    assert table.count("edge - interior, beyond index 0 |") == 4
    of_levels = table[table.index("A run without edges") :]
    for pair in ("romi - romi-no-link", "romi-9 - romi-no-4-links", "romi - simulator"):
        assert f"\n| {pair} | " in of_levels
    assert (out / "edge-of-reach-pointmaze-umaze-sparse-v0.png").stat().st_size


def shrunk(text):
    """A study's file with tiny data, networks and budgets."""
    for old, new in (
        ("seeds = [0, 1, 2, 3, 4]", "seeds = [0]"),
        ("n_steps = 100_000", "n_steps = 10"),
        ("n_steps_per_epoch = 10_000", "n_steps_per_epoch = 5"),
        ("n_trials = 20", "n_trials = 1"),
        ("n_final_trials = 50", "n_final_trials = 1"),
        ("n_last = 5", "n_last = 2"),
        ("n_steps = 1_000_000", "n_steps = 2_000\nn_reference_episodes = 2"),
        ("rollout_batch_size = 800_000", "rollout_batch_size = 20"),
        ("rollout_batch_size = 80_000", "rollout_batch_size = 2"),
        ("rollout_batch_size = 4_000_000", "rollout_batch_size = 100"),
        ("[256, 256]", "[8]"),
        (
            '"dynamics.max_steps" = 20_000',
            '"dynamics.max_steps" = 5\n"dynamics.hidden_units" = [8]\n'
            '"dynamics.weight_decays" = [0.0, 0.0]\n'
            '"dynamics.n_models" = 2\n"dynamics.n_elites" = 1',
        ),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text
