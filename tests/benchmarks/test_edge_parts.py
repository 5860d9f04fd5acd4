"""Controls of the studies edge-of-reach and bcq: each changes one thing, and no other."""

import dataclasses
import sys
from pathlib import Path

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.registry.entry_points import provided_components
from d3rlpy_mbo.registry.known_learners import with_learner
from toys import LineDynamicsConfig, ScriptedPolicyConfig, rows_of, small_learner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import edge_parts
from edge_parts import ControlledBCQConfig, WithoutLastLinkConfig


@pytest.fixture(autouse=True)
def installed():
    with with_learner(ControlledBCQConfig):
        yield


def test_the_package_is_a_plugin():
    found = provided_components(edge_parts)
    assert {each.get_type() for each in found} == {
        "controlled_bcq",
        "without_last_link",
    }


def into_five(config=mbo.ImaginationConfig, **settings):
    """Case 4 of the settings: s' = s + a, r = s, from a real 5 by the actions 1, 2, 3."""
    dataset = mbo.dataset_from_arrays(
        [np.array([[4.0], [5.0], [8.0]])],
        [np.array([[1.0], [3.0]])],
        [np.array([4.0, 5.0])],
        terminals=[False],
    )
    imagination = config(
        dynamics=LineDynamicsConfig(direction="reverse"),
        rollout_policy=ScriptedPolicyConfig(script=[1.0, 2.0, 3.0]),
        rollout_length=3,
        rollout_batch_size=1,
        real_ratio=0.0,
        **settings,
    ).create()
    imagination.fit(dataset)
    return imagination, dataset


def test_the_row_into_the_real_state_is_dropped_and_the_others_stay_as_they_are():
    # (s, a, r, s'): (-1, 3, -1, 2), (2, 2, 2, 4), (4, 1, 4, 5), which alone leads to 5.
    whole, dataset = into_five()
    rows = rows_of(whole.imagine(dataset, 1))
    assert [row[:4] for row in rows] == [(-1, 3, -1, 2), (2, 2, 2, 4), (4, 1, 4, 5)]
    without, _ = into_five(WithoutLastLinkConfig)
    assert rows_of(without.imagine(dataset, 1)) == rows[:2]
    two_fewer, _ = into_five(WithoutLastLinkConfig, n_links=2)
    assert rows_of(two_fewer.imagine(dataset, 1)) == rows[:1]


def test_learners_never_see_the_row_into_the_real_state():
    imagination, dataset = into_five(WithoutLastLinkConfig)
    batch = mbo.ImaginedReplayBuffer(dataset, imagination).sample_transition_batch(50)
    assert set(batch.next_observations[:, 0]) == {2, 4}
    assert set(batch.observations[:, 0]) == {-1, 2}  # 4 is led to, and never left


@pytest.mark.parametrize(
    ("direction", "length", "n_links"),
    [("forward", 5, 1), ("reverse", 1, 1), ("reverse", 4, 4)],
)
def test_what_has_no_last_link_is_refused(direction, length, n_links):
    config = WithoutLastLinkConfig(
        dynamics=LineDynamicsConfig(direction=direction),
        rollout_length=length,
        n_links=n_links,
    )
    expected = f"expected a reverse one and {n_links + 1} steps"
    with pytest.raises(mbo.CompositionError, match=expected):
        config.create()


def built(name="controlled_bcq", **settings):
    d3rlpy.seed(0)
    learner = small_learner(name, **settings)
    learner.create_impl((1,), 1)
    return learner


def batch_of(actions, imagined, rewards=0.0):
    """A batch as d3rlpy hands it to an Impl, of states 1, 2, ..."""
    column = np.arange(1, len(actions) + 1, dtype=np.float32)[:, None]
    rows = mbo.ImaginedMiniBatch(
        observations=column,
        actions=np.float32(actions)[:, None],
        rewards=np.full_like(column, rewards),
        next_observations=column,
        next_actions=np.zeros_like(column),
        terminals=np.zeros_like(column),
        intervals=np.ones_like(column),
        transitions=[],
        imagined=np.array(imagined, dtype=bool)[:, None],
    )
    return TorchMiniBatch.from_batch(
        batch=rows, gamma=0.99, compute_returns_to_go=False, device="cpu:0"
    )


def weights(module):
    return [weight.detach().clone() for weight in module.parameters()]


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.training
def test_without_any_control_it_is_d3rlpys_bcq_bit_for_bit():
    after = []
    for name in ("bcq", "controlled_bcq"):
        learner = built(name)
        for _ in range(3):
            learner.impl.inner_update(batch_of([0.1, -0.7, 0.4], [0, 1, 1], 1.0), 0)
        modules = learner.impl.modules
        networks = modules.policy, modules.q_funcs, modules.vae_decoder
        after.append([weight for each in networks for weight in weights(each)])
    assert equal(*after)


def worth(learner, value):
    """Has both target critics say that every state is worth so much."""
    for critic in learner.impl.modules.targ_q_funcs:
        for weight in critic.parameters():
            torch.nn.init.zeros_(weight)
        torch.nn.init.constant_(critic._fc.bias, value)


@pytest.mark.parametrize(("value", "bounded"), [(250, 100), (-3, 0), (37, 37)])
def test_the_value_of_a_next_state_is_bounded(value, bounded):
    batch = batch_of([0, 0], [0, 1])
    for bounds, expected in (
        ({"least_target": 0.0, "greatest_target": 100.0}, bounded),
        ({"greatest_target": 100.0}, min(value, 100)),
        ({}, value),
    ):
        learner = built(**bounds)
        worth(learner, value)
        found = learner.impl.compute_target(batch)
        assert found.flatten().tolist() == pytest.approx([expected] * 2)


def test_with_rewards_of_one_the_whole_target_is_what_a_true_value_can_be():
    # 1 + .99 * 100 = 100, against critics that say 0: the squared error of each is 100^2.
    learner = built(least_target=0.0, greatest_target=100.0)
    worth(learner, 250)
    for critic in learner.impl.modules.q_funcs:
        for weight in critic.parameters():
            torch.nn.init.zeros_(weight)
    batch = batch_of([0, 0], [0, 1], rewards=1.0)
    target = learner.impl.compute_target(batch)
    loss = learner.impl.compute_critic_loss(batch, target).critic_loss.item()
    assert loss == pytest.approx(2 * 100**2)


@pytest.mark.training
def test_the_vae_learns_from_real_rows_alone():
    after = []
    for learner, batch in (
        (built("bcq"), batch_of([0.1, -0.7], [0, 0])),
        (built(imitates_imagined=False), batch_of([0.1, -0.7, 0.9, 0.9], [0, 0, 1, 1])),
        (built(imitates_imagined=True), batch_of([0.1, -0.7, 0.9, 0.9], [0, 0, 1, 1])),
    ):
        d3rlpy.seed(1)
        learner.impl.update_imitator(batch)
        after.append(weights(learner.impl.modules.vae_decoder))
    assert equal(after[0], after[1])
    assert not equal(after[0], after[2])


@pytest.mark.training
def test_a_batch_without_a_real_row_leaves_the_vae_where_it_is():
    learner = built(imitates_imagined=False)
    impl = learner.impl
    impl.inner_update(batch_of([0.1, -0.7], [0, 1]), 0)  # its optimizer has momentum
    decoder, critics = weights(impl.modules.vae_decoder), weights(impl.modules.q_funcs)
    metrics = impl.inner_update(batch_of([0.1, -0.7], [1, 1]), 0)
    assert equal(weights(impl.modules.vae_decoder), decoder)
    assert not equal(weights(impl.modules.q_funcs), critics)
    assert "vae_loss" not in metrics


def test_a_batch_of_a_plain_dataset_is_real():
    learner = built(imitates_imagined=False)
    batch = dataclasses.replace(batch_of([0.1], [1]), numpy_batch=None)
    assert "vae_loss" in learner.impl.update_imitator(batch)


def test_the_decoder_ends_in_a_tanh_and_a_loaded_one_does_too(tmp_path):
    state, latent = torch.full((1, 1), 3.0), torch.full((1, 2), 0.5)
    learner, plain = built(squashes_decoder=True), built()
    torch.nn.init.constant_(plain.impl.modules.vae_decoder._fc.bias, 2.0)
    learner.impl.modules.vae_decoder.load_state_dict(
        plain.impl.modules.vae_decoder.state_dict()
    )
    raw = plain.impl.modules.vae_decoder(state, latent)
    learner.save(str(tmp_path / "learner.d3"))
    for each in (learner, mbo.load_learner(tmp_path / "learner.d3")):
        assert torch.equal(each.impl.modules.vae_decoder(state, latent), raw.tanh())
    assert raw.item() > 1  # what d3rlpy proposes


def test_bounds_that_leave_nothing_and_captured_graphs_are_refused():
    with pytest.raises(mbo.CompositionError, match=r"least_target 1\.0 and greatest"):
        ControlledBCQConfig(least_target=1.0, greatest_target=0.0).create()
    with pytest.raises(mbo.CompositionError, match="compile_graph"):
        ControlledBCQConfig(compile_graph=True).create()
