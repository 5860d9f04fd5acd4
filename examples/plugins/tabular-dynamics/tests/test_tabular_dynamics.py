import d3rlpy_mbo as mbo
import pytest
import torch
from d3rlpy_mbo.testing import parametrize_with_checks
from tabular_dynamics import TabularDynamicsConfig


@parametrize_with_checks([TabularDynamicsConfig()])
def test_conformance(component, check):
    check(component)


def rows():
    # From 0, action 0 leads to 1 three times of four and else to 2; action 1 only to 2.
    given, actions, reached = [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0], [1, 1, 1, 2, 2, 2]
    arrays = [torch.tensor(each).float()[:, None] for each in (given, actions, reached)]
    given, actions, reached = arrays
    zeros = torch.zeros_like(actions)
    return mbo.Transitions(given, actions, reached, reached, zeros, zeros, n_actions=3)


def asked(direction, state, action):
    dynamics = TabularDynamicsConfig(direction=direction).create()
    torch.manual_seed(0)
    dynamics.fit(rows())
    given = torch.full((4_000, 1), float(state))
    return dynamics.predict(given, torch.full_like(given, action), False)


def shares(prediction):
    values = prediction.observations[:, 0]
    return [round(float((values == state).float().mean()), 1) for state in range(3)]


def test_forwards_outcomes_are_as_frequent_as_in_the_data_with_their_rewards():
    prediction = asked("forward", 0, 0)
    share = (prediction.observations == 1).float().mean()
    assert share == pytest.approx(0.75, abs=0.03)  # four standard errors
    assert torch.equal(prediction.rewards, prediction.observations)


def test_in_reverse_so_are_the_states_that_led_here():
    prediction = asked("reverse", 2, 0)
    share = (prediction.observations == 0).float().mean()
    assert share == pytest.approx(0.5, abs=0.04)
    assert (prediction.rewards == 2).all()


def test_a_state_and_an_action_without_rows_are_those_of_the_nearest_state_with_some():
    assert shares(asked("forward", 2, 0)) == [0, 0, 1]  # 1 is nearer than 0
    assert shares(asked("forward", 2, 1)) == [0, 0, 1]
    assert shares(asked("forward", 0.9, 0)) == [0, 0, 1]
    assert shares(asked("forward", 1, 2)) == [0, 0, 1]  # never taken: 0 is, most often


def test_data_that_is_no_table_is_refused():
    with pytest.raises(mbo.DatasetError, match=r"3 states, .* at most 2"):
        TabularDynamicsConfig(max_states=2).create().fit(rows())


def test_it_is_found_by_name_where_it_is_installed():
    assert mbo.get_component("dynamics", "tabular") is TabularDynamicsConfig
