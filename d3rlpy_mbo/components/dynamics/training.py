"""Trains an ensemble: bootstrap samples, hold-out errors, each member's best epoch."""

from collections.abc import Sequence
from typing import Any, Optional

import torch

from ...support.cuda_graphs import recorded
from ...support.errors import DivergedError
from ...support.progress import Progress
from ...support.resuming import Loop
from ..history import FitRecord, plain, records
from .networks import GaussianNetworks
from .regression import Rows
from .samples import batches, bootstrap_samples

__all__ = [
    "bounds_loss",
    "decay_loss",
    "ensemble_loss",
    "gaussian_loss",
    "holdout_errors",
    "train_ensemble",
]


def ensemble_loss(
    network: GaussianNetworks, x: torch.Tensor, y: torch.Tensor, bounds_weight: float
) -> torch.Tensor:
    """Returns the loss that members are trained with: `gaussian_loss`, `bounds_loss`.

    Args:
        network: The members.
        x: (E, B, D_in) standardised.
        y: (E, B, D_out) standardised.
        bounds_weight: See `bounds_loss`.
    """
    mean, log_variance = network(x)
    return gaussian_loss(mean, log_variance, y) + bounds_loss(network, bounds_weight)


def gaussian_loss(
    mean: torch.Tensor, log_variance: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Gaussian negative log-likelihood: sum over members of means over rows and columns.

    Args:
        mean: (E, B, D_out).
        log_variance: (E, B, D_out).
        y: (E, B, D_out) standardised.
    """
    error = (mean - y).square() * torch.exp(-log_variance) + log_variance
    return error.mean(dim=(1, 2)).sum()


def bounds_loss(network: GaussianNetworks, bounds_weight: float) -> torch.Tensor:
    """Width of the log-variance bounds: sum over members of means over columns.

    A mean, as the likelihood's: summed over columns it would outweigh the likelihood of
    each where there are many, and drive the deviations up.
    """
    width = network.max_log_variance - network.min_log_variance
    return bounds_weight * width.mean(dim=(1, 2)).sum()


def decay_loss(
    network: GaussianNetworks, weight_decays: Sequence[float]
) -> torch.Tensor:
    """Returns what Adam's weight_decay adds to the gradient, as a loss.

    Args:
        network: The members.
        weight_decays: One for each layer.
    """
    terms = [
        0.5 * decay * torch.linalg.vector_norm(weight).square()
        for weight, decay in zip(network.weights, weight_decays, strict=True)
    ]
    return torch.stack(terms).sum()


def train_ensemble(
    network: GaussianNetworks,
    x: Rows,
    y: Rows,
    training: torch.Tensor,
    holdout: torch.Tensor,
    *,
    learning_rate: float,
    weight_decays: Sequence[float],
    batch_size: int,
    bounds_weight: float,
    patience: int,
    max_steps: Optional[int],
    history: Optional[list[FitRecord]] = None,
) -> tuple[torch.Tensor, int]:
    """Trains all members; leaves each at its best epoch.

    Args:
        network: The members.
        x: (N, D_in) standardised.
        y: (N, D_out) standardised.
        training: Rows to train on.
        holdout: Rows that say when to stop.
        learning_rate: See `ProbabilisticEnsembleConfig`, as for the following ones.
        weight_decays: One for each layer.
        batch_size: Rows a member sees in one step.
        bounds_weight: See `bounds_loss`.
        patience: The most epochs in a row without improvement.
        max_steps: Gradient steps at most; None for no limit.
        history: Gets each epoch's mean hold-out error and training loss, of all members.

    Returns:
        (E,) hold-out errors on the CPU: squared, mean over standardised columns; and
        the number of gradient steps.
    """
    optimizer = _optimizer(network, learning_rate, weight_decays)

    def learn(rows: torch.Tensor) -> torch.Tensor:
        loss = ensemble_loss(network, x[rows], y[rows], bounds_weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    step = recorded(learn) if x.device.type == "cuda" else learn
    holdout = holdout.to(x.device)
    x_holdout, y_holdout = x[holdout], y[holdout]
    # Every member trains on its own bootstrap sample.
    samples = bootstrap_samples(training, len(network)).to(x.device)
    history = [] if history is None else history
    errors = holdout_errors(network, x_holdout, y_holdout).mean(dim=1)
    history.append(FitRecord(0, 0, "holdout_error", float(errors.mean())))
    best = _Best(network, errors)
    steps_per_epoch = -(-samples.shape[1] // batch_size)
    loop = Loop(network=network, optimizer=optimizer, best=best)
    at = loop.go_on(n_steps=0, stale_epochs=0, epoch=0, history=plain(history))
    n_steps, stale_epochs, epoch = at["n_steps"], at["stale_epochs"], at["epoch"]
    history[:] = records(at["history"])
    with Progress(
        "Fitting dynamics",
        total=max_steps,
        initial=n_steps,
        steps_per_epoch=steps_per_epoch,
        ends=_ends(patience),
    ) as progress:
        while stale_epochs <= patience:
            epoch += 1
            total, n_batches = torch.zeros((), device=x.device), 0
            left = None if max_steps is None else max_steps - n_steps
            for rows in batches(samples, batch_size, left):
                total += step(rows)
                n_steps += 1
                n_batches += 1
                progress.advance(rows=rows.shape[1])
            errors = holdout_errors(network, x_holdout, y_holdout).mean(dim=1)
            improved = best.update(errors)
            stale_epochs = 0 if improved else stale_epochs + 1
            error = float(errors.mean())
            average = float(total) / (n_batches * len(network))
            history.append(FitRecord(epoch, n_steps, "holdout_error", error))
            history.append(FitRecord(epoch, n_steps, "loss", average))
            progress.note(
                epoch=epoch,
                holdout_error=error,
                best_holdout_error=float(best.errors.mean()),
                least_left=(patience + 1 - stale_epochs) * steps_per_epoch,
            )
            if n_steps == max_steps:
                break
            loop.reached(
                n_steps=n_steps,
                stale_epochs=stale_epochs,
                epoch=epoch,
                history=plain(history),
            )
    best.restore()
    return best.errors.cpu(), n_steps


def _ends(patience: int) -> str:
    """Returns when training ends where nothing limits its steps."""
    return (
        f"It ends after {patience + 1} epochs in a row in which no member's hold-out "
        "error fell by 1 %; nobody can tell when that will be: set max_steps for a limit."
    )


def _optimizer(
    network: GaussianNetworks, learning_rate: float, weight_decays: Sequence[float]
) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [weight], "weight_decay": decay}
        for weight, decay in zip(network.weights, weight_decays, strict=True)
    ]
    rest = [*network.biases, network.min_log_variance, network.max_log_variance]
    groups.append({"params": rest})
    # What a CUDA graph replays must keep its count of steps on the device.
    on_gpu = network.max_log_variance.is_cuda
    return torch.optim.Adam(groups, lr=learning_rate, fused=True, capturable=on_gpu)


@torch.no_grad()
def holdout_errors(
    network: GaussianNetworks, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Returns (E, D_out) mean squared errors of the means.

    Args:
        network: The members.
        x: (H, D_in) standardised.
        y: (H, D_out) standardised.

    Raises:
        DivergedError: One is not finite.
    """
    mean, _ = network(x)
    errors: torch.Tensor = (mean - y).square().mean(dim=1)
    if not bool(torch.isfinite(errors).all()):
        raise DivergedError(
            f"The ensemble's hold-out errors became {errors.mean(dim=1).tolist()}. Lower "
            "its learning_rate, or look for outliers in the dataset."
        )
    return errors


class _Best:
    """Each member's parameters, bounds included, at its least hold-out error."""

    def __init__(self, network: GaussianNetworks, errors: torch.Tensor):
        self.errors = errors
        self._network = network
        self._snapshot = [p.detach().clone() for p in network.parameters()]

    @torch.no_grad()
    def update(self, errors: torch.Tensor) -> bool:
        """Keeps the members that improved by 1 %; returns whether any did."""
        improved = errors < 0.99 * self.errors
        self.errors = torch.where(improved, errors, self.errors)
        for kept, current in zip(
            self._snapshot, self._network.parameters(), strict=True
        ):
            kept[improved] = current[improved]
        return bool(improved.any())

    def state_dict(self) -> dict[str, Any]:
        """Returns the errors and the parameters at them."""
        return {"errors": self.errors, "snapshot": self._snapshot}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.errors = state["errors"].to(self.errors.device)
        for kept, saved in zip(self._snapshot, state["snapshot"], strict=True):
            kept.copy_(saved)

    @torch.no_grad()
    def restore(self) -> None:
        for kept, current in zip(
            self._snapshot, self._network.parameters(), strict=True
        ):
            current.copy_(kept)
