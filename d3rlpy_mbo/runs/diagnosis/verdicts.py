"""Rules by which numbers become verdicts; docs/diagnosis.md says them in words.

Every limit is ours: models made to fail lie far beyond it and healthy ones far within
(tests/runs/test_diagnosis_verdicts.py).
"""

from typing import Optional

from .model_verdicts import (
    judge_calibration,
    judge_direction,
    judge_one_step,
    judge_open_loop,
    judge_reward,
)
from .penalty_verdicts import judge_penalty, judge_penalty_outside
from .results import Diagnosis, Verdict
from .rollout_verdicts import (
    judge_imagined_rewards,
    judge_monte_carlo,
    judge_states,
    judge_termination,
    judge_values,
)

__all__ = ["verdicts"]

_DROPPED = 0.01  # share of rows that are not finite


def verdicts(
    found: Diagnosis, data: Optional[str], broken: Optional[str] = None
) -> list[Verdict]:
    """Judges a diagnosis, every part that was not left out.

    Args:
        found: What was measured.
        data: Evidence that the model was fitted on other data, None without any.
        broken: Which component broke its contract in rollouts, None if none did.
    """
    judged = [_data(data), _finite(found), judge_one_step(found.one_step)]
    judged += judge_direction(found.one_step, found.direction)
    judged.append(judge_reward(found.one_step))
    if found.calibration is not None:
        judged.append(judge_calibration(found.calibration, found.one_step))
    judged += judge_open_loop(found.open_loop, found.rollout_length)
    judged += judge_penalty(found)
    judged += judge_penalty_outside(found)
    if found.ends is not None:
        judged.append(judge_termination(found.ends))
    if broken is not None:
        judged.append(Verdict("rollouts", False, broken))
    if found.rollouts is not None:
        judged += [judge_imagined_rewards(found.rollouts), judge_states(found.rollouts)]
    if found.values is not None:
        judged += judge_values(found.values)
    if found.monte_carlo is not None:
        judged += judge_monte_carlo(found.monte_carlo)
    return judged


def _data(against: Optional[str]) -> Verdict:
    if against is None:
        text = "nothing says that the model was fitted on other data."
        return Verdict("data", True, text)
    return Verdict("data", False, f"{against} Fit the imagination on this dataset.")


def _finite(found: Diagnosis) -> Verdict:
    shares = [1 - found.one_step.finite_share]
    if found.rollouts is not None:
        shares.append(found.rollouts.dropped_share)
    worst = max(shares)
    text = f"{worst:.1%} of the predictions are NaN or infinite."
    if worst <= _DROPPED:
        return Verdict("finite", True, text)
    return Verdict(
        "finite",
        False,
        f"{text} Look for outliers in the dataset, lower the model's learning rate, or "
        "shorten rollout_length.",
    )
