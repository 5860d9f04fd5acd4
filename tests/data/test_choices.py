"""Discrete actions: indices of choices, from whatever form a dataset has."""

import warnings

import d3rlpy
import gymnasium
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.action_sets import action_set_of
from toys import STEPS, choice_dataset, rows_of

CHOICES = mbo.ActionChoices(3)


def test_choices_are_indices_outside_and_a_column_each_inside_networks():
    actions = torch.tensor([[2.0], [0.0]])
    assert CHOICES.columns(actions).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert (CHOICES.size, CHOICES.n_columns, CHOICES.n_actions) == (1, 3, 3)
    continuous = mbo.ActionRange(torch.zeros(2), torch.ones(2))
    assert (continuous.size, continuous.n_columns, continuous.n_actions) == (2, 2, None)
    assert continuous.columns(actions) is actions


def test_every_proposal_becomes_one_of_the_choices():
    proposed = torch.tensor([[-3.0], [0.4], [1.6], [9.0]])
    assert CHOICES.project(proposed).tolist() == [[0], [0], [2], [2]]


def test_choices_are_drawn_uniformly():
    drawn = CHOICES.sample(30_000)
    assert drawn.shape == (30_000, 1)
    assert drawn.dtype == torch.float32
    shares = torch.bincount(drawn[:, 0].long(), minlength=3) / 30_000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.01, rtol=0)


def test_an_action_set_is_made_of_its_state_again():
    assert action_set_of(CHOICES.state_dict()).n_actions == 3
    low = mbo.ActionRange(torch.zeros(1), torch.ones(1)).state_dict()
    assert action_set_of(low).high.tolist() == [1]


def test_transitions_keep_how_many_choices_there_are():
    rows = mbo.Transitions.from_arrays(
        [[0.0], [1.0]], [1, 0], [0, 0], [[1.0], [2.0]], [0, 0], [0, 2], n_actions=3
    )
    assert rows.actions.tolist() == [[1], [0]]
    assert rows.action_columns.tolist() == [[0, 1, 0], [1, 0, 0]]
    for part in (rows[:1], rows.to("cpu"), mbo.Transitions.concatenate([rows, rows])):
        assert part.n_actions == 3
    assert rows.action_set().n_actions == 3
    assert "3 choices" in repr(rows)
    with pytest.raises(mbo.DatasetError, match="indices have no range.*action_set"):
        rows.action_range()


def by_d3rlpy(actions, **arguments):
    arguments.setdefault("action_space", d3rlpy.ActionSpace.DISCRETE)
    actions = np.asarray(actions)
    return d3rlpy.dataset.MDPDataset(
        np.arange(len(actions), dtype=np.float32)[:, None],
        actions,
        np.zeros(len(actions), np.float32),
        np.append(np.zeros(len(actions) - 1), 1),
        **arguments,
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.float32])
def test_d3rlpys_discrete_datasets_are_read_as_d3rlpy_draws_them(dtype):
    dataset = by_d3rlpy(np.array([0, 2, 1, 1, 0], dtype), action_size=3)
    real = mbo.RealData.of(dataset)
    assert real.transitions.n_actions == 3
    assert real.action_set.n_actions == 3
    assert "3 choices" in repr(real)
    picked = [
        dataset.transition_picker(dataset.episodes[0], i)
        for i in range(dataset.transition_count)
    ]
    theirs = d3rlpy.dataset.TransitionMiniBatch.from_transitions(picked)
    assert rows_of(real.transitions) == rows_of(theirs)


@pytest.mark.parametrize(
    ("actions", "arguments", "words"),
    [
        ([0, 1.5, 1], {"action_size": 2}, "no integers.*row 1: 1.5"),
        ([1, 0, -1], {"action_size": 2}, "row 2: -1. Expected 0 to 1"),
        ([1, 3, 0], {"action_size": 3}, "row 1: 3. Expected 0 to 2.*action_size"),
        ([0, 0, 0], {}, "single action.*action_space=d3rlpy.ActionSpace.CONTINUOUS"),
        ([[0, 1], [1, 0]], {"action_size": 2}, "MultiDiscrete.*combinations"),
    ],
)
def test_what_names_no_choice_is_refused_by_row_and_range(actions, arguments, words):
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.RealData.of(by_d3rlpy(actions, **arguments))
    if "action_size" in arguments:
        n_rows = len(actions)
        with pytest.raises(mbo.DatasetError, match=words):
            mbo.dataset_from_arrays(
                np.arange(n_rows + 1.0).reshape(1, -1, 1), [actions], np.zeros((1, n_rows)),
                n_actions=arguments["action_size"],
            )  # fmt: skip


@pytest.mark.parametrize("n_actions", [0, -1, 2.5, True, "3"])
def test_a_number_of_choices_that_is_none_is_refused(n_actions):
    with pytest.raises(mbo.DatasetError, match="n_actions of the arrays is"):
        mbo.dataset_from_arrays([[[0.0]]], [[0]], [[0]], n_actions=n_actions)


def test_a_number_of_choices_of_numpys_is_pythons_where_learners_read_it(tmp_path):
    taken, n_actions = np.array([0, 1, 2, 1]), np.int64(3)  # as env.action_space.n
    dataset = mbo.dataset_from_arrays(
        [np.arange(5.0)[:, None]], [taken], [np.zeros(4)], n_actions=n_actions
    )
    assert type(dataset.dataset_info.action_size) is int
    rows = [[0.0]], [0], [0], [[1.0]], [0]
    made = mbo.Transitions.from_arrays(*rows, n_actions=n_actions)
    assert type(made.n_actions) is int
    # d3rlpy's own, which it builds learners of that cannot be saved.
    buffer = mbo.ImaginedReplayBuffer(
        by_d3rlpy([0, 1, 2, 1], action_size=n_actions), []
    )
    learner = d3rlpy.algos.DQNConfig().create()
    learner.build_with_dataset(buffer)
    learner.save(tmp_path / "dqn.d3")


def test_an_action_that_is_never_taken_is_reported_by_name_and_works():
    dataset = by_d3rlpy([0, 2, 0, 2, 5], action_size=7)
    with pytest.warns(UserWarning, match="never takes 4 of its 7 actions: 1, 3, 4, 6"):
        real = mbo.RealData.of(dataset)
    assert real.transitions.n_actions == 7


def test_arrays_row_by_row_and_by_episode_give_the_same_choices():
    taken = np.array([1, 0, 2, 1])
    states = np.append(0.0, np.take(STEPS, taken).cumsum())
    columns = states[:-1, None], taken, np.zeros(4), states[1:, None]
    by_row = mbo.dataset_from_arrays(*columns, timeouts=[0, 0, 0, 1], n_actions=3)
    by_episode = mbo.dataset_from_arrays(
        [states[:, None]], [taken[:, None]], [np.zeros(4)], n_actions=3
    )
    for dataset in (by_row, by_episode):
        assert dataset.dataset_info.action_space == d3rlpy.ActionSpace.DISCRETE
        assert dataset.dataset_info.action_size == 3
        assert dataset.episodes[0].actions.dtype == np.int64
        assert dataset.episodes[0].actions.tolist() == [[1], [0], [2], [1]]
    assert rows_of(mbo.RealData.of(by_row).transitions) == rows_of(
        mbo.RealData.of(by_episode).transitions
    )


def test_whole_numbers_are_continuous_where_nobody_says_otherwise():
    dataset = mbo.dataset_from_arrays(
        [[[0.0], [1.0], [2.0]]], [[[1], [0]]], [[0.0, 0.0]]
    )
    assert dataset.dataset_info.action_space == d3rlpy.ActionSpace.CONTINUOUS
    assert mbo.RealData.of(dataset).transitions.n_actions is None


def test_a_discrete_dataset_survives_d3rlpys_own_dump(tmp_path):
    dataset = choice_dataset(3, 4)
    with open(tmp_path / "data.h5", "w+b") as file:
        dataset.dump(file)
    with open(tmp_path / "data.h5", "rb") as file:
        loaded = d3rlpy.dataset.ReplayBuffer.load(file, d3rlpy.dataset.InfiniteBuffer())
    expected = [each.actions.tolist() for each in dataset.episodes]
    assert [each.actions.tolist() for each in loaded.episodes] == expected


def stored(actions, action_space) -> minari.MinariDataset:
    """One episode of three steps as Minari keeps it."""
    buffer = EpisodeBuffer(
        observations=np.arange(8, dtype=np.float32).reshape(4, 2),
        actions=np.array(actions),
        rewards=[0.0, 0.0, 0.0],
        terminations=[False, False, True],
        truncations=[False, False, False],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            "odd/start-v0",
            [buffer],
            observation_space=spaces.Box(-np.inf, np.inf, (2,), np.float32),
            action_space=action_space,
        )


def test_minaris_choices_are_counted_from_0_whatever_they_start_from(minari_root):
    stored([5, 7, 6], spaces.Discrete(4, start=5))
    with pytest.warns(UserWarning, match="records none"):
        dataset, _ = mbo.load_minari("odd/start-v0")
    assert dataset.dataset_info.action_size == 4
    assert dataset.episodes[0].actions.tolist() == [[0], [2], [1]]
    with pytest.warns(UserWarning, match="never takes 1 of its 4 actions: 3"):
        assert mbo.RealData.of(dataset).transitions.n_actions == 4


def test_minaris_choices_below_the_start_are_refused_with_their_episode(minari_root):
    source = stored([4, 7, 6], spaces.Discrete(4, start=5))
    with pytest.raises(mbo.DatasetError, match="episode 0.*row 0: 4. Expected 5 to 8"):
        mbo.load_minari(source)


class Counted(gymnasium.Env):
    """Ends at once; remembers what it was told."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3, start=5)
    told: list = []  # noqa: RUF012

    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.told.append(action)
        return np.zeros(2, np.float32), 0.0, True, False, {}


def test_the_environment_gets_its_own_numbers_again(minari_root):
    gymnasium.register("Counted-v0", entry_point=Counted)
    source = stored([5, 7, 6], Counted.action_space)
    source._eval_env_spec = gymnasium.spec("Counted-v0")
    try:
        dataset, env = mbo.load_minari(source)
    finally:
        del gymnasium.registry["Counted-v0"]
    assert env.action_space == spaces.Discrete(3)
    learner = d3rlpy.algos.DQNConfig().create()
    learner.build_with_dataset(dataset)
    Counted.told.clear()
    d3rlpy.metrics.EnvironmentEvaluator(env, n_trials=1)(learner, None)
    chosen = learner.predict(np.zeros((1, 2), np.float32))[0]
    assert Counted.told == [5 + chosen]
