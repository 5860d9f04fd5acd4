"""Several imagined steps in one row, and that d3rlpy's learners use how many they are."""

import contextlib
import copy

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.preprocessing import (
    ClipRewardScaler,
    ConstantShiftRewardScaler,
    MinMaxRewardScaler,
    MultiplyRewardScaler,
    ReturnBasedRewardScaler,
    StandardRewardScaler,
)
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.buffer.folding import fold, validate_folding
from d3rlpy_mbo.buffer.ring import Ring
from toys import (
    DISCRETE,
    LEARNERS,
    QUIET,
    choice_dataset,
    line_dataset,
    line_imagination,
    small_learner,
)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def imagined(terminals=(0, 0, 0, 0, 0, 0)) -> mbo.Transitions:
    """Two rollouts of three rows: 0, 1, 2 and 10, 11, 12."""
    states = column(0, 1, 2, 10, 11, 12)
    return mbo.Transitions(
        observations=states,
        actions=-states,
        rewards=column(1, 2, 4, 8, 16, 32),
        next_observations=states + 1,
        next_actions=-states - 1,
        terminals=column(*terminals),
        rollout_ids=torch.tensor([0, 0, 0, 1, 1, 1]),
    )


def learner(**settings):
    return small_learner("sac", gamma=0.5, **settings)


def test_rewards_are_discounted_and_summed_and_the_next_state_is_that_many_steps_on():
    rows, intervals = fold(imagined(), 2, learner())
    # By hand: 1 + .5 * 2, 2 + .5 * 4, then the rollout's end; 8 + 8, 16 + 16, 32.
    assert rows.rewards[:, 0].tolist() == [2, 4, 4, 16, 32, 32]
    assert intervals.tolist() == [2, 2, 1, 2, 2, 1]
    assert rows.observations[:, 0].tolist() == [0, 1, 2, 10, 11, 12]
    assert rows.actions[:, 0].tolist() == [0, -1, -2, -10, -11, -12]
    assert rows.next_observations[:, 0].tolist() == [2, 3, 3, 12, 13, 13]
    assert rows.next_actions[:, 0].tolist() == [-2, -3, -3, -12, -13, -13]


def test_a_row_ends_at_a_terminal():
    rows, intervals = fold(imagined((0, 1, 0, 0, 0, 1)), 3, learner())
    # 0 and 1 end at the terminal of row 1; what is behind it is none of theirs.
    assert intervals.tolist() == [2, 1, 1, 3, 2, 1]
    assert rows.rewards[:, 0].tolist() == [2, 2, 4, 24, 32, 32]
    assert rows.terminals[:, 0].tolist() == [1, 1, 0, 1, 1, 1]


SCALERS = [
    MultiplyRewardScaler(3.0),
    MinMaxRewardScaler(-2.0, 6.0),
    StandardRewardScaler(4.0, 2.0),
    ReturnBasedRewardScaler(10.0, 2.0),
    ConstantShiftRewardScaler(-1.0, 2.0),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda each: each.get_type())
def test_what_the_scaler_makes_of_a_sum_is_the_sum_of_what_it_makes_of_each(scaler):
    rows, _ = fold(imagined(), 3, learner(reward_scaler=scaler))
    found = scaler.transform(rows.rewards)[:, 0]
    one, two, four = scaler.transform(column(1, 2, 4))[:, 0]
    torch.testing.assert_close(found[0], one + 0.5 * two + 0.25 * four)
    torch.testing.assert_close(found[1], two + 0.5 * four)
    torch.testing.assert_close(found[2], four)


def test_a_scaler_that_clips_and_learners_that_need_each_step_are_refused():
    clip = learner(reward_scaler=ClipRewardScaler(-1.0, 1.0))
    with pytest.raises(mbo.CompositionError, match="ClipRewardScaler, does more"):
        validate_folding(clip, 2)
    validate_folding(clip, 1)
    validate_folding(learner(reward_scaler=StandardRewardScaler()), 2)  # at fit
    with pytest.raises(mbo.CompositionError, match="not fitted yet"):
        fold(imagined(), 2, learner(reward_scaler=StandardRewardScaler()))
    for name in ("cal_ql", "decision_transformer", "tacr"):
        each = small_learner(name)
        with pytest.raises(mbo.CompositionError, match="needs every step on the way"):
            validate_folding(each, 2)
    with pytest.raises(mbo.CompositionError, match="Pass learner=algo"):
        validate_folding(None, 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "steps_per_row is 2, but the rollout policy is 'uniform'"),
        ({"rollout_policy": mbo.LearnerPolicyConfig(), "rollout_length": 1}, "1 steps"),
        (
            {"rollout_policy": mbo.BehaviorCloningPolicyConfig()},
            "take them for those of its own",
        ),
    ],
)
def test_proposals_that_are_not_the_learners_own_are_refused(settings, words):
    with pytest.raises(mbo.CompositionError, match=words):
        line_imagination("forward", steps_per_row=2, **settings)


def test_a_run_that_cannot_be_is_refused_before_anything_is_fitted():
    imagination = line_imagination(
        "forward", steps_per_row=2, rollout_policy=mbo.LearnerPolicyConfig()
    )
    with pytest.raises(mbo.CompositionError, match="every step on the way"):
        mbo.fit(small_learner("cal_ql"), line_dataset(), imagination, 2, **QUIET)
    assert not imagination.fitted


def folding(dataset) -> mbo.Imagination:
    return line_imagination(
        "forward", dataset, steps_per_row=3, rollout_policy=mbo.LearnerPolicyConfig(),
        rollout_batch_size=40,
    )  # fmt: skip


def test_batches_say_how_many_steps_a_row_holds():
    dataset = line_dataset()
    sac = learner()
    sac.build_with_dataset(dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, folding(dataset), sac, real_ratio=0.5)
    batch = buffer.sample_transition_batch(400)
    assert (batch.intervals[:200] == 1).all()
    assert set(batch.intervals[200:, 0].tolist()) == {1, 2, 3}
    assert (batch.intervals[200:] == 3).mean() == pytest.approx(3 / 5, abs=0.1)
    rewards = buffer.sources[0].metrics["reward_mean"]
    assert abs(rewards) < 6  # of single steps: r = s


def test_a_store_of_folded_rows_keeps_their_steps_through_a_checkpoint():
    ring, again = (Ring(4, 2, 1, folded=True) for _ in range(2))
    assert ring.nbytes == Ring.bytes_of(4, 2, folded=True)
    ring.begin_refresh()
    rows, origins = np.zeros((3, 2), np.float32), np.zeros((3, 2), np.int64)
    ring.append(rows, origins, np.float32([3, 2, 1]))
    again.restore_checkpoint(ring.checkpoint_state())
    assert again.intervals(np.arange(3)).tolist() == [3, 2, 1]
    assert Ring(4, 2, 1).intervals(np.arange(3)) is None


@pytest.mark.training
def test_a_learner_trains_on_folded_rows_the_same_from_the_same_seed():
    weights = []
    for _ in range(2):
        d3rlpy.seed(0)
        dataset = line_dataset(n_episodes=4)
        sac = learner(reward_scaler=StandardRewardScaler())
        buffer = mbo.ImaginedReplayBuffer(dataset, folding(dataset), sac)
        sac.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)
        weights.append([p.tolist() for p in sac.impl.policy.parameters()])
    assert weights[0] == weights[1]


@pytest.mark.training
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"gamma": 0.5},
            "-1 added to each .* FQE has gamma 0.5 and adds 0. .* dataset",
        ),
        (
            {"gamma": 0.9, "reward_scaler": ConstantShiftRewardScaler(-1.0)},
            "FQE has gamma 0.9 and adds -1",
        ),
        (
            {"gamma": 0.5, "reward_scaler": ClipRewardScaler(-1, 1)},
            "of FQE, ClipReward",
        ),
        # By hand: 2 (r - 1) = 2 r - 2, and -2 / 2 = -1.
        ({"gamma": 0.5, "reward_scaler": ConstantShiftRewardScaler(-1.0, 2.0)}, None),
    ],
)
def test_an_evaluation_that_discounts_or_shifts_rewards_otherwise_is_refused(
    settings, words
):
    # It would read sum_i gamma^i (r_i - 1) + 1 as the rewards of its own gamma, unshifted.
    dataset = line_dataset()
    sac = learner(reward_scaler=ConstantShiftRewardScaler(-1.0))
    buffer = mbo.ImaginedReplayBuffer(dataset, folding(dataset), sac)
    sac.fit(buffer, n_steps=1, n_steps_per_epoch=1, **QUIET)
    fqe = d3rlpy.ope.FQE(sac, d3rlpy.ope.FQEConfig(batch_size=8, **settings))
    refused = contextlib.nullcontext()
    if words is not None:
        refused = pytest.raises(mbo.CompositionError, match=words)
    with refused:
        fqe.fit(buffer, n_steps=3, n_steps_per_epoch=3, **QUIET)


@pytest.mark.training
@pytest.mark.parametrize(
    "name", [each for each in LEARNERS + DISCRETE if each != "cal_ql"]
)
def test_every_learner_but_bc_values_the_next_state_that_many_steps_on(name):
    dataset = choice_dataset(2) if name in DISCRETE else line_dataset(n_episodes=2)
    one = small_learner(name, gamma=0.5)
    one.build_with_dataset(dataset)
    if name == "prdc":  # it makes a tree of the data
        one.fit(dataset, n_steps=1, n_steps_per_epoch=1, **QUIET)
    made = dataset.sample_transition_batch(16)

    def trained(intervals: float) -> list[torch.Tensor]:
        d3rlpy.seed(4)
        each = copy.deepcopy(one)
        batch = TorchMiniBatch.from_batch(made, 0.5, False, "cpu:0")
        batch.intervals.fill_(intervals)
        for step in range(10**6, 10**6 + 2):  # PLAS warms up before
            each.impl.update(batch, step)
        networks = each.impl.modules.get_torch_modules().values()
        return [p.detach() for part in networks for p in part.parameters()]

    same = all(map(torch.equal, trained(1.0), trained(3.0)))
    assert same == (name in ("bc", "discrete_bc"))
    assert all(map(torch.equal, trained(3.0), trained(3.0)))
