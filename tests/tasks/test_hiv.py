"""The HIV treatment: equations by hand, the reward, and a replay of it."""

import gymnasium
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.tasks.hiv import HIV, hiv_rates, hiv_spec

HEALTHY = np.array([1e6, 0.0, 3198.0, 0.0, 0.0, 10.0])


def test_a_patient_without_virus_stays_as_they_are():
    # 10^4 / 0.01 cells, 31.98 / 0.01 macrophages, 1 / 0.1 effectors.
    for doses in ((0.0, 0.0), (0.7, 0.3)):
        np.testing.assert_allclose(hiv_rates(HEALTHY, np.array(doses)), 0, atol=1e-9)


def test_the_six_equations_worked_out_by_hand():
    counts = np.array([1e6, 100.0, 3198.0, 0.0, 1000.0, 10.0])
    found = hiv_rates(counts, np.array([0.5, 0.2]))
    new, new_others = 0.5 * 8e-7 * 1000 * 1e6, 0.83 * 1e-4 * 1000 * 3198
    assert (new, new_others) == (pytest.approx(400), pytest.approx(265.434))
    expected = [
        -400,
        400 - 70 - 0.01,
        -265.434,
        265.434,
        0.8 * 100 * 70 - 13_000 - 400 - 265.434,
        1 + 0.3 * 10 / 2 - 0.25 * 10 / 6 - 1,
    ]
    np.testing.assert_allclose(found, expected)


def test_the_reward_worked_out_by_hand_for_doses_and_for_choices():
    reward, after = mbo.HIVReward(), torch.tensor([[0.0, 0, 0, 0, 5, 2]]).double()
    both = torch.tensor([[0.7, 0.3]]).double()
    # 1000 * 100 - 0.1 * 10^5 - 20000 * 0.58, in thousands.
    assert reward(after, both, after).item() == pytest.approx(78.4)
    for choice, expected in enumerate((90.0, 88.2, 80.2, 78.4)):
        index = torch.tensor([[float(choice)]]).double()
        assert reward(after, index, after).tolist() == [[pytest.approx(expected)]]


@pytest.mark.parametrize("discrete", [False, True])
def test_the_known_reward_is_the_environments(discrete):
    env = gymnasium.make(hiv_spec(discrete))
    env.action_space.seed(0)
    rows, before = [], env.reset()[0]
    for _ in range(40):
        action = env.action_space.sample()
        after, reward, terminated, truncated, _ = env.step(action)
        assert not terminated
        assert not truncated
        rows.append((before, np.reshape(action, -1), after, [reward]))
        before = after
    s, a, after, rewards = (
        torch.from_numpy(np.array(column, dtype=np.float64))
        for column in zip(*rows, strict=True)
    )
    torch.testing.assert_close(mbo.HIVReward()(s, a, after), rewards, rtol=1e-6, atol=0)
    torch.testing.assert_close(  # as a rollout asks, in float32
        mbo.HIVReward()(s.float(), a.float(), after.float()),
        rewards.float(),
        rtol=1e-4,
        atol=0,
    )


def test_treatment_helps_and_no_day_differs_from_run_to_run():
    def course(action):
        env = gymnasium.make(hiv_spec(True))
        days, (observation, _) = [], env.reset(seed=1)
        np.testing.assert_allclose(observation, [6, -4, np.log10(3198), -4, 0, 1])
        for day in range(1, 401):
            observation, reward, _, truncated, _ = env.step(action)
            days.append(reward)
            assert truncated == (day == 400)
        return days

    assert course(3) == course(3)
    assert sum(course(3)) > 2 * sum(course(0)) > 0


def test_doses_beyond_the_range_are_those_at_its_end():
    outcomes = []
    for dose in ((0.7, 0.3), (5.0, 5.0)):
        env = HIV()
        env.reset()
        outcomes.append(env.step(np.array(dose))[:2])
    np.testing.assert_array_equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]


@pytest.mark.training
def test_a_collected_dataset_comes_back_with_its_environment(minari_root):
    task = mbo.get_component("task", "hiv")
    assert task(n_steps=30).collect() == "mopo/hiv-v0"
    dataset, env = mbo.load_minari("mopo/hiv-v0")
    assert isinstance(env.unwrapped, HIV)
    assert env.spec.max_episode_steps == 400
    assert mbo.termination_for(env) == mbo.NoTermination()
    rows = mbo.Transitions.from_dataset(dataset)
    assert (len(rows), rows.action_size, rows.observation_size) == (30, 2, 6)
    found = mbo.HIVReward()(rows.observations, rows.actions, rows.next_observations)
    torch.testing.assert_close(found, rows.rewards, rtol=1e-3, atol=1e-3)


@pytest.mark.training
def test_four_choices_are_collected_and_rewarded_too(minari_root):
    task = mbo.get_component("task", "hiv")(n_steps=30, discrete=True)
    assert task.collect() == "mopo/hiv-choices-v0"
    dataset, env = mbo.load_minari("mopo/hiv-choices-v0")
    assert env.action_space == gymnasium.spaces.Discrete(4)
    rows = mbo.Transitions.from_dataset(dataset)
    assert (len(rows), rows.n_actions) == (30, 4)
    found = mbo.HIVReward()(rows.observations, rows.actions, rows.next_observations)
    torch.testing.assert_close(found, rows.rewards, rtol=1e-3, atol=1e-3)
