"""The adversary's dose-response: its tables, from files written by hand, and resuming."""

import dataclasses
import json
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("minari")
pytest.importorskip("joblib")
pytest.importorskip("matplotlib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import d3rlpy
import torch

import adversary
import adversary_doses
import d3rlpy_mbo as mbo
import toys
from d3rlpy_mbo_rambo import RAMBOConfig

SETTINGS = {
    "seeds": [0, 1, 2],
    "target_scales": ["state"],
    "coefs": [0.0, 0.1, 0.3],
    "horizons": [20],
}


@pytest.fixture
def measured(tmp_path):
    """Writes what one seed and weight ended with."""

    def write(
        seed, coef, policy, error=1.0, updates=10.0, likelihood=5.0, converged=True
    ):
        end = {
            "updates": updates,
            **{f"value_{first}_20": 100.0 for first in adversary_doses.FIRST_ACTIONS},
            "value_policy_20": policy,
            "log_likelihood": likelihood,
            "holdout_error": error,
            "f": 0.25,
        }
        critic = {"q_values": [9.0, 9.1], "own_value": 9.2, "converged": converged}
        content = {"settings": SETTINGS, "critic": critic, "measured": [end]}
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
    table = adversary_doses.report(SETTINGS, measured.folder)
    row = next(line for line in table.splitlines() if "| 0.1 |" in line)
    assert row.endswith("| - |")  # nothing is said before all seeds are there
    assert "-5.00 % |" in row  # and no interval of one


def test_a_dose_works_below_one_percent_while_the_fit_holds(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.1, 95.0 + 0.1 * seed, error=1.05)
        measured(seed, 0.3, 50.0 + 0.1 * seed, error=1.2)
    doses = found(measured.folder)
    assert doses[0.1].works
    assert not doses[0.3].works
    table = adversary_doses.report(SETTINGS, measured.folder)
    assert "| state | 2 | 9.0, 9.1 | 9.2 | yes |" in table  # the critic had settled
    rows = [line for line in table.splitlines() if "| state | 0." in line]
    assert [row.split(" | ")[-1] for row in rows] == ["yes |", "no |"]
    of_one_seed = adversary_doses.report({**SETTINGS, "seeds": [0]}, measured.folder)
    rows = [line for line in of_one_seed.splitlines() if "| state | 0." in line]
    assert [row.split(" | ")[-1] for row in rows] == ["- |", "- |"]


def test_where_seeds_of_the_hold_out_error_cancel_the_page_says_so(measured):
    for seed, grown in enumerate((1.12, 0.97, 0.98)):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.1, 95.0 + 0.1 * seed, error=grown)
        measured(seed, 0.3, 95.0 + 0.1 * seed, error=1.05)
    assert found(measured.folder)[0.1].works  # by the rule as it was committed
    text = adversary_doses.report(SETTINGS, measured.folder)
    assert "any of 2 values" in text
    assert "2 chances for each dose" in text
    assert "For state, 0.1 the seeds are +12.0, -3.0, -2.0 %" in text
    assert "For state, 0.3" not in text


def test_a_dose_whose_updates_diverged_does_not_work(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.1, 90.0 + 0.1 * seed, updates=10.0 if seed else 5.0)
    dose = found(measured.folder)[0.1]
    assert dose.diverged == 1
    assert len(dose.effects["value_policy_20"]) == 2
    assert not dose.works


def test_a_seed_whose_critic_did_not_converge_is_left_out_and_said(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0, converged=seed > 0)
        measured(seed, 0.1, 95.0 + 0.1 * seed, converged=seed > 0)
    assert len(found(measured.folder)[0.1].effects["value_policy_20"]) == 2
    table = adversary_doses.report(SETTINGS, measured.folder)
    row = next(line for line in table.splitlines() if "| 0.1 |" in line)
    assert row.endswith("| - |")  # a verdict needs all seeds
    assert "| state | 0 | 9.0, 9.1 | 9.2 | no: left out |" in table


def test_a_dose_that_diverged_in_every_seed_has_a_row(measured):
    for seed in range(3):
        measured(seed, 0.0, 100.0)
        measured(seed, 0.3, 90.0, updates=5.0)
    table = adversary_doses.report(SETTINGS, measured.folder)
    row = next(line for line in table.splitlines() if "| 0.3 |" in line)
    assert row.startswith("| state | 0.3 | 0 |")
    assert row.endswith("| 3 | no |")
    adversary_doses.draw(SETTINGS, measured.folder)


def test_a_folder_of_other_settings_is_refused_but_may_get_more_seeds(measured):
    measured(0, 0.0, 100.0)
    more = {**SETTINGS, "seeds": [0, 1, 2, 3], "coefs": [0.0, 0.2]}
    adversary.refuse_other_settings(more, measured.folder)
    long = {**SETTINGS, "n_updates": 200_000}
    with pytest.raises(mbo.CompositionError, match="n_updates"):
        adversary.refuse_other_settings(long, measured.folder)


@pytest.mark.parametrize(
    ("early", "last", "adds_up"),
    [
        (99.0, 97.0, "no"),  # the null came as far once
        (99.0, 96.0, "yes"),
        (95.0, 96.0, "no"),  # it does not grow
        (101.0, 104.0, "no"),
    ],
)
def test_the_long_run_is_judged_by_what_a_weight_that_does_nothing_comes_to(
    tmp_path, early, last, adds_up
):
    settings = {
        **SETTINGS,
        **{"seeds": [0], "coefs": [0.0, 1e-9, 3e-4], "null": 1e-9},
        **{"n_judged": 2, "n_updates": 40, "measured_every": 10},
    }
    policies = {
        0.0: [100.0, 100.0, 100.0, 100.0, 100.0],
        1e-9: [100.0, 100.0, 103.5, 100.0, 99.0],  # 3.5 % once
        3e-4: [100.0, early, early, last, last],
    }
    for coef, values in policies.items():
        ends = [
            {
                **{"updates": 10.0 * i, "value_data_20": 1.0, "value_policy_20": value},
                **{"value_uniform_20": 1.0},
                **{"log_likelihood": 5.0, "holdout_error": 1.0, "f": 0.25},
            }
            for i, value in enumerate(values)
        ]
        critic = {"q_values": [9.0], "own_value": 9.0, "converged": True}
        content = {"settings": settings, "critic": critic, "measured": ends}
        path = adversary_doses.file_of(tmp_path, "state", 0, coef)
        path.write_text(json.dumps(content))
    lines = adversary_doses.report(settings, tmp_path).splitlines()
    start = "| state | 0.0003 | 0 | value_"
    shown = f"{early - 100:+.2f} % | {last - 100:+.2f} % | 3.50 %, 1.00 %"
    assert [line for line in lines if line.startswith(start)] == [
        f"{start}policy_20 | {shown} | {adds_up} |",
        f"{start}uniform_20 | +0.00 % | +0.00 % | 0.00 %, 0.00 % | no |",
    ]


class Pays(toys.LineDynamics):
    """Pays 2 at every step."""

    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        return dataclasses.replace(found, rewards=2 * torch.ones_like(found.rewards))


FROZEN = {"tau": 0.05, "rollout_length": 3, "rollout_batch_size": 8}
FROZEN |= {"real_ratio": 0.5}


def frozen_parts(name="sac"):
    d3rlpy.seed(0)
    real = mbo.RealData.of(toys.line_dataset())
    imagination = RAMBOConfig(dynamics=toys.LineDynamicsConfig(), dynamics_updater=None)
    learner = toys.small_learner(name)
    learner.create_impl((1,), 1)
    return real, imagination.create(), learner


def test_what_the_model_pays_is_rewards_and_entropy_until_a_hundredth_is_left():
    real, imagination, learner = frozen_parts("td3_plus_bc")
    imagination.dynamics = Pays(toys.LineDynamicsConfig())
    imagination.fit(real)
    found = adversary.own_value(imagination, learner, real.transitions.observations)
    n_steps = 459  # 0.99 ** 459 is below 0.01, and no step before it
    assert found == pytest.approx(2 * (1 - 0.99**n_steps) / 0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("q_values", "n_blocks", "converged"),
    [
        ([200.0, 150.0, 101.0, 100.5], 3, True),
        ([200.0, 150.0, 140.0, 130.0, 120.0], 4, False),  # it still falls
        ([89.0, 89.0, 89.0, 89.0, 89.0], 4, False),  # it stands, elsewhere
    ],
)
def test_a_critic_has_converged_where_it_stands_at_what_the_model_pays(
    monkeypatch, q_values, n_blocks, converged
):
    real, imagination, learner = frozen_parts()
    imagination.fit(real)
    settings = {"frozen": FROZEN, "n_blocks": 4, "n_steps_per_block": 1}
    settings |= {"converged": 0.01, "near_own_value": 0.1}
    said, asked = iter(q_values), []
    states, actions = torch.zeros(3, 1), torch.ones(3, 1)
    forwarder = learner.impl._targ_q_func_forwarder

    def trained(*_):
        asked.append(forwarder.compute_target(states, actions, reduction="min"))

    monkeypatch.setattr(adversary, "train", trained)
    monkeypatch.setattr(adversary, "mean_q", lambda *_: next(said))
    monkeypatch.setattr(adversary, "own_value", lambda *_: 100.0)
    known = adversary.convergence(imagination, learner, real, settings, 0)
    assert known == {
        "q_values": q_values[: n_blocks + 1],
        "own_value": 100.0,
        "converged": converged,
    }
    mean, least = (
        forwarder.compute_target(states, actions, reduction)
        for reduction in ("mean", "min")
    )
    assert len(asked) == n_blocks
    assert asked[0].tolist() == mean.tolist() != least.tolist()


@pytest.mark.training
def test_a_folder_gets_what_it_has_not_and_keeps_what_it_has(tmp_path, monkeypatch):
    real, imagination, learner = frozen_parts()
    imagination.fit(real)
    settings = {"dataset": "one", "frozen": FROZEN, "n_blocks": 1}
    settings |= {"n_steps_per_block": 2, "converged": 0.01, "near_own_value": 0.1}
    calls = []

    def trained(settings, scale, seed, begun):
        calls.append(begun)
        begun.mkdir()
        return imagination, learner

    monkeypatch.setattr(adversary, "trained", trained)
    monkeypatch.setattr(mbo, "load_minari", lambda _: (real.dataset, None))
    folder = tmp_path / "state-seed-0"
    first = adversary.kept(settings, folder, "state", 0)
    assert calls == [folder / "begun"]
    assert {path.name for path in folder.iterdir()} == {
        "imagination.mbo", "learner.d3", "critic.d3", "critic.json"
    }  # fmt: skip
    assert len(first.critic["q_values"]) == 2
    again = adversary.kept(settings, folder, "state", 0)
    assert again.critic == first.critic
    assert calls == [folder / "begun"]
    states = real.transitions.observations
    assert adversary.mean_q(again.learner, states) == first.critic["q_values"][-1]
    (folder / "critic.json").unlink()  # killed while the critic was trained
    assert adversary.kept(settings, folder, "state", 0).critic == first.critic
    assert calls == [folder / "begun"]


@pytest.mark.training
def test_a_dose_that_was_killed_goes_on_to_the_bit(tmp_path, monkeypatch):
    settings = {"measured_every": 5, "n_updates": 20, "n_states": 20}
    settings |= {"horizons": [2], "n_outcomes": 2}
    d3rlpy.seed(0)
    real = mbo.RealData.of(toys.line_dataset())
    config = RAMBOConfig(dynamics=toys.small_ensemble(), dynamics_updater=None)
    imagination, learner = config.create(), toys.small_learner("sac")
    imagination.fit(real)
    learner.create_impl((1,), 1)
    frozen = adversary.Frozen(imagination, learner, real, {})
    whole = adversary.dosed(frozen, settings, 0.3, 0, tmp_path / "whole.begun")
    assert [each["updates"] for each in whole] == [5, 10, 15, 20]

    measure, begun = adversary.measure, tmp_path / "killed.begun"
    calls = []

    def counted(*args):
        calls.append(args)
        if len(calls) == 3:  # two are kept
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(adversary, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        adversary.dosed(frozen, settings, 0.3, 0, begun)
    d3rlpy.seed(7)  # another process stands elsewhere
    assert adversary.dosed(frozen, settings, 0.3, 0, begun) == whole
    assert len(calls) == 3 + 2


def test_the_committed_table_is_the_one_that_would_be_written_today():
    folder = Path(adversary.__file__).parent / "results" / "adversary"
    settings = tomllib.loads(adversary._SETTINGS.read_text())
    settings.pop("long")
    adversary.refuse_other_settings(settings, folder)
    written = (folder / "doses.md").read_text()
    assert adversary_doses.report(settings, folder) == written


def test_the_pages_table_of_single_seeds_is_that_of_the_files():
    folder = Path(adversary.__file__).parent / "results" / "adversary"

    def changes(scale, coef, key, places):
        found = []
        for seed in range(5):
            dosed, alone = (
                json.loads(path.read_text())["measured"][-1][key]
                for path in (
                    adversary_doses.file_of(folder, scale, seed, coef),
                    adversary_doses.file_of(folder, scale, seed, 0.0),
                )
            )
            found.append(f"{100 * (dosed / alone - 1):+.{places}f}")
        return ", ".join(found) + " %"

    text = (folder / "README.md").read_text()
    columns = [("value_policy_300", 2), ("value_policy_20", 2), ("holdout_error", 1)]
    labels = {"3e-4, the paper's": 3e-4, "3e-2": 3e-2, "0.1": 0.1, "0.3": 0.3, "1": 1.0}
    for label, coef in labels.items():
        cells = [
            changes(scale, coef, key, places)
            for key, places in columns
            for scale in ("change", "state")
        ]
        assert f"| {label} | {' | '.join(cells)} |" in text, label
