import copy

import d3rlpy
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.learners import pretraining
from sizes import Made
from toys import QUIET, choice_dataset, line_dataset, small_learner

CAN = ["sac", "cql", "bear", "crr", "ddpg", "td3", "td3_plus_bc", "rebrac", "prdc"]
CANNOT = [
    "iql", "awac", "bcq", "plas", "plas_with_perturbation", "bc",
    "dqn", "double_dqn", "nfq", "discrete_bcq", "discrete_cql", "discrete_bc",
]  # fmt: skip


def acting_dataset(spread: float = 0.0) -> d3rlpy.dataset.ReplayBuffer:
    """Actions 0.5 where s > 0, else -0.5, plus noise; in [-2, 2] times a half."""
    observations = np.random.uniform(-1, 1, (2000, 1)).astype(np.float32)
    actions = np.sign(observations) * 0.5 + spread * np.random.randn(2000, 1)
    return d3rlpy.dataset.create_infinite_replay_buffer(
        [
            d3rlpy.dataset.Episode(
                observations, actions.astype(np.float32), np.zeros((2000, 1)), False
            )
        ]
    )


def pretrain(learner, dataset, **settings):
    settings = {"n_epochs": 30, "learning_rate": 3e-3, "batch_size": 100, **settings}
    return mbo.pretrain_policy(learner, dataset, **settings)


@pytest.mark.training
@pytest.mark.parametrize("name", CAN)
def test_the_policy_takes_the_datas_actions(name):
    learner = small_learner(name)
    pretrain(learner, acting_dataset(spread=0.05))
    states = np.array([[-0.5], [0.5]], np.float32)
    if name in ("bear", "crr"):  # choose among samples, by an untrained critic
        actions = torch.tanh(learner.impl.policy(torch.from_numpy(states)).mu)
        actions = actions.detach().numpy()
    else:
        actions = learner.predict(states)
    np.testing.assert_allclose(actions[:, 0], [-0.5, 0.5], atol=0.1)


@pytest.mark.training
def test_the_deviation_is_the_datas_and_does_not_collapse():
    learner = small_learner("sac")
    pretrain(learner, acting_dataset(spread=0.1), n_epochs=60)
    actions = np.stack([learner.sample_action(np.ones((1, 1))) for _ in range(500)])
    assert float(actions.std()) == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize("name", CANNOT)
def test_policies_without_a_likelihood_are_refused_by_name(name):
    learner = small_learner(name)
    with pytest.raises(mbo.CompositionError, match=type(learner).__name__):
        pretrain(learner, line_dataset())
    assert learner.impl is None  # nothing was touched


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_nothing_but_the_policy_and_its_target_changes(name):
    dataset, learner = line_dataset(), small_learner(name)
    learner.fit(dataset, n_steps=5, n_steps_per_epoch=5, **QUIET)
    modules = vars(learner.impl.modules)
    before = {k: copy.deepcopy(m.state_dict()) for k, m in modules.items()}
    pretrain(learner, dataset, n_epochs=1)
    changed = {k for k, m in modules.items() if str(m.state_dict()) != str(before[k])}
    assert changed == {"policy"} | ({"targ_policy"} & set(modules))
    assert learner.grad_step == 5
    if name == "td3":
        for policy, target in zip(
            modules["policy"].parameters(),
            modules["targ_policy"].parameters(),
            strict=True,
        ):
            assert torch.equal(policy, target)


@pytest.mark.training
def test_a_discrete_policy_takes_the_datas_choices_as_often_as_they_do():
    taken = np.random.choice(3, size=3000, p=[0.2, 0.7, 0.1])
    states = np.zeros((1, 3001, 1))
    states[0, 1:, 0] = taken  # the state says which choice was the last
    dataset = mbo.dataset_from_arrays(states, [taken], np.zeros((1, 3000)), n_actions=3)
    learner = small_learner("discrete_sac")
    mean = pretrain(learner, dataset)
    with torch.no_grad():
        found = learner.impl.policy(torch.tensor([[0.0], [1.0], [2.0]])).probs
    torch.testing.assert_close(
        found, torch.tensor([[0.2, 0.7, 0.1]] * 3), atol=0.05, rtol=0
    )
    entropy = -sum(p * np.log(p) for p in (0.2, 0.7, 0.1))
    assert mean == pytest.approx(entropy, abs=0.05)


@pytest.mark.training
def test_scalers_are_fitted_as_training_would():
    learner = small_learner(
        "sac",
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(),
    )
    dataset = acting_dataset(spread=0.05)
    pretrain(learner, dataset)
    rows = mbo.Transitions.from_dataset(dataset)
    mean = learner.config.observation_scaler.mean
    assert float(mean[0]) == pytest.approx(
        float(rows.observations[:-1].mean()), abs=1e-3
    )
    actions = learner.predict(np.array([[-0.5], [0.5]], np.float32))
    np.testing.assert_allclose(actions[:, 0], [-0.5, 0.5], atol=0.1)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_observations_are_copied_once_if_scaled_and_else_not_at_all(
    scaled, monkeypatch
):
    monkeypatch.setattr(pretraining, "ROWS_OF_A_LEARNER", 100)
    n_rows, size, made = 1000, 50, Made()
    dataset = mbo.dataset_from_arrays(
        np.random.randn(1, n_rows + 1, size),
        np.random.uniform(-1, 1, (1, n_rows, 1)),
        np.zeros((1, n_rows)),
    )
    real, learner = mbo.RealData.of(dataset), small_learner("sac")
    if scaled:
        scaler = d3rlpy.preprocessing.StandardObservationScaler(mean=1.0, std=2.0)
        learner = small_learner("sac", observation_scaler=scaler)
    learner.build_with_dataset(dataset)
    rows = real.transitions
    with made:
        x, _ = pretraining._scaled(learner, rows.observations, rows.actions)
    if not scaled:
        assert x is rows.observations
        return
    assert torch.equal(x, scaler.transform(rows.observations))
    sizes = [each for each in made.sizes if each > 0.5 * x.nbytes]
    assert len(sizes) == 1


def test_actions_at_the_edge_of_the_range_have_a_finite_likelihood():
    observations = np.random.uniform(-1, 1, (200, 1)).astype(np.float32)
    actions = np.sign(observations)
    actions[0] = 0.5  # integers alone would be taken for discrete actions
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(
        [d3rlpy.dataset.Episode(observations, actions, np.zeros((200, 1)), False)]
    )
    assert pretrain(small_learner("sac"), dataset) < 10


def test_a_loss_that_is_not_finite_is_a_diverged_error_and_leaves_the_policy():
    dataset, learner = line_dataset(), small_learner("sac")
    learner.build_with_dataset(dataset)
    before = [p.detach().clone() for p in learner.impl.policy.parameters()]
    with pytest.raises(mbo.DivergedError, match="learning_rate"):
        pretrain(learner, dataset, learning_rate=1e30)
    after = learner.impl.policy.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_policy_for_other_actions_than_the_datas_is_refused():
    learner = small_learner("discrete_sac")
    with pytest.raises(mbo.CompositionError, match="DiscreteSAC is for discrete"):
        pretrain(learner, line_dataset())
    with pytest.raises(mbo.CompositionError, match="SAC is for continuous.*3 choices"):
        pretrain(small_learner("sac"), choice_dataset(2))
    assert learner.impl is None


def test_no_epochs_are_refused():
    with pytest.raises(mbo.CompositionError, match="n_epochs"):
        pretrain(small_learner("sac"), line_dataset(), n_epochs=0)
