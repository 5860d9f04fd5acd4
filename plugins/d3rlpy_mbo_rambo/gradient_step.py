"""One gradient step of RAMBO's adversary, in two halves: the learner speaks between."""

from collections.abc import Callable
from typing import Any

import torch

import d3rlpy_mbo as mbo

__all__ = ["GradientStep", "adversarial_loss"]


def adversarial_loss(log_prob: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """Returns the loss whose gradient is the model gradient (equation 5).

    Args:
        log_prob: (B, 1) of imagined transitions, under the dynamics.
        advantages: (B, 1); standardised over the rows here, by their population
            standard deviation.
    """
    centred = advantages - advantages.mean()
    spread = advantages.std(correction=0)
    standard = torch.where(spread == 0, torch.zeros_like(centred), centred / spread)
    return (standard * log_prob).mean()


class GradientStep:
    """A step that is left out, and counted, if its loss or gradient is not finite.

    Args:
        dynamics: Whose parameters change.
        real: All real rows, on the model's device.
        coef: Weight of the adversarial loss.
        optimizer: Fused Adam over the parameters of the dynamics.

    Attributes:
        undone: () how many steps were left out.
    """

    def __init__(
        self,
        dynamics: mbo.Dynamics,
        real: mbo.Transitions,
        coef: float,
        optimizer: torch.optim.Optimizer,
    ):
        self.dynamics = dynamics
        self.real = real
        self._coef = coef
        self._optimizer = optimizer
        self._parameters = list(dynamics.parameters())
        self.undone = torch.zeros((), device=dynamics.device)
        self._sums = torch.zeros(3, device=dynamics.device)
        self._differentiable: tuple[torch.Tensor, ...] = ()

    def works(self) -> tuple[Callable[..., Any], ...]:
        """Returns `fit`, `ask` and `learn`; recorded on a GPU, for models that allow it."""
        if "cuda" in self.dynamics.device and self.dynamics.capturable:
            return mbo.recorded(self.fit), *mbo.recorded_halves(self.ask, self.learn)
        return self.fit, self.ask, self.learn

    def fit(self, rows: torch.Tensor) -> torch.Tensor:
        """Takes a step that fits the data and has no adversary.

        Args:
            rows: (N,) indices of the real rows to fit.

        Returns:
            () the loss.
        """
        loss = self.dynamics.training_loss(self.real[rows])
        self._descend(loss, loss)
        return loss.detach()

    def ask(
        self, rows: torch.Tensor, observations: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Begins a step: what does the model say?

        Args:
            rows: (N,) indices of the real rows to fit.
            observations: (B, D) to imagine a step from.
            actions: (B, A).

        Returns:
            (B, D) sampled observations, and (B, 1) rewards.
        """
        loss, prediction, log_prob = self.dynamics.training_loss_and_sample(
            self.real[rows], observations, actions
        )
        self._differentiable = loss, log_prob
        return prediction.observations, prediction.rewards

    def learn(self, advantages: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Ends the step.

        Args:
            advantages: (B, 1) of what `ask` returned.
        """
        supervised, log_prob = self._differentiable
        self._differentiable = ()  # as `recorded_halves` asks
        adversarial = adversarial_loss(log_prob, advantages)
        spread = advantages.std(correction=0)
        loss = supervised + self._coef * adversarial
        self._descend(loss, supervised, adversarial, spread)
        return ()

    def means(self, n_steps: int) -> dict[str, float]:
        """Returns the mean of each term over the steps that were taken, for the logs."""
        names = ["supervised_loss"]
        if self._coef > 0:
            names += ["adversarial_loss", "advantage_spread"]
        totals = self._sums.tolist()[: len(names)]
        return {k: total / n_steps for k, total in zip(names, totals, strict=True)}

    def _descend(self, loss: torch.Tensor, *terms: torch.Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        skipped = _not_finite(loss, self._parameters)
        # Fused Adam leaves a step out where this is 1, and nobody has to look.
        self._optimizer.found_inf = skipped  # type: ignore[attr-defined]
        self._optimizer.step()
        self.undone += skipped
        found = torch.stack([term.detach() for term in terms])
        self._sums[: len(terms)] += torch.where(skipped > 0, 0.0, found)


def _not_finite(
    loss: torch.Tensor, parameters: list[torch.nn.Parameter]
) -> torch.Tensor:
    """Returns 1.0 if the loss or a gradient is not finite, else 0.0, where they are."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    # As torch.nn.utils.get_total_norm, which torch has since 2.6: few launches.
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return (~torch.isfinite(loss.detach() + norm)).float()
