import copy
import dataclasses
import math
import warnings
from typing import Any

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig, RAMBOConfig
from d3rlpy_mbo_rambo.gradient_step import adversarial_loss
from toys import (
    QUIET,
    BeyondTermination,
    line_dataset,
    line_transitions,
    small_ensemble,
    small_learner,
)

WITH_CRITIC = ["sac", "td3", "ddpg", "td3_plus_bc", "cql", "iql", "bcq", "awac", "crr"]


@dataclasses.dataclass()
class GaussianDynamicsConfig(mbo.DynamicsConfig):
    """s' ~ N(s + mu, exp(log_variance)), r = s' exactly."""

    @staticmethod
    def get_type() -> str:
        return "gaussian"

    def create(self, device: Any = False) -> "GaussianDynamics":
        return GaussianDynamics(self, device)


class GaussianDynamics(mbo.Dynamics):
    fitted = True

    def __init__(self, config: GaussianDynamicsConfig, device: Any = False):
        super().__init__(config, device)
        self.mu = torch.nn.Parameter(torch.zeros(1))
        self.log_variance = torch.nn.Parameter(torch.zeros(1))

    def fit(self, transitions: mbo.Transitions) -> None:
        pass

    @torch.no_grad()
    def predict(self, observations, actions, all_members):
        noise = torch.randn_like(observations) * torch.exp(self.log_variance / 2)
        reached = observations + self.mu + noise
        return mbo.Prediction(observations, actions, reached, reached)

    def _squares(self, transitions):
        mean = transitions.observations + self.mu
        error = (transitions.next_observations - mean).square()
        return error * torch.exp(-self.log_variance) + self.log_variance

    def log_prob(self, transitions):
        return -0.5 * (self._squares(transitions) + math.log(2 * math.pi))

    def training_loss(self, transitions):
        return self._squares(transitions).mean()

    def parameters(self):
        return [self.mu, self.log_variance]

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def steps(before: list[float], after: list[float]) -> mbo.Transitions:
    zeros = np.zeros((len(after), 1))
    return mbo.Transitions.from_arrays(
        np.array(before)[:, None], zeros, after, np.array(after)[:, None], zeros
    )


def gradients(loss: torch.Tensor, dynamics: GaussianDynamics) -> list[float]:
    return [float(g) for g in torch.autograd.grad(loss, dynamics.parameters())]


def fitted_ensemble(transitions: mbo.Transitions, **settings: Any) -> mbo.Dynamics:
    dynamics = small_ensemble(**settings).create()
    dynamics.fit(transitions)
    return dynamics


def built(name: str, size: int = 1) -> Any:
    learner = small_learner(name)
    learner.build_with_dataset(line_dataset(size=size))
    return learner


def updater(**settings: Any) -> Any:
    settings = {"batch_size": 32, "n_updates": 3, **settings}
    created = AdversarialUpdaterConfig(**settings).create()
    created.rollout_length = 2
    return created


def weights(owner: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in owner.parameters()]


def equal(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# The loss, by hand.


def test_the_model_gradient_equals_the_case_computed_by_hand():
    dynamics = GaussianDynamics(GaussianDynamicsConfig())
    imagined = steps([0, 0, 0, 0], [-1, 0, 1, 2])
    advantages = imagined.rewards  # terminal, Q = 0
    loss = adversarial_loss(dynamics.log_prob(imagined), advantages)
    assert gradients(loss, dynamics) == pytest.approx([1.118034, 0.559017], abs=1e-6)


def test_the_whole_loss_equals_the_case_computed_by_hand():
    dynamics = GaussianDynamics(GaussianDynamicsConfig())
    imagined = steps([0, 0, 0, 0], [-1, 0, 1, 2])
    supervised = dynamics.training_loss(steps([0], [0.5]))
    assert gradients(supervised, dynamics) == pytest.approx([-1, 0.75])
    supervised = dynamics.training_loss(steps([0], [0.5]))
    log_prob = dynamics.log_prob(imagined)
    loss = supervised + 3e-4 * adversarial_loss(log_prob, imagined.rewards)
    expected = [-0.9996646, 0.7501677]
    assert gradients(loss, dynamics) == pytest.approx(expected, abs=1e-7)


def test_equal_advantages_move_nothing():
    dynamics = GaussianDynamics(GaussianDynamicsConfig())
    log_prob = dynamics.log_prob(steps([0, 0], [1, 2]))
    loss = adversarial_loss(log_prob, torch.full((2, 1), 3.0))
    assert gradients(loss, dynamics) == [0, 0]


def test_the_model_gradient_is_the_gradient_of_the_value_over_two_steps():
    # V(mu) = E[s1 + 0.9 s2] = 2.8 mu for s1 ~ N(mu, 1), s2 ~ N(s1 + mu, 1).
    n, gamma = 400_000, 0.9
    dynamics = GaussianDynamics(GaussianDynamicsConfig())
    start = torch.zeros(n, 1)
    first = dynamics.predict(start, start, False).observations
    second = dynamics.predict(first, start, False).observations
    total = 0.0
    for t, before, after, worth in [
        (0, start, first, first + gamma * first),  # V(s1) = s1 + mu
        (1, first, second, second),
    ]:
        imagined = steps(before[:, 0].tolist(), after[:, 0].tolist())
        loss = adversarial_loss(dynamics.log_prob(imagined), worth)
        spread = float(worth.std(correction=0))  # undoes the standardisation
        total += gamma**t * spread * gradients(loss, dynamics)[0]
    assert total == pytest.approx(2.8, abs=0.03)


@pytest.mark.parametrize(
    ("scaler", "terminal"),
    [(None, -5), (d3rlpy.preprocessing.ClipRewardScaler(high=2.0, multiplier=7.0), -7)],
)
def test_an_advantage_is_the_targets_distance_from_the_least_q_value(
    monkeypatch, scaler, terminal
):
    seen = []

    def q_value(learner, observations, actions):
        seen.append((observations.clone(), actions.clone()))
        return observations + 10 * actions

    monkeypatch.setattr(mbo.learners, "q_value", q_value)
    monkeypatch.setattr(mbo.learners, "predict_action", lambda _, s: s * 0 - 0.25)
    dynamics = GaussianDynamics(GaussianDynamicsConfig())
    with torch.no_grad():
        dynamics.log_variance.fill_(-200)  # s' = s, r = s'
    adversary = updater()
    adversary.termination = BeyondTermination(limit=3.0)
    prediction = dynamics.predict(
        torch.tensor([[1.0], [4.0]]), torch.full((2, 1), 0.5), False
    )
    advantages, reached = adversary._advantages(
        dynamics, prediction, small_learner("sac", reward_scaler=scaler)
    )
    # 1 + 0.99 (1 - 2.5) - (1 + 5); s' = 4 is terminal: r - (4 + 5), r 4 or, clipped, 2
    assert advantages.tolist() == [[pytest.approx(-6.485)], [pytest.approx(terminal)]]
    assert reached.tolist() == [[1], [4]]  # goes on through terminals
    judged = torch.cat([actions for _, actions in seen]).flatten()
    assert judged.tolist() == [-0.25, -0.25, 0.5, 0.5]


# What an update does, and what it leaves alone.


def test_without_a_weight_an_update_equals_continued_supervised_training(monkeypatch):
    transitions = line_transitions(500)
    dynamics, learner = fitted_ensemble(transitions), built("sac")
    plain = copy.deepcopy(dynamics)

    def refuse(*arguments, **named):
        raise AssertionError("an adversarial rollout was made")

    monkeypatch.setattr(type(dynamics), "predict", refuse)
    monkeypatch.setattr(type(dynamics), "training_loss_and_sample", refuse)
    torch.manual_seed(1)
    updater(coef=0.0).update(dynamics, transitions, learner)

    torch.manual_seed(1)
    held_out = set(plain.holdout_indices.tolist())
    training = torch.tensor([i for i in range(500) if i not in held_out])
    optimizer = torch.optim.Adam(plain.parameters(), lr=3e-4, fused=True)
    for _ in range(3):
        rows = training[torch.randint(len(training), (32 * plain.n_members,))]
        optimizer.zero_grad()
        plain.training_loss(transitions[rows]).backward()
        optimizer.step()
    assert equal(weights(dynamics), weights(plain))


def test_with_a_weight_an_update_does_something_else_than_fitting():
    transitions = line_transitions(500)
    dynamics = fitted_ensemble(transitions)
    plain, learner = copy.deepcopy(dynamics), built("sac")
    for model, coef in ((dynamics, 0.5), (plain, 0.0)):
        torch.manual_seed(1)
        updater(coef=coef).update(model, transitions, learner)
    assert not equal(weights(dynamics), weights(plain))


def test_members_that_imagine_nothing_stay_as_they_were_fitted():
    transitions = line_transitions(500)
    dynamics = fitted_ensemble(transitions)
    before = copy.deepcopy(dynamics.state_dict())
    updater(coef=0.5).update(dynamics, transitions, built("sac"))
    for networks, unchanged in (("others", True), ("elites", False)):
        after = dynamics.state_dict()[networks]
        for name, values in before[networks].items():
            assert torch.equal(values, after[name]) == unchanged, name


@pytest.mark.training
@pytest.mark.parametrize("name", WITH_CRITIC)
def test_an_update_works_with_every_critic_and_changes_nothing_of_the_learner(name):
    transitions, learner = line_transitions(500), built(name)
    dynamics = fitted_ensemble(transitions)
    modules = [
        m for m in vars(learner.impl.modules).values() if hasattr(m, "state_dict")
    ]
    before = copy.deepcopy([m.state_dict() for m in modules]), learner.grad_step
    metrics = updater().update(dynamics, transitions, learner)
    after = [m.state_dict() for m in modules], learner.grad_step
    assert str(before) == str(after)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["undone_updates"] == 0


def test_terminations_see_raw_states_however_the_learner_scales_them():
    seen = []

    @dataclasses.dataclass()
    class Watching(BeyondTermination):
        def __call__(self, observations, actions, next_observations):
            seen.extend([observations, next_observations])
            return super().__call__(observations, actions, next_observations)

    scaler = d3rlpy.preprocessing.StandardObservationScaler(
        mean=np.array([1000.0]), std=np.array([0.01]), eps=1e-6
    )
    learner = small_learner("sac", observation_scaler=scaler)
    learner.build_with_dataset(line_dataset())
    transitions = line_transitions(500)  # |s| <= 6
    adversary = updater()
    adversary.termination = Watching()
    adversary.update(fitted_ensemble(transitions), transitions, learner)
    assert seen
    assert all(float(states.abs().max()) < 20 for states in seen)


@pytest.mark.training
def test_the_adversary_lowers_the_value_where_there_is_no_data_and_only_there(
    monkeypatch,
):
    # One step, s' = 1 in the data, all of it at actions below 0; the policy acts at 0.8.
    actions = np.random.uniform(-1, -0.5, (2000, 1))
    after = 1 + 0.1 * np.random.randn(2000, 1)
    observations = 0.01 * np.random.randn(2000, 1)
    transitions = mbo.Transitions.from_arrays(
        np.vstack([observations, observations[:1]]),
        np.vstack([actions, [[1.0]]]),  # the range the environment allows
        np.vstack([after, after[:1]])[:, 0],
        np.vstack([after, after[:1]]),
        np.ones(2001),
    )
    dynamics = fitted_ensemble(transitions, max_steps=500, hidden_units=[32, 32])
    monkeypatch.setattr(mbo.learners, "sample_action", lambda _, s: s * 0 + 0.8)
    monkeypatch.setattr(mbo.learners, "q_value", lambda _, s, a: s * 0)

    def predicted(action: float) -> float:
        asked = torch.full((2000, 1), action)
        return float(dynamics.predict(asked * 0, asked, False).rewards.mean())

    outside, inside = predicted(0.8), predicted(-0.75)
    held_out = dynamics.holdout_errors(transitions)["model_holdout_error"]
    adversary = updater(coef=0.05, n_updates=400, batch_size=64)
    adversary.termination = BeyondTermination(limit=-math.inf)
    adversary.update(dynamics, transitions, built("sac"))
    assert predicted(0.8) < outside - 0.3
    assert predicted(-0.75) == pytest.approx(inside, abs=0.05)
    after = dynamics.holdout_errors(transitions)["model_holdout_error"]
    assert after < 1.1 * held_out


# Failures.


def poisoned(dynamics: mbo.Dynamics, at: set[int]) -> list[int]:
    """Makes the training loss NaN at some of its calls."""
    calls: list[int] = []
    sound = dynamics.training_loss_and_sample

    def training_loss_and_sample(*arguments):
        calls.append(len(calls))
        loss, *others = sound(*arguments)
        return (loss * math.nan if calls[-1] in at else loss), *others

    dynamics.training_loss_and_sample = (  # type: ignore[method-assign]
        training_loss_and_sample
    )
    return calls


def test_a_step_whose_loss_is_not_finite_is_undone_and_counted():
    transitions = line_transitions(500)
    dynamics, learner = fitted_ensemble(transitions), built("sac")
    poisoned(dynamics, {3})
    metrics = updater(n_updates=20).update(dynamics, transitions, learner)
    assert metrics["undone_updates"] == 1
    assert math.isfinite(metrics["supervised_loss"])
    assert all(bool(torch.isfinite(p).all()) for p in dynamics.parameters())


def test_updates_ask_for_nothing_that_the_oldest_torch_lacks(monkeypatch):
    monkeypatch.delattr(torch.nn.utils, "get_total_norm", raising=False)  # since 2.6
    transitions = line_transitions(500)
    dynamics = fitted_ensemble(transitions)
    assert updater(n_updates=2).update(dynamics, transitions, built("sac"))


def test_too_many_such_steps_are_a_diverged_error_that_keeps_the_last_good_model():
    transitions = line_transitions(500)
    dynamics, learner = fitted_ensemble(transitions), built("sac")
    before = weights(dynamics)
    poisoned(dynamics, {5, 7, 9})
    with pytest.raises(mbo.DivergedError, match="3 of 20 updates"):
        updater(n_updates=20).update(dynamics, transitions, learner)
    assert equal(weights(dynamics), before)


@pytest.mark.training
@pytest.mark.parametrize(
    ("learner", "words"),
    [
        (lambda: small_learner("sac"), "not built"),
        (lambda: built("bc"), "no critic"),
        (lambda: built("sac", size=2), "built for observations of shape"),
    ],
)
def test_a_learner_that_cannot_judge_these_transitions_is_refused(learner, words):
    transitions = line_transitions(500)
    dynamics = fitted_ensemble(transitions)
    before = weights(dynamics)
    with pytest.raises(mbo.CompositionError, match=words):
        updater().update(dynamics, transitions, learner())
    assert equal(weights(dynamics), before)


@pytest.mark.parametrize("coef", [-1e-4, math.nan])
def test_a_negative_weight_is_refused(coef):
    with pytest.raises(mbo.CompositionError, match="coef"):
        AdversarialUpdaterConfig(coef=coef)


@pytest.mark.parametrize("name", ["batch_size", "n_updates", "update_interval"])
def test_sizes_must_be_positive(name):
    with pytest.raises(mbo.CompositionError, match=f"{name} is 0"):
        AdversarialUpdaterConfig(**{name: 0})


# In a run.


def rambo(dataset: Any, **settings: Any) -> mbo.Imagination:
    settings = {
        "dynamics": small_ensemble(),
        "dynamics_updater": AdversarialUpdaterConfig(
            batch_size=32, n_updates=2, update_interval=4
        ),
        "rollout_batch_size": 50,
        "rollout_interval": 4,
        "rollout_length": 2,
        **settings,
    }
    imagination = RAMBOConfig(**settings).create()
    imagination.fit(dataset)
    return imagination


def test_a_run_updates_the_model_and_logs_what_the_adversary_did():
    dataset = line_dataset()
    imagination, learner = rambo(dataset), small_learner("sac")
    before = weights(imagination.dynamics)
    epochs = mbo.fit(
        learner, dataset, imagination, 8, n_steps_per_epoch=8,
        show_progress=False, logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )  # fmt: skip
    logged = epochs[-1][1]
    for name in (
        "adversarial_loss", "supervised_loss", "advantage_spread", "q_value_mean",
        "undone_updates", "model_holdout_growth", "model_holdout_error",
        "model_reward_error",
    ):  # fmt: skip
        assert math.isfinite(logged[f"rambo_{name}"]), name
    assert not equal(weights(imagination.dynamics), before)


def test_a_learner_without_a_critic_is_refused_before_it_takes_a_step():
    dataset = line_dataset()
    imagination, learner = rambo(dataset), small_learner("bc")
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    with pytest.raises(mbo.CompositionError, match="BC has no critic"):
        learner.fit(buffer, n_steps=8, n_steps_per_epoch=8, **QUIET)
    assert learner.grad_step == 0


def test_it_composes_with_reverse_dynamics_and_a_policy_that_supports_them():
    dataset = line_dataset()
    imagination = rambo(
        dataset,
        dynamics=small_ensemble("reverse"),
        rollout_policy=mbo.UniformPolicyConfig(),
    )
    learner = small_learner("sac")
    before = weights(imagination.dynamics)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
    learner.fit(buffer, n_steps=8, n_steps_per_epoch=8, **QUIET)
    assert not equal(weights(imagination.dynamics), before)


def test_in_reverse_the_policy_is_asked_without_gradients_as_in_rollouts():
    asked = []

    class Policy:
        def sample_action(self, observations, learner):
            asked.append(torch.is_grad_enabled())
            return torch.zeros(len(observations), 1)

    transitions = line_transitions()
    created = updater()
    created.rollout_policy = Policy()
    model = fitted_ensemble(transitions, direction="reverse")
    created.update(model, transitions, built("sac"))
    assert asked == [False] * 3  # one each step


@pytest.mark.training
def test_a_saved_run_goes_on_as_it_would_have(tmp_path):
    dataset = line_dataset()
    imagination, learner = rambo(dataset), built("sac")
    transitions = mbo.Transitions.from_dataset(dataset).for_models()

    def update(which: mbo.Imagination) -> None:
        torch.manual_seed(7)
        assert which.dynamics_updater is not None
        which.dynamics_updater.update(which.dynamics, transitions, learner)

    update(imagination)
    imagination.save(tmp_path / "rambo.mbo")
    loaded = mbo.load_imagination(tmp_path / "rambo.mbo")
    update(imagination)
    update(loaded)  # with the same moments of Adam
    assert equal(weights(imagination.dynamics), weights(loaded.dynamics))


@pytest.mark.training
def test_fitted_again_a_loaded_run_starts_anew_with_other_sizes_too(tmp_path):
    dataset, wider = line_dataset(), line_dataset(size=2)
    imagination, learner = rambo(dataset), built("sac")
    transitions = mbo.Transitions.from_dataset(dataset).for_models()
    imagination.dynamics_updater.update(imagination.dynamics, transitions, learner)
    imagination.save(tmp_path / "rambo.mbo")
    loaded = mbo.load_imagination(tmp_path / "rambo.mbo")
    assert loaded.dynamics_updater.state_dict()["optimizer"] is not None
    loaded.fit(wider)
    assert loaded.dynamics_updater.state_dict()["optimizer"] is None
    learner = built("sac", size=2)
    transitions = mbo.Transitions.from_dataset(wider).for_models()
    loaded.dynamics_updater.update(loaded.dynamics, transitions, learner)


def test_a_model_that_is_given_must_come_from_the_data_that_an_updater_goes_on_with():
    fitted = rambo(line_dataset())
    other = line_dataset(n_episodes=3)
    with pytest.raises(mbo.CompositionError, match=r"dynamics given.*the same data"):
        fitted.config.create(dynamics=fitted.dynamics).fit(other)


@pytest.mark.training
def test_a_second_learner_is_told_that_the_model_is_no_longer_the_fitted_one():
    dataset = line_dataset()
    imagination, first = rambo(dataset), small_learner("sac")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbo.fit(first, dataset, imagination, 8, **QUIET)
        mbo.fit(first, dataset, imagination, 8, **QUIET)  # it goes on
    with pytest.warns(UserWarning, match="changed while another learner trained"):
        mbo.fit(small_learner("sac"), dataset, imagination, 8, **QUIET)
    imagination.fit(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mbo.fit(small_learner("sac"), dataset, imagination, 8, **QUIET)


@pytest.mark.training
def test_a_file_says_whether_its_model_was_changed_before_it_was_saved(tmp_path):
    dataset = line_dataset()
    imagination, learner = rambo(dataset), built("sac")
    imagination.save(tmp_path / "before.mbo")
    rows = mbo.Transitions.from_dataset(dataset).for_models()
    imagination.update_dynamics(rows, learner)
    imagination.save(tmp_path / "after.mbo")
    after = mbo.load_imagination(tmp_path / "after.mbo")
    with pytest.warns(UserWarning, match="load a file that was saved before training"):
        mbo.ImaginedReplayBuffer(dataset, after, learner)
    before = mbo.load_imagination(tmp_path / "before.mbo")
    after.fit(dataset)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for independent in (before, after):
            mbo.ImaginedReplayBuffer(dataset, independent, learner)


def test_in_one_call_a_learner_without_a_critic_is_refused_before_the_model_is_fitted():
    dataset = line_dataset()
    imagination = RAMBOConfig(dynamics=small_ensemble()).create()
    with pytest.raises(mbo.CompositionError, match="BC has no critic"):
        mbo.fit(small_learner("bc"), dataset, imagination, 8, **QUIET)
    assert not imagination.fitted
    assert not imagination.dynamics.fitted


def test_the_defaults_are_the_papers():
    config = RAMBOConfig()
    assert (config.rollout_length, config.real_ratio) == (5, 0.5)
    assert (config.rollout_batch_size, config.rollout_interval) == (50_000, 1000)
    assert config.retained_refreshes == 5
    assert config.dynamics_updater == AdversarialUpdaterConfig(
        coef=3e-4, learning_rate=3e-4, batch_size=256, n_updates=1000,
        update_interval=1000,
    )  # fmt: skip
    assert config.penalty is None


def test_it_survives_json():
    config = RAMBOConfig(dynamics_updater=AdversarialUpdaterConfig(coef=1e-3))
    assert RAMBOConfig.deserialize(config.serialize()) == config
