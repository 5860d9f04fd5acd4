"""A diagnosis as a table that fits 100 columns."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

from .words import STEPS_SHOWN, counted

if TYPE_CHECKING:
    from .results import (
        Calibration,
        ColumnError,
        Diagnosis,
        Distribution,
        Ends,
        MonteCarlo,
        OneStep,
        OpenLoop,
        Outside,
        PenaltyRank,
        Rollouts,
        UnseenReturns,
        Values,
    )

__all__ = ["rendered"]

_WIDTH = 100
_BARS = "·▁▂▃▄▅▆▇█"  # the last one stands for 0.2 of the rows and more


def rendered(found: "Diagnosis") -> str:
    """Returns the lines of a diagnosis, verdicts last, where one looks first."""
    lines = [
        *_wrapped(
            f"Diagnosis of {found.imagination!r}, {found.direction}, on {found.judged_on}"
        ),
        "",
        *_columns(found.one_step, found.calibration),
    ]
    for loop in found.open_loop:
        lines += ["", *_open_loop(loop, found.rollout_length)]
    if found.penalties:
        lines += ["", *_penalties(found.penalties)]
    if found.ends is not None:
        lines += ["", *_ends(found.ends)]
    if found.rollouts is not None:
        lines += ["", *_rollouts(found.rollouts)]
    if found.values is not None:
        lines += ["", *_values(found.values)]
    if found.outside is not None:
        names = [column.name for column in found.one_step.columns]
        lines += ["", *_outside(found.outside, names)]
    if found.unseen_returns is not None:
        names = [column.name for column in found.one_step.columns]
        lines += ["", *_unseen_returns(found.unseen_returns, names)]
    if found.monte_carlo is not None:
        lines += ["", *_monte_carlo(found.monte_carlo)]
    if found.left_out:
        lines += ["", "LEFT OUT"]
        for each in found.left_out:
            lines += _wrapped(each, "  - ", "    ")
    lines += ["", "VERDICTS"]
    for verdict in found.verdicts:
        mark = "ok " if verdict.ok else "NOT"
        lines += _wrapped(
            f"{verdict.subject}: {verdict.text}", f"  {mark} ", " " * len("  NOT ")
        )
    return "\n".join(lines)


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=first, subsequent_indent=rest
    )


def _number(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.3g}"


def _row(name: str, *cells: str) -> str:
    return f"  {name[:16]:16}" + "".join(f"{cell:>11}" for cell in cells)


def _bar(share: float) -> str:
    """Returns a letter as high as a share; a blank for what was read as NaN."""
    return _BARS[min(round(40 * share), 8)] if math.isfinite(share) else " "


def _columns(found: "OneStep", calibration: "Optional[Calibration]") -> Iterator[str]:
    known = {c.name: c for c in calibration.columns} if calibration else {}
    yield (
        "ONE STEP".ljust(18)
        + "".join(
            f"{cell:>11}"
            for cell in (
                "error",
                "naive",
                "unexpl.",
                "in 1 std",
                "in 2 std",
                "log-lik.",
            )
        )
        + "  tenths"
    )

    def line(column: "ColumnError") -> str:
        cells = column.error, column.naive_error, column.unexplained
        spread = known.get(column.name)
        if spread is None:
            return _row(column.name, *map(_number, cells))
        more = spread.within_one_std, spread.within_two_stds, spread.log_likelihood
        bars = "".join(map(_bar, spread.pit))
        return f"{_row(column.name, *map(_number, [*cells, *more]))}  {bars}"

    yield from map(line, found.columns)
    if found.rare_reward is not None:
        rare = found.rare_reward
        cells = _number(rare.error), _number(rare.naive_error)
        text = f"where the reward is not {rare.commonest:.3g}: {rare.rows} rows"
        yield f"{_row('  if rare', *cells)}  {text}"
    if calibration is not None:
        shares = " ".join(f"{share:.2f}" for share in calibration.members)
        yield from _wrapped(
            f"within two of each member's standard deviations: {shares}", "  ", "    "
        )


def _open_loop(loop: "OpenLoop", rollout_length: int) -> Iterator[str]:
    n_steps = len(loop.median)
    shown = {*STEPS_SHOWN, rollout_length, n_steps}
    name = f"{n_steps} STEP{'S' if n_steps > 1 else ''}"
    heads = "median", "10 %", "90 %", "still"
    yield (
        name.ljust(18)
        + "".join(f"{head:>11}" for head in heads)
        + (f"  stds; {loop.sequences} real sequences")
    )
    for step in sorted(each for each in shown if each <= n_steps):
        of_step = loop.median, loop.low, loop.high, loop.standing_still
        yield _row(f"after {step}", *(_number(each[step - 1]) for each in of_step))


def _penalties(found: "Sequence[PenaltyRank]") -> Iterator[str]:
    heads = "Spearman", "its null", "worst 10 %", "its null"
    yield "PENALTIES".ljust(18) + "".join(f"{head:>11}" for head in heads)
    for each in found:
        cells = (
            each.spearman,
            each.null_spearman,
            each.worst_tenth,
            each.null_worst_tenth,
        )
        own = "  its own" if each.own else ""
        yield _row(each.name, *map(_number, cells)) + own


def _ends(found: "Ends") -> Iterator[str]:
    yield "TERMINATION"
    text = (
        f"real steps: {found.terminals} of {found.rows} end, {found.claimed} claimed; "
        f"precision {_number(found.precision)}, recall {_number(found.recall)}"
    )
    if found.model_false_alarms is not None:
        text += (
            f"; by the model's s': recall {_number(found.model_recall)}, false "
            f"{_number(found.model_false_alarms)}"
        )
    if found.unseen_terminals is not None:
        text += (
            f"; it was learned, and held out {found.unseen_terminals} ends: precision "
            f"{_number(found.unseen_precision)}, recall {_number(found.unseen_recall)}"
        )
    yield from _wrapped(text, "  ", "    ")


def _distribution(name: str, found: "Distribution") -> str:
    return _row(name, *map(_number, [found.mean, found.std, *found.quantiles]))


def _distributions(title: str) -> str:
    heads = "mean", "std", "least", "5 %", "median", "95 %", "greatest"
    return title.ljust(18) + "".join(f"{head:>11}" for head in heads)


def _rollouts(found: "Rollouts") -> Iterator[str]:
    yield _distributions("REWARDS")
    yield _distribution("imagined", found.rewards)
    yield _distribution("real", found.real_rewards)
    yield ""
    heads = "survive", "real", "s: median", "95 %", "a: median", "95 %"
    yield (
        "ROLLOUTS".ljust(18) + "".join(f"{head:>11}" for head in heads) + ("  to data")
    )
    shown = {*STEPS_SHOWN, len(found.survival)}
    for step in sorted(each for each in shown if each <= len(found.survival)):
        survival = found.survival[step - 1], found.real_survival[step - 1]
        cells = [*survival, *found.states.at(step), *found.actions.at(step)]
        yield _row(f"step {step}", *map(_number, cells))
    real = found.states, found.actions
    cells = [value for each in real for value in (each.real_median, each.real_high)]
    yield _row("real rows", "", "", *map(_number, cells))
    yield (
        f"  {found.rollouts} rollouts, {found.rows} rows; {found.clipped_share:.1%} of the "
        f"action entries clipped, {found.dropped_share:.1%} of the rows dropped"
    )
    if found.halted:
        shares = " ".join(f"{share:.1%}" for share in found.halted)
        yield from _wrapped(f"stopped by the halt, by step: {shares}", "  ", "    ")


def _values(found: "Values") -> Iterator[str]:
    yield _distributions("Q-VALUES")
    yield _distribution("real", found.real)
    yield _distribution("imagined", found.imagined)
    if found.rollout_ends is not None:
        yield _distribution("rollout ends", found.rollout_ends)
    if found.returns is not None:
        yield _distribution("real returns", found.returns)
    for sentence in counted(found):
        yield from _wrapped(sentence, "  ", "  ")


def _outside(found: "Outside", names: "Sequence[str]") -> Iterator[str]:
    heads = "error", "inside"
    yield (
        "OUTSIDE".ljust(18)
        + "".join(f"{head:>11}" for head in heads)
        + (f"  by the simulator; {found.rows} random actions")
    )
    for name, *errors in zip(names, found.errors, found.errors_inside, strict=False):
        yield _row(name, *map(_number, errors))
    for line in _penalties(found.penalties):
        yield line.replace("PENALTIES", "THERE    ", 1)


def _unseen_returns(found: "UnseenReturns", names: "Sequence[str]") -> Iterator[str]:
    heads = "error", "inside"
    yield (
        "UNSEEN RETURNS".ljust(18)
        + "".join(f"{head:>11}" for head in heads)
        + (
            f"  a second model; returns from {found.least_return:.4g} on, "
            f"it saw {found.greatest_seen:.4g} at most"
        )
    )
    for name, *errors in zip(names, found.errors, found.errors_inside, strict=True):
        yield _row(name, *map(_number, errors))
    for line in _penalties(found.penalties):
        yield line.replace("PENALTIES", "THERE    ", 1)


def _monte_carlo(found: "MonteCarlo") -> Iterator[str]:
    yield _distributions("IN THE SIMULATOR")
    yield _distribution("real: Q", found.real_q)
    yield _distribution("  returns", found.real_returns)
    yield _distribution("ends: Q", found.end_q)
    yield _distribution("  returns", found.end_returns)
    yield (
        f"  Q minus return, mean: {found.real_excess:.3g} in real states, "
        f"{found.end_excess:.3g} where rollouts end"
    )
