"""EDAC: its term by hand on linear critics, SAC-N without it, and what is refused."""

import dataclasses
import math

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo_edac import EDAC, EDACConfig
from d3rlpy_mbo_mopo import MOPOConfig
from toys import (
    QUIET,
    LineDynamicsConfig,
    choice_dataset,
    line_dataset,
    small_learner,
)

ENCODER = d3rlpy.models.VectorEncoderFactory([8])


def small(config=EDACConfig, **settings):
    encoders = {"actor_encoder_factory": ENCODER, "critic_encoder_factory": ENCODER}
    return config(**{"batch_size": 16, "n_critics": 3, **encoders, **settings}).create()


class Linear(torch.nn.Module):
    """Q(s, a) = w a + u sum(a^3) / 3: its action gradient is w + u a^2."""

    def __init__(self, w, u=0.0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([w]))
        self.u = torch.nn.Parameter(torch.tensor(u))

    def forward(self, x, action):
        value = (action * self.w + self.u * action**3 / 3).sum(dim=1, keepdim=True)
        return d3rlpy.models.torch.q_functions.base.QFunctionOutput(value, None, None)


def similarity(critics, actions):
    """What a learner with these critics finds at a batch of actions (B, A)."""
    learner = small(n_critics=len(critics))
    learner.create_impl((1,), len(actions[0]))
    modules = learner.impl.modules
    learner.impl._modules = dataclasses.replace(
        modules, q_funcs=torch.nn.ModuleList(critics)
    )
    return learner.impl._gradient_similarity(batch_of(actions))


def batch_of(actions):
    column = torch.zeros(len(actions), 1)
    return TorchMiniBatch(
        observations=column,
        actions=torch.tensor(actions),
        rewards=column,
        next_observations=column,
        next_actions=torch.tensor(actions),
        returns_to_go=column,
        terminals=column,
        intervals=column + 1,
        device="cpu:0",
    )


@pytest.mark.parametrize(
    ("gradients", "mean"),
    [
        ([[1.0, 0.0], [5.0, 0.0]], 1.0),  # one direction: lengths do not count
        ([[1.0, 0.0], [-2.0, 0.0]], -1.0),
        ([[3.0, 0.0], [0.0, 0.1]], 0.0),
        # (3, 4) / 5, (0, 1), (-1, 0): .8 - .6 + 0 over three pairs.
        ([[3.0, 4.0], [0.0, 2.0], [-7.0, 0.0]], 0.2 / 3),
    ],
)
def test_it_is_the_mean_cosine_of_two_critics_action_gradients(gradients, mean):
    found = similarity([Linear(each) for each in gradients], [[0.3, -0.2]] * 4)
    assert found.item() == pytest.approx(mean, abs=1e-6)


def test_gradients_are_those_at_the_batchs_own_actions_row_by_row():
    # w = (1, 0), u = 0, and w = (0, 0), u = 1, whose gradient is a^2: at a = (1, 0) both
    # point along the first axis, at (1, 1) the cosine is 1 / sqrt(2).
    critics = [Linear([1.0, 0.0]), Linear([0.0, 0.0], u=1.0)]
    found = similarity(critics, [[1.0, 0.0], [1.0, 1.0]])
    assert found.item() == pytest.approx((1 + math.sqrt(0.5)) / 2, abs=1e-6)


def test_its_gradient_turns_critics_away_from_each_other():
    # cos = w_y / |w| with the other along y: d cos / d w at (1, 1) is (-1, 1) / sqrt(8).
    turned, other = Linear([1.0, 1.0]), Linear([0.0, 1.0])
    similarity([turned, other], [[0.5, 0.5]]).backward()
    expected = torch.tensor([[-1.0, 1.0]]) / math.sqrt(8)
    torch.testing.assert_close(turned.w.grad, expected)
    # The other is turned too: (1, 0) / sqrt(2) at (0, 1).
    torch.testing.assert_close(other.w.grad, torch.tensor([[1.0, 0.0]]) / math.sqrt(2))


def test_a_critic_that_is_flat_has_no_direction_and_no_infinite_gradient():
    flat, other = Linear([0.0, 0.0]), Linear([0.0, 1.0])
    found = similarity([flat, other], [[0.5, 0.5]])
    assert found.item() == 0
    found.backward()
    assert torch.isfinite(other.w.grad).all()


def test_the_term_is_a_sum_over_ordered_pairs_over_n_minus_1_times_eta():
    # Three equal critics: 3 * 2 pairs of cosine 1, over 2, times eta: 3 eta. Divided by
    # the number of pairs it would be eta.
    losses = []
    for eta in (0.0, 2.0):
        learner = small(eta=eta)
        learner.create_impl((1,), 1)
        first, *others = learner.impl.modules.q_funcs
        torch.manual_seed(0)
        for parameter in first.parameters():
            torch.nn.init.uniform_(parameter, 0.1, 1.0)  # rises with a, everywhere
        for each in others:
            each.load_state_dict(first.state_dict())
        batch = batch_of([[0.2], [-0.3]])
        losses.append(learner.impl.compute_critic_loss(batch, torch.zeros(2, 1)))
    plain, with_term = losses
    difference = (with_term.critic_loss - plain.critic_loss).item()
    assert difference == pytest.approx(2.0 * 3, abs=1e-5)
    assert with_term.gradient_similarity.item() == pytest.approx(1.0, abs=1e-6)
    assert not hasattr(plain, "gradient_similarity")


@pytest.mark.training
def test_with_eta_0_it_is_d3rlpys_sac_with_as_many_critics_bit_for_bit():
    d3rlpy.seed(0)
    dataset = line_dataset(5, 20)
    found, losses = [], []
    for config, settings in ((d3rlpy.algos.SACConfig, {}), (EDACConfig, {"eta": 0.0})):
        d3rlpy.seed(1)
        learner = small(config, n_critics=4, **settings)
        learner.build_with_dataset(dataset)
        losses.append(
            [learner.update(dataset.sample_transition_batch(16)) for _ in range(5)]
        )
        networks = learner.impl.modules.get_torch_modules().values()
        found.append([p.detach().clone() for n in networks for p in n.parameters()])
    assert losses[0] == losses[1]
    assert all(map(torch.equal, *found))


@pytest.mark.training
def test_critics_trained_with_eta_differ_more_than_without():
    ends = []
    for eta in (0.0, 20.0):
        d3rlpy.seed(0)
        learner, dataset = small(eta=eta), line_dataset(5, 20, size=2)
        learner.build_with_dataset(dataset)
        batch = dataset.sample_transition_batch(16)
        for _ in range(30):
            learner.update(batch)
        rows = TorchMiniBatch.from_batch(
            batch=batch, gamma=0.99, compute_returns_to_go=False, device="cpu:0"
        )
        ends.append(learner.impl._gradient_similarity(rows).item())
    assert ends[1] < ends[0] - 0.1


@pytest.mark.training
def test_ravl_edac_on_forward_rollouts_trains_logs_and_loads(tmp_path):
    learner = small_learner("edac", n_critics=3)  # by name
    ravl = MOPOConfig(
        dynamics=LineDynamicsConfig(),
        penalty=None,
        rollout_batch_size=30,
        rollout_interval=2,
    ).create()
    ((_, metrics),) = mbo.fit(
        learner, line_dataset(5, 20), ravl, n_steps=4, n_steps_per_epoch=4, **QUIET
    )
    assert all(map(math.isfinite, metrics.values()))
    assert -0.5 <= metrics["gradient_similarity"] <= 1
    learner.save(str(tmp_path / "edac.d3"))
    loaded = mbo.load_learner(tmp_path / "edac.d3")
    assert isinstance(loaded, EDAC)
    assert loaded.config == learner.config


def test_its_defaults_are_the_official_codes():
    config = EDACConfig()
    assert (config.n_critics, config.eta, config.batch_size) == (10, 1.0, 256)
    rates = config.actor_learning_rate, config.critic_learning_rate
    assert (*rates, config.temp_learning_rate) == (3e-4, 3e-4, 3e-4)
    assert config.actor_encoder_factory.hidden_units == [256, 256, 256]
    assert config.critic_encoder_factory.hidden_units == [256, 256, 256]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_critics": 1}, "n_critics is 1, expected a whole number, at least 2"),
        ({"n_critics": 2.0}, "n_critics is 2.0"),
        ({"eta": -1.0}, "eta is -1.0, expected a number, at least 0"),
        ({"eta": math.nan}, "eta is nan"),
        ({"eta": math.inf}, "eta is inf"),
        ({"eta": True}, "eta is True"),
        ({"eta": "1"}, "eta is '1'"),
        ({"compile_graph": True}, "compile_graph"),
    ],
)
def test_what_it_cannot_do_is_refused_when_it_is_made(settings, message):
    with pytest.raises(mbo.CompositionError, match=message):
        EDACConfig(**settings).create()


def test_numbers_of_numpys_are_taken():
    EDACConfig(n_critics=np.int64(3), eta=np.float32(1)).create()


def test_several_processes_are_refused_and_discrete_actions_too():
    with pytest.raises(mbo.CompositionError, match="enable_ddp"):
        EDACConfig().create(enable_ddp=True)
    ravl = MOPOConfig(dynamics=LineDynamicsConfig(), penalty=None).create()
    with pytest.raises(mbo.CompositionError, match="EDAC is for continuous actions"):
        mbo.fit(small(), choice_dataset(5, 20), ravl, n_steps=2, **QUIET)
    assert not ravl.fitted
