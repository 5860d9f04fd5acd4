"""A diagnosis with a simulator: the model outside the data, and what values are worth."""

import dataclasses

import d3rlpy
import gymnasium
import numpy as np
import pytest
import torch
from d3rlpy.preprocessing import (
    ClipRewardScaler,
    ConstantShiftRewardScaler,
    MultiplyRewardScaler,
)
from diagnosis_toys import (
    Line,
    ModelOfNoise,
    ModelOfNoiseConfig,
    dataset_of,
    imagination_of,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode
from d3rlpy_mbo.runs.diagnosis.monte_carlo import monte_carlo
from d3rlpy_mbo.runs.diagnosis.rollout_verdicts import judge_monte_carlo
from d3rlpy_mbo.runs.diagnosis.simulators import simulator_of
from d3rlpy_mbo_mopo import MaxAleatoric
from page_reader import PageReader
from toys import small_learner

pytestmark = pytest.mark.training


def line_of_equal_actions() -> d3rlpy.dataset.ReplayBuffer:
    """Both columns go the same way, always."""
    episodes = []
    for _ in range(10):
        actions = np.random.uniform(-1, 1, (30, 1)).repeat(2, axis=1)
        states = np.concatenate([np.zeros((1, 2)), actions.cumsum(axis=0)])
        columns = states, actions, states[:-1, :1]
        episodes.append(CompleteEpisode(*map(np.float32, columns), terminated=False))
    return dataset_of(episodes)


@pytest.fixture(scope="module")
def data():
    d3rlpy.seed(5)
    return line_of_equal_actions()


@dataclasses.dataclass()
class WrongApartConfig(ModelOfNoiseConfig):
    """The truth, but for 1 in the first column where the actions have two signs."""

    @staticmethod
    def get_type() -> str:
        return "wrong_apart"

    def create(self, device=False):
        return WrongApart(self, device)


class WrongApart(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        apart = (actions.prod(dim=1) < 0).float()
        found.observations[:, 0] += apart
        if found.means is None:
            return found
        means = found.means.clone()
        means[:, :, 0] += apart
        return dataclasses.replace(found, means=means)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_errors_outside_the_data_are_those_of_the_simulator(data, direction):
    imagination = imagination_of(data, WrongApartConfig(direction))
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=Line()).outside
    assert found.rows == 300
    # Of random actions half have two signs: an error of 1 in half of the rows.
    assert found.errors[0] == pytest.approx(np.sqrt(0.5), abs=0.1)
    assert found.errors[1] == pytest.approx(0, abs=1e-5)
    assert found.errors_inside == pytest.approx([0, 0], abs=1e-5)


def test_a_shifted_model_is_off_by_its_shift_inside_and_outside(data):
    imagination = imagination_of(data, ModelOfNoiseConfig(shift=0.25))
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=Line()).outside
    assert found.errors == pytest.approx([0.25, 0], abs=1e-5)
    assert found.errors_inside == pytest.approx([0.25, 0], abs=1e-5)
    assert {rank.name for rank in found.penalties} >= {"disagreement"}


@dataclasses.dataclass()
class SignPenalty(mbo.Penalty):
    """Greater where the actions have two signs; or where they have one."""

    of_one: bool = False

    @staticmethod
    def get_type() -> str:
        return "sign"

    def __call__(self, prediction, learner=None):
        apart = (prediction.actions.prod(dim=1, keepdim=True) < 0).float()
        # A little of the state, so that it varies in the data too.
        little = 0.01 * prediction.given_observations[:, :1].sigmoid()
        return little + (1 - apart if self.of_one else apart)


@pytest.mark.parametrize("of_one", [False, True])
def test_a_penalty_that_sees_errors_outside_the_data_or_not_is_told_so(data, of_one):
    penalty = SignPenalty(of_one)
    imagination = imagination_of(data, WrongApartConfig(), penalty=penalty)
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=Line())
    (verdict,) = (v for v in found.verdicts if v.subject == "penalty outside")
    assert verdict.ok is not of_one
    assert ("does not see where the model errs" in verdict.text) is of_one
    # Inside it errs nowhere: nobody could rank that, and nothing is said of it.
    assert "blind" not in " ".join(each.text for each in found.verdicts)


@dataclasses.dataclass()
class UnsureOfTheRewardConfig(ModelOfNoiseConfig):
    """Its reward has a spread of up to 300, that of the states is .1 everywhere."""

    @staticmethod
    def get_type() -> str:
        return "unsure_of_the_reward"

    def create(self, device=False):
        return UnsureOfTheReward(self, device)


class UnsureOfTheReward(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        if found.stds is None:
            return found
        stds = found.stds.clone()
        stds[:, :, -1] = 100 * actions[:, 0].add(2)
        return dataclasses.replace(found, stds=stds)


def test_a_penalty_outside_is_held_against_the_spread_of_states_alone(data):
    config, penalty = UnsureOfTheRewardConfig(), MaxAleatoric()
    imagination = imagination_of(data, config, penalty=penalty)
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=Line())
    assert found.penalties[0].null_spearman > 0.2  # inside, errors of the reward count
    assert found.outside.penalties[0].null_spearman == pytest.approx(0, abs=0.1)


def test_numbers_without_the_simulator_are_the_same_with_it(data):
    imagination = imagination_of(data, ModelOfNoiseConfig())
    without = mbo.diagnose(imagination, data, n_rollouts=20)
    env = Line()
    env.reset(seed=3)
    before = env.state.copy(), env.np_random.bit_generator.state
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=env)
    assert (env.state == before[0]).all()
    assert env.np_random.bit_generator.state == before[1]
    rest = dataclasses.replace(found, outside=None, left_out=without.left_out)
    assert rest == without
    assert "not measured, only a simulator can tell" in without.left_out[0]
    assert not any("not measured" in text for text in found.left_out)


def learner_that_stays(believes: float, gamma: float = 0.5):
    """Its policy does nothing; its Q is what it is told."""
    learner = small_learner("td3_plus_bc", gamma=gamma)
    learner.create_impl((2,), 2)
    believe(learner, believes)
    return learner


def believe(learner, value: float) -> None:
    """Makes every action 0, on average, and every Q-value this."""
    with torch.no_grad():
        for module in (learner.impl.policy, *learner.impl.q_function):
            for parameter in module.parameters():
                parameter.zero_()
        for critic in learner.impl.q_function:
            critic._fc.bias += value


def test_returns_of_the_policy_are_those_worked_out_by_hand(data):
    rows = mbo.RealData.of(data).for_models
    simulator, _ = simulator_of(Line(), rows)
    real = torch.tensor([[1.0, 0.0], [2.0, 5.0], [4.0, 0.0]])
    ends = torch.tensor([[8.0, 0.0]])
    found = monte_carlo(learner_that_stays(3.0), simulator, real, ends, "cpu")
    # 0.5^5 is the first power below 0.05: 1 + 1/2 + 1/4 + 1/8 + 1/16 times s[0].
    assert found.steps == 5
    returns = [1.9375 * s for s in (1, 2, 4)]
    assert found.real_returns.mean == pytest.approx(np.mean(returns))
    assert found.real_returns.quantiles[0] == pytest.approx(returns[0])
    assert found.real_returns.quantiles[-1] == pytest.approx(returns[-1])
    assert found.end_returns.mean == pytest.approx(15.5)
    assert found.real_q.mean == found.end_q.mean == 3.0
    assert found.real_excess == pytest.approx(3.0 - np.mean(returns))
    assert found.end_excess == pytest.approx(3.0 - 15.5)


@pytest.mark.parametrize(("name", "samples"), [("sac", True), ("cql", False)])
def test_the_policy_goes_on_as_the_q_values_suppose(data, name, samples):
    simulator, _ = simulator_of(Line(), mbo.RealData.of(data).for_models)
    learner = small_learner(name, gamma=0.5)
    learner.create_impl((2,), 2)
    believe(learner, 0.0)
    states = torch.tensor([[1.0, 0.0]]).repeat(50, 1)
    found = monte_carlo(learner, simulator, states, states, "cpu")
    # Stays where it is if it does what is best; the second state is so in either case.
    assert (found.end_returns.std > 0.01) == samples
    assert found.end_returns.mean == pytest.approx(1.9375, abs=0.5)


def test_an_episode_that_ends_brings_nothing_more(data):
    rows = mbo.RealData.of(data).for_models
    simulator, _ = simulator_of(Line(limit=100.0), rows)
    states = torch.tensor([[101.0, 0.0], [1.0, 0.0]])
    found = monte_carlo(learner_that_stays(0.0), simulator, states, states, "cpu")
    assert found.real_returns.quantiles[-1] == pytest.approx(101.0)
    assert found.real_returns.quantiles[0] == pytest.approx(1.9375)


def test_a_learner_that_believes_in_more_than_its_policy_gets_is_told_so(data):
    imagination = imagination_of(data, ModelOfNoiseConfig())

    def verdict_on(believes):
        learner = learner_that_stays(believes)
        found = mbo.diagnose(imagination, data, learner, 20, env=Line())
        assert found.monte_carlo is not None
        (verdict,) = (
            v for v in found.verdicts if v.subject == "values in the simulator"
        )
        assert [verdict] == [*judge_monte_carlo(found.monte_carlo)]
        return verdict.ok

    assert verdict_on(0.0)
    assert not verdict_on(1000.0)


class Pays(Line):
    """A reward of 1, or nearly, for ever: all states are worth alike."""

    def step(self, action):
        self.state = self.state + action
        reward = 1 + 1e-3 * np.tanh(self.state[1])
        return self.state, float(reward), False, False, {}


def alike(n_steps: int) -> CompleteEpisode:
    """Small steps in `Pays`, cut."""
    actions = np.random.uniform(-0.01, 0.01, (n_steps, 2))
    states = np.concatenate([np.zeros((1, 2)), actions.cumsum(axis=0)])
    rewards = 1 + 1e-3 * np.tanh(states[1:, 1:])
    columns = map(np.float32, (states, actions, rewards))
    return CompleteEpisode(*columns, terminated=False)


def test_a_right_learner_is_not_held_against_what_came_after_the_cut():
    """Of a return of 100, 95 lie within the 300 steps that data and simulator follow."""
    data = dataset_of([alike(n_steps=300) for _ in range(3)])
    model = ModelOfNoiseConfig(stds=[0.01], constant_reward=1.0)
    imagination = imagination_of(data, model)

    def said(believes):
        learner = learner_that_stays(believes, gamma=0.99)
        found = mbo.diagnose(imagination, data, learner, 20, env=Pays())
        verdicts = {v.subject: v.ok for v in found.verdicts if "values" in v.subject}
        undecided = [text for text in found.left_out if "a verdict on values" in text]
        return verdicts, len(undecided), found

    verdicts, n_undecided, found = said(100.0)
    assert (verdicts, n_undecided) == ({}, 2)
    assert found.values.unseen == pytest.approx(0.99**299 * 100, rel=2e-3)
    assert found.monte_carlo.unseen == pytest.approx(0.99**299 * 100, rel=2e-3)
    again = mbo.Diagnosis.from_json(found.to_json())
    assert again.monte_carlo == found.monte_carlo
    assert again.values == found.values
    assert said(94.0)[0] == {"values": True, "values in the simulator": True}
    assert said(110.0)[0] == {"values": False, "values in the simulator": False}


VALUES = {"values", "values in the simulator"}


@pytest.mark.parametrize(
    ("scaler", "right"),
    [
        (ConstantShiftRewardScaler(-3.0, 2.0), -2.0),  # 1 and more a step becomes -2
        (ClipRewardScaler(None, 0.25, 2.0), 0.25),
        (MultiplyRewardScaler(2.0), 1.0),
    ],
)
def test_q_values_and_returns_count_the_same_rewards_whatever_the_scaler(scaler, right):
    data = dataset_of([alike(n_steps=20) for _ in range(3)])
    imagination = imagination_of(
        data, ModelOfNoiseConfig(stds=[0.01], constant_reward=1.0)
    )

    def said(believes):
        learner = learner_that_stays(2 * believes)  # both gamma and scale are of 2
        learner.config.reward_scaler = scaler
        return mbo.diagnose(imagination, data, learner, 20, env=Pays())

    found = said(2 * right)
    assert found.values.real.mean == pytest.approx(2 * right)
    assert found.values.returns.mean == pytest.approx(2 * right, rel=0.05)
    assert found.monte_carlo.real_excess == pytest.approx(0, abs=0.05 * abs(2 * right))
    assert found.monte_carlo.end_excess == pytest.approx(0, abs=0.05 * abs(2 * right))
    changes = not isinstance(scaler, MultiplyRewardScaler)
    assert (found.values.reward_scaler is not None) == changes
    assert (f"learner's {type(scaler).__name__} shifts" in str(found)) == changes
    too_high = said(2 * right + 3)  # below what comes of the dataset's own rewards
    refused = [
        {v.subject for v in each.verdicts if not v.ok} for each in (found, too_high)
    ]
    assert not refused[0] & VALUES
    assert refused[1] >= VALUES


def test_what_q_holds_for_entropy_is_not_called_overestimation():
    data = dataset_of([alike(n_steps=20) for _ in range(3)])
    imagination = imagination_of(
        data, ModelOfNoiseConfig(stds=[0.01], constant_reward=1.0)
    )

    def said(beyond):
        learner = small_learner("sac", gamma=0.5, initial_temperature=10.0)
        return diagnosed(learner, 2.0 + beyond)

    def diagnosed(learner, believes):
        learner.create_impl((2,), 2)
        believe(learner, believes)
        found = mbo.diagnose(imagination, data, learner, 20, env=Pays())
        verdicts = {v.subject: v.ok for v in found.verdicts if v.subject in VALUES}
        undecided = [text for text in found.left_out if "a verdict on values" in text]
        return found, verdicts, undecided

    # Two actions tanh(N(0, 1)), each of entropy .68 or so; half of ten times that, twice.
    found, verdicts, undecided = said(9.0)
    assert found.values.entropy == pytest.approx(13.6, rel=0.1)
    assert found.monte_carlo.entropy == pytest.approx(13.6, rel=0.1)
    assert verdicts == {}
    assert all("entropy" in text for text in undecided)
    assert len(undecided) == 2
    assert "may be for the policy's entropy" in str(found)
    assert mbo.Diagnosis.from_json(found.to_json()).values == found.values
    assert said(18.0)[1] == dict.fromkeys(VALUES, False)
    hard = small_learner("td3_plus_bc", gamma=0.5)
    assert diagnosed(hard, 2.0 + 9.0)[1] == dict.fromkeys(VALUES, False)


def test_without_discount_what_goes_on_may_bring_anything_and_what_ends_nothing(data):
    rows = mbo.RealData.of(data).for_models
    learner = learner_that_stays(1e6, gamma=1.0)
    states = torch.tensor([[1.0, 0.0]])
    ended = {}
    for limit in (0.5, np.inf):
        simulator, _ = simulator_of(Line(limit=limit), rows)
        ended[limit] = monte_carlo(learner, simulator, states, states, "cpu")
    assert ended[0.5].unseen == 0.0
    assert [v.ok for v in judge_monte_carlo(ended[0.5])] == [False]
    assert ended[np.inf].unseen == np.inf
    assert [*judge_monte_carlo(ended[np.inf])] == []


def test_episodes_from_real_states_that_go_on_excuse_nothing_where_rollouts_end(data):
    rows = mbo.RealData.of(data).for_models
    simulator, _ = simulator_of(Line(limit=100.0), rows)
    real, ends = torch.tensor([[1.0, 0.0]]), torch.tensor([[101.0, 0.0]])
    for gamma in (0.5, 1.0):
        learner = learner_that_stays(1e6, gamma=gamma)
        found = monte_carlo(learner, simulator, real, ends, "cpu")
        assert found.unseen == 0.0
        assert [v.ok for v in judge_monte_carlo(found)] == [False]
    found = monte_carlo(learner, simulator, ends, real, "cpu")
    assert found.unseen == np.inf


def test_an_episode_that_goes_on_excuses_its_share_and_no_more(data):
    rows = mbo.RealData.of(data).for_models
    simulator, _ = simulator_of(Line(limit=100.0), rows)
    learner = learner_that_stays(1e6, gamma=0.9)
    ends = torch.tensor([[1.0, 0.0], *[[101.0, 0.0]] * 3])  # one of four goes on
    found = monte_carlo(learner, simulator, ends[:1], ends, "cpu")
    assert found.unseen == pytest.approx(0.9**found.steps * 1010 / 4)  # paid 101 a step
    assert [v.ok for v in judge_monte_carlo(found)] == [False]


def test_the_page_has_the_truths_numbers(data, tmp_path):
    pytest.importorskip("altair")
    imagination = imagination_of(data, ModelOfNoiseConfig(shift=0.25))
    found = mbo.diagnose(imagination, data, learner_that_stays(1.0), 20, env=Line())
    found.save_html(tmp_path / "model.html")
    read = PageReader(tmp_path / "model.html")
    rows = read.tables["Outside the data: one step with random actions"][1:]
    assert [numbers for _, numbers in rows] == [
        [*pair]
        for pair in zip(found.outside.errors, found.outside.errors_inside, strict=True)
    ]
    rows = dict(read.tables["Values against what the policy gets"][1:])
    ends = found.monte_carlo.end_q
    assert rows["Q, where rollouts end"] == [ends.mean, ends.std, *ends.quantiles]
    text = str(found)
    assert "OUTSIDE" in text
    assert "Q minus return, mean" in text


class Broken(Line):
    def step(self, action):
        raise RuntimeError("out of order")


class Nameless(gymnasium.Env):
    observation_space, action_space = Line.observation_space, Line.action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {}


@pytest.mark.parametrize(
    ("env", "why"),
    [
        (Line(pace=2.0), "leads elsewhere: off by 1 of the change"),
        (Broken(), "Broken failed: RuntimeError: out of order"),
        (Nameless(), "nobody knows how to put Nameless into a state"),
    ],
)
def test_what_does_not_repeat_the_data_is_no_truth_and_is_named(data, env, why):
    imagination = imagination_of(data, ModelOfNoiseConfig())
    found = mbo.diagnose(imagination, data, n_rollouts=20, env=env)
    assert found.outside is None
    assert why in found.left_out[0]


@pytest.mark.parametrize(
    "name",
    [
        "CartPole-v1",
        "MountainCar-v0",
        "Pendulum-v1",
        "InvertedPendulum-v5",
        "Hopper-v5",
        "HalfCheetah-v5",
    ],
)
def test_gymnasiums_tasks_repeat_what_they_did(name):
    if name.endswith("-v5"):
        pytest.importorskip("mujoco")
    env = gymnasium.make(name)
    env.action_space.seed(0)
    steps, observation = [], env.reset(seed=0)[0]
    for _ in range(12):  # nothing has ended by then
        action = env.action_space.sample()
        reached, reward, *_ = env.step(action)
        steps.append((observation, np.atleast_1d(action), reward, reached, 0.0))
        observation = reached
    rows = mbo.Transitions.from_arrays(*map(np.array, zip(*steps, strict=True)))
    simulator, why = simulator_of(env, rows)
    assert simulator is not None, why
    again = simulator.step(rows.observations, rows.actions)
    torch.testing.assert_close(again.rewards, rows.rewards, rtol=1e-3, atol=1e-3)
