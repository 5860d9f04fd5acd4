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
# Ours: rows inside episodes look like resets if a typical column jumps this many times as
# far as usual, and as in the steps before and after (where a controller swings up, all of
# them are large). That is said if there are so many of them for each time-out: the first
# number where the time-outs are no resets themselves, the second where they are, and some
# may be missing.
_JUMP, _BESIDE = 10.0, 5.0
_JUMPS_PER_TIMEOUT, _MISSING_PER_TIMEOUT = 0.5, 0.05

# Ours: share of the episodes that end in zeros, below which that is a place as any other.
_PADDED = 0.05

# Rows that are compared at once: what is made of them stays small beside the data.
_ROWS = 65_536


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
    ends = rows.terminals | rows.timeouts
    notes = [*_of_many_terminals(rows), *_of_padding(rows, ends)]
    if rows.complete:
        at = np.flatnonzero(ends)
        return at, np.ones(len(at), dtype=bool), notes
    last = len(ends) - 1
    if rows.next_observations is None:
        if not rows.marked:
            raise DatasetError(
                f"Nothing in {whose} says where episodes end: no next observations, and no "
                "row is terminal or a timeout. Give timeouts, 1 at the last row of each "
                "episode, or give the observations episode by episode."
            )
        notes += _of_unmarked_resets(rows, ends)
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
            f"{n_cuts} of {len(ends)} rows lead to another observation than the "
            "following row's and are neither terminal nor a timeout, the first is row "
            f"{int(np.argmax(cuts))}: taken for ends of episodes that were cut. Learners "
            "do not draw the last row of such an episode, which has no next action."
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


def _of_padding(rows: Rows, ends: npt.NDArray[np.bool_]) -> list[str]:
    """Says where episodes that were given one by one end in rows of zeros."""
    if not rows.by_episode:
        return []
    rests = ~(rows.observations.any(axis=1) | rows.actions.any(axis=1))
    rests &= rows.rewards[:, 0] == 0
    last = np.flatnonzero(ends)
    starts = np.append(0, last[:-1] + 1)
    moves = np.where(rests, -1, np.arange(len(rests)))
    n_zeros = last - np.maximum(np.maximum.reduceat(moves, starts), starts - 1)
    padded = n_zeros[n_zeros > 1]  # one row may be as it is
    if len(padded) < max(2, _PADDED * len(last)):
        return []
    return [
        f"{len(padded)} episodes end in rows whose observation, action and reward are "
        f"all zero, {int(padded.sum())} rows of {len(rests)}. If that is padding, models "
        "and learners would take it for real steps: cut it off, and give a list of "
        "arrays."
    ]


def _follows(rows: Rows) -> npt.NDArray[np.bool_]:
    """(N,) whether a row's next observation is the following row's observation."""
    assert rows.next_observations is not None
    same = np.zeros(len(rows.observations), dtype=bool)
    for start in range(0, len(same) - 1, _ROWS):
        some = slice(start, min(start + _ROWS, len(same) - 1))
        before, after = rows.observations[some], rows.next_observations[some]
        following = rows.observations[some.start + 1 : some.stop + 1]
        # The one may have been rounded to float32 where the other was computed from it,
        # as s + change: a sum is off by spacings of what is added, not of what comes out.
        size = np.maximum(np.abs(after), np.abs(following))
        rounding = 4 * np.spacing(np.maximum(size, np.abs(before)))
        same[some] = (np.abs(after - following) <= rounding).all(axis=1)
    return same


def _untrue_outcomes(
    rows: Rows, follows: npt.NDArray[np.bool_], whose: str
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(N,) where next_observations does not say where the action led, and sentences."""
    assert rows.next_observations is not None
    terminals, timeouts, notes = rows.terminals, rows.timeouts, []
    # Where an observation repeats itself, that it is the following one says nothing.
    moves = _moves(rows.observations)
    chained = terminals & follows & moves
    if chained.mean() > 0.5:
        raise DatasetError(
            f"terminals of {whose} is 1 in {int(terminals.sum())} of {len(terminals)} "
            f"rows, and {int(chained.sum())} of these lead to the following row's "
            "observation, so the episode went on. If they are masks (1: goes on), pass "
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
    usual = _mean_changes(rows.observations, inside[:-1])
    there = _mean_changes(rows.observations, at[:-1])
    return bool((there > _RESET_CHANGE * usual).any())


def _moves(observations: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(N,) whether the following row's observation is another one; False for the last."""
    moves = np.zeros(len(observations), dtype=bool)
    for start in range(0, len(moves) - 1, _ROWS):
        some = observations[start : start + _ROWS + 1]
        moves[start : start + len(some) - 1] = (some[1:] != some[:-1]).any(axis=1)
    return moves


def _mean_changes(
    observations: npt.NDArray[np.float32], where: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """(D,) how far to the following row on average, of those where (N - 1,) holds.

    NumPy adds columns up in their own type: in float32 a mean of steps of 1 is 0.84 after
    20 million of them.
    """
    total = np.zeros(observations.shape[1])
    for start in range(0, len(where), _ROWS):
        some = observations[start : start + _ROWS + 1]
        changes = np.abs(np.diff(some, axis=0))[where[start : start + _ROWS]]
        total += changes.sum(axis=0, dtype=np.float64)
    mean: npt.NDArray[np.float64] = total / where.sum()
    return mean


def _of_unmarked_resets(rows: Rows, ends: npt.NDArray[np.bool_]) -> list[str]:
    """Says where rows inside episodes jump as resets do.

    In some of D4RL's files time-outs are out of step with the resets (antmaze's v0), in
    others some are missing (medium-replay's).
    """
    if rows.by_episode:
        return []
    if not rows.timeouts_given:
        return [
            "there are no timeouts: episodes are taken to end at terminals alone. If the "
            "environment has a time limit, models would learn its resets as transitions: "
            "give timeouts, or load_hdf5's max_episode_steps (Gym-MuJoCo: 1000)."
        ]
    jumps, inside = _jumps(rows), ~ends[:-1]
    marked = jumps[rows.timeouts[:-1]]
    usual = float(np.median(jumps[inside])) if inside.any() else 0.0
    if usual == 0 or not len(marked):
        return []
    as_resets = np.median(marked) > _RESET_CHANGE * usual
    least = float(np.quantile(marked, 0.25)) if as_resets else 0.0
    beside = np.maximum(np.append(0, jumps[:-1]), np.append(jumps[1:], 0))
    far = inside & (jumps > max(_JUMP * usual, least)) & (jumps > _BESIDE * beside)
    share = _MISSING_PER_TIMEOUT if as_resets else _JUMPS_PER_TIMEOUT
    if far.sum() < max(2, share * len(marked)):
        return []
    what = "as the timeouts' do" if as_resets else "and the timeouts' do not"
    return [
        f"{int(far.sum())} single rows inside episodes lead more than {_JUMP:.0f} times as "
        f"far as usual, {what}, the first is row {int(np.argmax(far))}: perhaps resets "
        "that are not marked, or timeouts that are out of step with them (D4RL's antmaze "
        "v0). Models would learn these as transitions: mark the last rows of all episodes."
    ]


def _jumps(rows: Rows) -> npt.NDArray[np.float32]:
    """(N - 1,) how far to the following row, in a typical column, in its usual steps."""
    starts = range(0, len(rows.observations) - 1, _ROWS)

    def changes(start: int) -> npt.NDArray[np.float32]:
        some = rows.observations[start : start + _ROWS + 1]
        difference: npt.NDArray[np.float32] = np.abs(np.diff(some, axis=0))
        return difference

    n_steps = len(rows.observations) - 1
    usual = sum(changes(start).sum(axis=0, dtype=np.float64) for start in starts)
    moving = np.asarray(usual) > 0
    if not moving.any():
        return np.zeros(n_steps, dtype=np.float32)
    unit = (np.asarray(usual)[moving] / n_steps).astype(np.float32)
    typical = [np.median(changes(s)[:, moving] / unit, axis=1) for s in starts]
    return np.concatenate(typical)


def _of_lost(rows: Rows, ends: npt.NDArray[np.bool_]) -> str:
    n_terminals = int(rows.terminals.sum())
    return (
        "there are no next observations, so where the last action of an episode led is not "
        f"known: {n_terminals} terminal rows train learners, not models, and "
        f"{int(ends.sum()) - n_terminals} last rows of other episodes are left out. Give "
        "next_observations, or T + 1 observations for each episode, if you have them."
    )
