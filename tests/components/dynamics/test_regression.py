"""Inputs and targets are made of the rows asked for, and are those of all rows."""

import pytest
import torch

from d3rlpy_mbo.components.dynamics import regression
from d3rlpy_mbo.components.dynamics.networks import Standardizer
from d3rlpy_mbo.components.dynamics.regression import Regression, Standardized
from toys import line_transitions


def test_inputs_and_targets_worked_out_by_hand():
    rows = line_transitions(5)  # s' = s + a, r = s
    s, a = rows.observations, rows.actions
    forward, reverse = Regression(rows, "forward"), Regression(rows, "reverse")
    for found, columns in (
        (forward.inputs(), [s, a]),
        (forward.targets(), [a, s]),
        (reverse.inputs(), [s + a, a]),
        (reverse.targets(), [-a, s]),
    ):
        torch.testing.assert_close(found, torch.cat(columns, dim=1))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_rows_that_are_asked_for_are_those_of_all_rows_bit_for_bit(direction):
    made = Regression(line_transitions(1000, size=3), direction)
    members = torch.randint(1000, (4, 256))
    for columns in (made.inputs, made.targets):
        standardizer = made.standardizer(columns)
        whole = standardizer.standardize(columns())
        asked = Standardized(columns, standardizer)
        for rows in (members, members[0], slice(10, 20)):
            assert torch.equal(asked[rows], whole[rows])
        assert asked.device == whole.device


def test_chunks_have_the_mean_and_deviation_of_all_rows(monkeypatch):
    monkeypatch.setattr(regression, "ROWS_IN_DOUBLE", 300)
    rows = line_transitions(1000)
    rows.observations[:] = 5.0 + 1e-3 * rows.observations  # a small change of a large
    rows.rewards[:] = 7.0
    made = Regression(rows, "forward")
    assert [len(made.inputs(each)) for each in made.chunks()] == [300, 300, 300, 100]
    for asked in (made.inputs, made.targets):
        found, columns = made.standardizer(asked), asked()
        double = columns.double()
        expected = double.mean(dim=0).float(), double.std(dim=0, correction=0).float()
        torch.testing.assert_close(found.mean, expected[0])
        torch.testing.assert_close(found.std, expected[1])
        whole = Standardizer.fit(columns)
        torch.testing.assert_close(found.std, whole.std)
    assert made.standardizer(made.targets).std[-1] == 0  # the constant reward
