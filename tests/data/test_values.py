"""Numbers of whatever kind are read; what is none is named, by column and row."""

import numpy as np
import pytest

import d3rlpy_mbo as mbo
from d3rlpy_mbo.data.values import lost_by_float32, numbers
from own_data import by_episode, walk
from sizes import peak_of_numpy

pandas = pytest.importorskip("pandas")


def table():
    return pandas.DataFrame(
        {
            "x": [0.5, 1.5, 2.5],
            "steps": pandas.array([1, 2, 3], dtype="Int64"),
            "lit": [True, False, True],
            "ward": ["ICU", "ER", "ICU"],
            "at": pandas.to_datetime(["2026-01-01"] * 3),
            "since": pandas.to_timedelta([1, 2, 3], unit="h"),
        }
    )


def test_columns_of_several_types_are_read_as_one_matrix():
    read = numbers(table()[["x", "steps", "lit"]], "observations", "the table")
    assert read.tolist() == [[0.5, 1, 1], [1.5, 2, 0], [2.5, 3, 1]]


def test_columns_of_one_name_are_several():
    twice = pandas.concat([table()[["x", "lit"]], table()[["x"]] + 1], axis=1)
    read = numbers(twice, "observations", "the table")
    assert read.tolist() == [[0.5, 1, 1.5], [1.5, 0, 2.5], [2.5, 1, 3.5]]
    assert numbers(twice[["x"]], "observations", "the table").shape == (3, 2)


def test_a_mixed_table_of_doubles_is_said_to_lose_what_float32_loses():
    rows = walk()
    observations = pandas.DataFrame(rows["observations"], columns=["x", "y"])
    observations["x"] = 1.7e9 + observations["x"].astype(float) / 1000
    observations["y"] = observations["y"] > 5
    columns = {**rows, "observations": observations}
    del columns["next_observations"]
    with pytest.warns(match="Float32 loses up to .* in column 0"):
        mbo.dataset_from_arrays(**columns)


@pytest.mark.parametrize("name", ["actions", "rewards"])
def test_a_value_that_is_none_in_a_third_dimension_is_named(name):
    rows = walk()
    rows[name] = rows[name].reshape(9, 1, 1).repeat(3, axis=1)
    rows[name][4, 2] = np.nan
    with pytest.raises(mbo.DatasetError, match="row 4, column 2: nan"):
        mbo.dataset_from_arrays(**rows)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("ward", "'ICU' .str. at row 0"),
        ("at", "'2026-01-01.* .datetime64. at row 0"),
        ("since", "'[0-9]+ nanoseconds' .timedelta64. at row 0.*durations"),
    ],
)
def test_the_column_of_a_table_that_is_no_number_is_named(column, words):
    with pytest.raises(
        mbo.DatasetError, match=f"column '{column}' in observations .*{words}"
    ):
        numbers(table()[["x", column]], "observations", "the table")


def test_a_value_that_a_table_lacks_is_named_by_its_column():
    rows = walk()
    observations = pandas.DataFrame(rows["observations"], columns=["x", "y"])
    observations["y"] = observations["y"].astype("Int64")
    observations.loc[4, "y"] = pandas.NA
    with pytest.raises(mbo.DatasetError, match="row 4, column 'y': nan"):
        mbo.dataset_from_arrays(**{**rows, "observations": observations})


def test_numbers_that_are_kept_as_objects_are_numbers():
    kept = numbers(np.array([1, 2.5, True], dtype=object), "rewards", "the arrays")
    assert kept.dtype == np.float64
    assert kept.tolist() == [1, 2.5, 1]


def test_an_array_of_episodes_of_several_lengths_is_read_as_their_list():
    parts = by_episode(walk())
    objects = {name: np.empty(3, dtype=object) for name in parts}
    for name, column in parts.items():
        for k, part in enumerate(column):
            objects[name][k] = part
    read = mbo.Transitions.from_dataset(mbo.dataset_from_arrays(**objects))
    expected = mbo.Transitions.from_dataset(mbo.dataset_from_arrays(**parts))
    assert read.observations.tolist() == expected.observations.tolist()


def test_what_float32_loses_is_found_a_few_rows_at_a_time():
    values = np.random.uniform(-1, 1, (200_000, 6))
    values[:, 2] += 1e9
    with peak_of_numpy() as peak:
        (said,) = lost_by_float32(values, "observations", "the arrays")
    assert "column 2" in said
    assert f"differ by {values[:, 2].std():.3g}" in said
    assert f"subtract its mean, {values[:, 2].mean():.6g}" in said
    assert peak[0] < 0.8 * values.nbytes
    assert lost_by_float32(values[:, :2], "observations", "the arrays") == []
    assert lost_by_float32(np.zeros((3, 0)), "observations", "the arrays") == []
