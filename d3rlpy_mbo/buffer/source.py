"""When imaginations imagine anew, and the rows they imagined last."""

import dataclasses
import functools
import math
import operator
import warnings
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import torch

from .. import learners
from ..data.real_data import RealData
from ..data.transitions import Transitions
from ..imagination.imagination import Imagination
from ..imagination.readiness import (
    validate_divergence,
    validate_halts,
    warn_if_rewards_are_far,
)
from ..imagination.rollout import Rollout, RolloutCounts
from ..learners.reading import Learner, is_evaluation
from ..support.errors import CompositionError, DivergedError
from ..support.progress import Progress
from .drawn import ImaginedRows
from .drawn_penalties import (
    DrawnPenalty,
    penalty_report,
    validate_drawn_penalty,
    validate_rewards_behind,
)
from .fill import Fill
from .folding import fold, validate_folding
from .ring import Ring

__all__ = ["ImaginedSource", "validate_rows"]

# Settings that a store is made for: if they changed afterwards, it would not fit them.
_OF_STORE = (
    "rollout_length",
    "rollout_batch_size",
    "retained_refreshes",
    "steps_per_row",
)


def validate_rows(imagination: Imagination, learner: Any) -> None:
    """Refuses a learner for which the rows of an imagination are not what they seem.

    Args:
        imagination: Fitted or not: its config and its penalty are asked.
        learner: Any d3rlpy algorithm, or None.

    Raises:
        CompositionError: It is asked, and judges another's policy (FQE); or see
            `validate_folding` and `validate_drawn_penalty`.
    """
    config = imagination.config
    if imagination.needs_learner and is_evaluation(learner):
        raise CompositionError(
            f"The imagination {config.get_type()!r} asks the learner, but "
            f"{type(learner).__name__} does not act: it judges another's policy. Use an "
            "imagination that asks nobody, such as ROMI's, or the real rows: "
            "fqe.fit(dataset, ...)."
        )
    epsilon = getattr(config.rollout_policy, "epsilon", 0.0)
    validate_folding(learner, config.steps_per_row, epsilon)
    validate_drawn_penalty(imagination, learner)


class ImaginedSource:
    """The rows one imagination contributes to a buffer.

    Args:
        imagination: Fitted.
        real: What it starts from.
        learner: For components that ask it.
    """

    def __init__(
        self,
        imagination: Imagination,
        real: RealData,
        learner: Optional[Learner],
    ):
        config = imagination.config
        self.imagination = imagination
        self.fill = Fill.of(imagination, real, learner)
        self.ring = Ring(
            self.fill.capacity,
            real.layout.width,
            config.retained_refreshes,
            folded=config.steps_per_row > 1,
            spares=self.fill.spares,
        )
        self._made_for = {name: getattr(config, name) for name in _OF_STORE}
        self._times_settled = imagination.times_settled
        self._real = real
        self._learner = learner
        self._drawn: Optional[DrawnPenalty] = None
        if imagination.penalty_when("drawn") is not None:
            self._drawn = DrawnPenalty(imagination, real.layout, learner)
        if imagination.changed_for_another(learner):
            warnings.warn(
                f"The model of the imagination {config.get_type()!r} has been changed "
                "while another learner trained, and this run goes on from there. For an "
                "independent run, fit the imagination again, or load a file that was "
                "saved before training.",
                stacklevel=3,
            )
        self._refreshed: Optional[int] = None  # step of the last refresh
        self._torn = False  # whether the refresh after it was cut short
        self._updated = 0  # step of the last update of the dynamics
        self._warned = False  # of rewards far from the data's: once is enough
        names = ["rows", "reward_mean", "dropped_share", "clipped_share"]
        names += [f"survival_{i + 1}" for i in range(config.rollout_length)]
        if config.penalty is not None:
            names += ["penalty_mean", "penalty_p95"]
        if config.halt is not None:
            names += [f"halted_{i + 1}" for i in range(config.rollout_length)]
        if config.dynamics_updater is not None:
            names += ["model_holdout_growth"]
        self._report = dict.fromkeys(names, math.nan)

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers of the last refresh (NaN before) and of the components.

        If the penalty is subtracted when rows are drawn, its numbers are of the last
        draws.
        """
        if self._drawn is not None:
            self._report |= self._drawn.report()
        return {**self._report, **self.imagination.metrics_beside(self._report)}

    @property
    def leads_to_real(self) -> bool:
        """Whether its rollouts end in real states, so that returns-to-go are known."""
        return self.imagination.dynamics.direction == "reverse"

    def lead_in(self) -> None:
        """Counts the memory of lead-ins too, if no transformer was named beforehand.

        Raises:
            CompositionError: See `Fill.validate`.
        """
        if not self.fill.leads_in:
            fill = dataclasses.replace(self.fill, leads_in=True)
            fill.validate()  # as often as it is asked: a refused one is not kept
            self.fill = fill

    def prepare(self, step: int) -> None:
        """Does what is due before the batch of this step: update, then imagine.

        Raises:
            CompositionError: The dynamics updater cannot work with this learner, or
                the imagination is no longer the one this was made for.
            DivergedError: Too many rows were not finite.
        """
        self._follow_imagination()
        if step == 0 and self.imagination.needs_critic:
            self._validate_critic()  # before anything is trained
        self._update_dynamics(step)
        interval, last = self.imagination.config.rollout_interval, self._refreshed
        is_due = interval is not None and last is not None and step - last >= interval
        if last is None or self._torn or is_due:
            self.refresh(step)

    def refresh(self, step: int) -> None:
        """Imagines anew, from the current dynamics and learner.

        Raises:
            CompositionError: See `prepare`.
            DivergedError: Too many rows were not finite.
        """
        self._follow_imagination()
        self._validate_store()
        self._torn = True  # until all of it is there: the rows of before are going
        self.ring.begin_refresh()
        config = self.imagination.config
        counts: list[RolloutCounts] = []
        rewards: list[torch.Tensor] = []
        penalties: list[torch.Tensor] = []
        of_model: list[torch.Tensor] = []  # what it pays: a halt may give any reward
        for imagined in self._rollouts():
            origins = torch.stack([imagined.start_rows, imagined.distances], dim=1)
            rows, intervals = imagined.transitions, None
            if config.steps_per_row > 1:
                folded = fold(rows, config.steps_per_row, self._learner)
                rows, intervals = folded.transitions, folded.intervals.cpu().numpy()
            packed = self._real.layout.pack(rows)
            spared = imagined.spared[:, 0].cpu().numpy() if self.fill.spares else None
            self.ring.append(packed, origins.cpu().numpy(), intervals, spared)
            counts.append(imagined.counts)
            rewards.append(imagined.transitions.rewards)
            penalties.append(imagined.penalties)
            paid = imagined.transitions.rewards + imagined.penalties
            of_model.append(paid[~imagined.spared[:, 0]])
        total = functools.reduce(operator.add, counts)
        validate_divergence(
            total.dropped_share, config.get_type(), config.rollout_length
        )
        # Rollouts may be shorter now, or without a penalty: nothing of before stays.
        of_before = self._report.keys() - {"model_holdout_growth"}
        self._report |= dict.fromkeys(of_before, math.nan)
        if self.imagination.halt is not None:
            halted = total.halt_report()
            first = self._refreshed is None
            validate_halts(self.imagination.halt, halted, first)
            self._report |= halted
        if not len(self.ring):
            raise DivergedError(
                f"None of {self.fill.n_rollouts} rollouts of {config.get_type()!r} has a "
                "row left: the termination ends every one at once. Is it the rule of this "
                "environment?"
            )
        self._refreshed, self._torn = step, False
        every, taken = torch.cat(rewards), torch.cat(penalties)
        self._report |= {
            "rows": float(len(self.ring)),
            "reward_mean": float(every.mean()),
            **total.report(),
        }
        if not self._warned:
            self._warned = warn_if_rewards_are_far(
                torch.cat(of_model), *self._real_rewards, config.get_type()
            )
        if self.imagination.penalty_when("imagined") is not None:
            self._report |= penalty_report(taken.cpu().numpy())

    def _follow_imagination(self) -> None:
        """Forgets what the imagination imagined before it was fitted anew, if it was."""
        if self.imagination.times_settled == self._times_settled:
            return
        self.imagination.check_ready(self._real.transitions)
        self.ring.clear()
        self._refreshed = None
        vars(self).pop("_first_holdout_errors", None)
        self._times_settled = self.imagination.times_settled

    def _validate_store(self) -> None:
        """Refuses settings that were changed since the store was made for them.

        Shorter rollouts still fit.

        Raises:
            CompositionError: Names the setting.
        """
        config = self.imagination.config
        for name, before in self._made_for.items():
            now = getattr(config, name)
            fits = now <= before if name == "rollout_length" else now == before
            if not fits:
                raise CompositionError(
                    f"{name} of the imagination {config.get_type()!r} was {before} when "
                    f"this buffer was made, and is {now}: its store is made for "
                    f"{before}. Make a new buffer."
                )
        drawn, made_for_drawn = (
            each is not None
            for each in (self.imagination.penalty_when("drawn"), self._drawn)
        )
        if drawn != made_for_drawn:
            now, then = ("drawn", "imagined") if drawn else ("imagined", "drawn")
            raise CompositionError(
                f"The penalty of the imagination {config.get_type()!r} was changed since "
                f"this buffer was made. Rows were penalised when {then}, and are now when "
                f"{now}, if at all: it would be subtracted twice, or never. Make a new "
                "buffer."
            )

    def _rollouts(self) -> Iterator[Rollout]:
        """Yields the rollouts of a refresh; shows the progress of the first one.

        Later ones take as long, and would flicker beside the learner's own progress bar.
        """
        n_rollouts = self.fill.n_rollouts
        rollouts = self.imagination.rollouts(self._real, n_rollouts, self._learner)
        if self._refreshed is not None:
            yield from rollouts
            return
        with Progress("Imagining", total=n_rollouts, unit="rollouts") as progress:
            progress.say(self.fill.description)
            for imagined in rollouts:
                yield imagined
                rows = len(imagined.transitions)
                progress.advance(int(imagined.counts.rollouts), rows)

    def _validate_critic(self) -> None:
        assert self._learner is not None
        rows = self._real.transitions
        learners.check_built(
            self._learner,
            rows.observation_size,
            rows.action_size,
            critic=True,
            n_actions=rows.n_actions,
        )

    def _update_dynamics(self, step: int) -> None:
        updater = self.imagination.dynamics_updater
        if updater is None or self._learner is None:
            return
        rows = self._model_rows
        if step - self._updated >= updater.config.update_interval:
            before = self._first_holdout_errors
            after = self.imagination.update_dynamics(rows, self._learner)
            if before.get("model_holdout_error"):
                growth = after["model_holdout_error"] / before["model_holdout_error"]
                self._report["model_holdout_growth"] = growth - 1
            self._updated = step

    @functools.cached_property
    def _real_rewards(self) -> tuple[float, float]:
        """The least and the greatest of the data."""
        rewards = self._real.transitions.rewards
        return float(rewards.min()), float(rewards.max())

    @functools.cached_property
    def _first_holdout_errors(self) -> dict[str, float]:
        """Before the first update of this run."""
        return self.imagination.dynamics.holdout_errors(self._model_rows)

    @functools.cached_property
    def _model_rows(self) -> Transitions:
        """What an updater needs at every update, kept as long as it may be needed."""
        return self._real.for_models

    def sample(self, out: npt.NDArray[np.float32]) -> ImaginedRows:
        """Fills (n, width) rows with imagined ones, drawn uniformly; says which.

        A penalty that is subtracted when rows are drawn is subtracted here; the rows in
        the ring stay as they are.

        Raises:
            CompositionError: That penalty breaks its contract.
        """
        places = self.ring.draw(len(out)) if len(out) else np.zeros(0, dtype=np.int64)
        self.ring.take(places, out)
        if self._drawn is not None and len(out):
            self._drawn.subtract(out, self.ring.spared(places))
        return ImaginedRows(
            self.ring,
            places,
            self._real,
            self.leads_to_real,
            functools.partial(validate_rewards_behind, self.imagination),
        )

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns where the schedule stands, and its numbers; the ring has the rows."""
        known = "_first_holdout_errors" in vars(self)
        return {
            "refreshed": None if self._torn else self._refreshed,
            "updated": self._updated,
            "report": dict(self._report),
            "first_holdout_errors": self._first_holdout_errors if known else None,
            "drawn": None if self._drawn is None else self._drawn.checkpoint_state(),
            "followed": self.imagination.times_settled == self._times_settled,
        }

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""
        self._refreshed, self._updated = state["refreshed"], state["updated"]
        self._report = dict(state["report"])
        if not state.get("followed", True):  # not in older checkpoints
            self._times_settled = -1  # another action set, or fitted anew, since
        if state["first_holdout_errors"] is not None:
            self._first_holdout_errors = state["first_holdout_errors"]
        if self._drawn is not None:
            self._drawn.restore_checkpoint(state["drawn"])
