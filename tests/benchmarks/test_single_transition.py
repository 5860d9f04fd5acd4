import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("joblib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import d3rlpy_mbo as mbo
import single_transition
from single_transition_scores import (
    COMPARED,
    METHODS,
    draw,
    refuse_unshared_models,
    score,
    summary,
    tables,
    true_mean,
)

ACTIONS = np.array([-0.78, -0.72, -0.04, 0.0, 0.12, 0.72, 0.78, 0.81])


def run_with(actions, method="combo", seed=20, error=1.0, last_error=1.1):
    history = [
        {"step": i, "action": action, "model_holdout_error": last_error, "model": CURVE}
        for i, action in enumerate(actions)
    ]
    return {
        "method": method,
        "seed": seed,
        "fitted_model": CURVE,
        "first_holdout_error": None if method == "sac" else error,
        "history": history,
    }


CURVE = [0.5] * 401


def test_the_wider_truth_differs_beside_the_data_alone():
    assert true_mean(ACTIONS).tolist() == [0.5, 1.2, 0.5, 0.5, 1.0, 1.5, 0.5, 0.5]
    wider = true_mean(ACTIONS, 0.05).tolist()
    assert wider == [1.2, 1.2, 0.5, 0.5, 1.0, 1.5, 1.5, 0.5]


def test_a_score_is_the_mean_true_reward_of_the_last_five_actions():
    run = run_with([0.72, 0.72, 0.72, 0.78, 0.78, -0.72])
    assert score(run, 0.0) == pytest.approx((1.5 + 1.5 + 0.5 + 0.5 + 1.2) / 5)
    assert score(run, 0.05) == pytest.approx((4 * 1.5 + 1.2) / 5)


def test_both_truths_have_a_table_whose_differences_are_paired_by_seed():
    rows = {
        method: {
            "scores": {"at the data's edge": [0.5, 0.5], "0.05 wider": [0.5, 1.2]},
            "actions": [0.8, 0.78],
            "holdout_growth": [],
        }
        for method in METHODS
    }
    better, worse = COMPARED[0]
    rows[better]["scores"] = {
        "at the data's edge": [0.5, 0.5],
        "0.05 wider": [1.0, 1.5],
    }
    text = tables(rows)
    at_the_edge, wider = text.split("## The truth is ")[1:]
    assert f"| {better} - {worse} | +0.00 | +0.00 to +0.00 |" in at_the_edge
    # .5 and .3: mean .4, half of the 95 % interval 12.706 x .1
    assert f"| {better} - {worse} | +0.40 | -0.87 to +1.67 |" in wider


def test_runs_of_other_settings_are_not_mixed_with_todays(tmp_path):
    path = tmp_path / "combo-seed20.json"
    today = {**run_with([0.72]), "settings": single_transition.trained_with()}
    path.write_text(json.dumps(today))
    single_transition.refuse_other_settings(tmp_path)
    assert single_transition.run_once("combo", 20, tmp_path) == today
    today["settings"]["n_steps"] += 1
    path.write_text(json.dumps(today))
    with pytest.raises(SystemExit, match="other settings"):
        single_transition.refuse_other_settings(tmp_path)


def test_runs_of_a_seed_must_share_their_fitted_model():
    shared = [run_with([0.72], method) for method in METHODS]
    other_seed = [run_with([0.72], method, seed=21, error=2.0) for method in METHODS]
    refuse_unshared_models([*shared, *other_seed])
    shared[METHODS.index("combo")]["first_holdout_error"] = 1.5
    other_seed[METHODS.index("no_updater")]["fitted_model"] = [0.6]
    with pytest.raises(SystemExit) as refused:
        refuse_unshared_models([*shared, *other_seed])
    text = str(refused.value)
    assert "seed 20: " in text
    assert "combo (1.5)" in text
    assert "seed 21: " in text
    assert "no_updater (2.0)" in text
    assert "sac" not in text.partition("Expected")[0]


def test_a_run_that_diverged_is_counted_and_its_pairs_are_left_out(tmp_path):
    results = [
        run_with([0.72] * 5, method, seed)
        for seed in (20, 21, 22)
        for method in METHODS
    ]
    better, worse = COMPARED[0]
    runs = {(run["method"], run["seed"]): run for run in results}
    runs[better, 20] |= {"error": "the model is not finite", "history": []}
    runs[better, 22]["history"][-1]["action"] = 0.12
    runs["combo", 21]["history"][-1]["action"] = None  # stored as null
    runs["coef_0", 21]["history"][-1]["model_holdout_error"] = None
    at_the_edge = tables(summary(results)).split("## The truth is ")[1]
    lines = {line.split(" | ")[0]: line for line in at_the_edge.splitlines()}
    row = lines[f"| {better}"]
    assert row.startswith(
        f"| {better} | 1.45 ± 0.07 | 0.81 to 2.09 | - 1.50 1.40 | 1 |"
    )
    assert row.endswith(
        "| 0.12 to 0.72, not finite in 1 | +10.0 % to +10.0 %, not finite in 1 |"
    )
    # 0 and -.1: half of the 95 % interval is 12.706 x .05
    paired = lines[f"| {better} - {worse}"]
    assert paired.endswith("| -0.05 | -0.69 to +0.59 | 2 |")
    assert lines[f"| {better} - combo"].endswith("| -0.10 | +nan to +nan | 1 |")
    assert lines["| coef_0"].endswith(
        "| 0.72 to 0.72 | +10.0 % to +10.0 %, not finite in 1 |"
    )
    assert lines["| sac"].endswith("| 0 | 0.72 to 0.72 | - |")
    draw(results, tmp_path / "picture.png")


def test_a_run_that_diverges_is_stored_with_what_it_said(tmp_path, monkeypatch):
    def fit(learner, dataset, imagined, n_steps, epoch_callback, **others):
        epoch_callback(Learner(), 1, 500)
        raise mbo.DivergedError("the critic is not finite")

    class Learner:
        def predict(self, observations):
            return np.full((len(observations), 1), np.nan)

        def predict_value(self, observations, actions):
            return np.full(len(actions), np.inf)

    monkeypatch.setattr(mbo, "fit", fit)
    single_transition.run_once("sac", 20, tmp_path)
    stored = json.loads((tmp_path / "sac-seed20.json").read_text())
    assert stored["error"] == "the critic is not finite"
    assert stored["history"][0]["action"] is None
    assert stored["history"][0]["q_values"] == [None] * 401
    assert stored["versions"]["torch"]
    assert stored["versions"]["d3rlpy-mbo"]
    assert score(stored, 0.0) is None
