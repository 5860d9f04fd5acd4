import contextlib
import io
import sys

import pytest
from structlog.testing import capture_logs

from d3rlpy_mbo.support.progress import Progress, duration, progress_shown, tracked

pytestmark = pytest.mark.usefixtures("talkative")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""
    now = [1000.0]
    monkeypatch.setattr("d3rlpy_mbo.support.progress.monotonic", lambda: now[0])
    return now


def take(progress, clock, n_steps, seconds, rows=0):
    for _ in range(n_steps):
        clock[0] += seconds
        progress.advance(rows=rows)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_a_line_follows_every_thirty_seconds_and_one_the_end(clock):
    with capture_logs() as lines, Progress("Fitting", total=100) as progress:
        progress.note(epoch=3, holdout_error=0.123456)
        take(progress, clock, 50, seconds=2.0, rows=64)
    assert "at most" in lines.pop(0)["event"]
    assert [line["steps"] for line in lines] == [
        "15 of 100", "30 of 100", "45 of 100", "50 of 100",
    ]  # fmt: skip
    assert lines[1] == {
        "event": "Fitting",
        "log_level": "info",
        "steps": "30 of 100",
        "epoch": 3,
        "holdout_error": 0.1235,
        "rows_per_second": "32",
        "elapsed": "60 s",
        "left": "at most 3 min",
    }
    assert lines[-1]["event"] == "Fitting: done"


def test_a_hundred_steps_say_how_long_all_of_them_take_at_most(clock):
    with capture_logs() as lines, Progress("Fitting", total=500_000) as progress:
        take(progress, clock, 99, seconds=0.01)
        assert lines == []
        take(progress, clock, 900, seconds=0.01)
    assert [line["event"] for line in lines] == [
        "Fitting takes at most about 84 min at this pace (500,000 steps).",
        "Fitting: done",
    ]


def test_steps_of_many_seconds_are_announced_after_half_a_minute(clock):
    with capture_logs() as lines, Progress("Fitting", total=1000) as progress:
        take(progress, clock, 2, seconds=20.0)
    assert lines[0]["event"].startswith("Fitting takes at most about 5 h 34 min")


def test_what_ends_within_half_a_minute_is_not_announced(clock):
    with capture_logs() as lines, Progress("Fitting", total=1900) as progress:
        take(progress, clock, 1900, seconds=1 / 64)
    assert [line["event"] for line in lines] == ["Fitting: done"]


def test_without_a_total_the_first_epoch_says_how_long_one_takes_and_what_ends_it(
    clock,
):
    progress = Progress("Fitting", total=None, steps_per_epoch=200, ends="It ends so.")
    with capture_logs() as lines, progress:
        take(progress, clock, 199, seconds=1 / 8)
        assert lines == []
        take(progress, clock, 1, seconds=1 / 8)
        progress.note(least_left=600)
        take(progress, clock, 100, seconds=1 / 8)
    assert lines[0]["event"] == "Fitting takes about 25 s per epoch. It ends so."
    assert lines[1]["left"] == "at least 75 s"


def test_what_was_done_before_counts_for_the_total_and_not_for_the_pace(clock):
    with capture_logs() as lines, Progress("Act", total=200, initial=100) as progress:
        take(progress, clock, 40, seconds=1.0)
    assert "Act takes at most about 100 s" in lines[0]["event"]
    assert (lines[1]["steps"], lines[1]["left"]) == ("130 of 200", "at most 70 s")


def test_on_a_terminal_there_is_a_bar_and_no_line(clock, monkeypatch):
    terminal, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", out)
    with capture_logs() as lines, Progress("Fitting", total=1000) as progress:
        take(progress, clock, 100, seconds=1.0, rows=10)
        progress.note(loss=0.5)
    assert lines == []
    assert "Fitting" in terminal.getvalue()
    assert "loss=0.5, rows_per_second=10" in terminal.getvalue()
    assert "takes at most about 17 min" in out.getvalue()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_nothing_is_shown_where_it_is_unwanted_whoever_wants_it_inside(
    stream, clock, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    with capture_logs() as lines, progress_shown(False), progress_shown(True):
        progress = Progress("Fitting", total=10)
        with progress:
            progress.say("Look.")
            take(progress, clock, 10, seconds=60.0)
    assert lines == []
    assert stream.getvalue() == ""


def test_it_is_shown_again_after_that(clock):
    with progress_shown(False):
        pass
    with capture_logs() as lines, Progress("Fitting", total=1) as progress:
        progress.say("Look.")
    assert lines[0]["event"] == "Look."


def test_what_fails_is_not_said_to_be_done(clock):
    progress = Progress("Fitting", total=10)
    with capture_logs() as lines, contextlib.suppress(ValueError), progress:
        raise ValueError
    assert lines == []


def test_a_tracked_loop_yields_every_item(clock):
    with capture_logs() as lines:
        assert list(tracked("abc", "Reading", 3, "letters")) == ["a", "b", "c"]
    assert lines[0]["letters"] == "3 of 3"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0123, "0.012 s"),
        (59.2, "60 s"),
        (121, "3 min"),
        (7199, "2 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_rounded_up_to_what_one_reads_at_a_glance(seconds, words):
    assert duration(seconds) == words
