"""Where episodes end, and whether the outcome of their last action is known."""

import numpy as np
import numpy.typing as npt

from ..support.errors import DatasetError
from .rows import Rows

__all__ = ["known_outcomes"]

# Ours: how many times as large as inside episodes the mean change at time-outs must be
# in some column. A walk that goes on changes as it always does; a reset by the states'
# spread, which is tens of steps.
_RESET_CHANGE = 3.0


def known_outcomes(
    rows: Rows, whose: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], list[str]]:
    """Finds the ends of episodes.

    Args:
        rows: What was read.
        whose: For messages.

    Returns:
        Indices of last rows, ascending; of each whether its outcome is known; and
        sentences that say what was assumed.

    Raises:
        DatasetError: Nothing says where episodes end, or masks were given as terminals.
    """
    notes = _of_many_terminals(rows)
    ends = rows.terminals | rows.timeouts
    last = len(ends) - 1
    if rows.next_observations is None:
        if not rows.marked:
            raise DatasetError(
                f"Nothing in {whose} says where episodes end: no next observations, and no "
                "row is terminal or a timeout. Give timeouts, 1 at the last row of each "
                "episode, or give the observations episode by episode."
            )
        ends[last] = True
        at = np.flatnonzero(ends)
        return at, np.zeros(len(at), dtype=bool), [*notes, _of_lost(rows, ends)]

    follows = _follows(rows)
    unknown, untrue = _untrue_outcomes(rows, follows, whose)
    cuts = ~follows & ~ends
    cuts[last] = False
    n_cuts = int(cuts.sum())
    if n_cuts:
        notes.append(
            f"{n_cuts} of {len(ends)} rows lead to another observation than the following "
            f"row's and are neither terminal nor a timeout, the first is row "
            f"{int(np.argmax(cuts))}: taken as ends of episodes that were cut. Learners do "
            "not draw the last row of such an episode, which has no next action."
        )
    ends = ends | cuts
    ends[last] = True
    at = np.flatnonzero(ends)
    return at, ~unknown[at], [*notes, *untrue]


def _of_many_terminals(rows: Rows) -> list[str]:
    share = float(rows.terminals.mean())
    if share <= 0.5:
        return []
    return [
        f"{share:.0%} of the rows are terminal. If terminals holds masks (1: the episode "
        "goes on), pass 1 - terminals."
    ]


def _follows(rows: Rows) -> npt.NDArray[np.bool_]:
    """(N,) whether a row's next observation is the following row's observation."""
    assert rows.next_observations is not None
    after, following = rows.next_observations[:-1], rows.observations[1:]
    # The one may have been rounded to float32 where the other was computed from it.
    rounding = 2 * np.spacing(np.maximum(np.abs(after), np.abs(following)))
    same = (np.abs(after - following) <= rounding).all(axis=1)
    return np.append(same, False)


def _untrue_outcomes(
    rows: Rows, follows: npt.NDArray[np.bool_], whose: str
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(N,) where next_observations does not say where the action led, and sentences."""
    assert rows.next_observations is not None
    terminals, timeouts, notes = rows.terminals, rows.timeouts, []
    # Where an observation repeats itself, that it is the following one says nothing.
    moves = np.append(np.diff(rows.observations, axis=0).any(axis=1), False)
    chained = terminals & follows & moves
    if chained.mean() > 0.5:
        raise DatasetError(
            f"terminals of {whose} is 1 in {int(terminals.sum())} of {len(terminals)} "
            f"rows, and {int(chained.sum())} of these lead to the following row's "
            "observation, so the episode went on. Are these masks (1: goes on)? Then pass "
            "1 - terminals."
        )
    zeros = terminals & ~rows.next_observations.any(axis=1)
    if rows.observations.shape[1] == 1 or not rows.observations.any(axis=1).all():
        zeros[:] = False  # the origin may be a place as any other
    cut = timeouts & follows
    if not _are_resets(rows, follows, cut):
        cut[:] = False
    for untrue, of, what in (
        (chained, terminals, "the following row's observation"),
        (zeros & ~chained, terminals, "zero"),
        (cut, timeouts, "the following row's observation, a reset"),
    ):
        if untrue.any():
            kind, fate = (
                ("terminal", "train learners, not models")
                if of is terminals
                else ("timeout", "are left out")
            )
            notes.append(
                f"next_observations of {int(untrue.sum())} of {int(of.sum())} {kind} rows "
                f"is {what}, not where the action led: these rows {fate}."
            )
    return chained | zeros | cut, notes


def _are_resets(
    rows: Rows, follows: npt.NDArray[np.bool_], at: npt.NDArray[np.bool_]
) -> bool:
    """Whether the following observations are those of new episodes.

    D4RL's maze2d is one walk that goes on through its time-outs; elsewhere what follows
    a time-out is a reset.
    """
    inside = follows & ~rows.terminals & ~rows.timeouts
    if not at.any() or not inside.any():
        return bool(at.any())
    changes = np.abs(np.diff(rows.observations, axis=0))
    usual = changes[inside[:-1]].mean(axis=0)
    return bool((changes[at[:-1]].mean(axis=0) > _RESET_CHANGE * usual).any())


def _of_lost(rows: Rows, ends: npt.NDArray[np.bool_]) -> str:
    n_terminals = int(rows.terminals.sum())
    return (
        "there are no next observations, so where the last action of an episode led is not "
        f"known: {n_terminals} terminal rows train learners, not models, and "
        f"{int(ends.sum()) - n_terminals} last rows of other episodes are left out. Give "
        "next_observations or T + 1 observations an episode if there are any."
    )
