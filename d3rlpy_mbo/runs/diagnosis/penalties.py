"""Penalties against the true error of the model."""

from collections.abc import Iterator
from typing import Optional

import torch

from ...components.penalties import Penalty
from ...registry.discovery import registry
from .predictions import Predicted
from .results import PenaltyRank
from .statistics import found_in_worst_tenth, spearman

__all__ = ["penalty_ranks"]

# Draws of the null: their mean's error is then small beside that of the true ranks (ours).
_DRAWS = 10


def penalty_ranks(
    judged: Predicted, own: Optional[Penalty]
) -> tuple[list[PenaltyRank], list[str]]:
    """Ranks real rows by every penalty and by the true error of the model there.

    Args:
        judged: Real rows and what the model says of them.
        own: The imagination's.

    Returns:
        The imagination's own first, then every registered one as it comes; and which
        could not be asked, with the reason.
    """
    errors = _norm(judged.elite_means.mean(dim=0) - judged.targets)
    nulls = [_drawn_errors(judged) for _ in range(_DRAWS)]
    ranks, left_out = [], []
    for name, penalty in _all(own):
        try:
            if not isinstance(penalty, Penalty):
                penalty = _made(name)
            if judged.rows.n_actions is not None:
                _refuse_unless_discrete(penalty)
            scores = penalty(judged.prediction).cpu().double()[:, 0]
            if len(scores) != len(errors) or not bool(torch.isfinite(scores).all()):
                raise ValueError("it returned no finite number for each row")
        except Exception as error:  # a stranger's component must not end the diagnosis
            left_out.append(f"the penalty {name}: {type(error).__name__}: {error}")
            continue
        by_chance = [spearman(scores, null) for null in nulls]
        known = [each for each in by_chance if each is not None]
        found = [found_in_worst_tenth(scores, null) for null in nulls]
        ranks.append(
            PenaltyRank(
                name=name,
                own=penalty is own,
                spearman=spearman(scores, errors),
                worst_tenth=found_in_worst_tenth(scores, errors),
                null_spearman=sum(known) / len(known) if known else None,
                null_worst_tenth=sum(found) / len(found),
            )
        )
    return ranks, left_out


def _all(own: Optional[Penalty]) -> Iterator[tuple[str, Optional[Penalty]]]:
    """Yields the names of all penalties, with the object where there is one."""
    if own is not None:
        yield own.get_type(), own
    for name in registry().names("penalty"):
        if own is None or name != own.get_type():
            yield name, None


def _made(name: str) -> Penalty:
    component = registry().get("penalty", name)
    penalty = component() if component is not None else None
    if not isinstance(penalty, Penalty):
        raise TypeError("it is nothing that can be asked before it has learned")
    return penalty


def _refuse_unless_discrete(penalty: Penalty) -> None:
    """Raises if a penalty would take indices of choices for numbers."""
    if "discrete" not in penalty.action_spaces:
        raise TypeError("it does not say that it knows discrete actions")


def _drawn_errors(judged: Predicted) -> torch.Tensor:
    """Returns (B,) errors as a calibrated model would make them, by one random elite."""
    n_rows = len(judged.targets)
    member = torch.randint(judged.n_elites, (n_rows,))
    stds = judged.elite_stds[member, torch.arange(n_rows)]
    return _norm(stds * torch.randn_like(stds))


def _norm(values: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm
