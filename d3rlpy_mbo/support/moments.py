"""Mean and deviation of rows that are too many to be float64 at once."""

from collections.abc import Iterable

import torch

__all__ = ["moments_of_chunks"]


def moments_of_chunks(
    chunks: Iterable[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (D,) mean and (D,) standard deviation, in float64, of all rows there are.

    Source: Chan, Golub and LeVeque 1983, equation 1.5: deviations of joined samples.

    Args:
        chunks: (B, D) each, at least one.
    """
    n_rows, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        double = chunk.double()
        its_mean, share = double.mean(dim=0), len(double) / (n_rows + len(double))
        change = its_mean - mean
        squares = squares + (double - its_mean).square().sum(dim=0)
        squares = squares + change.square() * (n_rows * share)
        mean, n_rows = mean + change * share, n_rows + len(double)
    return mean, (squares / n_rows).sqrt()
