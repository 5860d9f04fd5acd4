"""Penalties against the true error of the model."""

import contextlib
from collections.abc import Iterator
from typing import Optional, TypeAlias, Union, cast

import torch

from ...components.penalties import LearnedPenalty, LearnedPenaltyConfig, Penalty
from ...learners.reading import Learner
from ...registry.discovery import get_component, registry
from ...support.generators import generators_kept
from .predictions import Predicted
from .results import PenaltyRank
from .statistics import found_in_worst_tenth, spearman

__all__ = ["penalty_ranks"]

_Asked: TypeAlias = Union[Penalty, LearnedPenalty, None]

# Draws of the null: their mean's error is then small beside that of the true ranks (ours).
_DRAWS = 10


def penalty_ranks(
    judged: Predicted,
    own: _Asked,
    learner: Optional[Learner] = None,
    errors: Optional[torch.Tensor] = None,
    known_reward: bool = False,
) -> tuple[list[PenaltyRank], list[str]]:
    """Ranks real rows by every penalty and by the true error of the model there.

    Args:
        judged: Real rows and what the model says of them.
        own: The imagination's.
        learner: For penalties that ask it, None if there is none.
        errors: (B,) true errors; None: against what the rows say.
        known_reward: Whether the errors hold none of the predicted reward: then its spread
            makes none in the null.

    Returns:
        The imagination's own first, then every registered one with its defaults, except
        those that have to learn first or ask a critic; and those that could not be asked,
        with the reason.
    """
    if errors is None:
        errors = _norm(judged.elite_means.mean(dim=0) - judged.targets)
    nulls = [_drawn_errors(judged, known_reward) for _ in range(_DRAWS)]
    ranks, left_out = [], []
    for name, penalty in _all(own):
        # What is installed must not move the numbers of what is not.
        drawn: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if penalty is None:
            drawn = generators_kept()
        try:
            with drawn:
                if penalty is None:
                    component = get_component("penalty", name)
                    learns = issubclass(component, LearnedPenaltyConfig)
                    if learns or getattr(component, "needs_critic", False):
                        continue
                    penalty = cast(Penalty, component())
                if judged.rows.n_actions is not None:
                    _refuse_unless_discrete(penalty)
                scores = penalty(judged.prediction, learner).cpu().double()[:, 0]
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


def _all(own: _Asked) -> Iterator[tuple[str, _Asked]]:
    """Yields the imagination's own penalty, and then the names of all others."""
    config = own.config if isinstance(own, LearnedPenalty) else own
    own_name = config.get_type() if config is not None else None
    if own_name is not None:
        yield own_name, own
    with generators_kept():  # plugins are imported, if nobody asked for one before
        names = registry().names("penalty")
    for name in names:
        if name != own_name:
            yield name, None


def _refuse_unless_discrete(penalty: Union[Penalty, LearnedPenalty]) -> None:
    """Raises if a penalty would take indices of choices for numbers."""
    declares = penalty if isinstance(penalty, Penalty) else penalty.config
    if "discrete" not in declares.action_spaces:
        raise TypeError("its action_spaces do not include discrete actions")


def _drawn_errors(judged: Predicted, known_reward: bool) -> torch.Tensor:
    """Returns (B,) errors as a calibrated model would make them, by one random elite."""
    n_rows = len(judged.targets)
    member = torch.randint(judged.n_elites, (n_rows,))
    stds = judged.elite_stds[member, torch.arange(n_rows)]
    drawn = stds * torch.randn_like(stds)
    return _norm(drawn[:, :-1] if known_reward else drawn)


def _norm(values: torch.Tensor) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm
