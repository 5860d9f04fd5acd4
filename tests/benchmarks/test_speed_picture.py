"""The picture of speed: one axis, on which faster is longer."""

import sys
from pathlib import Path
from typing import Optional

import pytest

pytest.importorskip("matplotlib")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))

import picture


def row(
    goal: str, ratio: Optional[dict[str, float]], **other: object
) -> dict[str, object]:
    defaults = {"against": "OfflineRL-Kit step", "unit": "s", "met": True}
    return {"work": "a step", "goal": goal, **defaults, "ratio": ratio, **other}


SHARE = {"min": 0.4, "median": 0.5, "max": 0.8}


def test_a_share_of_their_time_is_drawn_as_times_as_fast():
    assert picture.times_as_fast(row("<= 0.25 (of theirs)", SHARE)) == {
        "min": 1.25,
        "median": 2,
        "max": 2.5,
        "goal": 4,
    }
    faster = {"min": 3, "median": 4, "max": 5}
    assert picture.times_as_fast(row(">= 2 (times as fast)", faster)) == {
        **faster,
        "goal": 2,
    }


@pytest.mark.parametrize(
    ("other", "drawn"),
    [
        ({}, True),
        ({"against": "d3rlpy's ReplayBuffer"}, True),
        ({"against": "at 100 thousand"}, False),
        ({"against": "d3rlpy's bytes", "unit": "MB"}, False),
    ],
)
def test_only_times_against_others_are_drawn(other, drawn):
    assert (
        picture.compared_with_others(row("<= 1 (of theirs)", SHARE, **other)) is drawn
    )


def test_what_was_not_measured_is_not_drawn():
    assert not picture.compared_with_others(row("<= 1 (of theirs)", None))


def test_thirty_times_is_a_longer_bar_than_one_whatever_their_goals(
    tmp_path, monkeypatch
):
    from matplotlib.axes import Axes

    ends = []
    original = Axes.barh

    def barh(axes, y, width, **named):
        ends.append(named["left"] + width)
        return original(axes, y, width, **named)

    monkeypatch.setattr(Axes, "barh", barh)
    rows = [
        row(">= 20 (times as fast)", {"min": 29, "median": 30, "max": 31}),
        row("<= 100 (of theirs)", {"min": 1, "median": 1, "max": 1}),
    ]
    machine = {"processor": "one", "threads": 1}
    result = {"rows": rows, "machine": machine, "versions": {"torch": "2"}}
    picture.draw(result, tmp_path / "speed.png")
    assert ends == [1, 30]  # the last row is drawn first
    assert (tmp_path / "speed.png").stat().st_size > 1000
