"""Counts the steps of the learner that draws from a buffer."""

from typing import Any, Optional

from .. import learners
from ..learners.reading import AnyLearner
from ..support.errors import LearnerMismatchError

__all__ = ["LearnerProgress"]

# Batches that may be drawn before the learner moves for the first time (ours: a user
# may look at some, a learner takes one for each step).
_PATIENCE = 100


class LearnerProgress:
    """Counts the steps of the learner that draws from a buffer.

    Args:
        learner: Its `grad_step` is followed; None to count batches.
        needed: Whether an imagination asks it, so that no buffer is without it.
    """

    def __init__(self, learner: Optional[AnyLearner], needed: bool = False):
        self._needed = needed
        self.step = 0
        self._learner = learner
        self._grad_step = learners.grad_step(learner) if learner is not None else 0
        self._moved = False
        self._n_batches = 0

    def observe(self) -> int:
        """Notes that a batch is drawn; returns the steps taken before it.

        Raises:
            LearnerMismatchError: Many batches, and the learner never moved. Once it
                has moved, FQE and evaluators may draw as many as they like.
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
        if not self._moved and self._n_batches > _PATIENCE:
            end = ", or without learner if it trains no more (FQE)."
            if self._needed:
                end = ". The imagination asks it, so for FQE give it the dataset."
            raise LearnerMismatchError(
                f"{self._n_batches} batches were drawn, but the learner that this buffer "
                f"was given ({type(self._learner).__name__}) still stands at step "
                f"{grad_step}: another one trains. Build the buffer with learner=the "
                f"algorithm whose fit you call{end}"
            )
        return self.step

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
