import d3rlpy
import d3rlpy_mbo as mbo
import numpy as np
import pytest
import torch
from d3rlpy.torch_utility import TorchMiniBatch
from d3rlpy_mbo.testing import parametrize_with_checks
from expectile_critic import ExpectileSACConfig


@parametrize_with_checks([ExpectileSACConfig])
def test_conformance(component, check):
    check(component)


def learner(config, value=None):
    """Of one state and one action; with a value, its two critics say that everywhere."""
    d3rlpy.seed(0)
    made = config.create()
    made.create_impl((1,), 1)
    if value is not None:
        with torch.no_grad():
            for critic in made.impl.q_function:
                critic._fc.weight.zero_()
                critic._fc.bias.fill_(value)
    return made


def batch_of(rewards, imagined=None):
    """Rows that end; None: a batch that says nothing of them, as of d3rlpy's buffer."""
    column = np.float32(rewards)[:, None]
    columns = [np.zeros_like(column), np.zeros_like(column), column]
    columns += [np.zeros_like(column), np.zeros_like(column)]
    columns += [np.ones_like(column), np.ones_like(column)]
    if imagined is None:
        rows = d3rlpy.dataset.TransitionMiniBatch(*columns, [])
    else:
        flags = np.array(imagined, dtype=bool)[:, None]
        rows = mbo.ImaginedMiniBatch(*columns, [], flags)
    return TorchMiniBatch.from_batch(rows, 0.99, False, "cpu")


def loss_of(config, rewards, imagined, value=0.0):
    nothing = torch.zeros(len(rewards), 1)
    impl = learner(config, value).impl
    loss = impl.compute_critic_loss(batch_of(rewards, imagined), nothing)
    return loss.critic_loss.item()


@pytest.mark.parametrize(
    ("rewards", "imagined", "loss"),
    [
        # Each of two critics says 0: an error of 3 below weighs 2 * 0.9, above 2 * 0.1.
        ([-3.0], [True], 2 * 1.8 * 9),
        ([3.0], [True], 2 * 0.2 * 9),
        ([-3.0, 3.0], [False, False], 2 * 9),
        ([-3.0, 3.0], None, 2 * 9),
        ([-3.0, 3.0, 3.0, 0.0], [True, False, True, True], 2 * (1.8 + 1 + 0.2) * 9 / 4),
    ],
)
def test_imagined_rows_weigh_by_the_side_on_which_their_target_lies(
    rewards, imagined, loss
):
    found = loss_of(ExpectileSACConfig(expectile=0.1), rewards, imagined)
    assert found == pytest.approx(loss, rel=1e-6)


def test_a_value_settles_at_the_expectile_of_its_targets():
    # Of 0 and 1, as often: where 2 (1 - tau) v = 2 tau (1 - v), so at tau.
    config = ExpectileSACConfig(expectile=0.2)
    losses = [loss_of(config, [0.0, 1.0], [True, True], v) for v in (0.19, 0.2, 0.21)]
    assert min(losses) == losses[1]


def test_at_one_half_it_is_sac():
    batch = batch_of([-3.0, 2.0, 1.0], [True, False, True])
    batches = batch, torch.full((3, 1), 5.0)
    ours = learner(ExpectileSACConfig(expectile=0.5)).impl.compute_critic_loss(*batches)
    sacs = learner(d3rlpy.algos.SACConfig()).impl.compute_critic_loss(*batches)
    torch.testing.assert_close(ours.critic_loss, sacs.critic_loss)


def test_the_loss_stays_in_the_type_of_its_networks():
    impl = learner(ExpectileSACConfig()).impl
    impl.q_function.double()
    batch = batch_of([1.0, -1.0], [True, False])
    batch = TorchMiniBatch(
        **{
            name: value.double() if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        }
    )
    loss = impl.compute_critic_loss(batch, torch.zeros(2, 1).double()).critic_loss
    assert loss.dtype == torch.float64


@pytest.mark.parametrize("expectile", [0.0, 1.0, 7.0, float("nan")])
def test_what_is_no_expectile_is_refused(expectile):
    with pytest.raises(mbo.CompositionError, match="between 0 and 1"):
        ExpectileSACConfig(expectile=expectile).create()


def test_a_captured_graph_is_refused():
    with pytest.raises(mbo.CompositionError, match="compile_graph"):
        ExpectileSACConfig(compile_graph=True).create()


def test_it_is_found_by_name_where_it_is_installed():
    assert mbo.get_component("learner", "expectile_sac") is ExpectileSACConfig
