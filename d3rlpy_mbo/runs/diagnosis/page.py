"""A diagnosis as part of a page: verdicts first, then charts, then every number."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Union

from ..pages.charts import Dot, Point, Span, curves, dots, heat, paths, spans
from ..pages.parts import Chart, Note, Section, Table
from .page_tables import tables

if TYPE_CHECKING:
    from .results import Diagnosis, OpenLoop, PenaltyRank, Rollouts

__all__ = ["section", "verdict_notes"]


def section(found: "Diagnosis", title: str) -> Section:
    """Returns a diagnosis as a section of a page.

    Args:
        found: What it shows.
        title: Its heading.
    """
    penalties = _penalties(found.penalties, "Does a penalty know where the model errs?")
    sections = [
        _shown("What the model gets right, one step at a time", _one_step(found)),
        _shown("Several steps in a row", map(_loop, found.open_loop)),
        _shown("Penalties against the true error", penalties),
        _shown("What it imagines", _imagined(found)),
        _shown("What the learner believes", _values(found)),
        _shown("Outside the data", [*_outside(found), *_unseen(found)]),
        Section("All numbers", parts=[*tables(found)]),
    ]
    failed = sum(not verdict.ok for verdict in found.verdicts)
    lead = [
        f"{found.imagination}, {found.direction}, {found.rollout_length} steps at most; "
        f"judged on {found.judged_on}.",
        f"{failed} of {len(found.verdicts)} verdicts are NOT ok."
        if failed
        else f"All {len(found.verdicts)} verdicts are ok. None says that training will "
        "succeed.",
    ]
    return Section(
        title,
        lead,
        verdict_notes(found),
        sections=[each for each in sections if each.parts],
        data={"diagnosis": dataclasses.asdict(found)},
    )


def _shown(title: str, parts: Iterable[Union[Table, Chart]]) -> Section:
    """Returns a section of the parts that show something."""
    kept = [each for each in parts if isinstance(each, Table) or each.svg]
    return Section(title, parts=kept)


def verdict_notes(found: "Diagnosis") -> list[Note]:
    """Returns the verdicts, those that are not ok first, and what was left out."""
    verdicts = sorted(found.verdicts, key=lambda verdict: verdict.ok)
    notes = [Note("ok" if v.ok else "not", v.subject, v.text) for v in verdicts]
    return notes + [Note("note", "left out", text) for text in found.left_out]


def _one_step(found: "Diagnosis") -> list[Union[Table, Chart]]:
    columns = found.one_step.columns
    errors = [
        Dot(each.name, "root mean square error", each.error / each.naive_error)
        for each in columns
        if each.naive_error > 0
    ] + [
        Dot(each.name, "variance unexplained", each.unexplained)
        for each in columns
        if each.unexplained is not None
    ]
    parts: list[Union[Table, Chart]] = []
    if errors:
        parts.append(
            dots(
                "Error of one step, by column",
                errors,
                "share of the naive predictor's",
                "Left is better; at 1 the model is no better than predicting no change "
                "(for the reward: its mean).",
                mark=1.0,
            )
        )
    if found.calibration is None:
        return parts
    spreads = found.calibration.columns
    parts += [
        dots(
            "Calibration: targets within the predicted spread",
            [
                dot
                for each in spreads
                for dot in (
                    Dot(each.name, "within 1 std", each.within_one_std),
                    Dot(each.name, "within 2 stds", each.within_two_stds),
                )
            ],
            "share of the targets",
            "Calibrated: 0.683 and 0.954.",
            mark=0.954,
        ),
        heat(
            "Where targets fall in the predicted distribution (PIT)",
            [(each.name, each.pit) for each in spreads],
            "predicted distribution function",
            "Even if it is calibrated; dark ends say overconfident, a dark middle "
            "underconfident.",
        ),
    ]
    return parts


def _loop(loop: "OpenLoop") -> Chart:
    steps = range(1, len(loop.median) + 1)
    bands = zip(steps, loop.median, loop.low, loop.high, strict=True)
    model = [
        Point("model", step, middle, low, high) for step, middle, low, high in bands
    ]
    still = [
        Point("standing still", step, value)
        for step, value in zip(steps, loop.standing_still, strict=True)
    ]
    plural = "s" if len(steps) > 1 else ""
    return curves(
        f"{len(steps)} step{plural} along real actions",
        [*model, *still],
        "step",
        "error, standard deviations",
        f"Median and 10 to 90 % over {loop.sequences} real sequences.",
    )


def _penalties(ranks: "Sequence[PenaltyRank]", title: str) -> list[Union[Table, Chart]]:
    if not ranks:
        return []
    entries = [
        Dot(f"{each.name} (its own)" if each.own else each.name, series, value)
        for each in ranks
        for series, value in (
            ("measured", each.spearman),
            ("if the spread were right", each.null_spearman),
        )
    ]
    return [
        dots(
            title,
            entries,
            "rank correlation with the error (Spearman)",
            "Beside it: the same if errors were drawn from the model's own deviations.",
            mark=0.0,
        )
    ]


def _imagined(found: "Diagnosis") -> Iterator[Chart]:
    if found.maze is not None:
        maze = found.maze
        yield paths(
            "Rollouts in the maze",
            maze.rollouts,
            maze.data,
            maze.walls,
            maze.goal,
            f"{len(maze.rollouts)} imagined rollouts; grey: walls, and real states; "
            "diamond: the goal.",
        )
    if found.rollouts is None:
        return
    rollouts = found.rollouts
    yield spans(
        "Rewards, before the penalty",
        [
            Span("imagined", rollouts.rewards.quantiles),
            Span("real", rollouts.real_rewards.quantiles),
        ],
        "reward",
        "Thin: all; thick: 5 to 95 %; mark: median.",
    )
    yield curves(
        "Rollouts that go on",
        [
            Point(series, step, value)
            for series, values in (
                ("imagined", rollouts.survival),
                ("real episodes", rollouts.real_survival),
                ("stopped by the halt", rollouts.halted),
            )
            for step, value in enumerate(values, start=1)
        ],
        "step",
        "share",
        "Of all rollouts; what the halt stopped, of the rows of its step."
        if rollouts.halted
        else "",
        from_zero=True,
    )
    yield _nearness(rollouts)


def _nearness(rollouts: "Rollouts") -> Chart:
    points, last = [], len(rollouts.survival)
    for series, near in (("states", rollouts.states), ("actions", rollouts.actions)):
        for step in range(1, last + 1):
            median, high = near.at(step)
            if median is not None:
                points.append(
                    Point(series, step, median, median, high, "imagined", "imagined")
                )
        points += [
            Point(series, step, near.real_median, line="real", style="real rows")
            for step in (1, last)
        ]
    return curves(
        "Distance to the data",
        points,
        "step",
        "standard deviations",
        "Median, up to the 95 % quantile, from the nearest real row; dashed: the median "
        "of real rows from other real rows.",
    )


def _outside(found: "Diagnosis") -> list[Union[Table, Chart]]:
    parts: list[Union[Table, Chart]] = []
    if found.outside is not None:
        names = [column.name for column in found.one_step.columns]
        errors = zip(
            names, found.outside.errors, found.outside.errors_inside, strict=False
        )
        parts.append(
            dots(
                "Error of one step with random actions",
                [
                    Dot(name, "times that of the data's actions", there / inside)
                    for name, there, inside in errors
                    if inside > 0
                ],
                "times",
                f"{found.outside.rows} real states, each with a random action.",
                mark=1.0,
            )
        )
        parts += _penalties(
            found.outside.penalties, "Does a penalty know where it errs there?"
        )
    if found.monte_carlo is not None:
        gained = found.monte_carlo
        named = [
            ("Q, real states", gained.real_q),
            ("returns from there", gained.real_returns),
            ("Q, where rollouts end", gained.end_q),
            ("returns from there ", gained.end_returns),
        ]
        parts.append(
            spans(
                "Values against what the policy gets",
                [Span(name, each.quantiles) for name, each in named],
                "discounted return",
                f"Monte Carlo, {gained.steps} steps at most; thin: all; thick: 5 to 95 %.",
            )
        )
    return parts


def _unseen(found: "Diagnosis") -> list[Union[Table, Chart]]:
    if found.unseen_returns is None:
        return []
    unseen = found.unseen_returns
    names = [column.name for column in found.one_step.columns]
    errors = zip(names, unseen.errors, unseen.errors_inside, strict=True)
    return [
        dots(
            "Error of one step at unseen returns",
            [
                Dot(name, "times that of its hold-out rows", there / inside)
                for name, there, inside in errors
                if inside > 0
            ],
            "times",
            f"A second model, fitted without the {unseen.episodes} episodes with returns "
            f"of {unseen.least_return:.4g} and more.",
            mark=1.0,
        ),
        *_penalties(unseen.penalties, "Does a penalty know where it errs on them?"),
    ]


def _values(found: "Diagnosis") -> list[Union[Table, Chart]]:
    if found.values is None:
        return []
    named = [
        ("Q, real rows", found.values.real),
        ("Q, imagined rows", found.values.imagined),
        ("Q, where rollouts end", found.values.rollout_ends),
        ("real returns-to-go", found.values.returns),
    ]
    return [
        spans(
            "Values against returns",
            [Span(name, each.quantiles) for name, each in named if each is not None],
            "discounted return",
            "Thin: all; thick: 5 to 95 %; mark: median.",
        )
    ]
