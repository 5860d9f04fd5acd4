"""Penalties that are subtracted when imagined rows are drawn."""

import dataclasses
import math
from collections import deque
from typing import Any, Optional

import numpy as np
import numpy.typing as npt
import torch

from ..data.packed_rows import PackedLayout
from ..imagination.contracts import ComponentChecks
from ..imagination.imagination import Imagination
from ..learners.reading import Learner, is_transformer
from ..learners.returns import uses_returns
from ..support.errors import CompositionError

__all__ = [
    "DrawnPenalty",
    "penalty_report",
    "spares_rows",
    "validate_drawn_penalty",
    "validate_rewards_behind",
]

# Batches whose penalties are reported (ours: enough for a percentile).
_N_REPORTED = 100


class DrawnPenalty:
    """Subtracts an imagination's penalty from rows that are drawn, as things stand now.

    Args:
        imagination: Fitted; its penalty is one ``when`` drawn.
        layout: Of the rows.
        learner: The algorithm being trained, None if there is none.
    """

    def __init__(
        self,
        imagination: Imagination,
        layout: PackedLayout,
        learner: Optional[Learner],
    ):
        self._imagination, self._layout = imagination, layout
        self._learner = learner
        self._subtracted: deque[npt.NDArray[np.float32]] = deque(maxlen=_N_REPORTED)

    @torch.no_grad()
    def subtract(
        self,
        rows: npt.NDArray[np.float32],
        spared: Optional[npt.NDArray[np.bool_]] = None,
    ) -> None:
        """Lowers the rewards of packed imagined rows (n, width) by their penalties.

        Args:
            rows: These.
            spared: (n,) those whose reward is a halt's, which stands in the place of a
                penalised one; None if there are none.

        Raises:
            CompositionError: The penalty returned the wrong shape or type, values that
                are not finite, or negative ones.
        """
        imagination, columns = self._imagination, self._layout.columns(rows)
        penalty = imagination.penalty
        assert penalty is not None
        given, reached = columns["observations"], columns["next_observations"]
        if imagination.dynamics.direction == "reverse":
            given, reached = reached, given
        observations, actions, outcome, rewards = (
            torch.from_numpy(np.ascontiguousarray(column)).to(imagination.device)
            for column in (given, columns["actions"], reached, columns["rewards"])
        )
        predicted = imagination.dynamics.predict(observations, actions, True)
        # The members as they are now, beside the row as it was imagined.
        prediction = dataclasses.replace(
            predicted, observations=outcome, rewards=rewards
        )
        checks = ComponentChecks()
        checks.members(penalty, prediction)
        penalties = penalty(prediction, self._learner)
        checks.shape(penalty, penalties, (len(rows), 1))
        checks.finite(penalty, penalties)
        checks.positive(penalty, penalties)
        checks.raise_found()
        subtracted = penalties.cpu().numpy()
        if spared is not None:
            subtracted = np.where(spared[:, None], np.float32(0), subtracted)
        columns["rewards"] -= subtracted
        self._subtracted.append(subtracted[:, 0])

    def report(self) -> dict[str, float]:
        """Returns mean and 95th percentile of the last batches' penalties; NaN before."""
        if not self._subtracted:
            return {"penalty_mean": math.nan, "penalty_p95": math.nan}
        return penalty_report(np.concatenate(self._subtracted))

    def checkpoint_state(self) -> list[torch.Tensor]:
        """Returns the penalties that are reported."""
        return [torch.from_numpy(each) for each in self._subtracted]

    def restore_checkpoint(self, state: list[torch.Tensor]) -> None:
        """Takes over what `checkpoint_state` returned."""
        self._subtracted = deque((each.numpy() for each in state), maxlen=_N_REPORTED)


def spares_rows(imagination: Imagination) -> bool:
    """Returns whether a halt's rewards must be told from those that a penalty lowers."""
    drawn = imagination.penalty_when("drawn") is not None
    return drawn and imagination.halt is not None


def validate_drawn_penalty(imagination: Imagination, learner: Any) -> None:
    """Refuses learners that ask for the rewards that follow a row.

    These are rewards as they were imagined, and the current penalty is in none of them.

    Args:
        imagination: Its penalty may be one that is subtracted when rows are drawn.
        learner: Any d3rlpy algorithm, or None.

    Raises:
        CompositionError: A transformer, or Cal-QL.
    """
    if uses_returns(learner) or is_transformer(learner):
        validate_rewards_behind(imagination, f"{type(learner).__name__} trains on")


def validate_rewards_behind(
    imagination: Imagination, who: str = "Returns-to-go hold"
) -> None:
    """Refuses the rewards that follow a row if a current penalty is missing in them.

    A buffer may not know the learner, so this is called again where they are read.

    Args:
        imagination: Its penalty may be one that is subtracted when rows are drawn.
        who: Begins the message: who uses those rewards, and the verb.

    Raises:
        CompositionError: The penalty is such a one.
    """
    penalty = imagination.penalty_when("drawn")
    if penalty is not None:
        raise CompositionError(
            f"{who} the rewards that follow a row, as they were imagined, but the penalty "
            f"{type(penalty).__name__} of the imagination "
            f"{imagination.config.get_type()!r} is subtracted when single rows are drawn. "
            "Use a penalty that is subtracted when imagined, or another learner, such as "
            "SAC or CQL."
        )


def penalty_report(penalties: npt.NDArray[np.float32]) -> dict[str, float]:
    """Returns mean and 95th percentile of penalties, for d3rlpy's logs."""
    return {
        "penalty_mean": float(penalties.mean()),
        "penalty_p95": float(np.percentile(penalties, 95)),
    }
