"""Networks of an ensemble, evaluated together, and the scaling around them."""

import copy
import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional

from ...support.devices import ROWS_IN_DOUBLE
from ...support.moments import moments_of_chunks
from .products import evaluate_members

__all__ = ["GaussianNetworks", "Standardizer", "mixture_log_prob"]


class GaussianNetworks(nn.Module):
    """Networks side by side, from standardised inputs to standardised targets.

    Args:
        n_models: E, how many.
        sizes: Of the inputs, the hidden layers and the targets.
        log_variance_bounds: Start of each member's learned soft bounds.
    """

    def __init__(
        self,
        n_models: int,
        sizes: Sequence[int],
        log_variance_bounds: tuple[float, float],
    ):
        super().__init__()
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        outputs = [*sizes[1:-1], 2 * sizes[-1]]
        for fan_in, fan_out in zip(sizes[:-1], outputs, strict=True):
            weight = torch.empty(n_models, fan_in, fan_out)
            # MBPO's initialisation: a truncated normal of std 1 / (2 sqrt(fan_in)).
            std = 0.5 / math.sqrt(fan_in)
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n_models, 1, fan_out)))
        low, high = log_variance_bounds
        bounds = (n_models, 1, sizes[-1])
        self.min_log_variance = nn.Parameter(torch.full(bounds, float(low)))
        self.max_log_variance = nn.Parameter(torch.full(bounds, float(high)))

    def __len__(self) -> int:
        return len(self.max_log_variance)

    def __getitem__(self, members: torch.Tensor) -> "GaussianNetworks":
        """Returns copies of some of the networks, in this order."""
        some = copy.deepcopy(self)
        for module in some.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.detach()[members]))
        return some

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns means and log-variances, (E, B, D_out) each.

        Args:
            inputs: (E, B, D_in), rows for each network, or (B, D_in) for all.
        """
        inputs = inputs.expand(len(self), -1, -1)
        outputs = evaluate_members(inputs, list(self.weights), list(self.biases))
        mean, log_variance = outputs.chunk(2, dim=-1)
        high, low = self.max_log_variance, self.min_log_variance
        log_variance = high - functional.softplus(high - log_variance)
        log_variance = low + functional.softplus(log_variance - low)
        return mean, log_variance

    def one_for_each(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Asks one network for each row: a random deal of the rows into equal hands.

        Each row's network is uniform, and no other is evaluated for it.

        Args:
            inputs: (B, D_in).

        Returns:
            Means and log-variances, (B, D_out) each.
        """
        n_networks, n_rows = len(self), len(inputs)
        hand = -(-n_rows // n_networks)
        deal = torch.randperm(hand * n_networks, device=inputs.device)
        padded = inputs[deal.clamp(max=n_rows - 1)].view(n_networks, hand, -1)
        mean, log_variance = self(padded)
        back = torch.empty_like(deal)
        back[deal] = torch.arange(len(deal), device=inputs.device)
        back = back[:n_rows]
        return mean.flatten(0, 1)[back], log_variance.flatten(0, 1)[back]


def mixture_log_prob(
    means: torch.Tensor,
    log_variances: torch.Tensor,
    values: torch.Tensor,
    counted: torch.Tensor,
) -> torch.Tensor:
    """Returns (B, 1) log densities of an equal mixture of diagonal Gaussians.

    Stays in logarithms: at 100 dimensions a density underflows even in float64.

    Args:
        means: (K, B, D).
        log_variances: (K, B, D).
        values: (B, D).
        counted: (D,) 1 for columns that have a density, 0 for the others.
    """
    squares = (values - means).square() * torch.exp(-log_variances)
    terms = squares + log_variances + math.log(2 * math.pi)
    components = -0.5 * (terms * counted).sum(dim=-1, keepdim=True)
    return torch.logsumexp(components, dim=0) - math.log(len(means))


@dataclasses.dataclass
class Standardizer:
    """Mean and standard deviation of columns; constant columns stay constant."""

    mean: torch.Tensor  # (D,)
    std: torch.Tensor  # (D,), 0 for a column that never changes

    @classmethod
    def fit(cls, values: torch.Tensor) -> "Standardizer":
        """Returns the standardizer of (B, D) values."""
        return cls.of_chunks(torch.split(values, ROWS_IN_DOUBLE))

    @classmethod
    def of_chunks(cls, chunks: Iterable[torch.Tensor]) -> "Standardizer":
        """Returns the standardizer of (B, D) values that come a chunk at a time."""
        mean, std = moments_of_chunks(chunks)
        # Rounding leaves about 1e-8 of a constant column's size as its deviation.
        std[std <= 1e-6 * mean.abs()] = 0.0
        return cls(mean.float(), std.float())

    def to(self, device: str) -> "Standardizer":
        """Returns the same on another device."""
        return Standardizer(self.mean.to(device), self.std.to(device))

    def standardize(self, values: torch.Tensor) -> torch.Tensor:
        """Returns (values - mean) / std; 0 for a column that never changes."""
        scale = torch.where(self.std > 0, self.std, torch.ones_like(self.std))
        return (values - self.mean) / scale

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns ``mean`` and ``std`` on the CPU."""
        return {"mean": self.mean.cpu(), "std": self.std.cpu()}
