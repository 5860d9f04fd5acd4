"""What follows a row of a batch: d3rlpy scales and discounts it itself."""

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.dataset import Episode
from d3rlpy.preprocessing import (
    ClipRewardScaler,
    ConstantShiftRewardScaler,
    MinMaxRewardScaler,
    MultiplyRewardScaler,
    ReturnBasedRewardScaler,
    RewardScaler,
    StandardRewardScaler,
)
from d3rlpy.serializable_config import CONFIG_STORAGE
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.buffer.drawn import ImaginedRows
from d3rlpy_mbo.buffer.ring import Ring
from d3rlpy_mbo.data.episodes import dataset_of_episodes
from toys import (
    QUIET,
    LineDynamicsConfig,
    ScriptedPolicyConfig,
    line_dataset,
    line_episodes,
    line_imagination,
    small_learner,
)

SCALERS = {
    "none": lambda: None,
    "multiply": lambda: MultiplyRewardScaler(3.0),
    "clip": lambda: ClipRewardScaler(-1.0, 1.0, 2.0),
    "min_max": MinMaxRewardScaler,
    "standard": StandardRewardScaler,
    "return": ReturnBasedRewardScaler,
    "shift": lambda: ConstantShiftRewardScaler(-1.0, 2.0),
}


def returns(batch, gamma=0.9, scaler=None) -> np.ndarray:
    """(B,) what d3rlpy makes of a batch's transitions, as Cal-QL has it."""
    made = TorchMiniBatch.from_batch(batch, gamma, True, "cpu:0", reward_scaler=scaler)
    return made.returns_to_go.numpy()[:, 0]


def mixed_episodes() -> list[Episode]:
    return line_episodes(3, 7) + line_episodes(3, 5, terminated=True)


def complete_dataset() -> d3rlpy.dataset.ReplayBuffer:
    episodes = mixed_episodes()
    whole = [np.append(e.observations, [[9.0]], axis=0) for e in episodes]
    return mbo.dataset_from_arrays(
        [np.float32(each) for each in whole],
        [e.actions for e in episodes],
        [e.rewards for e in episodes],
        terminals=[e.terminated for e in episodes],
    )


DATASETS = {
    "d3rlpys": lambda: d3rlpy.dataset.create_infinite_replay_buffer(mixed_episodes()),
    "complete": complete_dataset,
    "fifo": lambda: d3rlpy.dataset.create_fifo_replay_buffer(17, mixed_episodes()),
    "an episode twice": lambda: d3rlpy.dataset.create_infinite_replay_buffer(
        2 * line_episodes(1, 6) + line_episodes(1, 5)
    ),
}


def test_these_are_all_reward_scalers_of_d3rlpy():
    listed = set(CONFIG_STORAGE[RewardScaler].config_list)
    assert listed == set(SCALERS) - {"none"}


@pytest.mark.parametrize("scaler", SCALERS)
@pytest.mark.parametrize("data", DATASETS)
def test_real_rows_have_d3rlpys_own_returns_row_by_row(data, scaler):
    dataset = DATASETS[data]()
    scaler = SCALERS[scaler]()
    if scaler is not None:
        scaler.fit_with_transition_picker(dataset.episodes, dataset.transition_picker)
    every = [dataset.buffer[i] for i in range(dataset.transition_count)]
    picked = [dataset.transition_picker(*each) for each in every]
    theirs = returns(
        d3rlpy.dataset.TransitionMiniBatch.from_transitions(picked), scaler=scaler
    )
    expected = {
        float(row.observation[0]): value
        for row, value in zip(picked, theirs, strict=True)
    }
    batch = mbo.ImaginedReplayBuffer(dataset, []).sample_transition_batch(300)
    found = returns(batch, scaler=scaler)
    drawn = batch.observations[:, 0].tolist()
    np.testing.assert_array_equal(found, [expected[each] for each in drawn])
    rows = mbo.Transitions.from_dataset(dataset).for_learners()
    assert set(drawn) == set(rows.observations[:, 0].tolist())


def by_hand() -> mbo.ImaginedReplayBuffer:
    """Case 4: s' = s + a, r = s, target 5, actions 1, 2, 3; from 5 on the real 10."""
    episode = Episode(
        np.float32([[4.0], [5.0]]), np.float32([[1.0], [3.5]]),
        np.float32([[7.0], [10.0]]), True,
    )  # fmt: skip
    dataset = d3rlpy.dataset.create_infinite_replay_buffer([episode])
    imagination = line_imagination(
        "reverse",
        dataset,
        rollout_policy=ScriptedPolicyConfig(script=[1.0, 2.0, 3.0]),
        termination=mbo.NoTermination(),
        rollout_length=3,
        rollout_batch_size=5,
    )
    imagination.action_range = mbo.ActionRange(torch.zeros(1), torch.full((1,), 5.0))
    return mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.0)


def test_case_4_imagined_rewards_then_the_discounted_real_return():
    batch = by_hand().sample_transition_batch(100)
    expected = {-1: 11.33, 2: 13.7, 4: 13.0}
    for state, value in zip(batch.observations[:, 0], returns(batch), strict=True):
        assert value == pytest.approx(expected[int(state)])
    rewards = {t.rewards_to_go.shape: t.rewards_to_go for t in batch.transitions}
    assert rewards[(4, 1)][:, 0].tolist() == [-1, 2, 4, 10]


def test_transitions_are_the_batchs_rows():
    batch = by_hand().sample_transition_batch(20)
    assert len(batch.transitions) == 20
    again = d3rlpy.dataset.TransitionMiniBatch.from_transitions(list(batch.transitions))
    for name in ("observations", "actions", "rewards", "next_observations",
                 "next_actions", "terminals", "intervals"):  # fmt: skip
        np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))
    assert batch.transitions[3].observation == batch.observations[3]


@pytest.mark.filterwarnings("ignore:.*100% of the")  # rows are terminal
def test_nothing_follows_a_real_terminal():
    dataset = mbo.dataset_from_arrays(
        [np.float32([[0.0], [1.0]])], [[[1.0]]], [[2.0]], terminals=[True]
    )
    imagination = line_imagination(
        "reverse", dataset, rollout_length=2, termination=mbo.NoTermination()
    )
    batch = mbo.ImaginedReplayBuffer(
        dataset, imagination, real_ratio=0.0
    ).sample_transition_batch(50)
    assert sorted(set(batch.observations[:, 0].tolist())) == [-1, 0]
    expected = np.where(batch.observations[:, 0] == 0, 0.0, -1.0)  # r = s
    np.testing.assert_array_equal(returns(batch), expected)


def test_nothing_follows_an_imagined_terminal_on_the_way():
    # Two rollouts of three rows to real row 0; in the second the middle row is an end.
    real = mbo.RealData.of(line_dataset(n_episodes=1, length=4))
    ring = Ring(capacity=8, width=real.layout.width, retained_refreshes=1)
    ring.begin_refresh()
    rows = np.zeros((6, real.layout.width), np.float32)
    columns = real.layout.columns(rows)
    columns["rewards"][:, 0] = [1, 2, 3, 10, 20, 30]
    columns["terminals"][4] = 1.0
    ring.append(rows, np.array([[0, 3], [0, 2], [0, 1]] * 2))
    drawn = ImaginedRows(ring, np.arange(6), real, True, validate_rewards=lambda: None)
    tail = real.rewards.rewards[1:, 0].tolist()
    assert [each[:, 0].tolist() for each in drawn.rewards_to_go()] == [
        [1, 2, 3, *tail], [2, 3, *tail], [3, *tail], [10, 20], [20], [30, *tail],
    ]  # fmt: skip


def test_rows_imagined_forwards_lead_nowhere_known_and_the_log_says_how_many():
    dataset = line_dataset()
    both = [line_imagination(d, dataset) for d in ("reverse", "forward")]
    learner = small_learner("cal_ql")
    buffer = mbo.ImaginedReplayBuffer(dataset, both, learner, 0.5, shares=[1, 3])
    batch = buffer.sample_transition_batch(80)
    unknown = np.isneginf(returns(batch))
    assert unknown.sum() == 30
    assert unknown[50:].all()
    assert np.isfinite(returns(batch)[:50]).all()
    assert buffer.unknown_returns_share == 30 / 80
    evaluators = mbo.imagination_evaluators(buffer)
    assert evaluators["unknown_returns_share"](learner, buffer) == 30 / 80
    other = mbo.ImaginedReplayBuffer(dataset, both, small_learner("cql"), 0.5)
    assert "unknown_returns_share" not in mbo.imagination_evaluators(other)


@pytest.mark.training
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_cal_ql_trains_from_every_imagination(direction):
    dataset = line_dataset()
    results = mbo.fit(
        small_learner("cal_ql", reward_scaler=StandardRewardScaler()),
        dataset,
        line_imagination(direction, rollout_batch_size=50),
        n_steps=2,
        **QUIET,
    )
    losses = [v for k, v in results[-1][1].items() if not k.startswith("time")]
    assert np.isfinite(losses).all()
    share = results[-1][1]["unknown_returns_share"]
    assert share == (0.5 if direction == "forward" else 0.0)


@pytest.mark.parametrize(
    ("scaler", "refused"),
    [
        (ClipRewardScaler(-1.0, 1.0), True),
        (ClipRewardScaler(None, 1.0), False),
        (MultiplyRewardScaler(-1.0), True),
        (MinMaxRewardScaler(0.0, 1.0), False),
        (MinMaxRewardScaler(multiplier=-1.0), True),
        (StandardRewardScaler(), False),
        (ReturnBasedRewardScaler(return_max=-1.0, return_min=1.0), True),
        (ConstantShiftRewardScaler(-1.0), False),
    ],
)
def test_a_scaler_that_makes_a_number_of_the_unknown_is_refused_by_name(
    scaler, refused
):
    dataset = line_dataset()
    learner = small_learner("cal_ql", reward_scaler=scaler)
    forward = line_imagination("forward", dataset)
    mbo.ImaginedReplayBuffer(dataset, line_imagination("reverse", dataset), learner)
    mbo.ImaginedReplayBuffer(dataset, forward, learner, real_ratio=1.0)
    if not refused:
        mbo.ImaginedReplayBuffer(dataset, forward, learner)
        return
    with pytest.raises(mbo.CompositionError, match=f"CalQL, {type(scaler).__name__}"):
        mbo.ImaginedReplayBuffer(dataset, forward, learner)


def test_a_scaler_that_becomes_one_when_it_is_fitted_is_refused_before_an_update():
    # All rewards are 1: the least is the greatest, and -inf / 0 stays what it is; with
    # bounds given the wrong way round it does not.
    dataset = line_dataset()
    scaler = MinMaxRewardScaler()
    learner = small_learner("cal_ql", reward_scaler=scaler)
    forward = line_imagination("forward", dataset)
    buffer = mbo.ImaginedReplayBuffer(dataset, forward, learner)
    scaler.minimum, scaler.maximum = 1.0, 0.0
    with pytest.raises(mbo.CompositionError, match="MinMaxRewardScaler"):
        learner.fit(buffer, n_steps=1, n_steps_per_epoch=1, **QUIET)
    assert learner.grad_step == 0


def test_unknown_returns_need_the_learner_so_that_its_scaler_can_be_seen():
    dataset = line_dataset()
    buffer = mbo.ImaginedReplayBuffer(dataset, line_imagination("forward", dataset))
    with pytest.raises(mbo.CompositionError, match="learner=algo"):
        small_learner("cal_ql").fit(buffer, n_steps=1, n_steps_per_epoch=1, **QUIET)


def test_a_batch_whose_rows_are_gone_says_so():
    buffer = by_hand()
    batch = buffer.sample_transition_batch(4)
    buffer.refresh()
    with pytest.raises(mbo.CompositionError, match="imagined anew"):
        list(batch.transitions)


def cut(reward: float, terminated: bool) -> d3rlpy.dataset.ReplayBuffer:
    return dataset_of_episodes(
        [
            Episode(e.observations, e.actions, np.full_like(e.rewards, reward), last)
            for e, last in zip(
                line_episodes(3, 5), [False, terminated, True], strict=True
            )
        ]
    )


@pytest.mark.filterwarnings("ignore:All")  # of the toys
def test_negative_rewards_of_cut_episodes_are_warned_of_where_returns_are_asked_for():
    learner = small_learner("cal_ql")
    with pytest.warns(UserWarning, match="67% of the episodes were cut.*too high"):
        mbo.ImaginedReplayBuffer(cut(-1.0, terminated=False), [], learner)
    mbo.ImaginedReplayBuffer(cut(-1.0, terminated=False), [], small_learner("cql"))
    mbo.ImaginedReplayBuffer(cut(-1.0, terminated=True), [], learner)
    mbo.ImaginedReplayBuffer(cut(1.0, terminated=False), [], learner)


@pytest.mark.training
def test_same_seed_same_cal_ql_bit_for_bit():
    weights = []
    for _ in range(2):
        d3rlpy.seed(0)
        dataset = line_dataset(n_episodes=4)
        learner = small_learner("cal_ql")
        imagination = line_imagination("reverse", dataset, rollout_interval=3)
        buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
        learner.fit(buffer, n_steps=5, n_steps_per_epoch=5, **QUIET)
        weights.append([p.tolist() for p in learner.impl.policy.parameters()])
    assert weights[0] == weights[1]


def test_rows_remember_their_start_and_how_far_they_are_from_it():
    dataset = line_dataset(n_episodes=3, length=9)
    real = mbo.RealData.of(dataset)
    for direction in ("reverse", "forward"):
        imagination = line_imagination(
            direction, dataset, rollout_length=3, rollout_batch_size=20,
            dynamics=LineDynamicsConfig(direction=direction, broken_at=4.0),
        )  # fmt: skip
        for part in imagination.rollouts(real, 20):
            rows = part.transitions
            starts = real.transitions[part.start_rows]
            near = part.distances == 1
            assert set(part.distances.tolist()) == {1, 2, 3}
            if direction == "reverse":
                reached = rows.next_observations, starts.next_observations
            else:
                reached = rows.observations, starts.observations
            assert (reached[0][near] == reached[1][near]).all()
            # Each row leads to the one a step nearer, or comes from it.
            nearer = part.distances[1:] - part.distances[:-1]
            same = part.start_rows[1:] == part.start_rows[:-1]
            step = -1 if direction == "reverse" else 1
            chained = rows.next_observations[:-1] == rows.observations[1:]
            assert (chained[:, 0] | (nearer != step) | ~same).all()
