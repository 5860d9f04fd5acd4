import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("joblib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import single_transition
from single_transition_scores import COMPARED, METHODS, score, tables, true_mean

ACTIONS = np.array([-0.78, -0.72, -0.04, 0.0, 0.12, 0.72, 0.78, 0.81])


def run_with(actions, method="combo", seed=20):
    history = [
        {"step": i, "action": action, "model_holdout_error": 1.1}
        for i, action in enumerate(actions)
    ]
    return {
        "method": method,
        "seed": seed,
        "first_holdout_error": 1.0,
        "history": history,
    }


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
