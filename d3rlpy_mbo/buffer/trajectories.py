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

__all__ = ["Trajectories", "first_of"]

Indices = npt.NDArray[np.int64]

# Where these stand behind observation, action and reward of a step.
_TERMINAL, _RETURN, _TIME = -3, -2, -1


class _LeadIns(NamedTuple):
    """Imagined steps before real ones, in B trajectories.

    Attributes:
        n_imagined: (B,) how many.
        n_real: (B,) real steps behind them.
        rows: (B,) the real row at which the first step would stand if it were real.
        times: (B,) the timestep of the first step.
        rest: What follows the first one in its rollout; h steps at most.
        returns: (B, h) what follows each step, its own reward included.
    """

    n_imagined: Indices
    n_real: Indices
    rows: Indices
    times: Indices
    rest: Rest
    returns: npt.NDArray[np.float64]


class Trajectories:
    """Slices trajectories of real data, and leads into them.

    Half of a packed row is what a transition leads to, which a trajectory does not need:
    here are the steps alone, beside what else a transformer is told of each.

    Args:
        real: The real data.
    """

    def __init__(self, real: RealData):
        self._real, layout = real, real.layout
        self._width = (
            layout.reward + 1
        )  # observations, actions, reward: as they lie there
        self._steps = np.zeros((len(real) + 1, self._width + 3), dtype=np.float32)
        steps = self._steps[:-1]  # behind them one of zeros: padding
        steps[:, : self._width] = real.packed[:, : self._width]
        steps[:, _TERMINAL] = real.packed[:, layout.terminal]
        steps[:, _RETURN] = real.rewards.returns
        positions = real.rewards.positions(np.arange(len(real)))
        steps[:, _TIME] = positions[1]
        self._positions = np.stack(positions, axis=1).astype(np.int32)

    def batch(
        self, length: int, ends: Indices, leads: Sequence[tuple[Ring, Indices]]
    ) -> TrajectoryMiniBatch:
        """Returns trajectories: those that end in real rows, then those with a lead-in.

        A lead-in is the rest of a reverse rollout, from an imagined row on. It leads to a
        real state, and the real rows from there on follow. The row i steps before the real
        one at time t has time t - i; where that would fall below 1, rows are left out.
        Behind a terminal there is nothing.

        Args:
            length: L, steps of a trajectory, padding included.
            ends: (B,) rows of the real data.
            leads: Stores of reverse rollouts, with (B,) places of rows in them.
        """
        n_steps = np.minimum(self._positions[ends, 0] + 1, length)
        lead_ins = [self._lead_ins(length, *each) for each in leads]
        if lead_ins:
            led = [each.n_imagined + each.n_real for each in lead_ins]
            rows = [ends - n_steps + 1, *(each.rows for each in lead_ins)]
            n_steps, first = np.concatenate([n_steps, *led]), np.concatenate(rows)
        else:
            first = ends - n_steps + 1
        # Which step of its trajectory stands at a place; below 0 is padding.
        padding = length - n_steps
        steps = np.arange(length) - padding[:, None]  # (B, L)
        there = steps >= 0
        rows_taken = np.where(there, first[:, None] + steps, len(self._steps) - 1)
        taken = self._steps.take(rows_taken, axis=0, mode="clip")
        begin = len(ends)
        for each in lead_ins:
            part = slice(begin, begin + len(each.n_real))
            self._write(each, padding[part], taken[part])
            begin = part.stop
        columns = self._real.layout.slices
        return TrajectoryMiniBatch(
            observations=taken[..., columns["observations"]],
            actions=taken[..., columns["actions"]],
            rewards=taken[..., columns["rewards"]],
            returns_to_go=taken[..., _RETURN, None],
            terminals=taken[..., _TERMINAL, None],
            timesteps=taken[..., _TIME],
            masks=there.astype(np.float32),
            length=length,
        )

    def _lead_ins(self, length: int, ring: Ring, places: Indices) -> _LeadIns:
        """Returns the lead-ins that begin at (B,) places of a ring."""
        rewards = self._real.rewards
        starts, distances = ring.origins(places).T
        # The start row is the one that leads to the real state, the next one leaves it:
        # where its timestep is t, t steps fit in front.
        _, times, n_real = self._positions[starts].T
        fitting = np.minimum(distances, times)
        rest = ring.rest(places + (distances - fitting), fitting, self._real.layout)
        behind, goes_on = rewards.returns_after[starts], ~rest.ended
        sums = rest.rewards[:, ::-1].cumsum(axis=1, dtype=np.float64)[:, ::-1]
        n_imagined = np.minimum(rest.n_rows, length)
        return _LeadIns(
            n_imagined=n_imagined,
            n_real=np.minimum(n_real, length - n_imagined) * goes_on,
            rows=starts + 1 - n_imagined,
            times=times + 1 - fitting,
            rest=rest,
            returns=sums + (behind * goes_on)[:, None],
        )

    def _write(
        self, lead_ins: _LeadIns, padding: Indices, taken: npt.NDArray[np.float32]
    ) -> None:
        """Writes imagined steps over what was taken in their place.

        Args:
            lead_ins: Of B trajectories.
            padding: (B,) places before the first step.
            taken: (B, L, size) steps.
        """
        n_rows, length, size = taken.shape
        n_steps = lead_ins.returns.shape[1]
        # Indices: numpy takes twice as long by a mask, each time.
        trajectory, step = np.nonzero(lead_ins.rest.there[:, :length])
        place = n_steps * trajectory + step
        rows = lead_ins.rest.rows.reshape(n_rows * n_steps, -1).take(place, axis=0)
        written = np.empty((len(rows), size), dtype=np.float32)
        written[:, : self._width] = rows[:, : self._width]
        written[:, _TERMINAL] = rows[:, self._real.layout.terminal]
        written[:, _RETURN] = lead_ins.returns.take(place)
        written[:, _TIME] = lead_ins.times.take(trajectory) + step
        where = (length * np.arange(n_rows) + padding).take(trajectory) + step
        taken.reshape(n_rows * length, size)[where] = written


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
