"""Dynamics updaters as a third party writes them: against the public names alone."""

import dataclasses
import math

import pytest
import torch

import d3rlpy_mbo as mbo
from toys import QUIET, line_dataset, line_imagination, small_ensemble, small_learner


@pytest.fixture
def dataset():
    return line_dataset()


@dataclasses.dataclass()
class CountingUpdaterConfig(mbo.DynamicsUpdaterConfig):
    @staticmethod
    def get_type() -> str:
        return "counting"

    def create(self, device=False):
        return CountingUpdater(self, device)


class CountingUpdater(mbo.DynamicsUpdater):
    fitted = True

    def update(self, dynamics, transitions, learner):
        self.steps = [*getattr(self, "steps", []), learner.grad_step]
        self.n_rows = len(transitions)
        self.asked = self.termination
        return {"updates": float(len(self.steps))}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.mark.filterwarnings("ignore:Where 5 of the")  # terminals are lost to models
@pytest.mark.parametrize("rollout_interval", [None, 2])
def test_a_dynamics_updater_runs_after_every_update_interval_of_learner_steps(
    rollout_interval,
):
    ending = line_dataset(n_episodes=5, length=5, terminated=True)
    imagination = line_imagination(
        "forward",
        ending,
        termination=mbo.NoTermination(),
        rollout_interval=rollout_interval,
        dynamics_updater=CountingUpdaterConfig(update_interval=4),
    )
    learner = small_learner("sac")
    buffer = mbo.ImaginedReplayBuffer(ending, imagination, learner)
    learner.fit(buffer, n_steps=10, n_steps_per_epoch=10, **QUIET)
    updater = imagination.dynamics_updater
    assert updater.steps == [4, 8]  # not before the learner has learned anything
    assert updater.n_rows == 20  # zero-filled terminal rows never reach it
    assert buffer.sources[0].metrics["updates"] == 2.0


@pytest.mark.parametrize(
    ("error", "changed"), [(KeyboardInterrupt, True), (mbo.CompositionError, False)]
)
def test_an_interrupted_update_has_changed_the_model_and_a_refused_one_has_not(
    dataset, monkeypatch, error, changed
):
    def stop(*_):
        raise error

    imagination = line_imagination(
        "forward", dataset, dynamics_updater=CountingUpdaterConfig()
    )
    learner, other = small_learner("sac"), small_learner("sac")
    monkeypatch.setattr(imagination.dynamics_updater, "update", stop)
    with pytest.raises(error):
        imagination.update_dynamics(mbo.RealData.of(dataset).for_models, learner)
    assert imagination.changed_for_another(other) is changed
    assert not imagination.changed_for_another(learner)


def test_an_imagination_without_an_updater_says_that_it_has_none(dataset):
    imagination = line_imagination("forward", dataset)
    rows = mbo.RealData.of(dataset).for_models
    with pytest.raises(mbo.CompositionError, match="'custom' has no dynamics_updater"):
        imagination.update_dynamics(rows, small_learner("sac"))


def test_after_an_interrupted_update_the_errors_are_of_the_model_as_it_is(
    dataset, monkeypatch
):
    def stop(dynamics, *_):
        for parameter in dynamics.parameters():
            parameter.data += 1.0
        raise KeyboardInterrupt

    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=small_ensemble(max_steps=5),
        dynamics_updater=CountingUpdaterConfig(),
    )
    monkeypatch.setattr(imagination.dynamics_updater, "update", stop)
    rows, model = mbo.RealData.of(dataset).for_models, imagination.dynamics
    before = model.metrics["model_holdout_error"]
    with pytest.raises(KeyboardInterrupt):
        imagination.update_dynamics(rows, small_learner("sac"))
    assert model.metrics.items() >= model.holdout_errors(rows).items()
    assert model.metrics["model_holdout_error"] != before


def test_a_dynamics_updater_needs_a_learner(dataset):
    imagination = line_imagination(
        "forward", dataset, dynamics_updater=CountingUpdaterConfig()
    )
    with pytest.raises(mbo.CompositionError, match="learner=algo"):
        mbo.ImaginedReplayBuffer(dataset, imagination)


@dataclasses.dataclass()
class RefittingConfig(mbo.DynamicsUpdaterConfig):
    """Keeps fitting the data while the learner trains."""

    @staticmethod
    def get_type() -> str:
        return "refitting"

    def create(self, device=False):
        return Refitting(self, device)


class Refitting(mbo.DynamicsUpdater):
    fitted = True

    def __init__(self, config, device=False):
        super().__init__(config, device)
        self.metrics = {"refitting_loss": math.nan}

    def update(self, dynamics, transitions, learner):
        optimizer = torch.optim.Adam(dynamics.parameters(), lr=1e-3)
        for _ in range(50):
            rows = torch.randint(len(transitions), (64 * dynamics.n_members,))
            loss = dynamics.training_loss(transitions[rows].to(dynamics.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"refitting_loss": float(loss.detach())}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_third_partys_updater_that_keeps_fitting_improves_the_model(dataset):
    imagination = line_imagination(
        "forward",
        dataset,
        dynamics=small_ensemble(max_steps=5),
        dynamics_updater=RefittingConfig(update_interval=2),
    )
    learner = small_learner("td3_plus_bc")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    before = imagination.dynamics.metrics["model_holdout_error"]
    evaluators = mbo.imagination_evaluators(buffer)
    epochs = learner.fit(
        buffer, n_steps=6, n_steps_per_epoch=3, evaluators=evaluators, **QUIET
    )
    logged = epochs[-1][1]
    assert math.isfinite(logged["custom_refitting_loss"])
    assert logged["custom_model_holdout_error"] < 0.8 * before
    assert logged["custom_model_holdout_growth"] == pytest.approx(
        logged["custom_model_holdout_error"] / before - 1
    )


def test_an_updater_is_given_what_its_imagination_is_made_of(dataset):
    termination = mbo.NoTermination()
    imagination = line_imagination(
        "forward",
        dataset,
        termination=termination,
        rollout_length=3,
        dynamics_updater=CountingUpdaterConfig(),
    )
    updater = imagination.dynamics_updater
    assert updater.rollout_policy is imagination.rollout_policy
    assert updater.termination is termination
    assert updater.reward_function is None
    assert updater.rollout_length == 3


def test_every_update_is_given_the_same_rows_so_that_it_may_keep_what_it_made(
    dataset, monkeypatch
):
    seen = []

    def update(self, dynamics, transitions, learner):
        seen.append(transitions)
        return {}

    monkeypatch.setattr(CountingUpdater, "update", update)
    imagination = line_imagination(
        "forward", dataset, dynamics_updater=CountingUpdaterConfig(update_interval=2)
    )
    learner = small_learner("td3_plus_bc")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    learner.fit(buffer, n_steps=6, n_steps_per_epoch=6, **QUIET)
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_an_interval_must_be_a_number_of_steps():
    with pytest.raises(mbo.CompositionError, match="update_interval"):
        CountingUpdaterConfig(update_interval=0)


@pytest.mark.training
def test_an_updater_goes_on_with_the_data_the_model_was_fitted_on(dataset, tmp_path):
    imagination = line_imagination(
        "forward", dataset, dynamics_updater=CountingUpdaterConfig()
    )
    imagination.save(tmp_path / "updated.mbo")
    learner, other = small_learner("sac"), line_dataset(n_episodes=3)
    for each in (imagination, mbo.load_imagination(tmp_path / "updated.mbo")):
        mbo.ImaginedReplayBuffer(dataset, each, learner)
        with pytest.raises(mbo.CompositionError, match=r"on 480 .* has 72"):
            mbo.ImaginedReplayBuffer(other, each, learner)


def test_an_updater_asks_the_rule_that_rollouts_ask_whenever_it_was_chosen(dataset):
    updater = CountingUpdaterConfig(update_interval=1)
    imagination = line_imagination("forward", dataset, dynamics_updater=updater)
    imagination.config.termination = rule = mbo.NoTermination()
    learner = small_learner("sac")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    learner.fit(buffer, n_steps=2, n_steps_per_epoch=2, **QUIET)
    assert imagination.dynamics_updater.asked is rule
