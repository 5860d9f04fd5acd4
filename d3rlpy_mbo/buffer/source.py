"""When imaginations imagine anew, and the rows they imagined last."""

import functools
import math
import operator
import warnings
import weakref
from typing import Optional

import numpy as np
import numpy.typing as npt
import torch

from .. import learners
from ..data.packed_rows import PackedLayout
from ..data.transitions import Transitions
from ..imagination.imagination import Imagination
from ..imagination.readiness import check_divergence
from ..imagination.rollout import RolloutCounts
from ..learners.reading import Learner
from ..support.errors import DivergedError
from .ring import Ring

__all__ = ["ImaginedSource"]


class ImaginedSource:
    """The rows one imagination contributes to a buffer.

    Args:
        imagination: Fitted.
        transitions: The real ones it starts from, on the CPU.
        layout: Of the rows.
        learner: For components that ask it.
    """

    def __init__(
        self,
        imagination: Imagination,
        transitions: Transitions,
        layout: PackedLayout,
        learner: Optional[Learner],
    ):
        config = imagination.config
        self.imagination = imagination
        self.ring = Ring(
            config.retained_refreshes
            * config.rollout_length
            * config.rollout_batch_size,
            layout.width,
            config.retained_refreshes,
        )
        self._transitions = transitions
        self._layout = layout
        self._learner = learner
        changed_for = imagination.changed_for
        if changed_for is not None and changed_for() is not learner:
            warnings.warn(
                f"The model of the imagination {config.get_type()!r} has been changed "
                "while another learner trained, and this run goes on from there. For an "
                "independent one fit the imagination again, or load it with "
                "mbo.load_imagination.",
                stacklevel=3,
            )
        self._refreshed: Optional[int] = None  # step of the last refresh
        self._updated = 0  # step of the last update of the dynamics
        names = ["rows", "reward_mean", "dropped_share", "clipped_share"]
        names += [f"survival_{i + 1}" for i in range(config.rollout_length)]
        if config.penalty is not None:
            names += ["penalty_mean", "penalty_p95"]
        if config.dynamics_updater is not None:
            names += ["model_holdout_growth"]
        self._report = dict.fromkeys(names, math.nan)

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers of the last refresh (NaN before) and of the components."""
        return {**self._report, **self.imagination.metrics}

    def prepare(self, step: int) -> None:
        """Does what is due before the batch of this step: update, then imagine.

        Raises:
            CompositionError: The dynamics updater cannot work with this learner.
            DivergedError: Too many rows were not finite.
        """
        self._update_dynamics(step)
        interval = self.imagination.config.rollout_interval
        if self._refreshed is None or (
            interval is not None and step - self._refreshed >= interval
        ):
            self.refresh(step)

    def refresh(self, step: int) -> None:
        """Imagines anew, from the current dynamics and learner.

        Raises:
            DivergedError: Too many rows were not finite.
        """
        self.ring.begin_refresh()
        config = self.imagination.config
        counts: list[RolloutCounts] = []
        rewards: list[torch.Tensor] = []
        penalties: list[torch.Tensor] = []
        for imagined in self.imagination.rollouts(
            self._transitions, config.rollout_batch_size, self._learner
        ):
            self.ring.append(self._layout.pack(imagined.transitions))
            counts.append(imagined.counts)
            rewards.append(imagined.transitions.rewards)
            penalties.append(imagined.penalties)
        total = functools.reduce(operator.add, counts)
        check_divergence(total.dropped_share)
        if not len(self.ring):
            raise DivergedError(
                f"None of {config.rollout_batch_size} rollouts has a row left: the "
                "termination ends every one at once. Is it this environment's?"
            )
        self._refreshed = step
        self._report |= {
            "rows": float(len(self.ring)),
            "reward_mean": float(torch.cat(rewards).mean()),
            **total.report(),
        }
        if config.penalty is not None:
            subtracted = torch.cat(penalties).cpu().numpy()
            self._report["penalty_mean"] = float(subtracted.mean())
            self._report["penalty_p95"] = float(np.percentile(subtracted, 95))

    def _update_dynamics(self, step: int) -> None:
        updater = self.imagination.dynamics_updater
        if updater is None or self._learner is None:
            return
        rows, dynamics = self._model_rows, self.imagination.dynamics
        if step == 0 and updater.needs_critic:  # refused before anything is trained
            learners.check_built(
                self._learner, rows.observation_size, rows.action_size, critic=True
            )
        if step - self._updated >= updater.config.update_interval:
            before = self._first_holdout_errors
            updater.metrics |= updater.update(dynamics, rows, self._learner)
            after = dynamics.holdout_errors(rows)
            dynamics.metrics |= after
            if before.get("model_holdout_error"):
                growth = after["model_holdout_error"] / before["model_holdout_error"]
                self._report["model_holdout_growth"] = growth - 1
            self._updated = step
            self.imagination.changed_for = weakref.ref(self._learner)

    @functools.cached_property
    def _model_rows(self) -> Transitions:
        """One object for all updates, so that updaters may keep what they make of it."""
        return self._transitions.for_models()

    @functools.cached_property
    def _first_holdout_errors(self) -> dict[str, float]:
        """Before the first update of this run."""
        return self.imagination.dynamics.holdout_errors(self._model_rows)

    def sample(self, out: npt.NDArray[np.float32]) -> None:
        """Fills (n, width) rows with imagined ones, drawn uniformly."""
        if len(out):
            self.ring.sample(out)
