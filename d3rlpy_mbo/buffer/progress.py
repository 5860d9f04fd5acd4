"""Counts the steps of the learner that draws from a buffer."""

import sys
from types import FrameType
from typing import Any, Optional

from d3rlpy.algos import QLearningAlgoBase, TransformerAlgoBase

from .. import learners
from ..learners.reading import AnyLearner, is_evaluation
from ..support.errors import LearnerMismatchError
from .folding import validate_reader

__all__ = ["LearnerProgress"]

# Batches that may be drawn before the learner moves for the first time (ours: a user
# may look at some, a learner takes one for each step).
_PATIENCE = 100

# Where d3rlpy's `fit` draws batches, and our own modules that lie between.
_FITS = QLearningAlgoBase.__module__, TransformerAlgoBase.__module__
_BETWEEN = __name__.rpartition(".")[0] + "."


class LearnerProgress:
    """Counts the steps of the learner that draws from a buffer.

    Args:
        learner: Its `grad_step` is followed; None to count batches.
        needed: Whether an imagination asks it, so that a buffer cannot do without it.
        alone: Whether no other learner may train: if the imagination follows this
            learner's steps, or asks it, its rows would never be imagined anew.
        folded: Whether rows hold several steps, with rewards folded for the learner.
    """

    def __init__(
        self,
        learner: Optional[AnyLearner],
        needed: bool = False,
        alone: bool = True,
        folded: bool = False,
    ):
        self._needed, self._alone, self._folded = needed, alone, folded
        self.step = 0
        self._learner = learner
        self._grad_step = learners.grad_step(learner) if learner is not None else 0
        self._moved = False
        self._n_batches = 0
        self._n_standing = 0  # of these without a step

    def observe(self) -> int:
        """Notes that a batch is drawn; returns the steps taken before it.

        Raises:
            LearnerMismatchError: d3rlpy's `fit` of another learner asks; or many
                batches, and the learner never moved. Once it has moved, FQE and
                evaluators may draw as many as they like.
            CompositionError: See `validate_reader`.
        """
        self._n_batches += 1
        if self._learner is None:
            self.step = self._n_batches - 1
            return self.step
        grad_step = learners.grad_step(self._learner)
        # A learner that is loaded anew counts from 0 again.
        advance = max(grad_step - self._grad_step, 0)
        self._grad_step = grad_step
        self.step += advance
        self._moved = self._moved or advance > 0
        self._n_standing = 0 if advance else self._n_standing + 1
        if self._alone and self._n_standing > 1:  # one is where a fit begins
            self._refuse_another()
        if not self._moved and self._n_batches > _PATIENCE:
            end = ", or without learner if that one trains no more (FQE)."
            if self._needed:
                end = ". The imagination asks the learner, so for FQE use the dataset."
            raise LearnerMismatchError(
                f"{self._n_batches} batches were drawn, but the learner that this buffer "
                f"was given ({type(self._learner).__name__}) is still at step "
                f"{grad_step}: another one trains, or none. Build the buffer with "
                f"learner=the algorithm whose fit you call{end}"
            )
        return self.step

    def _refuse_another(self) -> None:
        """Raises if d3rlpy's `fit` of another learner draws this batch.

        That learner would train for ever on rows that are not imagined anew. FQE does not
        act, so it may draw, and so may any other caller; but not every FQE can read
        folded rows.
        """
        asks = _fitted_learner()
        if asks is None or asks is self._learner:
            return
        if is_evaluation(asks):
            if self._folded:
                validate_reader(self._learner, asks)
            return
        name, given = type(asks).__name__, type(self._learner).__name__
        if name == given:
            name, given = f"another {name}", f"the {name}"
        raise LearnerMismatchError(
            f"The learner that is being trained, {name}, is not the one that this buffer "
            f"was given, {given}, whose steps it follows. Make a buffer for it: "
            "ImaginedReplayBuffer(dataset, imagination, learner=...) of the algorithm "
            "whose fit you call."
        )

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns how far the learner is, as this buffer has seen it."""
        return {
            "step": self.step,
            "grad_step": self._grad_step,
            "moved": self._moved,
            "n_batches": self._n_batches,
        }

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""
        self.step, self._grad_step = state["step"], state["grad_step"]
        self._moved, self._n_batches = state["moved"], state["n_batches"]


def _fitted_learner() -> Optional[Any]:
    """Returns the learner whose `fit` draws from the buffer, None if it is not d3rlpy's.

    d3rlpy asks a buffer for batches and does not say for whom: only the caller knows.
    """
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith(_BETWEEN):
            return frame.f_locals.get("self") if module in _FITS else None
        frame = frame.f_back
    return None
