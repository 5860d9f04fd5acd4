"""Rules on the imagination's own penalty; docs/diagnosis.md says them in words."""

import math
from collections.abc import Iterator, Sequence
from typing import Optional

from .model_verdicts import rounding
from .results import Diagnosis, PenaltyRank, Verdict

__all__ = ["judge_penalty", "judge_penalty_outside", "penalty_undecided"]

# Each limit is ours, see `verdicts`.
_EXACT = 0.01  # share of variance unexplained, below which errors need no ranking
_BLIND = 0.1  # rank correlation ...
_SEEN_BY_NULL = 0.7  # ... where the model's own deviations promise this ...
_SEEN_BY_OTHER = 0.3  # ... or another penalty has this


def judge_penalty(found: Diagnosis) -> Iterator[Verdict]:
    """Says whether the penalty is blind to the errors on real rows, or inverted.

    No verdict if it does not rank them, but nothing says that they can be ranked: see
    `penalty_undecided`.
    """
    own = _own(found.penalties)
    if own is None or own.spearman is None:
        return
    text, fault = _said(own), _fault(own, found)
    if fault is None:
        yield Verdict("penalty", True, text)
    elif _exact(found):
        yield Verdict("penalty", True, f"{text} The errors are too small to matter.")
    elif fault:
        advice = _advice(found.penalties)
        yield Verdict("penalty", False, f"{fault}: {text} {advice}")


def judge_penalty_outside(found: Diagnosis) -> Iterator[Verdict]:
    """Says whether the penalty sees where the model errs outside the data.

    The simulator repeats the data's steps exactly, so errors there are the model's own,
    and nothing excuses a penalty that does not rank them.
    """
    if found.outside is None:
        return
    own = _own(found.outside.penalties)
    if own is None or own.spearman is None:
        return
    text = (
        f"by the simulator, {own.name} ranks rows as their errors do with a correlation "
        f"of {own.spearman:.2f}, and finds {own.worst_tenth:.0%} of the worst tenth."
    )
    if own.spearman >= _BLIND:
        yield Verdict("penalty outside", True, text)
        return
    columns = found.one_step.columns[:-1]
    if all(
        error**2 <= _EXACT * column.naive_error**2 + rounding(column) ** 2
        for error, column in zip(found.outside.errors, columns, strict=True)
    ):
        text += " The errors are too small to matter."
        yield Verdict("penalty outside", True, text)
        return
    advice = _advice(found.outside.penalties, enough=_BLIND)
    yield Verdict(
        "penalty outside",
        False,
        f"it does not see where the model errs: {text} {advice}",
    )


def penalty_undecided(found: Diagnosis) -> Optional[str]:
    """Returns why there is no verdict on the penalty; None if there is, or no penalty.

    If errors are noise of one size, no penalty can rank them: that one does not is then
    no fault, but nothing to be called ok either.
    """
    own = _own(found.penalties)
    if own is None or own.spearman is None:
        return None
    if next(judge_penalty(found), None) is not None:
        return None
    _, known = _best(found.penalties)
    elsewhere = "see penalty outside"
    if found.outside is None:
        elsewhere = "give env= or leave_out_returns=True (--leave-out-returns)"
    return (
        f"a verdict on the penalty: {own.name} does not rank rows as their errors do "
        f"({own.spearman:.2f}), but no known penalty does ({known:.2f} at most), as if "
        "errors were noise of one size. What it is worth shows only outside the data: "
        f"{elsewhere}"
    )


def _own(penalties: Sequence[PenaltyRank]) -> Optional[PenaltyRank]:
    return next((each for each in penalties if each.own), None)


def _best(penalties: Sequence[PenaltyRank]) -> tuple[str, float]:
    """Returns the penalty that ranks rows best, and how well."""
    ranks = [
        (each.spearman, each.name) for each in penalties if each.spearman is not None
    ]
    rank, name = max(ranks)
    return name, rank


def _said(own: PenaltyRank) -> str:
    null = own.null_spearman or 0.0
    return (
        f"{own.name} ranks rows as their errors do with a correlation of "
        f"{own.spearman:.2f}; with errors of the predicted deviations it would be "
        f"{null:.2f}."
    )


def _fault(own: PenaltyRank, found: Diagnosis) -> Optional[str]:
    """Returns what is wrong with a penalty on real rows.

    Returns:
        None if nothing is; an empty text if it does not rank them, but nothing says that
        they can be ranked.
    """
    rank = own.spearman or 0.0
    # The standard error of a rank correlation, where there is none, is 1 / sqrt(rows).
    if rank < -max(_BLIND, 3 / math.sqrt(found.rows)):
        return "inverted"
    if rank >= _BLIND:
        return None
    promised = (own.null_spearman or 0.0) >= _SEEN_BY_NULL
    seen = _best(found.penalties)[1] >= _SEEN_BY_OTHER
    return "blind" if promised or seen else ""


def _exact(found: Diagnosis) -> bool:
    """Returns whether the errors on real rows are too small to need a penalty."""
    columns = found.one_step.columns
    shares = [c.unexplained for c in columns if c.unexplained is not None]
    return max(shares, default=0.0) < _EXACT


def _advice(penalties: Sequence[PenaltyRank], enough: float = _SEEN_BY_OTHER) -> str:
    name, rank = _best(penalties)
    if rank < enough:
        return "No other known penalty does: use short rollouts, or no penalty."
    return f"Of the known penalties {name} has {rank:.2f}: use that."
