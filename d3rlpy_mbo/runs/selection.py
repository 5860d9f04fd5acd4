"""Choosing RAMBO's settings offline, by the learner's Q-values over training."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..support.errors import CompositionError

__all__ = ["Candidate", "rank_by_q_values"]

# Settings whose Q-values still move by more than this share of their size are not
# stable (ours).
_STABLE = 0.2


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A setting, judged by its Q-values.

    Args:
        name: Of the setting.
        magnitude: Mean absolute Q-value over the second half of training.
        instability: Greatest minus least Q-value in that half, in units of the magnitude;
            infinite if a value is not finite.
        stable: Whether the instability is small enough.
    """

    name: str
    magnitude: float
    instability: float
    stable: bool


def rank_by_q_values(q_values: Mapping[str, Sequence[float]]) -> list[Candidate]:
    """Ranks settings without the environment, the one to choose first.

    The paper chooses offline among (rollout_length, coef) by "the magnitude and
    stability of the Q-values during training" (Rigter et al. 2022, section 6; its
    appendix C.3 is not in the text we work from). Ours: stable settings come before
    unstable ones, and among them small Q-values before large ones, because an offline
    learner fails by overestimation: if rewards are negative, -500 before -10; of unstable
    ones the less unstable come first. Only settings with the same data, rewards and
    discount can be compared.

    Args:
        q_values: For each setting, the metric ``q_value_mean`` at equal intervals of
            training, at least four times.

    Returns:
        One candidate for each setting.

    Raises:
        CompositionError: A setting has fewer than four values.
    """
    candidates, means = [], {}
    for name, values in q_values.items():
        if len(values) < 4:
            raise CompositionError(
                f"The setting {name!r} has {len(values)} Q-values, expected at least 4: "
                "nothing can be said about stability. Evaluate more often."
            )
        late = np.asarray(values, dtype=np.float64)[len(values) // 2 :]
        magnitude, instability = float("inf"), float("inf")
        if np.isfinite(values).all():
            magnitude = float(np.abs(late).mean())
            instability = float(np.ptp(late)) / max(magnitude, 1e-12)
            means[name] = float(late.mean())
        candidates.append(
            Candidate(name, magnitude, instability, instability <= _STABLE)
        )
    return sorted(
        candidates,
        key=lambda c: (not c.stable, means[c.name] if c.stable else c.instability),
    )
