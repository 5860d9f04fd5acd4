"""What several processes that train one learner (DDP) can share, and what they cannot."""

from collections.abc import Sequence
from typing import Optional

from ..imagination.imagination import Imagination
from ..learners.reading import AnyLearner, is_distributed
from ..support.errors import CompositionError

__all__ = ["validate_processes"]


def validate_processes(
    imaginations: Sequence[Imagination], learner: Optional[AnyLearner]
) -> None:
    """Refuses imaginations that several processes cannot share.

    Args:
        imaginations: Of the buffer.
        learner: Who trains; nothing is refused unless in several processes.

    Raises:
        CompositionError: One has a dynamics updater, or is not fitted.
    """
    if learner is None or not is_distributed(learner):
        return
    name = type(learner).__name__
    for each in imaginations:
        kind = each.config.get_type()
        if each.dynamics_updater is not None:
            updater = each.dynamics_updater.config.get_type()
            raise CompositionError(
                f"The imagination {kind!r} has the dynamics updater {updater!r}, and "
                f"{name} trains in several processes (enable_ddp=True): each would "
                "change its model in its own way. Leave the updater out, or train in one "
                "process."
            )
        if not each.fitted:
            raise CompositionError(
                f"The imagination {kind!r} is not fitted, and {name} trains in several "
                "processes (enable_ddp=True): each would fit a model of its own. Fit and "
                "save it in one of them, and load it in all with mbo.load_imagination."
            )
