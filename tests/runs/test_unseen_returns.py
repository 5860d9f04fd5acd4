"""A second model without the greatest returns, in the place of a simulator."""

import dataclasses
import math
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch
from diagnosis_toys import ModelOfNoise, ModelOfNoiseConfig, dataset_of, imagination_of

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.episodes import CompleteEpisode
from page_reader import PageReader

pytestmark = pytest.mark.training

FITTED: list[torch.Tensor] = []


@dataclasses.dataclass()
class WrongWhereUnseenConfig(ModelOfNoiseConfig):
    """The truth, but 2 off in the second column where s[0] is beyond what it saw."""

    @staticmethod
    def get_type() -> str:
        return "wrong_where_unseen"

    def create(self, device: Any = False) -> "WrongWhereUnseen":
        return WrongWhereUnseen(self, device)


class WrongWhereUnseen(ModelOfNoise):
    def fit(self, transitions):
        FITTED.append(transitions.observations[:, 0])
        self.seen = float(transitions.observations[:, 0].max())

    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        if found.means is None:
            return found
        means = found.means.clone()
        means[:, :, 1] += 2.0 * (observations[:, 0] > self.seen)
        return dataclasses.replace(found, means=means)


def levels(*values: float) -> Any:
    """Episodes of ten rows that stay at a level, which is their reward."""
    episodes = []
    for level in values:
        states = np.full((11, 2), level)
        states[:, 1] = np.arange(11)
        actions = np.tile([0.0, 1.0], (10, 1)) + np.zeros((10, 2))
        columns = states, actions, states[:10, :1]
        episodes.append(CompleteEpisode(*map(np.float32, columns), terminated=False))
    return dataset_of(episodes)


def test_it_is_judged_on_the_greatest_returns_which_it_never_saw(tmp_path):
    data = levels(3.0, 1.0, 5.0, 4.0, 2.0, 6.0)
    imagination = imagination_of(data, WrongWhereUnseenConfig())
    FITTED.clear()
    without = mbo.diagnose(imagination, data, n_rollouts=20)
    assert without.unseen_returns is None
    assert not FITTED
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=20, leave_out_returns=True)
    assert dataclasses.replace(diagnosis, unseen_returns=None) == without
    # A third of the rows: the two episodes that return 50 and 60.
    (fitted,) = FITTED
    assert sorted(set(fitted.tolist())) == [1.0, 2.0, 3.0, 4.0]
    assert imagination.dynamics.seen == 6.0  # its own model is as it was
    found = diagnosis.unseen_returns
    assert (found.episodes, found.rows) == (2, 20)
    assert (found.least_return, found.greatest_seen) == (50.0, 40.0)
    assert found.errors == pytest.approx([0, 2, 0], abs=1e-6)
    assert found.errors_inside == pytest.approx([0, 0, 0], abs=1e-6)
    assert "UNSEEN RETURNS" in str(diagnosis)
    assert mbo.Diagnosis.from_json(diagnosis.to_json()) == diagnosis
    pytest.importorskip("altair")
    diagnosis.save_html(tmp_path / "model.html")
    rows = PageReader(tmp_path / "model.html").tables["One step at unseen returns"][1:]
    assert dict(rows)["s[1]"] == [found.errors[1], found.errors_inside[1]]


@dataclasses.dataclass()
class FartherThanSeenConfig(mbo.LearnedPenaltyConfig):
    """How far s[0] is beyond what it was fitted on."""

    least_rows: int = 0

    @staticmethod
    def get_type() -> str:
        return "farther_than_seen"

    def create(self, device: Any = False) -> "FartherThanSeen":
        return FartherThanSeen(self, device)


class FartherThanSeen(mbo.LearnedPenalty):
    config: FartherThanSeenConfig
    seen: Any = None

    @property
    def fitted(self):
        return self.seen is not None

    def fit(self, dynamics, transitions):
        if len(transitions) < self.config.least_rows:
            raise ValueError("too few rows")
        assert dynamics.seen == transitions.observations[:, 0].max()
        assert self.context.action_set is not None
        self.seen = transitions.observations[:, 0].max()

    def __call__(self, prediction, learner=None):
        return (prediction.given_observations[:, :1] - self.seen).clamp(min=0)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class ErrsByWhatIsUnseen(WrongWhereUnseen):
    """Off by as much as s[0] is beyond what it saw; its reward is off by thousands."""

    def predict(self, observations, actions, all_members):
        found = super().predict(observations, actions, all_members)
        if found.means is None:
            return found
        means = found.means.clone()
        means[:, :, 1] += (observations[:, 0] - self.seen).clamp(min=0)
        means[:, :, 2] += 1000 * (7 - observations[:, 0])
        return dataclasses.replace(found, means=means)


@dataclasses.dataclass()
class ErrsByWhatIsUnseenConfig(ModelOfNoiseConfig):
    @staticmethod
    def get_type() -> str:
        return "errs_by_what_is_unseen"

    def create(self, device: Any = False) -> ErrsByWhatIsUnseen:
        return ErrsByWhatIsUnseen(self, device)


@dataclasses.dataclass()
class Level(mbo.RewardFunction):
    @staticmethod
    def get_type() -> str:
        return "level"

    def __call__(self, observations, actions, next_observations):
        return observations[:, :1]


@pytest.mark.parametrize("least_rows", [0, 50])
def test_a_penalty_that_learns_has_not_seen_them_either(least_rows):
    data = levels(3.0, 1.0, 5.0, 4.0, 2.0, 6.0)
    imagination = imagination_of(
        data,
        ErrsByWhatIsUnseenConfig(),
        penalty=FartherThanSeenConfig(least_rows),
        reward_function=Level(),
    )
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=20, leave_out_returns=True)
    found = diagnosis.unseen_returns
    assert imagination.penalty.seen == 6.0  # its own is as it was
    # A known reward stands in the place of the predicted one.
    assert (found.errors[2], found.errors_inside[2]) == (0, 0)
    failed = (
        "farther_than_seen at returns left out: fitted without them, ValueError: too"
    )
    assert any(failed in each for each in diagnosis.left_out) is bool(least_rows)
    names = [rank.name for rank in found.penalties]
    if least_rows:
        assert not any(rank.own for rank in found.penalties)
        assert "farther_than_seen" not in names
        return
    assert found.penalties[0].own
    assert found.penalties[0].spearman == pytest.approx(1)


class DivergesAnew(ModelOfNoise):
    """Says nothing finite where it was fitted on fewer than 60 rows."""

    def fit(self, transitions):
        self.config.broken_from = math.inf if len(transitions) == 60 else -1.0


@dataclasses.dataclass()
class DivergesAnewConfig(ModelOfNoiseConfig):
    @staticmethod
    def get_type() -> str:
        return "diverges_anew"

    def create(self, device: Any = False) -> DivergesAnew:
        return DivergesAnew(self, device)


def test_a_second_model_that_diverges_costs_nothing_of_the_rest():
    data = levels(3.0, 1.0, 5.0, 4.0, 2.0, 6.0)
    imagination = imagination_of(data, DivergesAnewConfig())
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=5, leave_out_returns=True)
    assert diagnosis.unseen_returns is None
    assert diagnosis.one_step.columns
    assert diagnosis.left_out[-1].startswith("returns left out: DivergesAnew predicts")


def test_left_out_episodes_without_a_row_to_judge_by_are_named():
    # Of an episode of one row that ends d3rlpy does not know where it led.
    episodes = [
        d3rlpy.dataset.Episode(
            np.float32(np.arange(n)[:, None]), np.zeros((n, 1), np.float32),
            np.full((n, 1), reward, np.float32), terminated=True,
        )
        for n, reward in [(4, 0.0)] * 3 + [(1, 9.0)] * 6
    ]  # fmt: skip
    data = d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=episodes,
        action_space=d3rlpy.constants.ActionSpace.CONTINUOUS,
        action_size=1,
    )
    with pytest.warns(match="Where 9 of .* 9 terminal rows led is not known"):
        imagination = imagination_of(
            data, ModelOfNoiseConfig(), termination=mbo.NoTermination()
        )
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=5, leave_out_returns=True)
    assert any("episodes of the greatest" in text for text in diagnosis.left_out)


def test_one_episode_leaves_nothing_to_fit_on_and_is_named():
    data = levels(3.0)
    imagination = imagination_of(data, WrongWhereUnseenConfig())
    diagnosis = mbo.diagnose(imagination, data, n_rollouts=5, leave_out_returns=True)
    assert diagnosis.unseen_returns is None
    assert "returns left out: there is one episode only" in diagnosis.left_out
