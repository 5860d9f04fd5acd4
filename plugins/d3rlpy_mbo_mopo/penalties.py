"""Penalties of MOPO and of its ablations (Yu et al. 2020, appendix D)."""

import dataclasses
from typing import Any, ClassVar, Optional

import torch

import d3rlpy_mbo as mbo


@dataclasses.dataclass()
class _Scaled(mbo.Penalty):
    """A measure of uncertainty times a coefficient.

    Args:
        coef: lambda; 0.5 to 5 in Table 6.
    """

    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    coef: float = mbo.number(1.0, at_least=0)

    def __call__(
        self, prediction: mbo.Prediction, learner: Optional[Any] = None
    ) -> torch.Tensor:
        """Returns (B, 1) coef times the uncertainty, in dataset units."""
        if prediction.means is None or prediction.stds is None:
            raise mbo.CompositionError(
                f"The penalty {self.get_type()!r} compares the members of an ensemble, but "
                "this model has none. Use ProbabilisticEnsembleConfig as dynamics."
            )
        return self.coef * self.uncertainty(prediction.means, prediction.stds)[:, None]

    def uncertainty(self, means: torch.Tensor, stds: torch.Tensor) -> torch.Tensor:
        """Returns (B,) from (E, B, D + 1) means and standard deviations."""
        raise NotImplementedError


@dataclasses.dataclass()
class MaxAleatoric(_Scaled):
    """The largest member's norm of standard deviations of (s', r): MOPO's own.

    Over all members, elites or not, as Algorithm 2 and the official code have it.
    """

    @staticmethod
    def get_type() -> str:
        """Returns ``"max_aleatoric"``."""
        return "max_aleatoric"

    def uncertainty(self, means: torch.Tensor, stds: torch.Tensor) -> torch.Tensor:
        """Returns the maximum over members of the norm over (s', r)."""
        largest: torch.Tensor = torch.linalg.vector_norm(stds, dim=-1).amax(dim=0)
        return largest


@dataclasses.dataclass()
class MeanAleatoric(_Scaled):
    """The members' mean norm of standard deviations of (s', r)."""

    @staticmethod
    def get_type() -> str:
        """Returns ``"mean_aleatoric"``."""
        return "mean_aleatoric"

    def uncertainty(self, means: torch.Tensor, stds: torch.Tensor) -> torch.Tensor:
        """Returns the mean over members of the norm over (s', r)."""
        mean: torch.Tensor = torch.linalg.vector_norm(stds, dim=-1).mean(dim=0)
        return mean


@dataclasses.dataclass()
class Disagreement(_Scaled):
    """The largest distance of a member's mean s' from the members' mean.

    The reward is left out, as in the official code.
    """

    compares = "members"

    @staticmethod
    def get_type() -> str:
        """Returns ``"disagreement"``."""
        return "disagreement"

    def uncertainty(self, means: torch.Tensor, stds: torch.Tensor) -> torch.Tensor:
        """Returns the maximum over members of the distance of s' from the mean."""
        observations = means[..., :-1]
        offsets = observations - observations.mean(dim=0)
        largest: torch.Tensor = torch.linalg.vector_norm(offsets, dim=-1).amax(dim=0)
        return largest
