"""What states are worth, asked by fused layers: the same numbers, nothing touched."""

import copy

import d3rlpy
import pytest
import torch
from torch import nn

import d3rlpy_mbo as mbo
from d3rlpy_mbo.learners import asking
from toys import DISCRETE, LEARNERS, choice_dataset, line_dataset, small_learner


@pytest.fixture(autouse=True, params=[True, False], ids=["fused", "plain"])
def fused(request, monkeypatch):
    if request.param and asking._ONEDNN is None:
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(asking, "_fused_is_faster", lambda threads: request.param)
    monkeypatch.setattr(asking, "STATES_IN_CACHE", 16)
    return request.param


def values_agree(learner, states, target):
    torch.manual_seed(3)
    found = mbo.learners.state_value(learner, states, target)
    torch.manual_seed(3)
    actions = [mbo.learners.sample_action(learner, s) for s in states.split(16)]
    expected = mbo.learners.q_value(learner, states, torch.cat(actions), target)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "bc"])
def test_it_is_the_least_critic_at_the_policys_actions(name):
    learner = small_learner(name)
    learner.build_with_dataset(line_dataset(5, 20, size=2))
    values_agree(learner, torch.rand(40, 2) * 10 - 5, target=True)


@pytest.mark.parametrize("name", [n for n in DISCRETE if n != "discrete_bc"])
def test_so_it_is_of_discrete_learners(name):
    learner = small_learner(name)
    learner.build_with_dataset(choice_dataset(5, 20))
    values_agree(learner, torch.rand(40, 1) * 10 - 5, target=False)


class Doubling(nn.Linear):
    """A stranger's layer, which is more than torch's."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_layers_of_other_kinds_stay_what_they_are():
    hooked = nn.Linear(8, 8)
    hooked.register_forward_hook(lambda module, inputs, output: output + 1)
    network = nn.Sequential(
        nn.Linear(3, 8),
        nn.Tanh(),
        nn.Linear(8, 8, bias=False),
        nn.ReLU(),
        nn.LayerNorm(8),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.ReLU()),
        hooked,
        nn.Dropout(0.0),
        Doubling(8, 2),
        nn.ReLU(),
    ).eval()
    x = torch.randn(20, 3)
    with torch.no_grad():
        view = asking._fused(network)
        torch.testing.assert_close(view(x), network(x))
        twice = asking._fused(network.double())  # oneDNN's layers are float32 alone
        torch.testing.assert_close(twice(x.double()), network(x.double()))


@pytest.mark.parametrize("settings", [{"use_batch_norm": True}, {"dropout_rate": 0.5}])
def test_the_learner_trains_on_as_if_nobody_had_asked(settings):
    dataset = line_dataset(5, 20)
    encoder = d3rlpy.models.VectorEncoderFactory([8, 8], **settings)
    learner = d3rlpy.algos.SACConfig(critic_encoder_factory=encoder).create()
    learner.build_with_dataset(dataset)
    asked, batch = copy.deepcopy(learner), dataset.sample_transition_batch(16)
    mbo.learners.state_value(asked, torch.randn(40, 1), target=True)
    results = []
    for each in (learner, asked):
        torch.manual_seed(0)
        results.append([each.update(batch) for _ in range(2)])
    assert results[0] == results[1]


def test_it_sees_the_parameters_of_now(fused):
    learner = small_learner("td3")
    learner.build_with_dataset(line_dataset(5, 20))
    states = torch.randn(8, 1)
    before = mbo.learners.state_value(learner, states)
    with torch.no_grad():
        for critic in learner.impl.modules.q_funcs:
            critic._fc.bias += 5.0
    torch.testing.assert_close(mbo.learners.state_value(learner, states), before + 5.0)
    view = asking._fused_learner(learner)
    layers = [type(each) for each in view.impl.policy.modules()]
    assert (asking._FusedLinear in layers) == fused
    assert not any(
        isinstance(each, asking._FusedLinear) for each in learner.impl.policy.modules()
    )


def test_nobody_answers_without_networks_or_a_critic():
    with pytest.raises(mbo.CompositionError, match="not built"):
        mbo.learners.state_value(small_learner("sac"), torch.zeros(2, 1))
    learner = small_learner("bc")
    learner.build_with_dataset(line_dataset(5, 20))
    with pytest.raises(mbo.CompositionError, match="has no critic"):
        mbo.learners.state_value(learner, torch.zeros(2, 1))


def test_on_a_gpu_no_more_states_pass_at_once_than_anywhere_else(monkeypatch):
    learner = small_learner("td3")
    learner.build_with_dataset(line_dataset(5, 20))
    monkeypatch.setattr(asking, "device_of", lambda learner: torch.device("cuda"))
    monkeypatch.setattr(asking, "ROWS_OF_A_LEARNER", 30)
    sizes, ask = [], asking.q_value

    def q_value(learner, observations, *rest):
        sizes.append(len(observations))
        return ask(learner, observations, *rest)

    monkeypatch.setattr(asking, "q_value", q_value)
    assert mbo.learners.state_value(learner, torch.randn(70, 1)).shape == (70, 1)
    assert sizes == [30, 30, 10]
