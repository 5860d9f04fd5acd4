"""Arrays whose first axis is time are no episodes, and are refused before models learn."""

import numpy as np
import pytest

import d3rlpy_mbo as mbo

STEPS, SIDE_BY_SIDE = 60, 4


def side_by_side(n_environments=SIDE_BY_SIDE):
    """(steps, environments, size): walks s' = s + a, each from a place of its own."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (STEPS, n_environments, 2)).astype(np.float32)
    starts = 20 * rng.normal(size=(1, n_environments, 2))
    states = np.concatenate([starts, starts + actions.cumsum(axis=0)])
    states = states.astype(np.float32)
    return {
        "observations": states[:-1],
        "actions": actions,
        "rewards": actions[..., 0],
        "next_observations": states[1:],
    }


def one_after_the_other(columns):
    """(environments, steps, size)."""
    return {name: column.swapaxes(0, 1) for name, column in columns.items()}


@pytest.mark.parametrize("n_environments", [1, 2, SIDE_BY_SIDE])
@pytest.mark.parametrize("given", ["next observations", "none", "dones"])
def test_environments_side_by_side_are_refused_with_what_to_do(given, n_environments):
    columns = side_by_side(n_environments)
    if given == "none":
        del columns["next_observations"]
    if given == "dones":
        columns["terminals"] = np.zeros((STEPS, n_environments))
        columns["terminals"][30, 0] = 1
    shape = rf"\({STEPS}, {n_environments}, 2\)"
    with pytest.raises(
        mbo.DatasetError, match=f"{shape}.*time seems to run along the first"
    ):
        mbo.dataset_from_arrays(**columns)


def test_the_same_one_environment_after_the_other_is_read():
    columns = one_after_the_other(side_by_side(20))
    dataset = mbo.dataset_from_arrays(**columns)
    rows = mbo.Transitions.from_dataset(dataset)
    moved = rows.next_observations - rows.observations
    assert len(dataset.episodes) == 20
    assert np.allclose(moved.numpy(), rows.actions.numpy(), atol=1e-4)


def test_episodes_without_outcomes_in_one_array_are_read():
    columns = one_after_the_other(side_by_side(20))
    del columns["next_observations"]
    with pytest.warns(match="there are no next observations"):
        dataset = mbo.dataset_from_arrays(**columns)
    assert len(dataset.episodes) == 20


def test_episodes_from_one_place_in_one_array_are_read():
    """Where all begin alike, neighbours of both axes are near: but so are any two."""
    columns = one_after_the_other(side_by_side(20))
    columns["observations"] -= columns["observations"][:, :1]
    del columns["next_observations"]
    with pytest.warns(match="there are no next observations"):
        mbo.dataset_from_arrays(**{k: v[:, :5] for k, v in columns.items()})


def columns_of(observations):
    """Episodes (E, T, D) as they are kept where nobody has next observations."""
    return {
        "observations": observations.astype(np.float32),
        "actions": np.zeros((*observations.shape[:2], 1)),
        "rewards": np.ones(observations.shape[:2]),
    }


def days_of_weather():
    """(days, hours, size): a year that swings slowly, and each day by its hour."""
    rng = np.random.default_rng(0)
    day, hour = np.arange(365)[:, None], np.arange(24)[None]
    season = 12 * np.sin(2 * np.pi * day / 365) + 0 * hour
    swing = 4 * np.sin(2 * np.pi * (hour - 9) / 24) + 0 * day
    noise = rng.normal(size=(365, 24, 3)).cumsum(axis=1) / 4
    return noise + np.stack([season + swing, season / 2 + swing, swing], axis=2)


def windows_of_one_log():
    """(windows, steps, size): a random walk, cut where nothing ends."""
    steps = np.random.default_rng(0).normal(size=(200 * 20, 3))
    return steps.cumsum(axis=0).reshape(200, 20, 3)


def wear():
    """(days, hours, size): a counter that only grows, and a temperature of the hour."""
    counter = np.arange(200 * 24.0).reshape(200, 24)
    noise = np.random.default_rng(0).normal(size=(200, 24))
    return np.stack([counter, 5 * np.sin(np.arange(24) / 4) + noise], axis=2)


@pytest.mark.parametrize("made", [days_of_weather, windows_of_one_log, wear])
def test_episodes_whose_neighbours_are_alike_are_read(made):
    with pytest.warns(match="there are no next observations"):
        mbo.dataset_from_arrays(**columns_of(made()))


@pytest.mark.parametrize("state", [0.0, 3.0])
def test_one_step_episodes_in_a_world_that_never_changes_are_read(state):
    nothing = np.full((100, 1, 1), state, np.float32)
    with pytest.warns(match="100% of the rows are terminal"):
        dataset = mbo.dataset_from_arrays(
            nothing, nothing, np.ones((100, 1)), nothing, terminals=np.ones((100, 1))
        )
    assert len(dataset.episodes) == 100


def test_a_list_of_episodes_is_believed_whatever_it_looks_like():
    columns = side_by_side()
    del columns["next_observations"]
    columns["observations"] = list(columns["observations"])
    with pytest.warns(match="there are no next observations"):
        dataset = mbo.dataset_from_arrays(**columns)
    assert len(dataset.episodes) == STEPS
