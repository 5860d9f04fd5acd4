"""Which rows the members of an ensemble train on, in which order."""

from collections.abc import Iterator
from typing import Optional

import torch

__all__ = ["batches", "bootstrap_samples"]

# Ours: of so many rows the first of a random order, up to this share, are found sooner
# than all are sorted. Sorting fewer takes no time, and equal keys keep their order of 0.1.
_MANY, _FEW = 100_000, 0.25


def bootstrap_samples(rows: torch.Tensor, n_members: int) -> torch.Tensor:
    """Returns (E, n) for each member as many of n rows, drawn with replacement.

    Of int32, which holds two thousand million rows in half the memory.

    Args:
        rows: (n,) int64.
        n_members: E.
    """
    samples = torch.empty(n_members, len(rows), dtype=torch.int32)
    for sample in samples:  # one after the other: what is drawn is int64
        sample[:] = rows[torch.randint(len(rows), (len(rows),))]
    return samples


def batches(
    samples: torch.Tensor, batch_size: int, n_batches: Optional[int] = None
) -> Iterator[torch.Tensor]:
    """Yields (E, batch) row indices of an epoch, in each member's own random order.

    Args:
        samples: (E, n), see `bootstrap_samples`.
        batch_size: Rows a member sees in one batch.
        n_batches: How many are wanted, None for a whole epoch: the rest of the order is
            not worked out.
    """
    n_rows = samples.shape[1]
    if n_batches is not None:
        n_rows = min(n_rows, n_batches * batch_size)
    order = samples.new_empty(len(samples), n_rows)
    for member, sample in enumerate(samples):
        order[member] = sample[_first_of_random_order(sample, n_rows)]
    for start in range(0, n_rows, batch_size):
        yield order[:, start : start + batch_size].long()


def _first_of_random_order(sample: torch.Tensor, n_first: int) -> torch.Tensor:
    """Returns the indices of the first entries of (n,) in a random order."""
    keys = torch.rand(len(sample), device=sample.device)
    if len(keys) < _MANY or n_first > _FEW * len(keys):
        return keys.argsort()[:n_first]
    least = torch.nonzero(keys <= keys.kthvalue(n_first).values)[:, 0]
    return least[keys[least].argsort()][:n_first]
