"""Rules on what is imagined; docs/diagnosis.md says them in words."""

from collections.abc import Iterator
from typing import Optional

from .results import Ends, MonteCarlo, Rollouts, Values, Verdict
from .words import places

__all__ = [
    "judge_imagined_rewards",
    "judge_monte_carlo",
    "judge_states",
    "judge_termination",
    "judge_values",
    "monte_carlo_undecided",
    "values_undecided",
]

# Each limit is ours, see `verdicts`.
_TERMINATION = 0.9  # precision and recall
_HELD_OUT_ENDS = 5  # from which a share of them means something
_FALSE_ENDS = 0.01  # share of rows, where nothing ever ends
_FAR = 3.0  # times the distance that 95 % of real states keep
# Standard deviations that are never far. Where states repeat, as in grids and tables, real
# ones have no distance at all, and no model is that exact; half of a cell is more than this
# in a grid of up to 17 cells a side (whose deviation is 17 / sqrt(12) of them).
_NEVER_FAR = 0.1
_ROUNDING = 1e-6  # of its size: what varies by less is a constant that was computed


def _margin(low: float, high: float) -> float:
    """Returns half of a range: as far beyond it, a number is not objected to.

    What never varies, as CartPole's reward, has no range: then half of its size, or of 1
    if that is more, as in `judge_reward`.
    """
    size = max(abs(low), abs(high))
    span = high - low
    return (span if span > _ROUNDING * size else max(size, 1.0)) / 2


def judge_termination(found: Ends) -> Verdict:
    """Says whether the termination ends the steps that truly end."""
    advice = (
        "Give termination=mbo.termination_for(env), or LearnedTerminationConfig() if the "
        "rule is not known."
    )
    if not found.terminals:
        share = found.claimed / found.rows
        text = f"it ends {share:.2%} of real steps, none of which ended."
        if share <= _FALSE_ENDS:
            return Verdict("termination", True, text)
        return Verdict("termination", False, f"{text} {advice}")
    precision = 0.0 if found.precision is None else found.precision
    recall = 0.0 if found.recall is None else found.recall
    text = (
        f"on real steps, precision {precision:.2f} and recall {recall:.2f} of "
        f"{found.terminals} ends."
    )
    if found.learned:
        advice = (
            "Give termination=mbo.termination_for(env) if the rule is known, else data "
            "with more ends."
        )
        whose = "others" if found.held_out else "most of them"
        text += f" It was learned from {whose}"
        n_held_out, recall_there = found.unseen_terminals, found.unseen_recall
        if n_held_out is None or recall_there is None:
            text += "."
        else:
            precision_there = found.unseen_precision or 0.0
            text += (
                f"; with {n_held_out} ends that it held out, {precision_there:.2f} and "
                f"{recall_there:.2f}."
            )
            if n_held_out >= _HELD_OUT_ENDS:
                precision = min(precision, precision_there)
                recall = min(recall, recall_there)
    if min(precision, recall) >= _TERMINATION:
        return Verdict("termination", True, text)
    return Verdict("termination", False, f"{text} {advice}")


def judge_imagined_rewards(found: Rollouts) -> Verdict:
    """Says whether most imagined rewards are like those in the data."""
    low, high = found.real_rewards.quantiles[0], found.real_rewards.quantiles[-1]
    seen = found.rewards.quantiles
    margin = _margin(low, high)
    text = (
        f"imagined {seen[1]:.3g} to {seen[-2]:.3g} (5 to 95 %), real {low:.3g} to "
        f"{high:.3g}."
    )
    # Nine of ten imagined rewards lie between these quantiles.
    if seen[1] >= low - margin and seen[-2] <= high + margin:
        return Verdict("imagined rewards", True, text)
    return Verdict(
        "imagined rewards",
        False,
        f"{text} The model invents rewards that nobody got: shorten rollout_length, or "
        "give a penalty or a reward_function.",
    )


def judge_states(found: Rollouts) -> Verdict:
    """Says whether rollouts stay near the data."""
    steps = enumerate(found.states.median, start=1)
    step, last = [(step, each) for step, each in steps if each is not None][-1]
    limit = found.states.real_high
    text = (
        f"half of those in step {step} are within {places(last)} of real ones; 95 % of "
        f"real states are within {places(limit)} of others."
    )
    if _FAR * limit < _NEVER_FAR:
        text += f" Up to {places(_NEVER_FAR)} is near: real states repeat, or nearly."
    if last <= max(_FAR * limit, _NEVER_FAR):
        return Verdict("states", True, text)
    return Verdict(
        "states",
        False,
        f"{text} Rollouts leave the data: shorten rollout_length, take actions nearer to "
        "the data's (BehaviorCloningPolicyConfig), or give a penalty.",
    )


def judge_values(found: Values) -> Iterator[Verdict]:
    """Says whether the learner expects more after rollouts than there ever was."""
    if found.returns is None or found.rollout_ends is None:
        return
    low, high = found.returns.quantiles[0], found.returns.quantiles[-1]
    at_end = found.rollout_ends.quantiles[2]
    text = (
        f"half of the rollouts end where Q is above {at_end:.4g}; real returns-to-go are "
        f"{low:.4g} to {high:.4g}."
    )
    if at_end <= high:
        yield Verdict("values", True, text)
        return
    if at_end <= high + _margin(low, high) + found.unseen + found.entropy:
        return  # `values_undecided` says so
    yield Verdict(
        "values",
        False,
        f"{text} The learner overestimates what follows the rollouts: raise real_ratio, "
        "imagine longer rollouts, in reverse, or with a penalty, or use a pessimistic "
        "learner such as CQL.",
    )


def judge_monte_carlo(found: MonteCarlo) -> Iterator[Verdict]:
    """Says whether the learner expects more than its policy gets where rollouts end."""
    returns = [*found.real_returns.quantiles, *found.end_returns.quantiles]
    limit = _margin(min(returns), max(returns))
    text = (
        "where rollouts end, Q minus what the policy gets there is "
        f"{found.end_excess:.3g} on average ({found.real_excess:.3g} in real states); "
        f"the policy gets {min(returns):.4g} to {max(returns):.4g}."
    )
    if found.end_excess <= limit:
        yield Verdict("values in the simulator", True, text)
        return
    if found.end_excess <= limit + found.unseen + found.entropy:
        return  # `monte_carlo_undecided` says so
    yield Verdict(
        "values in the simulator",
        False,
        f"{text} The learner overestimates what follows the rollouts: raise real_ratio, "
        "imagine longer rollouts, in reverse, or with a penalty, or use a pessimistic "
        "learner such as CQL.",
    )


def values_undecided(found: Optional[Values]) -> Optional[str]:
    """Returns why there is no verdict on values; None if there is, or they are missing.

    A learner that has hardly trained has values near 0, which may well be above every
    return: neither a fault of the rollouts, nor a reason to trust them.
    """
    if found is None or found.returns is None or found.rollout_ends is None:
        return None
    if next(judge_values(found), None) is not None:
        return None
    at_end, high = found.rollout_ends.quantiles[2], found.returns.quantiles[-1]
    allowed = ["half of their range (of their size, if they are all alike)"]
    if found.unseen:
        allowed.append(f"the {found.unseen:.4g} that rows which were cut may lack")
    if found.entropy:
        allowed.append(f"the {found.entropy:.4g} that Q may hold for entropy")
    who = "a right learner" if len(allowed) > 1 else "a learner"
    return (
        f"a verdict on values: half of the rollouts end where Q is above {at_end:.4g}, "
        f"beyond every real return-to-go ({high:.4g} at most), but by less than "
        f"{' and '.join(allowed)}; {who} may look like that, and one that has hardly "
        "trained"
    )


def monte_carlo_undecided(found: Optional[MonteCarlo]) -> Optional[str]:
    """Returns why there is no verdict on values in the simulator, likewise."""
    if found is None or next(judge_monte_carlo(found), None) is not None:
        return None
    allowed = []
    if found.unseen:
        allowed.append(
            f"episodes that went on after {found.steps} steps may have brought "
            f"{found.unseen:.3g} more"
        )
    if found.entropy:
        allowed.append(f"Q may hold {found.entropy:.3g} for the policy's entropy")
    return (
        "a verdict on values in the simulator: where rollouts end, Q minus what the policy "
        f"gets there is {found.end_excess:.3g} on average, but {' and '.join(allowed)}"
    )
