"""D4RL's own files, with or without time-outs and next observations."""

import pickle
import warnings
from typing import Any

import d3rlpy
import h5py
import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from own_data import walk


def write(path, columns: dict[str, Any]) -> str:
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name] = column
        file["infos/qpos"] = np.zeros((9, 3))
        file["metadata/algorithm"] = "SAC"
    return str(path)


def load(path: str, *words: str, **arguments: Any) -> mbo.Transitions:
    """Warns once, of these words; of nothing without any."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = mbo.load_hdf5(path, **arguments)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == bool(words), messages
    for word in words:
        assert path in messages[0]
        assert word in messages[0]
    assert all(warning.filename == __file__ for warning in caught)
    return mbo.Transitions.from_dataset(dataset)


def test_a_v2_file_is_read_whole_and_nothing_is_assumed(tmp_path):
    rows = load(write(tmp_path / "v2.hdf5", walk()))
    assert np.array_equal(rows.next_observations.numpy(), walk()["next_observations"])
    assert rows.terminals[:, 0].tolist() == walk()["terminals"].tolist()
    assert bool(rows.next_observation_known.all())


def test_a_v1_file_says_that_last_outcomes_are_unknown(tmp_path):
    columns = walk()
    del columns["next_observations"]
    rows = load(write(tmp_path / "v1.hdf5", columns), "2 terminal rows", "1 last rows")
    # A terminal row never leads to the following episode's first state.
    assert (~rows.next_observation_known).nonzero()[:, 0].tolist() == [2, 7]


def test_a_v0_file_ends_at_terminals_and_says_so(tmp_path):
    columns = walk(terminal=(0, 1, 2))
    del columns["next_observations"], columns["timeouts"]
    path = write(tmp_path / "v0.hdf5", columns)
    rows = load(path, "no timeouts", "max_episode_steps", "3 terminal rows")
    assert rows.terminals[:, 0].nonzero()[:, 0].tolist() == [2, 6, 8]


def test_a_time_limit_cuts_a_v0_file_as_d4rl_does(tmp_path):
    columns = walk((3, 2, 3, 1), terminal=(1, 3))
    del columns["next_observations"], columns["timeouts"]
    path = write(tmp_path / "v0.hdf5", columns)
    rows = load(path, "3 rows", max_episode_steps=3)
    # The last rows of the two episodes of three are gone.
    assert rows.observations[:, 0].tolist() == [0, 1, 100, 101, 200, 201, 300]


def test_a_time_limit_cuts_a_file_none_of_whose_timeouts_is_set(tmp_path):
    columns = walk((3, 2, 3, 1), terminal=(1, 3))
    del columns["next_observations"]
    columns["timeouts"][:] = 0
    path = write(tmp_path / "v1.hdf5", columns)
    rows = load(path, "3 rows", max_episode_steps=3)
    assert rows.observations[:, 0].tolist() == [0, 1, 100, 101, 200, 201, 300]


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "no column"])
def test_a_time_limit_that_no_episode_reached_is_not_asked_for_again(tmp_path, zeros):
    columns = walk(terminal=(0, 1, 2))
    del columns["next_observations"], columns["timeouts"]
    if zeros:
        columns["timeouts"] = np.zeros(9)
    path = write(tmp_path / "v0.hdf5", columns)
    with pytest.warns(match="assumed where an episode reaches 1000 rows") as said:
        mbo.load_hdf5(path, max_episode_steps=1000)
    assert "load_hdf5's max_episode_steps" not in str(said[0].message)
    load(path, "there are no timeouts", "load_hdf5's max_episode_steps")


def test_a_time_limit_that_a_file_does_not_need_is_said(tmp_path):
    path = write(tmp_path / "v2.hdf5", walk())
    rows = load(path, "max_episode_steps (2) was not used", max_episode_steps=2)
    assert len(rows) == 9


def test_a_file_without_timeouts_ends_where_next_observations_do_not_chain(tmp_path):
    columns = walk()
    del columns["timeouts"]
    path = write(tmp_path / "v.hdf5", columns)
    rows = load(path, "no timeouts", "1 of 9 rows", "the first is row 6")
    assert np.array_equal(rows.next_observations.numpy(), columns["next_observations"])


def test_a_file_that_marks_no_end_at_all_is_refused(tmp_path):
    columns = walk(terminal=())
    del columns["next_observations"], columns["timeouts"]
    with pytest.raises(mbo.DatasetError, match="where episodes end"):
        mbo.load_hdf5(write(tmp_path / "v0.hdf5", columns))


def test_faults_name_the_file_the_column_and_the_row(tmp_path):
    columns = walk()
    columns["rewards"][4] = np.nan
    path = write(tmp_path / "bad.hdf5", columns)
    with pytest.raises(mbo.DatasetError, match=r"rewards of '.*bad.hdf5'.*row 4"):
        mbo.load_hdf5(path)
    columns["rewards"] = np.zeros(1000)
    path = write(tmp_path / "bad.hdf5", columns)
    with pytest.raises(mbo.DatasetError, match=r"rewards .*\(1000,\), expected \(9,\)"):
        mbo.load_hdf5(path)
    del columns["rewards"]
    path = write(tmp_path / "bad.hdf5", columns)
    with pytest.raises(
        mbo.DatasetError, match=r"no rewards; expected .*It has actions, "
    ):
        mbo.load_hdf5(path)


def of_d3rlpy_1(**changed: Any) -> dict[str, Any]:
    """What MDPDataset.dump of d3rlpy 1 writes, of a walk."""
    rows = walk()
    ends = np.maximum(rows["terminals"], rows["timeouts"])
    columns = {
        "observations": rows["observations"],
        "actions": rows["actions"],
        "rewards": rows["rewards"],
        "terminals": np.float32(rows["terminals"]),
        "episode_terminals": np.float32(ends),
        "discrete_action": False,
        "version": "1.0",
    }
    return {**columns, **changed}


def test_a_file_of_d3rlpy_1_has_its_episodes(tmp_path):
    columns = of_d3rlpy_1()
    path = write(tmp_path / "v1.h5", columns)
    rows = load(path, "2 terminal rows", "1 last rows")
    v1 = walk()
    del v1["next_observations"]
    same = load(write(tmp_path / "d4rl.hdf5", v1), "2 terminal rows")
    for name in ("observations", "actions", "rewards", "terminals"):
        assert torch.equal(getattr(rows, name), getattr(same, name)), name
    assert torch.equal(rows.next_observation_known, same.next_observation_known)


def test_a_file_of_d3rlpy_before_1_1_is_said_to_have_its_rewards_a_row_late(tmp_path):
    """Up to 1.0.0 transition i had the reward of row i + 1; files named no version."""
    columns = of_d3rlpy_1()
    with pytest.warns(UserWarning, match="no next observations") as caught:
        same = mbo.load_hdf5(write(tmp_path / "v1.h5", columns))
    assert "before 1.1" not in str(caught[0].message)
    del columns["version"]
    rows = load(write(tmp_path / "v0.h5", columns), "before 1.1", "rewards[1:]")
    assert torch.equal(rows.rewards, mbo.Transitions.from_dataset(same).rewards)
    columns["discrete_action"] = True
    columns["actions"] = np.array([0, 2, 1, 0, 2, 2, 0, 1, 0])
    load(write(tmp_path / "choices.h5", columns), "before 1.1", "assumed to be 3")


def test_a_file_of_d3rlpy_1_that_knows_no_others_says_so_and_takes_a_limit(tmp_path):
    """MDPDataset without episode_terminals: d3rlpy 1 took the terminals for them."""
    ends = np.zeros(9, np.float32)
    ends[[2, 8]] = 1
    columns = of_d3rlpy_1(terminals=ends, episode_terminals=ends)
    path = write(tmp_path / "v1.h5", columns)
    load(path, "no timeouts", "max_episode_steps")
    rows = load(path, "an episode reaches 4 rows", max_episode_steps=4)
    unknown = (~rows.next_observation_known).nonzero()[:, 0].tolist()
    assert rows.terminals[:, 0].nonzero()[:, 0].tolist() == [2, 7]
    assert unknown == [2, 7]  # and row 6, cut at four rows, is left out


@pytest.mark.parametrize(
    "theirs",
    [
        {"episode_terminals": np.array([2, 6, 8])},  # indices of last rows
        {"discrete_action": np.array([1, 2, 1, 1, 2, 1, 1, 2, 2])},  # hybrid actions
        {"discrete_action": "False"},
    ],
)
def test_columns_of_these_names_that_are_not_d3rlpy_1s_are_not_read(tmp_path, theirs):
    rows = load(write(tmp_path / "other.hdf5", {**walk(), **theirs}))
    assert rows.n_actions is None
    assert rows.terminals[:, 0].tolist() == walk()["terminals"].tolist()


def test_choices_of_d3rlpy_1_are_as_many_as_the_greatest_index_says(tmp_path):
    choices = np.array([0, 2, 1, 0, 2, 2, 0, 1, 0])
    columns = of_d3rlpy_1(actions=choices[:, None], discrete_action=True)
    rows = load(write(tmp_path / "v1.h5", columns), "assumed to be 3", "n_actions")
    assert rows.n_actions == 3
    assert set(rows.actions[:, 0].tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"episode_terminals": np.ones(4)},
            r"episode_terminals .*\(4,\), expected \(9,",
        ),
        ({"episode_terminals": np.full(9, 2.0)}, "values other than 0 and 1"),
        ({"discrete_action": True, "actions": np.full((9, 1), np.nan)}, "is NaN or"),
        ({"discrete_action": True, "actions": np.full((9, 1), 0.5)}, "no integers"),
    ],
)
def test_a_damaged_file_of_d3rlpy_1_is_called_so(tmp_path, changed, words):
    path = write(tmp_path / "v1.h5", of_d3rlpy_1(**changed))
    with pytest.raises(mbo.DatasetError, match=words):
        mbo.load_hdf5(path)


def test_other_layouts_name_what_reads_them(tmp_path):
    with h5py.File(tmp_path / "minari.hdf5", "w") as file:
        file.create_group("episode_0")
    with pytest.raises(mbo.DatasetError, match=r"mbo\.load_minari"):
        mbo.load_hdf5(tmp_path / "minari.hdf5")
    with open(tmp_path / "dump.h5", "w+b") as dump:
        mbo.dataset_from_arrays(**walk()).dump(dump)
    expected = r"dataset\.ReplayBuffer\.load\(.*It has .* and 5 more"
    with pytest.raises(mbo.DatasetError, match=expected) as refusal:
        mbo.load_hdf5(tmp_path / "dump.h5")
    assert "terminated_2" not in str(refusal.value)  # one name an episode and column
    with h5py.File(tmp_path / "robomimic.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
    with pytest.raises(mbo.DatasetError, match="dataset_from_arrays.*It has data"):
        mbo.load_hdf5(tmp_path / "robomimic.hdf5")


def test_missing_torn_and_other_files_are_called_so(tmp_path):
    with pytest.raises(mbo.DatasetError, match="There is no file"):
        mbo.load_hdf5(tmp_path / "nothing.hdf5")
    (tmp_path / "other.hdf5").write_bytes(pickle.dumps(walk()))
    with pytest.raises(mbo.DatasetError, match="no HDF5 file, or is damaged"):
        mbo.load_hdf5(tmp_path / "other.hdf5")
    whole = tmp_path / "whole.hdf5"
    write(whole, walk())
    (tmp_path / "torn.hdf5").write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(mbo.DatasetError, match="damaged"):
        mbo.load_hdf5(tmp_path / "torn.hdf5")


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "1000"])
def test_a_time_limit_is_a_whole_number(tmp_path, limit):
    path = write(tmp_path / "v2.hdf5", walk())
    with pytest.raises(mbo.DatasetError, match="max_episode_steps"):
        mbo.load_hdf5(path, max_episode_steps=limit)


def test_it_trains(tmp_path):
    dataset = mbo.load_hdf5(write(tmp_path / "v2.hdf5", walk()))
    assert isinstance(dataset, d3rlpy.dataset.ReplayBuffer)
    d3rlpy.algos.TD3PlusBCConfig(batch_size=4).create().fit(
        mbo.ImaginedReplayBuffer(dataset, []),
        1,
        1,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
