"""Sub-trajectories for transformers: real ones, and real ones that imagination leads into.

What d3rlpy's own slicer makes, by columns and index arithmetic: padding stands in front,
timesteps count from 1, returns-to-go are plain sums.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import PartialTrajectory, TrajectoryMiniBatch

from ..data.real_data import RealData
from .ring import Rest, Ring

__all__ = ["first_of", "trajectories"]

Indices = npt.NDArray[np.int64]


class _Lines(NamedTuple):
    """Where B trajectories lie, (B,) each: imagined steps, then real ones.

    Attributes:
        n_imagined: Steps of a rollout.
        n_real: Steps behind them.
        rows: The real row at which the first step would stand if it were real.
        times: The timestep of the first step.
    """

    n_imagined: Indices
    n_real: Indices
    rows: Indices
    times: Indices


class _LeadIns(NamedTuple):
    """Imagined steps before real ones, in B trajectories.

    Attributes:
        lines: Where they lie.
        ring: Holds the imagined steps.
        rest: What follows the first one in its rollout; h steps at most.
        returns: (B, h) what follows each step, its own reward included.
    """

    lines: _Lines
    ring: Ring
    rest: Rest
    returns: npt.NDArray[np.float64]


def trajectories(
    real: RealData, length: int, ends: Indices, leads: Sequence[tuple[Ring, Indices]]
) -> TrajectoryMiniBatch:
    """Returns trajectories: those that end in real rows, then those with a lead-in.

    A lead-in is the rest of a reverse rollout, from an imagined row on. It leads to a real
    state, and the real rows from there on follow. The row i steps before the real one at
    time t has time t - i; where that would fall below 1, rows are left out. Behind a
    terminal there is nothing.

    Args:
        real: The real data.
        length: L, steps of a trajectory, padding included.
        ends: (B,) rows of the real data.
        leads: Stores of reverse rollouts, with (B,) places of rows in them.
    """
    lead_ins = [_lead_ins(real, length, *each) for each in leads]
    every = [_real_lines(real, length, ends), *(each.lines for each in lead_ins)]
    lines = _Lines(*map(np.concatenate, zip(*every, strict=True)))
    # Which step of its trajectory stands at a place; below 0 is padding.
    padding = length - lines.n_imagined - lines.n_real
    steps = np.arange(length) - padding[:, None]  # (B, L)
    there, rows = steps >= 0, lines.rows[:, None] + steps
    taken = real.packed.take(rows, axis=0, mode="clip")
    returns = real.rewards.returns.take(rows, mode="clip")
    first = len(ends)
    for each in lead_ins:
        part = slice(first, first + len(each.returns))
        _write(each, padding[part], taken[part], returns[part])
        first = part.stop
    if not there.all():
        taken[~there] = 0.0
        returns *= there
    columns = real.layout.columns(taken)
    return TrajectoryMiniBatch(
        observations=columns["observations"],
        actions=columns["actions"],
        rewards=columns["rewards"],
        returns_to_go=returns[..., None],
        terminals=columns["terminals"],
        timesteps=((lines.times[:, None] + steps) * there).astype(np.float32),
        masks=there.astype(np.float32),
        length=length,
    )


def _real_lines(real: RealData, length: int, ends: Indices) -> _Lines:
    """Returns where trajectories lie that end in (B,) real rows."""
    before, times, _ = real.rewards.positions(ends)
    n_real = np.minimum(before + 1, length)
    to_first = n_real - 1
    return _Lines(np.zeros_like(ends), n_real, ends - to_first, times - to_first)


def _lead_ins(real: RealData, length: int, ring: Ring, places: Indices) -> _LeadIns:
    """Returns the lead-ins that begin at (B,) places of a ring."""
    starts, distances = ring.origins(places).T
    # The start row is the one that leads to the real state, the next one leaves it: where
    # its timestep is t, t steps fit in front.
    _, times, n_real = real.rewards.positions(starts)
    fitting = np.minimum(distances, times)
    rest = ring.rest(places + (distances - fitting), fitting, real.layout)
    behind = real.rewards.returns_after[starts] * ~rest.ended
    sums = rest.rewards[:, ::-1].cumsum(axis=1, dtype=np.float64)[:, ::-1]
    n_imagined = np.minimum(rest.n_rows, length)
    n_real = np.minimum(n_real, length - n_imagined) * ~rest.ended
    rows, times = starts + 1 - n_imagined, times + 1 - fitting
    lines = _Lines(n_imagined, n_real, rows, times)
    return _LeadIns(lines, ring, rest, sums + behind[:, None])


def _write(
    lead_ins: _LeadIns,
    padding: Indices,
    taken: npt.NDArray[np.float32],
    returns: npt.NDArray[np.float32],
) -> None:
    """Writes imagined steps over what was taken in their place.

    Args:
        lead_ins: Of B trajectories.
        padding: (B,) places before the first step.
        taken: (B, L, width) rows.
        returns: (B, L) what follows them.
    """
    n_rows, length = returns.shape
    steps = np.arange(min(length, lead_ins.returns.shape[1]))
    there = lead_ins.rest.there[:, : len(steps)]
    where = ((length * np.arange(n_rows) + padding)[:, None] + steps)[there]
    places = lead_ins.rest.places[:, : len(steps)][there]
    taken.reshape(n_rows * length, -1)[where] = lead_ins.ring.at(places)
    returns.reshape(-1)[where] = lead_ins.returns[:, : len(steps)][there]


def first_of(batch: TrajectoryMiniBatch) -> PartialTrajectory:
    """Returns the first trajectory of a batch, as d3rlpy's slicer returns one."""
    names = (
        "observations", "actions", "rewards", "returns_to_go", "terminals", "masks",
    )  # fmt: skip
    return PartialTrajectory(
        **{name: getattr(batch, name)[0] for name in names},
        timesteps=batch.timesteps[0].astype(np.int32),
        length=batch.length,
    )
