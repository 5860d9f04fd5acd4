"""Checks of the units of what dynamics predict."""

from . import line_world as world
from .dynamics_subject import DynamicsSubject
from .running import conformance_check
from .subjects import TOO_FEW_STEPS, Subject

__all__ = ["check_reward_units", "check_standard_deviations"]

# The truth is 1. What is standardised has a slope of 3.4 and a level of 0. After 50 steps
# small ensembles have slopes of 0.17 to 0.32 and levels of 0.93 to 1.05 (9 seeds, both
# directions), wide ones 0.91 to 1.01 and 0.99 to 1.02 (4 seeds), small ones with
# target_scale="state" 0.37 to 0.73 and 0.36 to 0.73 (6 seeds), networks that scale nothing
# 0.6 to 1.2 and 0.8 to 1.0 (6 seeds).
_LEAST_SLOPE, _LEAST_LEVEL, _MOST = 0.05, 0.1, 2.0

# The same ensembles say 0.8 times the noise or more, and variances are 0.057 times it.
_LIKE_A_VARIANCE = 3.0


@conformance_check("dynamics")
def check_reward_units(subject: Subject) -> None:
    """Checks that predicted rewards are in the dataset's units, in both directions.

    On data of r = 0.1 s1 + 0.5, whose rewards differ from standardised ones.
    """
    assert isinstance(subject, DynamicsSubject)
    for rows, brief, prediction in subject.in_small_units:
        outcomes = {
            "rewards": brief.rewards,
            "rewards with all_members=True": prediction.rewards,
        }
        if prediction.means is not None:
            outcomes["means of rewards"] = prediction.means[..., -1:].mean(dim=0)
        for name, values in outcomes.items():
            # The shape is another check's business.
            values = values.reshape(len(rows), 1)
            slope = world.slope(values, rows.rewards)
            level = float(values.mean() / rows.rewards.mean())
            if not (_LEAST_SLOPE < slope < _MOST and _LEAST_LEVEL < level < _MOST):
                raise subject.violation(
                    f"{name} must be in the units of the dataset's rewards",
                    f"on average {level:.2f} times these, and {slope:.2f} times as steep",
                    "targets that fit standardises and predict does not scale back, a "
                    f"sign, or {TOO_FEW_STEPS}",
                )


@conformance_check("dynamics")
def check_standard_deviations(subject: Subject) -> None:
    """Checks that stds, if offered, are at least 0 and no variances.

    On data with small noise, whose variance is much smaller still.
    """
    assert isinstance(subject, DynamicsSubject)
    variance = world.SMALL_NOISE**2
    for *_, prediction in subject.in_small_units:
        stds = prediction.stds
        if stds is None:
            continue
        if bool((stds < 0).any()):
            raise subject.violation(
                "stds must be at least 0",
                f"{float(stds.min()):.3g}",
                "their logarithm, where exp() was forgotten",
            )
        for found in stds.flatten(0, -2).mean(dim=0).tolist():
            if variance / _LIKE_A_VARIANCE < found < variance * _LIKE_A_VARIANCE:
                raise subject.violation(
                    "stds must be standard deviations",
                    f"{found:.2g} on data whose noise has the standard deviation "
                    f"{world.SMALL_NOISE} and the variance {variance:.2g}",
                    "variances, where sqrt() was forgotten, as exp(0.5 * log_variance)",
                )
