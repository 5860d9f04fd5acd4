"""Every number of a diagnosis, in tables of a page."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

from ..pages.parts import Cell, Table, number
from .words import STEPS_SHOWN, counted

if TYPE_CHECKING:
    from .results import Diagnosis, Distribution, OpenLoop, PenaltyRank, Rollouts

__all__ = ["tables"]

_QUANTILES = ["least", "5 %", "median", "95 %", "greatest"]


def tables(found: "Diagnosis") -> Iterator[Table]:
    """Yields the tables of every part that was measured."""
    yield _one_step(found)
    if found.calibration is not None:
        yield Table(
            "Calibration, by column",
            ["column", "in 1 std", "in 2 stds", "log-likelihood", *_tenths()],
            [
                _row(
                    c.name,
                    c.within_one_std,
                    c.within_two_stds,
                    c.log_likelihood,
                    *c.pit,
                )
                for c in found.calibration.columns
            ],
            "A calibrated model has 0.683 and 0.954, and 0.1 in each tenth.",
        )
        yield Table(
            "Targets within two standard deviations, by member",
            ["member", "share"],
            [_row(str(i + 1), x) for i, x in enumerate(found.calibration.members)],
            "Those that imagine come first.",
        )
    for loop in found.open_loop:
        yield _loop(loop)
    if found.penalties:
        yield _penalties(found.penalties, "Penalties")
    if found.ends is not None:
        ends = found.ends
        yield Table(
            "Termination, on real steps",
            ["", "number"],
            [
                _row("rows asked about", ends.rows),
                _row("terminal in the data", ends.terminals),
                _row("claimed", ends.claimed),
                _row("precision", ends.precision),
                _row("recall", ends.recall),
                _row("recall, given the model's s'", ends.model_recall),
                _row("false alarms, given the model's s'", ends.model_false_alarms),
                *(
                    [
                        _row("terminal, held out when it was fitted", n_held_out),
                        _row("precision there", ends.unseen_precision),
                        _row("recall there", ends.unseen_recall),
                    ]
                    if (n_held_out := ends.unseen_terminals) is not None
                    else []
                ),
            ],
        )
    if found.rollouts is not None:
        yield from _rollouts(found.rollouts)
    if found.values is not None:
        yield _distributions(
            "Values and returns",
            [
                ("Q, real rows", found.values.real),
                ("Q, imagined rows", found.values.imagined),
                ("Q, where rollouts end", found.values.rollout_ends),
                ("real returns-to-go", found.values.returns),
            ],
            " ".join(
                [
                    f"Returns of {found.values.returns_rows} rows of which all but 5 % is "
                    "known.",
                    *counted(found.values),
                ]
            ),
        )

    if found.outside is not None:
        names = [column.name for column in found.one_step.columns]
        errors = zip(
            names, found.outside.errors, found.outside.errors_inside, strict=False
        )
        yield Table(
            "Outside the data: one step with random actions",
            ["column", "error", "with the data's actions"],
            [_row(name, *values) for name, *values in errors],
            f"By the simulator, {found.outside.rows} rows, in dataset units.",
        )
        yield _penalties(found.outside.penalties, "Penalties outside the data")
    if found.unseen_returns is not None:
        unseen = found.unseen_returns
        names = [column.name for column in found.one_step.columns]
        errors = zip(names, unseen.errors, unseen.errors_inside, strict=True)
        yield Table(
            "One step at unseen returns",
            ["column", "error", "on its hold-out rows"],
            [_row(name, *values) for name, *values in errors],
            f"A second model, fitted without the {unseen.episodes} episodes with returns "
            f"of {unseen.least_return:.4g} and more (it saw {unseen.greatest_seen:.4g} "
            f"at most); {unseen.rows} of their rows.",
        )
        yield _penalties(unseen.penalties, "Penalties at unseen returns")
    if found.monte_carlo is not None:
        gained = found.monte_carlo
        yield _distributions(
            "Values against what the policy gets",
            [
                ("Q, real states", gained.real_q),
                ("returns from there", gained.real_returns),
                ("Q, where rollouts end", gained.end_q),
                ("returns from there ", gained.end_returns),
            ],
            f"Q minus return, mean: {gained.real_excess:.4g} in real states, "
            f"{gained.end_excess:.4g} where rollouts end.",
        )


def _penalties(ranks: "Sequence[PenaltyRank]", title: str) -> Table:
    return Table(
        title,
        ["penalty", "Spearman", "its null", "worst 10 % found", "its null"],
        [
            _row(
                f"{p.name} (its own)" if p.own else p.name,
                p.spearman,
                p.null_spearman,
                p.worst_tenth,
                p.null_worst_tenth,
            )
            for p in ranks
        ],
    )


def _row(name: str, *values: Optional[float]) -> list[Cell]:
    return [Cell(name), *map(number, values)]


def _tenths() -> list[str]:
    return [f"tenth {i}" for i in range(1, 11)]


def _one_step(found: "Diagnosis") -> Table:
    rows = [
        _row(c.name, c.error, c.naive_error, c.bias, c.unexplained, c.spread)
        for c in found.one_step.columns
    ]
    caption = "In dataset units."
    rare = found.one_step.rare_reward
    if rare is not None:
        name = f"reward, where it is not {rare.commonest:.4g}"
        rows.append(_row(name, rare.error, rare.naive_error, None, None, None))
        caption += f" {rare.rows} rows have a rare reward."
    head = ["column", "error", "naive error", "bias", "unexplained", "spread"]
    return Table("One step, by column", head, rows, caption)


def _loop(loop: "OpenLoop") -> Table:
    n_steps = len(loop.median)
    columns = zip(
        loop.median, loop.low, loop.high, loop.standing_still, loop.finite, strict=True
    )
    return Table(
        f"{n_steps} step{'s' if n_steps > 1 else ''} along real actions",
        ["step", "median", "10 %", "90 %", "standing still", "finite"],
        [
            _row(str(step), *values)
            for step, values in enumerate(columns, start=1)
            if step in {*STEPS_SHOWN, n_steps}
        ],
        "In standard deviations of the columns.",
    )


def _rollouts(found: "Rollouts") -> Iterator[Table]:
    yield _distributions(
        "Rewards, before the penalty",
        [("imagined", found.rewards), ("real", found.real_rewards)],
    )
    columns = zip(found.survival, found.real_survival, strict=True)
    rows = [
        _row(str(step), *shares, *found.states.at(step), *found.actions.at(step))
        for step, shares in enumerate(columns, start=1)
    ]
    near = found.states, found.actions
    real = [value for each in near for value in (each.real_median, each.real_high)]
    yield Table(
        "Rollouts",
        [
            "step",
            "go on",
            "of real",
            "states: median",
            "95 %",
            "actions: median",
            "95 %",
        ],
        [*rows, _row("real rows", None, None, *real)],
        f"{found.rollouts} rollouts, {found.rows} rows, {found.clipped_share:.2%} of the "
        f"action entries clipped, {found.dropped_share:.2%} of the rows dropped; distances "
        "to the data in standard deviations.",
    )


def _distributions(
    title: str,
    named: "Sequence[tuple[str, Optional[Distribution]]]",
    caption: str = "",
) -> Table:
    return Table(
        title,
        ["", "mean", "std", *_QUANTILES],
        [
            _row(name, each.mean, each.std, *each.quantiles)
            for name, each in named
            if each is not None
        ],
        caption,
    )
