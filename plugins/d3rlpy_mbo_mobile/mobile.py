"""MOBILE's penalty, and MOBILE as a set of defaults."""

import dataclasses
from typing import ClassVar, Optional, Union

import torch

import d3rlpy_mbo as mbo


@dataclasses.dataclass()
class BellmanSpread(mbo.Penalty):
    """How far the elite members disagree about the value of what comes next.

    The standard deviation over the elites (with n - 1 in its denominator) of each elite's
    mean value: the least target critic's, averaged over samples s' of that elite and the
    policy's actions there (Sun et al. 2023, section 4, and their code). Without discount,
    reward or entropy.

    Args:
        coef: beta; 0.1 to 5, see ``benchmarks/settings/mobile.toml``.
        n_samples: s' drawn from each elite (official code).
        when: ``"drawn"``, as in the official code: anew for each batch, with the current
            learner, at ten times the cost of SAC's own step. ``"imagined"`` (ours): once
            for each row, with the learner at that time; cheap, but stale until the row is
            forgotten.
    """

    needs_critic = True
    compares = "elites"
    action_spaces: ClassVar[tuple[str, ...]] = ("continuous", "discrete")
    coef: float = mbo.number(1.0, at_least=0)
    n_samples: int = mbo.number(10, at_least=1, whole=True)
    when: str = mbo.choice("drawn", ["drawn", "imagined"])

    @staticmethod
    def get_type() -> str:
        """Returns ``"bellman_spread"``."""
        return "bellman_spread"

    def __call__(
        self, prediction: mbo.Prediction, learner: Optional[mbo.Learner] = None
    ) -> torch.Tensor:
        """Returns (B, 1) coef times the spread, in reward units.

        Raises:
            CompositionError: No learner with a critic, or fewer than two elites.
        """
        if learner is None:
            raise mbo.CompositionError(
                "The penalty 'bellman_spread' asks the learner what next states are worth, "
                "but there is none. Pass learner=..."
            )
        members = 0 if prediction.means is None else len(prediction.means)
        n_elites = members if prediction.n_elites is None else prediction.n_elites
        if prediction.means is None or prediction.stds is None or n_elites < 2:
            raise mbo.CompositionError(
                "The penalty 'bellman_spread' compares the elite members of an ensemble, "
                f"and this model has {n_elites}: expected 2 or more. Use "
                "ProbabilisticEnsembleConfig with n_elites=5 as dynamics."
            )
        means = prediction.means[:n_elites, :, :-1]
        stds = prediction.stds[:n_elites, :, :-1]
        noise = torch.randn(self.n_samples, *means.shape, device=means.device)
        states = means + stds * noise  # (S, E, B, D)
        # Policies never see a state that is not finite; such rows are dropped.
        finite = torch.isfinite(states)
        states = torch.where(finite, states, prediction.given_observations)
        values = mbo.learners.state_value(learner, states.flatten(0, 2), target=True)
        values = values.view(states.shape[:-1])
        # Beside one of them: sums of equal numbers need not be equal, those of zeros are.
        spread = (values - values[:1, :1]).mean(dim=0).std(dim=0)
        return self.coef * spread[:, None]


@dataclasses.dataclass()
class MOBILEConfig(mbo.ImaginationConfig):
    """Config of MOBILE: the learner's rollouts, penalised anew whenever they are drawn.

    Sun et al. 2023; schedule and sizes as in the official code. rollout_length and the
    penalty's coef per task are in ``benchmarks/settings/mobile.toml``. Any learner with a
    critic can train on it; MOBILE's own is `MOBILESACConfig`.

    A penalty that is computed when rows are drawn, from values of s', does not work with
    reverse dynamics, rows that fold several steps, and returns-to-go.
    """

    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", mbo.LearnerPolicyConfig
    )
    penalty: Optional[Union[mbo.Penalty, mbo.LearnedPenaltyConfig]] = (
        mbo.component_field("penalty", BellmanSpread)
    )
    rollout_interval: Optional[int] = 1000
    retained_refreshes: int = 5
    real_ratio: float = 0.05

    @staticmethod
    def get_type() -> str:
        """Returns ``"mobile"``."""
        return "mobile"
