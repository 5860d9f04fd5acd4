"""What a diagnosis says of a model whose numbers have no square in float32, or no end."""

import dataclasses
import json
import math

import d3rlpy
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

import numpy as np
import torch
from diagnosis_toys import (
    Line,
    ModelOfNoise,
    ModelOfNoiseConfig,
    dataset_of,
    imagination_of,
    judgement,
    noisy_line,
)

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode
from d3rlpy_mbo.runs.diagnosis.predictions import moments
from d3rlpy_mbo_mopo import MaxAleatoric
from page_reader import PageReader

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def data():
    d3rlpy.seed(0)
    return noisy_line(n_episodes=12, length=12)


def diagnosed(data, model, env=None, **settings) -> mbo.Diagnosis:
    imagination = imagination_of(data, model, **settings)
    return mbo.diagnose(imagination, data, n_rollouts=50, env=env)


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize(
    ("direction", "shift"), [("forward", 1e25), ("reverse", 1e25), ("forward", 1.5e38)]
)
def test_every_number_of_it_is_finite_and_its_verdicts_can_be_read(
    data, direction, shift
):
    found = diagnosed(data, ModelOfNoiseConfig(direction, shift=shift))
    numbers = numbers_in(dataclasses.asdict(found))
    assert all(map(math.isfinite, numbers))
    assert max(numbers) > 1e36
    assert mbo.Diagnosis.from_json(found.to_json()) == found
    # Of two columns' distances the second is as nothing beside the first.
    deviation = mbo.RealData.of(data).transitions.observations[:, 0].double().std()
    assert found.rollouts.states.median[0] == pytest.approx(
        shift / float(deviation), rel=0.01
    )
    assert not judgement(found)["states"]
    assert all(len(word) < 40 for v in found.verdicts for word in v.text.split())


def test_a_page_of_it_draws_what_there_is_and_nothing_infinitely_high(data, tmp_path):
    # One member says the same spread everywhere: nothing is ranked, nor to be drawn.
    found = diagnosed(data, ModelOfNoiseConfig(shift=1e25, stds=[0.1]))
    assert {each.spearman for each in found.penalties} == {None}
    found.save_html(tmp_path / "model.html")
    read = PageReader(tmp_path / "model.html")
    assert "Does a penalty know where the model errs?" not in read.charts
    assert "Penalties" in read.tables
    heights = [float(found["height"]) for tag, found in read.tags if tag == "svg"]
    assert len(heights) == len(read.charts)
    assert all(map(math.isfinite, heights))


def test_of_a_spread_that_has_no_square_everything_but_rollouts_is_told(data):
    found = diagnosed(data, ModelOfNoiseConfig(stds=[1e25] * 2), penalty=MaxAleatoric())
    assert found.rollouts is None
    assert not judgement(found)["rollouts"]
    (verdict,) = (each for each in found.verdicts if each.subject == "rollouts")
    assert "MaxAleatoric" in verdict.text
    assert any("rollouts, and values" in text for text in found.left_out)
    assert found.one_step.columns[0].error < 1
    assert mbo.Diagnosis.from_json(found.to_json()) == found


def test_steps_beyond_the_last_finite_one_are_left_out_by_name(data):
    found = diagnosed(data, ModelOfNoiseConfig(shift=3e38))
    assert [len(loop.median) for loop in found.open_loop] == [1]
    assert any(
        text.startswith("steps 2 to 3 along real actions") for text in found.left_out
    )
    (verdict,) = (each for each in found.verdicts if each.subject == "k steps")
    assert not verdict.ok
    assert verdict.text.startswith("after 2 of 3")


def test_a_spread_where_nothing_varies_is_not_called_none():
    columns = np.ones((11, 2)), np.zeros((10, 2)), np.ones((10, 1))
    episode = CompleteEpisode(*map(np.float32, columns), terminated=False)
    found = diagnosed(dataset_of([episode] * 3), ModelOfNoiseConfig())
    assert found.calibration is None
    assert any("no column varies" in text for text in found.left_out)
    found = diagnosed(noisy_line(3, 5), ModelOfNoiseConfig(stds=[0.0] * 2))
    assert any("predicts no spread" in text for text in found.left_out)


@dataclasses.dataclass()
class SquareReward(mbo.RewardFunction):
    """NaN where the square of s[0] is infinite, as of many a task's rule."""

    @staticmethod
    def get_type() -> str:
        return "square"

    def __call__(self, observations, actions, next_observations):
        squares = next_observations[:, :1].square()
        return squares - squares * 0


def test_a_rule_that_says_nothing_of_absurd_states_is_as_wrong_as_can_be(data):
    found = diagnosed(
        data, ModelOfNoiseConfig(shift=1e25), reward_function=SquareReward()
    )
    assert found.one_step.columns[-1].error == pytest.approx(
        torch.finfo(torch.float32).max
    )
    assert not judgement(found)["reward"]
    # It answers for real states, so rows that it has no number for are dropped.
    assert "rollouts: not one of their rows was kept" in found.left_out
    json.loads(found.to_json())


class Refusing(Line):
    """A simulator that no absurd state can be put into."""

    def set_state(self, observation):
        if abs(observation[0]) > 1e6:
            raise ValueError("no such state")
        super().set_state(observation)


def test_a_simulator_that_fails_in_an_imagined_state_is_named(data):
    exact = noisy_line(n_episodes=5, length=12, noise=0.0)
    found = diagnosed(exact, ModelOfNoiseConfig("reverse", shift=1e25), Refusing())
    assert found.outside is None
    assert any("ValueError: no such state" in text for text in found.left_out)
    assert found.one_step.columns[0].error > 1e24


class OfSamples(ModelOfNoise):
    def predict(self, observations, actions, all_members):
        return super().predict(observations, actions, False)


def test_the_spread_of_samples_is_finite_where_their_squares_are_not():
    model = OfSamples(ModelOfNoiseConfig(stds=[1e25]), False)
    rows = torch.zeros(2000, 2)
    means, stds, n_elites, _ = moments(model, rows, rows)
    assert means.shape == stds.shape == (1, 2000, 3)
    assert n_elites == 1
    assert means.dtype == stds.dtype == torch.float32
    assert float(stds.mean()) == pytest.approx(1e25, rel=0.02)


def test_hold_out_errors_that_are_no_numbers_tell_nothing_of_the_data(data):
    imagination = imagination_of(data, ModelOfNoiseConfig())
    model = imagination.dynamics
    model.metrics = {"model_holdout_error": math.inf}
    model.holdout_errors = lambda _: {"model_holdout_error": math.inf}
    assert judgement(mbo.diagnose(imagination, data, n_rollouts=10))["data"]


def test_what_is_not_finite_is_null_in_json_nan_when_read_and_a_gap_in_a_page(
    data, tmp_path
):
    found = diagnosed(data, ModelOfNoiseConfig(), penalty=MaxAleatoric())
    first, *others = found.one_step.columns
    first = dataclasses.replace(first, error=math.inf, unexplained=math.nan)
    spread, *spreads = found.calibration.columns
    spread = dataclasses.replace(spread, pit=[math.nan] * 10)
    rewards = dataclasses.replace(found.rollouts.rewards, quantiles=[math.nan] * 5)
    broken = dataclasses.replace(
        found,
        one_step=dataclasses.replace(found.one_step, columns=[first, *others]),
        calibration=dataclasses.replace(found.calibration, columns=[spread, *spreads]),
        rollouts=dataclasses.replace(found.rollouts, rewards=rewards),
    )
    written = json.loads(broken.to_json())
    assert written["one_step"]["columns"][0]["error"] is None
    assert written["rollouts"]["rewards"]["quantiles"] == [None] * 5
    again = mbo.Diagnosis.from_json(broken.to_json())
    assert math.isnan(again.one_step.columns[0].error)
    assert again.one_step.columns[0].unexplained is None
    assert again.one_step.columns[1:] == others
    for each in (broken, again):
        assert len(str(each).splitlines()) == len(str(found).splitlines())
        each.save_html(tmp_path / "model.html")
        read = PageReader(tmp_path / "model.html")
        assert read.data["diagnosis"] == written
        assert dict(read.tables["One step, by column"])[first.name] == [
            first.naive_error,
            first.bias,
            first.spread,
        ]
        drawn = read.charts["Rewards, before the penalty"]["data"]["values"]
        assert [span["name"] for span in drawn] == ["real"]
