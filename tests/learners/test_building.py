import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.learners.state import LearnerState
from d3rlpy_mbo.runs.validation import build_for_critics
from toys import choice_imagination, small_learner

STATES = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]


class AsksTheCritic(mbo.Penalty):
    needs_critic = True
    action_spaces = ("discrete",)

    @staticmethod
    def get_type() -> str:
        return "asks_the_critic"

    def __call__(self, prediction, learner=None):
        raise AssertionError("nobody imagines here")


def pretrained(dataset: mbo.RealData):
    learner = small_learner("discrete_sac")
    mbo.pretrain_policy(learner, dataset, n_epochs=1)
    return learner


def resumed(dataset: mbo.RealData):
    killed, learner = small_learner("dqn"), small_learner("dqn")
    killed.create_impl((1,), 3)
    kept = LearnerState(killed, dataset).checkpoint_state()
    LearnerState(learner, dataset).restore_checkpoint(kept)
    return learner


def asked_for_values(dataset: mbo.RealData):
    learner = small_learner("dqn")
    imagination = choice_imagination("forward", penalty=AsksTheCritic())
    build_for_critics(learner, dataset, [imagination])
    return learner


@pytest.mark.parametrize("built", [pretrained, resumed, asked_for_values])
def test_a_learner_that_we_build_can_be_saved_whatever_counted_the_choices(
    built, tmp_path
):
    dataset = d3rlpy.dataset.MDPDataset(
        STATES,
        np.array([0, 1, 2, 0, 1, 2, 0, 1])[:, None],
        np.zeros(8),
        np.zeros(8),
        np.arange(8) == 7,
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=np.int64(3),  # what env.action_space.n is
    )
    learner = built(mbo.RealData.of(dataset))
    learner.save(str(tmp_path / "x.d3"))
    loaded = mbo.load_learner(tmp_path / "x.d3")
    assert loaded.predict(STATES).tolist() == learner.predict(STATES).tolist()
