import d3rlpy
import numpy as np
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.learners.state import LearnerState
from d3rlpy_mbo.runs.validation import build_for_critics
from toys import choice_imagination, line_dataset, line_imagination, small_learner

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


def test_numbers_of_numpys_in_a_learners_config_are_logged_and_saved(tmp_path):
    # As a sweep has them: np.linspace(..., dtype=np.float32), 2 ** np.arange(9).
    sizes = [np.int64(8), 16]
    config = d3rlpy.algos.SACConfig(
        batch_size=np.int64(16),
        gamma=np.float32(0.5),
        actor_encoder_factory=d3rlpy.models.VectorEncoderFactory(sizes),
        critic_optim_factory=d3rlpy.optimizers.AdamFactory(eps=np.float32(0.25)),
        reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(np.float32(2)),
        tau=np.float64(0.005),
    )
    learner, scaler = config.create(), config.reward_scaler
    files = d3rlpy.logging.FileAdapterFactory(str(tmp_path / "logs"))
    mbo.fit(
        learner,
        line_dataset(),
        line_imagination("reverse"),
        n_steps=2,
        logger_adapter=files,
        show_progress=False,
    )
    learner.save(str(tmp_path / "x.d3"))
    loaded = mbo.load_learner(tmp_path / "x.d3").config
    assert (loaded.batch_size, loaded.gamma, loaded.tau) == (16, 0.5, 0.005)
    assert loaded.actor_encoder_factory.hidden_units == [8, 16]
    assert loaded.critic_optim_factory.eps == 0.25
    assert learner.config.reward_scaler is scaler
    assert sizes[0] == 8
