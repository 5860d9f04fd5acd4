"""Sub-trajectories for transformers: d3rlpy's own, and those with an imagined lead-in."""

import d3rlpy
import numpy as np
import pytest
import torch
from d3rlpy.dataset import BasicTrajectorySlicer, Episode, TrajectoryMiniBatch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.buffer.ring import Ring
from d3rlpy_mbo.buffer.trajectories import Trajectories
from d3rlpy_mbo_rambo import AdversarialUpdaterConfig
from toys import (
    QUIET,
    ConstantPenalty,
    ScriptedPolicyConfig,
    choice_dataset,
    line_dataset,
    line_episodes,
    line_imagination,
    small_learner,
)

COLUMNS = (
    "observations", "actions", "rewards", "returns_to_go", "terminals", "timesteps",
    "masks",
)  # fmt: skip


def mixed_episodes() -> list[Episode]:
    return line_episodes(3, 7) + line_episodes(3, 5, terminated=True)


def complete_dataset() -> d3rlpy.dataset.ReplayBuffer:
    episodes = mixed_episodes()
    return mbo.dataset_from_arrays(
        [np.append(e.observations, np.float32([[9.0]]), axis=0) for e in episodes],
        [e.actions for e in episodes],
        [e.rewards for e in episodes],
        terminals=[e.terminated for e in episodes],
    )


DATASETS = {
    "d3rlpys": lambda: d3rlpy.dataset.create_infinite_replay_buffer(mixed_episodes()),
    "complete": complete_dataset,
    "choices": lambda: choice_dataset(3, 7),
}


def assert_same(ours: TrajectoryMiniBatch, theirs: TrajectoryMiniBatch) -> None:
    assert ours.length == theirs.length
    for name in COLUMNS:
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert found.dtype == expected.dtype == np.float32, name
        assert found.shape == expected.shape, name
        # d3rlpy adds up float32 in another order.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("length", [1, 3, 12])
@pytest.mark.parametrize("data", DATASETS)
def test_real_trajectories_are_d3rlpys_own_row_by_row(data, length):
    dataset = DATASETS[data]()
    real = mbo.RealData.of(dataset)
    every = [dataset.buffer[i] for i in range(dataset.transition_count)]
    slices = [BasicTrajectorySlicer()(*each, length) for each in every]
    ours = Trajectories(real, []).batch(length, np.arange(len(real)), [])
    assert_same(ours, TrajectoryMiniBatch.from_partial_trajectories(slices))


def test_real_trajectories_end_in_every_row_that_d3rlpy_would_draw():
    dataset = DATASETS["d3rlpys"]()
    buffer = mbo.ImaginedReplayBuffer(dataset, [])
    rows = np.arange(dataset.transition_count)
    ends = buffer.sample_trajectory_batch(2000, 1).observations[:, 0, 0]
    picked = [dataset.transition_picker(*dataset.buffer[i]) for i in rows]
    assert set(ends.tolist()) == {float(each.observation[0]) for each in picked}


def test_one_trajectory_is_as_d3rlpys_slicer_returns_it():
    trajectory = mbo.ImaginedReplayBuffer(line_dataset(), []).sample_trajectory(4)
    theirs = line_dataset().sample_trajectory(4)
    for name in COLUMNS:
        assert getattr(trajectory, name).shape == getattr(theirs, name).shape, name
    assert np.issubdtype(trajectory.timesteps.dtype, np.integer)
    assert trajectory.length == 4
    assert trajectory.get_transition_count() == 3


def scripted(n_before: int, terminated: bool, **settings) -> mbo.ImaginedReplayBuffer:
    """s' = s + a, r = s; the only start leads to 5, from where actions 1, 2, 3 lead back.

    The start is at timestep n_before; from 5 on the real rewards are 10, 20, 30.
    """
    before = np.arange(5 - n_before, 5, dtype=np.float32)
    observations = [*before, 5.0, 5.5, 6.0]
    episode = Episode(
        np.float32(observations)[:, None],
        np.float32([*np.diff(observations), 0.5])[:, None],
        np.float32([*before, 10.0, 20.0, 30.0])[:, None],
        terminated,
    )
    dataset = d3rlpy.dataset.create_infinite_replay_buffer([episode])
    settings.setdefault("termination", mbo.NoTermination())
    imagination = line_imagination(
        "reverse",
        dataset,
        rollout_policy=ScriptedPolicyConfig(script=[1.0, 2.0, 3.0]),
        rollout_length=3,
        rollout_batch_size=40,
        **settings,
    )
    imagination.action_range = mbo.ActionRange(torch.zeros(1), torch.full((1,), 5.0))
    return mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.0)


def those_to_five(batch: TrajectoryMiniBatch) -> dict[float, dict[str, np.ndarray]]:
    """The trajectories whose rollouts lead to the real state 5, by their first state."""
    found = {}
    for i in range(len(batch.masks)):
        there = batch.masks[i] > 0
        columns = {name: getattr(batch, name)[i][there].flatten() for name in COLUMNS}
        if 5.0 in columns["observations"]:
            found[float(columns["observations"][0])] = columns
    return found


def test_imagined_steps_lead_into_real_ones_with_times_and_returns_that_go_on():
    # By hand: (-1, 3, 2), (2, 2, 4), (4, 1, 5) and then the real 5 at timestep 5.
    buffer = scripted(n_before=4, terminated=True)
    batch = buffer.sample_trajectory_batch(300, 5)
    whole = those_to_five(batch)[-1.0]
    assert whole["observations"].tolist() == [-1, 2, 4, 5, 5.5]
    assert whole["actions"].tolist() == [3, 2, 1, 0.5, 0.5]
    assert whole["rewards"].tolist() == [-1, 2, 4, 10, 20]
    assert whole["returns_to_go"].tolist() == [65, 66, 64, 60, 50]
    assert whole["timesteps"].tolist() == [2, 3, 4, 5, 6]
    assert whole["terminals"].tolist() == [0, 0, 0, 0, 0]


def test_what_is_left_of_the_length_is_padding_in_front():
    buffer = scripted(n_before=4, terminated=True)
    batch = buffer.sample_trajectory_batch(300, 8)
    rows = [i for i in range(300) if batch.observations[i, -6, 0] == -1]
    first = rows[0]
    assert batch.masks[first].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert batch.terminals[first].flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    for name in COLUMNS:
        assert not getattr(batch, name)[first][:2].any(), name


def test_a_step_before_the_first_timestep_is_left_out():
    # From timestep 3 on: only two steps fit in front, 2 and 4.
    found = those_to_five(scripted(2, True).sample_trajectory_batch(300, 6))
    assert -1.0 not in found
    assert found[2.0]["timesteps"].tolist() == [1, 2, 3, 4, 5]
    assert found[2.0]["returns_to_go"].tolist() == [66, 64, 60, 50, 30]


def test_a_cut_episodes_last_reward_counts_though_it_is_no_row_as_in_d3rlpy():
    found = those_to_five(scripted(4, terminated=False).sample_trajectory_batch(300, 8))
    assert found[-1.0]["observations"].tolist() == [-1, 2, 4, 5, 5.5]
    assert found[-1.0]["returns_to_go"][0] == 65


def test_a_length_that_the_rollout_fills_alone_keeps_what_follows_in_the_returns():
    batch = scripted(4, True).sample_trajectory_batch(300, 2)
    from_far = batch.observations[:, 0, 0] == -1
    # Of other starts too: 1 less lead one state lower, with other rewards behind.
    assert from_far.any()
    five = from_far & (batch.timesteps[:, 0] == 2)
    assert (batch.observations[five][..., 0] == [-1, 2]).all()
    assert (batch.returns_to_go[five][..., 0] == [65, 66]).all()


@pytest.mark.filterwarnings("ignore:.*100% of the")  # rows are terminal
def test_a_rollout_that_ends_in_a_terminal_has_no_real_tail():
    dataset = mbo.dataset_from_arrays(
        [np.float32([[0.0], [0.5]]), np.float32([[7.0], [8.0]])],
        [[[0.5]], [[1.0]]], [[2.0], [3.0]], terminals=[True, True],
    )  # fmt: skip
    imagination = line_imagination(
        "reverse", dataset, rollout_length=2, termination=mbo.NoTermination()
    )
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.0)
    batch = buffer.sample_trajectory_batch(50, 3)
    # One step at timestep 1 is all that fits before the terminal state at time 2.
    assert batch.masks.tolist() == [[0, 0, 1]] * 50
    assert (batch.timesteps[:, 2] == 1).all()
    assert (batch.terminals[:, 2] == 1).all()
    np.testing.assert_array_equal(batch.returns_to_go, batch.rewards)


def test_nothing_follows_an_imagined_terminal_on_the_way():
    # A halt may end a rollout in a terminal row: the return is its own reward.
    real = mbo.RealData.of(line_dataset(n_episodes=1, length=8))
    ring = Ring(capacity=8, width=real.layout.width, retained_refreshes=1)
    ring.begin_refresh()
    rows = np.zeros((2, real.layout.width), np.float32)
    columns = real.layout.columns(rows)
    columns["rewards"][:, 0] = [-31, 2]
    columns["terminals"][0] = 1.0
    ring.append(rows, np.array([[3, 2], [3, 1]]))
    none = np.zeros(0, dtype=np.int64)
    batch = Trajectories(real, [ring]).batch(3, none, [np.arange(2)])
    assert batch.masks.tolist() == [[0, 0, 1], [1, 1, 1]]
    assert batch.returns_to_go[0, 2] == -31
    assert batch.timesteps.tolist() == [[0, 0, 3], [4, 5, 6]]
    tail = real.rewards.rewards[4:].sum()
    assert batch.returns_to_go[1, 0, 0] == pytest.approx(2 + tail, rel=1e-5)


def test_rows_imagined_anew_lead_in_anew_wherever_the_store_begins():
    # Of five places the third rollout takes the last one, then the first two.
    real = mbo.RealData.of(line_dataset(n_episodes=1, length=8))
    rings = [Ring(5, real.layout.width, retained_refreshes=2) for _ in range(2)]
    trajectories = Trajectories(real, rings)
    none = np.zeros(0, dtype=np.int64)
    for refresh, n_rows in enumerate([2, 2, 3, 2]):
        rings[1].begin_refresh()
        rows = np.zeros((n_rows, real.layout.width), np.float32)
        real.layout.columns(rows)["rewards"][:, 0] = 100 * refresh + np.arange(n_rows)
        distances = np.arange(n_rows, 0, -1)
        rings[1].append(rows, np.stack([np.full(n_rows, 4), distances], axis=1))
        place = np.array([[0, 2, 4, 2][refresh]])
        batch = trajectories.batch(4, none, [none, place])
        steps = batch.rewards[0, :n_rows, 0]
        assert steps.tolist() == [100 * refresh + i for i in range(n_rows)]
        assert batch.timesteps[0, :n_rows].tolist() == list(range(6 - n_rows, 6))
        after = real.rewards.rewards[5:].sum()
        assert batch.returns_to_go[0, 0, 0] == pytest.approx(steps.sum() + after)


def test_each_step_chains_with_the_next_and_only_a_share_begins_in_imagined_rows():
    dataset = line_dataset(n_episodes=4, length=30)
    imagination = line_imagination("reverse", dataset, rollout_length=4)
    buffer = mbo.ImaginedReplayBuffer(dataset, imagination, real_ratio=0.25)
    batch = buffer.sample_trajectory_batch(400, 6)
    assert buffer.imagined_share == 0.75
    moved = (batch.observations + batch.actions)[:, :-1] - batch.observations[:, 1:]
    both = batch.masks[:, :-1] * batch.masks[:, 1:] * (1 - batch.terminals[:, :-1, 0])
    np.testing.assert_allclose(moved[..., 0] * both, 0, atol=1e-5)
    later = batch.timesteps[:, 1:] - batch.timesteps[:, :-1]
    assert (later[both > 0] == 1).all()
    assert batch.timesteps[batch.masks > 0].min() >= 1
    own = batch.returns_to_go[:, :-1] - batch.returns_to_go[:, 1:]
    np.testing.assert_allclose(
        own[both > 0], batch.rewards[:, :-1][both > 0], atol=1e-4
    )


def transformer(name: str = "decision_transformer", **settings):
    settings = {"context_size": 5, "max_timestep": 30, **settings}
    return small_learner(name, **settings)


@pytest.mark.training
@pytest.mark.parametrize("name", ["decision_transformer", "tacr"])
def test_transformers_train_unbuilt_through_plain_fit_the_same_from_the_same_seed(name):
    weights = []
    for _ in range(2):
        d3rlpy.seed(0)
        dataset = line_dataset(n_episodes=4)
        imagination = line_imagination("reverse", dataset, rollout_interval=3)
        learner = transformer(name)
        buffer = mbo.ImaginedReplayBuffer(dataset, imagination, learner)
        learner.fit(buffer, n_steps=4, n_steps_per_epoch=2, **QUIET)
        assert learner.grad_step == 4
        assert len(buffer.sources[0].ring) == 1000
        parameters = learner.impl.modules.transformer.parameters()
        weights.append([parameter.tolist() for parameter in parameters])
    assert weights[0] == weights[1]
    assert np.isfinite(weights[0][0]).all()


def test_a_transformer_refuses_what_imagines_forwards_with_the_reason():
    dataset = line_dataset()
    forward = line_imagination("forward", dataset)
    with pytest.raises(
        mbo.CompositionError, match="'custom' imagines forwards.*reverse"
    ):
        mbo.ImaginedReplayBuffer(dataset, forward, transformer())
    unnamed = mbo.ImaginedReplayBuffer(dataset, forward)
    with pytest.raises(mbo.CompositionError, match="imagines forwards"):
        unnamed.sample_trajectory(5)
    mbo.ImaginedReplayBuffer(dataset, forward, transformer(), real_ratio=1.0)


def test_a_transformer_refuses_parts_that_would_ask_it():
    dataset = line_dataset()
    imagination = line_imagination(
        "reverse", dataset, dynamics_updater=AdversarialUpdaterConfig()
    )
    with pytest.raises(mbo.CompositionError, match="asks the learner.*whole context"):
        mbo.ImaginedReplayBuffer(dataset, imagination, transformer())
    learner = transformer()
    learner.build_with_dataset(dataset)
    with pytest.raises(mbo.CompositionError, match="whole context"):
        mbo.learners.sample_action(learner, torch.zeros(1, 1))
    with pytest.raises(mbo.CompositionError, match="no critic"):
        mbo.learners.q_value(learner, torch.zeros(1, 1), torch.zeros(1, 1))


class OwnSlicer(BasicTrajectorySlicer):
    """Another than d3rlpy's."""


def test_a_slicer_that_nobody_would_ask_is_refused_where_trajectories_are_wanted():
    dataset = d3rlpy.dataset.create_infinite_replay_buffer(
        line_episodes(3, 7), trajectory_slicer=OwnSlicer()
    )
    with pytest.raises(mbo.DatasetError, match="OwnSlicer are not supported"):
        mbo.ImaginedReplayBuffer(dataset, [], transformer())
    imagination = line_imagination("reverse")
    with pytest.raises(mbo.DatasetError, match="OwnSlicer are not supported"):
        mbo.fit(transformer(), dataset, imagination, n_steps=1, **QUIET)
    assert not imagination.fitted
    buffer = mbo.ImaginedReplayBuffer(dataset, [])
    with pytest.raises(mbo.DatasetError, match="OwnSlicer are not supported"):
        buffer.sample_trajectory_batch(4, 3)
    assert len(buffer.sample_transition_batch(4)) == 4  # these it has no part in


def test_episodes_beyond_the_transformers_last_timestep_are_refused_by_name():
    dataset = line_dataset(n_episodes=2, length=31)  # d3rlpy keeps 30 rows
    mbo.ImaginedReplayBuffer(dataset, [], transformer(max_timestep=30))
    with pytest.raises(mbo.CompositionError, match="30 steps.*is 29.*max_timestep=30"):
        mbo.ImaginedReplayBuffer(dataset, [], transformer(max_timestep=29))


def test_a_context_that_no_episode_fills_is_warned_of():
    dataset = line_dataset(n_episodes=2, length=5)
    with pytest.warns(UserWarning, match="4 steps, but context_size.*first 2 places"):
        mbo.ImaginedReplayBuffer(dataset, [], transformer(context_size=6))


def test_penalties_lower_the_returns_that_a_transformer_is_trained_with():
    found = those_to_five(
        scripted(4, True, penalty=ConstantPenalty(0.5)).sample_trajectory_batch(300, 5)
    )
    assert found[-1.0]["rewards"].tolist() == [-1.5, 1.5, 3.5, 10, 20]
    assert found[-1.0]["returns_to_go"].tolist() == [63.5, 65, 63.5, 60, 50]
