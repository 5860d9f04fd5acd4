"""Sub-trajectories for transformers: real ones, and real ones that imagination leads into.

What d3rlpy's own slicer makes, by columns and index arithmetic: padding stands in front,
timesteps count from 1, returns-to-go are plain sums.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from d3rlpy.dataset import PartialTrajectory, TrajectoryMiniBatch

from ..data.real_data import RealData
from .lead_ins import LeadIns
from .ring import Ring

__all__ = ["Trajectories", "first_of"]

Indices = npt.NDArray[np.int64]

# Where these stand behind observation, action and reward of a step.
_TERMINAL, _RETURN, _TIME, _MASK = -4, -3, -2, -1


class Trajectories:
    """Slices trajectories of real data, and leads into them.

    Half of a packed row is what a transition leads to, which a trajectory does not need:
    here are the steps alone, beside what else a transformer is told of each.

    Args:
        real: The real data.
        rings: Stores of reverse rollouts.
    """

    def __init__(self, real: RealData, rings: Sequence[Ring]):
        layout = real.layout
        self._layout, self._width = layout, layout.reward + 1
        self._leads = [LeadIns(ring, real) for ring in rings]
        # In front of them one of zeros: what stands where there is none.
        self._steps = np.zeros((1 + len(real), self._width + 4), dtype=np.float32)
        steps = self._steps[1:]
        steps[:, : self._width] = real.packed[:, : self._width]
        steps[:, _TERMINAL] = real.packed[:, layout.terminal]
        steps[:, _RETURN] = real.rewards.returns
        before, times, _ = real.rewards.positions(np.arange(len(real)))
        steps[:, _TIME] = times
        steps[:, _MASK] = 1.0
        self._n_until = before + 1

    def batch(
        self, length: int, ends: Indices, places: Sequence[Indices]
    ) -> TrajectoryMiniBatch:
        """Returns trajectories: those that end in real rows, then those with a lead-in.

        A lead-in is the rest of a reverse rollout, from an imagined row on. It leads to a
        real state, and the real rows from there on follow. The row i steps before the real
        one at time t has time t - i; where that would fall below 1, rows are left out.
        Behind a terminal there is nothing.

        Args:
            length: L, steps of a trajectory, padding included.
            ends: (B,) rows of the real data.
            places: (B,) of rows in each ring.
        """
        lead_ins = [
            lead.at(drawn, length)
            for lead, drawn in zip(self._leads, places, strict=True)
            if len(drawn)
        ]
        n_real = np.minimum(self._n_until.take(ends), length)
        taken = self._take(
            length,
            np.concatenate([n_real, *(each.n_real for each in lead_ins)]),
            np.concatenate([ends, *(each.last for each in lead_ins)]),
        )
        begin = len(ends)
        for each in lead_ins:
            end = begin + len(each.n_real)
            each.write(taken[begin:end])
            begin = end
        columns = self._layout.slices
        return TrajectoryMiniBatch(
            observations=taken[..., columns["observations"]],
            actions=taken[..., columns["actions"]],
            rewards=taken[..., columns["rewards"]],
            returns_to_go=taken[..., _RETURN, None],
            terminals=taken[..., _TERMINAL, None],
            timesteps=taken[..., _TIME],
            masks=taken[..., _MASK],
            length=length,
        )

    def _take(
        self, length: int, n_real: Indices, last: Indices
    ) -> npt.NDArray[np.float32]:
        """Returns (B, L, size) steps: n real ones until `last`, behind zeros."""
        steps = np.arange(length)
        rows = (last + (2 - length))[:, None] + steps
        rows *= steps >= (length - n_real)[:, None]
        taken: npt.NDArray[np.float32] = self._steps.take(rows, axis=0, mode="clip")
        return taken


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
