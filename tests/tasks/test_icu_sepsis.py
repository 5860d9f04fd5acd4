"""ICU-Sepsis: exact values against the package's own tables, and what is logged."""

import gymnasium
import minari
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.evaluation import EnvironmentEvaluations, final_evaluation
from toys import QUIET, small_learner

pytest.importorskip("icu_sepsis")

from d3rlpy_mbo.tasks.icu_sepsis import (  # it imports gym, which is not here always
    ICUSepsis,
    exact_value,
    icu_sepsis_spec,
    logged_policy,
    optimal_value,
)

DEATH, SURVIVAL = 713, 714


@pytest.fixture(scope="module")
def patients():
    from icu_sepsis.envs import ICUSepsisEnv

    return ICUSepsisEnv()


def played_out(patients, policy):
    """The value by the package's own tables, a day at a time, as its limit has it."""
    tables = patients.dynamics
    chain = np.einsum("sa,sat->st", policy, tables["tx_mat"])
    gained = np.einsum("sa,sat,sat->s", policy, tables["tx_mat"], tables["r_mat"])
    where, total = tables["d_0"].copy(), 0.0
    for _ in range(500):
        where[DEATH:] = 0.0
        total += where @ gained
        where = where @ chain
    return total


@pytest.mark.parametrize("expert_share", [0.0, 0.5, 1.0])
def test_the_logged_policys_value_is_the_packages_own(patients, expert_share):
    policy = logged_policy(patients.expert_policy, expert_share)
    np.testing.assert_allclose(policy[:DEATH].sum(axis=1), 1)
    assert abs(exact_value(policy) - played_out(patients, policy)) < 1e-6


def test_the_values_that_the_package_states_are_found():
    # Its README: random 0.78, optimal 0.88.
    assert exact_value(np.full((716, 25), 0.04)) == pytest.approx(0.78, abs=5e-3)
    assert optimal_value() == pytest.approx(0.88, abs=5.1e-3)


def test_every_state_looks_different_and_the_ends_are_marked(patients):
    env = ICUSepsis()
    seen = []
    env.exact_return(lambda rows: seen.append(rows) or np.zeros(len(rows)))
    [rows] = seen
    assert rows.shape == (716, 49)
    assert len(np.unique(rows[:715], axis=0)) == 715
    ends = mbo.ICUSepsisTermination()(*[torch.from_numpy(rows)] * 3)[:, 0]
    assert ends.nonzero()[:, 0].tolist() == [DEATH, SURVIVAL]
    assert mbo.termination_for(env) == mbo.ICUSepsisTermination()
    assert "discrete" in mbo.ICUSepsisTermination.action_spaces


def test_a_policy_is_asked_in_every_state_instead_of_being_played():
    env = gymnasium.make(icu_sepsis_spec())
    policy = np.zeros((716, 25))
    policy[:, 7] = 1.0

    class Always:
        def predict(self, observations):
            return np.full(len(observations), 7)

    evaluate = EnvironmentEvaluations(env, lambda *_: -1.0, seed=0)
    assert evaluate(Always(), None) == exact_value(policy)
    final = final_evaluation(Always(), env, 5, (0.0, 1.0))
    assert final["returns"] == [exact_value(policy)]


@pytest.mark.training
def test_what_is_logged_happens_as_the_tables_say(minari_root):
    task = mbo.get_component("task", "icu-sepsis")(n_steps=3000, expert_share=1.0)
    dataset = minari.load_dataset(task.collect())
    assert dataset.total_steps == 3000
    survived = [e.rewards[-1] for e in dataset if e.terminations[-1]]
    assert np.mean(survived) == pytest.approx(
        dataset.storage.metadata["logged_value"], abs=0.1
    )
    scores = [dataset.storage.metadata[f"ref_{end}_score"] for end in ("min", "max")]
    assert scores == [exact_value(np.full((716, 25), 0.04)), optimal_value()]
    env = dataset.recover_environment()
    metadata = next(iter(dataset.storage.get_episode_metadata([0])))
    observations = [env.reset(seed=metadata["seed"])[0]]
    observations += [env.step(action)[0] for action in dataset[0].actions]
    np.testing.assert_array_equal(dataset[0].observations, observations)


@pytest.mark.training
def test_a_run_reports_what_its_learner_is_worth_exactly(minari_root):
    mbo.get_component("task", "icu-sepsis")(n_steps=400, expert_share=0.0).collect()
    dataset, env = mbo.load_minari("sepsis/icu-sepsis-v0")
    learner = small_learner("discrete_bc")
    [(_, metrics)] = mbo.fit(learner, dataset, [], n_steps=3, env=env, **QUIET)
    assert metrics["environment"] == env.unwrapped.exact_return(learner.predict)


def test_without_the_package_it_is_said_what_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "icu_sepsis.envs", None)
    with pytest.raises(mbo.DatasetError, match=r"d3rlpy-mbo\[sepsis\]"):
        ICUSepsis()
