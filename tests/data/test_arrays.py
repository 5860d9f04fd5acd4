"""Own arrays: every true next observation is kept, everything assumed is said."""

import warnings
from typing import Any

import d3rlpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data import outcomes
from d3rlpy_mbo.data.rows import Rows
from own_data import by_episode, walk
from sizes import peak_of_numpy


def silent(**columns: Any) -> mbo.Transitions:
    """Fails on any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mbo.Transitions.from_dataset(mbo.dataset_from_arrays(**columns))


def warned(*words: str, **columns: Any) -> mbo.Transitions:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = mbo.dataset_from_arrays(**columns)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 1, messages
    assert caught[0].filename == __file__
    for word in words:
        assert word in messages[0]
    return mbo.Transitions.from_dataset(dataset)


def refused(words: str, **changed: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(mbo.DatasetError, match=words):
            mbo.dataset_from_arrays(**{**walk(), **changed})


def same_rows(transitions: mbo.Transitions, columns: dict[str, Any]) -> None:
    for name in ("observations", "actions", "next_observations"):
        assert np.array_equal(getattr(transitions, name).numpy(), columns[name])
    assert transitions.rewards[:, 0].tolist() == columns["rewards"].tolist()
    assert transitions.terminals[:, 0].tolist() == columns["terminals"].tolist()
    assert bool(transitions.next_observation_known.all())


def test_every_row_of_d4rls_columns_keeps_its_true_next_observation():
    same_rows(silent(**walk()), walk())


def test_episodes_of_one_more_observation_are_the_same_rows():
    same_rows(silent(**by_episode(walk())), walk())


def test_episodes_with_next_observations_are_the_same_rows():
    columns = walk()
    ends = np.flatnonzero(columns["terminals"] + columns["timeouts"]) + 1
    split = {name: np.split(column, ends[:-1]) for name, column in columns.items()}
    same_rows(silent(**split), columns)


def test_episodes_may_be_one_array_and_say_once_how_they_ended():
    columns = walk((3, 3), terminal=(1,))
    parts = by_episode(columns)
    del parts["timeouts"]
    parts = {name: np.stack(part) for name, part in parts.items()}
    same_rows(silent(**{**parts, "terminals": [False, True]}), columns)


def test_rewards_and_flags_may_be_columns_lists_integers_and_float64():
    columns = walk()
    changed = {
        "observations": columns["observations"].astype(np.float64),
        "next_observations": columns["next_observations"].tolist(),
        "rewards": columns["rewards"][:, None].astype(int),
        "terminals": columns["terminals"].astype(bool)[:, None],
        "timeouts": columns["timeouts"].astype(np.int8),
    }
    same_rows(silent(**{**columns, **changed}), columns)


def test_learners_draw_all_but_the_last_rows_of_what_was_cut():
    columns = walk()
    rows = silent(**columns).for_learners()
    cut = np.flatnonzero(columns["timeouts"])
    expected = np.delete(columns["observations"], cut, axis=0)
    assert np.array_equal(rows.observations.numpy(), expected)
    assert rows.next_actions[0, 0] == columns["actions"][1, 0]


def test_rows_that_do_not_chain_are_cuts_and_counted():
    columns = walk()
    del columns["timeouts"]
    columns["terminals"] = np.zeros(9)
    rows = warned("2 of 9 rows", "the first is row 2", **columns)
    same_rows(rows, columns)
    assert rows.next_action_known.nonzero()[:, 0].tolist() == [0, 1, 3, 4, 5, 7]


def test_next_observations_rounded_to_float32_still_chain():
    columns = walk()
    columns["next_observations"] = np.nextafter(
        columns["next_observations"], np.float32(1e9)
    )
    silent(**columns)


def test_next_observations_that_were_added_up_still_chain():
    # s + (s' - s) is off by spacings of s, which are large beside an s' near zero.
    rng = np.random.default_rng(0)
    states = rng.normal(size=(501, 5)).astype(np.float32)
    states[:, 0] = np.where(np.arange(501) % 2, 1e-6, 1.0) * states[:, 0]
    s, change = states[:-1], states[1:] - states[:-1]
    assert (np.abs(s + change - states[1:]) > 2 * np.spacing(np.abs(states[1:]))).any()
    columns = {"actions": change, "rewards": np.zeros(500), "terminals": np.zeros(500)}
    silent(observations=s, next_observations=s + change, **columns)


def test_rows_are_compared_alike_in_blocks(monkeypatch):
    columns = walk((30, 40))
    del columns["timeouts"]
    columns["terminals"][:] = 0
    expected = warned("1 of 70 rows", "the first is row 29", **columns)
    monkeypatch.setattr(outcomes, "_ROWS", 7)
    found = warned("1 of 70 rows", "the first is row 29", **columns)
    assert found.next_action_known.tolist() == expected.next_action_known.tolist()


def test_shuffled_rows_are_episodes_of_one_step():
    columns, order = walk(), np.random.default_rng(1).permutation(9)
    shuffled = {name: column[order] for name, column in columns.items()}
    rows = warned("lead to another observation", **shuffled)
    same_rows(rows, shuffled)


def test_learners_have_nothing_in_shuffled_rows_and_that_is_the_cause_that_is_named():
    columns = walk(terminal=())
    columns["observations"] = columns["observations"][[8, 3, 1, 6, 0, 4, 7, 2, 5]]
    columns["next_observations"] = columns["observations"] + np.float32([1, 10])
    with pytest.warns(match="lead to another observation"):
        dataset = mbo.dataset_from_arrays(**columns)
    with pytest.raises(mbo.DatasetError, match="Were the rows shuffled"):
        mbo.ImaginedReplayBuffer(dataset, [])


@pytest.mark.parametrize(
    "end", [[0, 0], [100, 0]], ids=["zero", "the next one's start"]
)
def test_outcomes_given_by_episode_are_true_wherever_they_are(end):
    parts = by_episode(walk(terminal=(0, 1, 2)))
    for k, observations in enumerate(parts["observations"]):
        observations += 1
        observations[-1] = np.float32(end) + (1 if k < 2 and any(end) else 0)
    rows = silent(**parts)
    assert bool(rows.next_observation_known.all())
    assert rows.next_observations[rows.terminals[:, 0] > 0][:1].tolist() == [
        parts["observations"][0][-1].tolist()
    ]


def test_flags_of_episodes_in_a_series_are_read_by_their_place():
    pandas = pytest.importorskip("pandas")
    parts = by_episode(walk(terminal=(0, 1)))
    flags = pandas.Series([1, 1, 0], index=[2, 0, 1])
    rows = silent(**{**parts, "terminals": flags, "timeouts": None})
    assert rows.terminals[:, 0].nonzero()[:, 0].tolist() == [2, 6]
    rewards = pandas.Series(parts["rewards"], index=["c", "a", "b"])
    same = silent(**{**parts, "rewards": rewards})
    assert same.rewards[:, 0].tolist() == walk()["rewards"].tolist()


def test_time_outs_that_are_out_of_step_with_the_resets_are_said():
    # As in D4RL's antmaze v0: each one a row later than the last.
    rng = np.random.default_rng(0)
    starts = rng.uniform(-10, 10, (20, 1, 3))
    walks = np.cumsum(0.1 * rng.normal(size=(20, 50, 3)), axis=1) + starts
    columns = {"observations": walks.reshape(-1, 3), "actions": np.ones((1000, 1))}
    columns |= {"rewards": np.zeros(1000), "timeouts": np.zeros(1000)}
    true, late = np.arange(49, 1000, 50), np.arange(50, 1000, 51)
    wrong = {**columns, "timeouts": np.isin(np.arange(1000), late)}
    warned("inside episodes", "the first is row 49", "out of step", **wrong)
    right = {**columns, "timeouts": np.isin(np.arange(1000), true)}
    assert "out of step" not in said(right)
    some = {**columns, "timeouts": np.isin(np.arange(1000), true[3:])}
    warned("rows inside episodes", "not marked", "the first is row 49", **some)
    on = np.cumsum(0.1 * rng.normal(size=(1000, 3)), axis=0)  # one walk that goes on
    assert "out of step" not in said({**wrong, "observations": on})
    resting = np.where(np.arange(1000)[:, None] % 10, 0.0, rng.normal(size=(1000, 3)))
    assert "out of step" not in said({**wrong, "observations": resting})
    # A good controller's: far from rest for some steps, then nearly still.
    falling = np.exp(2.0 * rng.normal(size=(20, 1, 3))) * 0.7 ** np.arange(50)[:, None]
    settling = (falling + 1e-3 * rng.normal(size=(20, 50, 3))).reshape(-1, 3)
    assert "out of step" not in said({**right, "observations": settling})
    on = np.tile(np.sin(np.minimum(np.arange(250), 100) * np.pi / 50), 4)[:, None]
    resting = on * [1, 2, 3] + 1e-4 * rng.normal(size=(1000, 3))  # moves, then rests
    assert "out of step" not in said({**wrong, "observations": resting})


def test_without_any_time_out_a_time_limit_is_asked_for():
    columns = walk(terminal=(0, 1, 2))
    del columns["next_observations"], columns["timeouts"]
    warned("learn its resets as transitions", "give timeouts", **columns)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.float64])
def test_seconds_that_float32_does_not_tell_apart_are_said(dtype):
    columns = walk((9,), terminal=(0,))
    seconds = 1_700_000_000 + 5 * np.arange(10)
    observations = np.stack([seconds, np.arange(10)], axis=1).astype(dtype)
    columns["observations"], columns["next_observations"] = (
        observations[:-1], observations[1:],
    )  # fmt: skip
    assert "float32 loses" in said(columns)


def test_the_next_episodes_first_state_is_never_a_terminals_outcome():
    # D4RL's qlearning_dataset.
    columns = walk()
    columns["next_observations"][:-1] = columns["observations"][1:]
    del columns["timeouts"]
    columns = {name: np.delete(column, 6, axis=0) for name, column in columns.items()}
    rows = warned("1 of 2 terminal rows", "not where the action led", **columns)
    known = rows.next_observation_known
    assert (~known).nonzero()[:, 0].tolist() == [2]
    assert rows.terminals[:, 0].nonzero()[:, 0].tolist() == [2, 7]
    # The last row's outcome is there, and row 5 leads to the row that was left out.
    assert rows.next_observations[7].tolist() == [202, 20]
    assert rows.next_observations[5].tolist() == [103, 30]
    assert len(rows.for_learners()) == 7


def test_d3rlpys_zeros_are_never_a_terminals_outcome():
    columns = walk()
    columns["observations"] += 1
    columns["next_observations"] += 1
    columns["next_observations"][columns["terminals"] == 1] = 0
    rows = warned("2 of 2 terminal rows is zero", **columns)
    assert (~rows.next_observation_known).nonzero()[:, 0].tolist() == [2, 8]


def test_a_reset_after_a_timeout_is_not_where_the_action_led():
    columns = walk(terminal=())
    columns["next_observations"][:-1] = columns["observations"][1:]
    rows = warned("2 of 3 timeout rows", "are left out", **columns)
    assert rows.observations[:, 0].tolist() == [0, 1, 100, 101, 102, 200, 201]
    assert rows.next_observations[:, 0].tolist() == [1, 2, 101, 102, 103, 201, 202]


def test_a_walk_that_goes_on_through_its_timeouts_keeps_its_rows():
    # D4RL's maze2d.
    columns = walk((9,), terminal=())
    columns["timeouts"][[2, 6]] = 1
    rows = silent(**columns)
    same_rows(rows, columns)
    assert (~rows.next_action_known).nonzero()[:, 0].tolist() == [2, 6, 8]


def test_without_next_observations_the_last_outcomes_are_unknown_and_that_is_said():
    columns = walk()
    del columns["next_observations"]
    rows = warned("2 terminal rows", "1 last rows", **columns)
    assert rows.observations[:, 0].tolist() == [0, 1, 2, 100, 101, 102, 200, 201]
    assert (~rows.next_observation_known).nonzero()[:, 0].tolist() == [2, 7]
    assert not rows.next_observations[~rows.next_observation_known].any()
    assert len(rows.for_models()) == 6


def test_a_learned_termination_fits_what_has_terminals_and_no_known_rule():
    columns = walk((5,) * 12, terminal=tuple(range(12)))
    learned = mbo.LearnedTerminationConfig().create()
    learned.check_transitions(silent(**columns))
    del columns["next_observations"]
    rows = warned("12 terminal rows", **columns)
    with pytest.raises(mbo.DatasetError, match="dataset_from_arrays"):
        learned.check_transitions(rows)


def test_d3rlpys_own_training_scalers_and_dump_serve_it(tmp_path):
    columns = walk()
    del columns["next_observations"]
    for arrays in (walk(), columns):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = mbo.dataset_from_arrays(**arrays)
        algo = d3rlpy.algos.TD3PlusBCConfig(
            batch_size=8,
            observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        ).create()
        algo.fit(
            dataset,
            2,
            1,
            show_progress=False,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            evaluators={"td": d3rlpy.metrics.TDErrorEvaluator()},
        )
        with open(tmp_path / "dump.h5", "w+b") as file:
            dataset.dump(file)


def test_masks_given_as_terminals_are_refused_where_the_episodes_go_on():
    columns = walk()
    refused(
        "terminals .* 7 of 9 rows, and 6 .* 1 - terminals",
        terminals=1 - columns["terminals"],
        timeouts=None,
    )


def test_many_terminals_are_said_and_may_be_right():
    # Episodes of one step each: bandits.
    columns = walk((1,) * 5, terminal=tuple(range(5)))
    same_rows(warned("100% of the rows are terminal", **columns), columns)
    columns["observations"][:] = columns["next_observations"][:] = 7
    same_rows(warned("100% of the rows are terminal", **columns), columns)


@pytest.mark.parametrize("name", ["terminals", "timeouts"])
def test_flags_other_than_0_and_1_are_refused_by_row(name):
    flags = walk()[name]
    flags[4] = 2
    refused(f"{name} .*1 values other than 0 and 1.*row 4: .*2", **{name: flags})
    flags[4] = np.nan
    refused(f"{name} .*row 4: .*nan", **{name: flags})


@pytest.mark.parametrize(
    "name", ["observations", "actions", "rewards", "next_observations"]
)
def test_values_that_are_no_finite_numbers_are_refused_by_name_and_row(name):
    bad = walk()[name].astype(np.float64)
    bad[4] = np.nan
    refused(f"{name} .*row 4.*nan is NaN", **{name: bad})
    bad[4] = 1e300
    refused(f"{name} .*row 4.*1e.300.* too large for float32", **{name: bad})
    refused(f"{name} .*complex", **{name: walk()[name] + 1j})
    refused(f"{name} .*'[0-9.]+' .str_. at row 0", **{name: walk()[name].astype(str)})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"observations": np.arange(9.0)}, r"\(9,\), expected \(rows, size\).*reshape"),
        ({"observations": np.zeros((9, 4, 4, 3))}, "observations .*Images"),
        ({"observations": {"pixels": np.zeros((9, 2))}}, "dictionary.*pixels"),
        ({"observations": np.zeros((0, 2))}, "hold no rows"),
        ({"observations": []}, "hold no rows"),
        ({"observations": 5.0}, r"observations .*\(\), expected"),
        ({"observations": (row for row in range(9))}, "observations .*object"),
        ({"observations": None}, "observations of the arrays are None"),
        ({"observations": [[[1.0], [2.0, 3.0]]]}, "observations .* no array"),
        ({"observations": [[1.0, 2.0], [3.0]]}, "observations .* no array"),
        ({"actions": np.zeros((8, 1))}, r"actions .*\(8, 1\), expected \(9, 1\)"),
        ({"actions": np.zeros(9, dtype=int)}, "Discrete actions"),
        ({"rewards": np.zeros((9, 2))}, r"rewards .*\(9, 2\), expected \(9,\) or"),
        ({"rewards": np.zeros(1000)}, r"rewards .*\(1000,\), expected \(9,\) or"),
        ({"next_observations": np.zeros((9, 3))}, r"next_observations .*\(9, 2\)"),
        ({"terminals": np.zeros(8)}, r"terminals .*\(8,\), expected \(9,\) or"),
        ({"timeouts": True}, r"timeouts .*\(\), expected \(9,\) or"),
    ],
)
def test_shapes_and_lengths_that_do_not_fit_are_refused_by_name(changed, words):
    refused(words, **changed)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("rewards", lambda e: e[:2], "3 of them, so rewards needs .* found 2"),
        ("rewards", lambda e: [e[0], e[1][:2], e[2]], "rewards of episode 1 .* 2 rows"),
        ("actions", lambda e: [e[0], e[1][:0], e[2]], "actions of episode 1 .*no rows"),
        ("actions", lambda e: [e[0], e[1], e[2][:1]], "episode 2 .*3 rows beside 1"),
        ("terminals", lambda e: [e[0], 1 - e[1], e[2]], "episode 1 .*step 0.*Split"),
        ("terminals", lambda e: [e[0], e[1][:2], e[2]], r"episode 1 .*\(2,\) beside 4"),
        ("observations", lambda e: [e[0], e[1][:-1], e[2]], "fit together"),
        ("rewards", lambda e: [1.0, 2.0, 3.0], "rewards of episode 0 .*single number"),
    ],
)
def test_episodes_that_do_not_fit_are_refused_by_their_number(name, change, words):
    parts = by_episode(walk())
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.dataset_from_arrays(**{**parts, name: change(parts[name])})


def test_episodes_that_end_in_rows_of_zeros_are_taken_for_padded_and_counted():
    parts = by_episode(walk((3, 2, 4), terminal=()))
    lengths = [len(observations) for observations in parts["observations"]]
    padded = {
        name: np.zeros((3, most, *parts[name][0].shape[1:]), dtype=np.float32)
        for name, most in (("observations", 7), ("actions", 6), ("rewards", 6))
    }
    for name, column in padded.items():
        for k, part in enumerate(parts[name]):
            column[k, : len(part)] = part + 1
    rows = warned("2 episodes end in rows", "5 rows of 18", "padding", **padded)
    assert len(rows) == 18
    cut = {
        name: [column[k, : n - (name != "observations")] for k, n in enumerate(lengths)]
        for name, column in padded.items()
    }
    assert len(silent(**cut)) == 9


def test_a_few_of_many_episodes_that_rest_at_zero_are_nobodys_padding():
    parts = by_episode(walk((3,) * 100, terminal=()))
    for name in ("observations", "actions", "rewards"):
        for k, part in enumerate(parts[name]):
            part[:] = 0 if k < 4 else part + 1
    assert len(silent(**parts)) == 300


def test_an_episode_that_comes_to_rest_at_zero_is_nobodys_padding():
    parts = by_episode(walk((3, 2, 4), terminal=()))
    parts["observations"][1][:], parts["actions"][1][:] = 0, 0
    parts["rewards"][1][:] = 0
    assert len(silent(**parts)) == 9


def test_nothing_that_says_where_episodes_end_is_refused():
    refused("where episodes end", next_observations=None, terminals=None, timeouts=None)


def test_one_step_episodes_without_outcomes_hold_nothing():
    columns = walk((1, 1), terminal=())
    with (
        pytest.raises(mbo.DatasetError, match="No row"),
        pytest.warns(match="left out"),
    ):
        mbo.dataset_from_arrays(**{**columns, "next_observations": None})


def test_a_change_that_float32_loses_is_said_by_column():
    columns = walk()
    large = columns["observations"] * 1e-3 + np.array([0, 1e6])
    after = columns["next_observations"] * 1e-3 + np.array([0, 1e6])
    changed = {**columns, "observations": large, "next_observations": after}
    warned("float32 loses", "column 1 of observations", **changed)
    at_rest = columns["observations"] * [1, 1e-10] + [0, 1]  # noise is no loss
    still = {**changed, "observations": at_rest, "next_observations": None}
    assert "float32" not in said(still)


def said(columns: dict[str, Any]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mbo.dataset_from_arrays(**columns)
    return " ".join(str(warning.message) for warning in caught)


def test_what_a_user_does_with_the_arrays_afterwards_changes_no_dataset():
    columns = walk()
    columns["rewards"] = columns["rewards"][:, None]
    dataset = mbo.dataset_from_arrays(**columns)
    for column in columns.values():
        column[:] = -1
    same_rows(mbo.Transitions.from_dataset(dataset), walk())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6),
    st.booleans(),
)
def test_random_walks_come_out_row_by_row_whichever_form_they_have(shapes, in_episodes):
    lengths = tuple(length for length, _ in shapes)
    columns = walk(lengths, tuple(k for k, (_, ended) in enumerate(shapes) if ended))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small ones may well be all terminal
        given_columns = by_episode(columns) if in_episodes else columns
        dataset = mbo.dataset_from_arrays(**given_columns)
    rows = mbo.Transitions.from_dataset(dataset)
    same_rows(rows, columns)
    assert [episode.size() for episode in dataset.episodes] == list(lengths)
    assert len(rows.for_learners()) == len(rows) - int(columns["timeouts"].sum())


def test_what_is_found_of_the_ends_of_episodes_needs_no_copy_of_the_data(monkeypatch):
    monkeypatch.setattr(outcomes, "_ROWS", 1000)
    steps = np.random.uniform(-1, 1, (20_001, 20)).astype(np.float32)
    states = np.cumsum(steps, axis=0)  # one walk that goes on through its time-outs
    timeouts = np.arange(1, 20_001) % 500 == 0
    columns = {
        "observations": states[:-1],
        "actions": np.zeros((20_000, 1), np.float32),
        "rewards": np.zeros(20_000, np.float32),
        "next_observations": states[1:],
        "terminals": None,
        "timeouts": timeouts,
    }
    rows = Rows.of(columns, "the arrays")
    with peak_of_numpy() as peak:
        _, known, notes = outcomes.known_outcomes(rows, "the arrays")
    assert known.all()
    assert notes == []
    assert peak[0] < 0.5 * rows.observations.nbytes


def test_changes_are_averaged_in_float64(monkeypatch):
    monkeypatch.setattr(outcomes, "_ROWS", 7777)
    observations = np.cumsum(
        np.random.choice([1e-4, 0.3, 7.0], (300_000, 2)), axis=0
    ).astype(np.float32)
    where = np.random.uniform(size=299_999) < 0.7
    found = outcomes._mean_changes(observations, where)
    exact = np.abs(np.diff(observations, axis=0))[where].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert outcomes._moves(np.float32([[1], [1], [2], [2]])).tolist() == [
        False, True, False, False,
    ]  # fmt: skip
