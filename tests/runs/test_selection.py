"""Offline selection by Q-values."""

import math

import pytest

import d3rlpy_mbo as mbo


def test_stable_settings_come_first_and_small_q_values_before_large_ones():
    ranked = mbo.rank_by_q_values(
        {
            "large": [1, 50, 100, 100],
            "diverging": [1, 10, 100, 1000],
            "infinite": [1, 1, 1, math.inf],
            "small": [0, 20, 22, 21],
        }
    )
    assert [c.name for c in ranked] == ["small", "large", "diverging", "infinite"]
    assert [c.stable for c in ranked] == [True, True, False, False]
    assert ranked[0].magnitude == pytest.approx(21.5)
    assert ranked[0].instability == pytest.approx(1 / 21.5)


def test_where_rewards_are_negative_the_small_q_values_are_those_far_below_0():
    ranked = mbo.rank_by_q_values({"believes": [-10] * 4, "doubts": [-500] * 4})
    assert [c.name for c in ranked] == ["doubts", "believes"]
    assert [c.magnitude for c in ranked] == [500, 10]


def test_values_of_both_infinities_have_no_mean_and_warn_of_none():
    ranked = mbo.rank_by_q_values(
        {"infinite": [1, 1, math.inf, -math.inf], "finite": [1, 1, 1, 1]}
    )
    assert [c.name for c in ranked] == ["finite", "infinite"]


def test_too_few_values_say_nothing_about_stability():
    with pytest.raises(mbo.CompositionError, match="at least 4"):
        mbo.rank_by_q_values({"short": [1, 2, 3]})
