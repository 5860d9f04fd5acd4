"""Ranks, quantiles and distributions of plain tensors."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

import torch

from ...support.moments import moments_of_chunks
from .results import Distribution

__all__ = [
    "Spread",
    "distribution",
    "found_in_worst_tenth",
    "quantile",
    "spearman",
    "spread",
]

_SHOWN = (0.0, 0.05, 0.5, 0.95, 1.0)


class Spread(NamedTuple):
    """Of columns, (n,) each.

    Attributes:
        mean: float64.
        std: Likewise, of all there are.
        varies: Whether by more than float32's rounding.
    """

    mean: torch.Tensor
    std: torch.Tensor
    varies: torch.Tensor


def spread(chunks: Iterable[torch.Tensor]) -> Spread:
    """Returns that of (B, n) values that come a chunk at a time, at least one."""
    largest = torch.zeros(())

    def seen() -> Iterator[torch.Tensor]:
        nonlocal largest
        for chunk in chunks:
            largest = torch.maximum(largest, chunk.abs().amax(dim=0))
            yield chunk

    mean, std = moments_of_chunks(seen())
    return Spread(mean, std, std > 1e-6 * largest.double())


def quantile(values: torch.Tensor, share: float) -> float:
    """Returns a quantile of (B,) values, linear between them (torch's own ends at 2^24)."""
    ordered = values.double().sort().values
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return float(torch.lerp(ordered[below], ordered[above], position - below))


def distribution(values: torch.Tensor) -> Distribution:
    """Sums up the entries of a tensor; there must be some."""
    flat = values.double().flatten().sort().values
    return Distribution(
        mean=float(flat.mean()),
        std=float(flat.std(unbiased=False)),
        quantiles=[quantile(flat, share) for share in _SHOWN],
    )


def spearman(one: torch.Tensor, other: torch.Tensor) -> Optional[float]:
    """Returns the rank correlation of two (B,) columns; None if one never varies.

    Equal values share the mean of their ranks.
    """
    ranks = torch.stack([_ranks(one), _ranks(other)])
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(ranks, dim=1)
    if not bool((norms > 0).all()):
        return None
    return float((ranks[0] * ranks[1]).sum() / norms.prod())


def _ranks(values: torch.Tensor) -> torch.Tensor:
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(dim=0)
    ranks: torch.Tensor = (last - (counts - 1) / 2)[which].double()
    return ranks


def found_in_worst_tenth(scores: torch.Tensor, errors: torch.Tensor) -> float:
    """Returns the share of the tenth with the greatest errors that is so by scores too.

    Args:
        scores: (B,). Among equal ones at the border of their tenth, which of them are in
            it is chance; its expectation is returned.
        errors: (B,).
    """
    n_worst = max(len(errors) // 10, 1)
    worst = errors.topk(n_worst).indices
    border = scores.topk(n_worst).values[-1]
    above, at = scores > border, scores == border
    share_at = (n_worst - above.sum()) / at.sum()
    found = above[worst].sum() + share_at * at[worst].sum()
    return float(found / n_worst)
