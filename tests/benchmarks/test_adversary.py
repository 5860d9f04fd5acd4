"""The tables of the adversary's dose-response, from files written by hand."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("minari")
pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import adversary
import adversary_doses
import d3rlpy_mbo as mbo

SETTINGS = {
    "seeds": [0, 1, 2],
    "target_scales": ["state"],
    "coefs": [0.0, 0.1, 0.3],
    "horizons": [20],
}


@pytest.fixture
def measured(tmp_path):
    """Writes what one seed and weight ended with."""

    def write(seed, coef, policy, error=1.0, updates=10.0, likelihood=5.0):
        end = {
            "updates": updates,
            **{f"value_{first}_20": 100.0 for first in adversary_doses.FIRST_ACTIONS},
            "value_policy_20": policy,
            "log_likelihood": likelihood,
            "holdout_error": error,
            "f": 0.25,
        }
        content = {"settings": SETTINGS, "q_values": [9.0, 9.1], "measured": [end]}
        path = adversary_doses.file_of(tmp_path, "state", seed, coef)
        path.write_text(json.dumps(content))

    write.folder = tmp_path
    return write


def found(folder):
    return {coef: dose for _, coef, dose in adversary_doses.doses(SETTINGS, folder)}


def test_a_dose_is_compared_with_weight_0_of_the_same_seed(measured):
    for seed, zero in enumerate((100.0, 200.0, 400.0)):
        measured(seed, 0.0, zero)
    measured(2, 0.1, 380.0, likelihood=4.5)  # seeds 0 and 1 are still to come
    dose = found(measured.folder)[0.1]
    assert dose.effects["value_policy_20"] == pytest.approx([-0.05])
    assert dose.lost == 0.5
    assert not dose.works  # one seed has no interval


def test_a_dose_works_below_one_percent_while_the_fit_holds(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.1, 95.0 + 0.1 * seed, error=1.05)
        measured(seed, 0.3, 50.0 + 0.1 * seed, error=1.2)
    doses = found(measured.folder)
    assert doses[0.1].works
    assert not doses[0.3].works
    table = adversary_doses.report(SETTINGS, measured.folder)
    assert "| state | 2 | 9.0, 9.1 |" in table  # whether the critic had settled


def test_a_dose_whose_updates_diverged_does_not_work(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.1, 90.0 + 0.1 * seed, updates=10.0 if seed else 5.0)
    dose = found(measured.folder)[0.1]
    assert dose.diverged == 1
    assert len(dose.effects["value_policy_20"]) == 2
    assert not dose.works


def test_a_folder_of_other_settings_is_refused_but_may_get_more_seeds(measured):
    measured(0, 0.0, 100.0)
    more = {**SETTINGS, "seeds": [0, 1, 2, 3], "coefs": [0.0, 0.2]}
    adversary.refuse_other_settings(more, measured.folder)
    long = {**SETTINGS, "n_updates": 200_000}
    with pytest.raises(mbo.CompositionError, match="n_updates"):
        adversary.refuse_other_settings(long, measured.folder)
