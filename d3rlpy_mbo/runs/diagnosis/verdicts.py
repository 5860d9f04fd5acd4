"""Rules by which numbers become verdicts; docs/diagnosis.md says them in words.

Every limit is ours: models made to fail lie far beyond it and healthy ones far within
(tests/runs/test_diagnosis_verdicts.py).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Optional

from .results import (
    Calibration,
    Diagnosis,
    Ends,
    OneStep,
    OpenLoop,
    Rollouts,
    Values,
    Verdict,
)

__all__ = ["verdicts"]

_UNLEARNED = 0.8  # share of variance, or of the naive error, that is left
_WORSE = 1.1  # times the error of who says that nothing changes
_BACKWARDS = -0.3  # cosine of predicted and true changes
_OVERCONFIDENT = 0.75  # share within two standard deviations; 0.954 if calibrated
_RARE_ROWS = 5  # rows from which a mean square means something
_SEQUENCES = 20  # likewise
_EXACT = 0.01  # share of variance unexplained, below which errors need no ranking
_BLIND = 0.1  # rank correlation ...
_SEEN_BY_NULL = 0.7  # ... where the model's own deviations promise this ...
_SEEN_BY_OTHER = 0.3  # ... or another penalty has this
_TERMINATION = 0.9  # precision and recall
_FALSE_ENDS = 0.01  # share of rows, where nothing ever ends
_FAR = 3.0  # times the distance that 95 % of real states keep
_DROPPED = 0.01  # share of rows that are not finite


def verdicts(found: Diagnosis, data: Optional[str]) -> list[Verdict]:
    """Judges a diagnosis, every part that was not left out.

    Args:
        found: What was measured.
        data: What speaks against the model's having been fitted on this data, None if
            nothing does.
    """
    judged = [_data(data), _finite(found), _one_step(found.one_step)]
    judged += _direction(found.one_step, found.direction)
    judged.append(_reward(found.one_step))
    if found.calibration is not None:
        judged.append(_calibration(found.calibration))
    judged += _open_loop(found.open_loop, found.rollout_length)
    judged += _penalty(found)
    if found.ends is not None:
        judged.append(_termination(found.ends))
    if found.rollouts is not None:
        judged += [_imagined_rewards(found.rollouts), _states(found.rollouts)]
    if found.values is not None:
        judged += _values(found.values)
    return judged


def _data(against: Optional[str]) -> Verdict:
    if against is None:
        return Verdict("data", True, "nothing says that the model was fitted on other.")
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


def _one_step(found: OneStep) -> Verdict:
    columns = found.columns[:-1]
    # A column that never changes may be off by rounding.
    worse = [
        c
        for c in columns
        if c.error > _WORSE * c.naive_error + 1e-3 * max(c.spread, c.naive_error)
    ]
    if worse:
        listed = _listed(
            [f"{c.name} (error {c.error:.3g}, {c.naive_error:.3g})" for c in worse]
        )
        return Verdict(
            "one step",
            False,
            f"worse than saying that nothing changes in {listed}. Either the columns of "
            "the model's data are others, shifted or in another order, or it has hardly "
            "learned: look at bias, and fit it longer or on this dataset.",
        )
    shifted = [
        c
        for c in columns
        if c.unexplained is not None
        and c.unexplained > 0.05
        and c.bias**2 > 0.5 * c.error**2
    ]
    if shifted:
        listed = _listed([f"{c.name} (by {c.bias:+.3g})" for c in shifted])
        return Verdict(
            "one step",
            False,
            f"shifted, always to the same side, in {listed}. The model was fitted on other "
            "data, or a column was moved since: fit it on this dataset.",
        )
    shares = [c.unexplained for c in columns if c.unexplained is not None]
    if not shares:
        return Verdict("one step", True, "no column of the observation ever changes.")
    mean = sum(shares) / len(shares)
    text = f"{mean:.2f} of the variance of the changes is unexplained, mean of columns."
    if mean <= _UNLEARNED:
        return Verdict("one step", True, text)
    return Verdict(
        "one step",
        False,
        f"{text} The model has learned next to nothing: fit it longer, or on more data; if "
        "the world is that random, imagine with rollout_length=1 or not at all.",
    )


def _direction(found: OneStep, direction: str) -> list[Verdict]:
    if found.alignment is None:
        return []
    text = f"predicted and true changes have a cosine of {found.alignment:.2f}."
    if found.alignment >= _BACKWARDS:
        return [Verdict("direction", True, text)]
    led = "s from (s', a)" if direction == "reverse" else "s' from (s, a)"
    return [
        Verdict(
            "direction",
            False,
            f"{text} The model goes the wrong way in time: with direction={direction!r} it "
            f"must predict {led}.",
        )
    ]


def _reward(found: OneStep) -> Verdict:
    column, rare = found.columns[-1], found.rare_reward
    advice = (
        "Fit the model longer, with more models or a larger bounds_weight, or give a "
        "reward_function where the reward is known."
    )
    if rare is not None and rare.rows >= _RARE_ROWS:
        text = (
            f"where it is not {rare.commonest:.3g} ({rare.rows} rows) it is off by "
            f"{rare.error:.3g}, the mean reward by {rare.naive_error:.3g}."
        )
        if rare.error > _UNLEARNED * rare.naive_error:
            return Verdict("reward", False, f"not learned: {text} {advice}")
    elif column.unexplained is None:
        # What never varies is known, unless the model says something else.
        if column.error <= 1e-3 * max(column.spread, abs(column.bias), 1.0):
            return Verdict("reward", True, "it never varies, and the model knows it.")
        text = f"it never varies, but the model is off by {column.error:.3g}."
        return Verdict("reward", False, f"{text} {advice}")
    else:
        text = f"{column.unexplained:.2f} of its variance is unexplained."
    if column.unexplained is not None and column.unexplained > _UNLEARNED:
        text = f"{column.unexplained:.2f} of its variance is unexplained."
        return Verdict("reward", False, f"not learned: {text} {advice}")
    return Verdict("reward", True, text)


def _calibration(found: Calibration) -> Verdict:
    columns = [c for c in found.columns if c.within_two_stds < _OVERCONFIDENT]
    members = [
        f"member {i} ({share:.2f})"
        for i, share in enumerate(found.members)
        if share < _OVERCONFIDENT
    ]
    if columns or members:
        listed = _listed(
            [*members, *(f"{c.name} ({c.within_two_stds:.2f})" for c in columns)]
        )
        return Verdict(
            "calibration",
            False,
            "overconfident: fewer targets than 0.75 within two predicted standard "
            f"deviations, of 0.954, for {listed}. Fit with a higher lower end of "
            "log_variance_bounds, more patience or more data, and trust no aleatoric "
            "penalty until then.",
        )
    worst = min(c.within_two_stds for c in found.columns)
    return Verdict(
        "calibration",
        True,
        f"{worst:.2f} of the targets at least are within two predicted standard "
        "deviations, in every column.",
    )


def _open_loop(found: Sequence[OpenLoop], rollout_length: int) -> Iterator[Verdict]:
    for loop in found:
        if len(loop.standing_still) != rollout_length:
            continue
        if loop.sequences < _SEQUENCES or loop.standing_still[-1] == 0:
            continue
        ratios = [
            error / still if still else math.inf
            for error, still in zip(loop.median, loop.standing_still, strict=True)
        ]
        text = (
            f"after {rollout_length} the error is {ratios[-1]:.2f} of that of standing "
            "still."
        )
        if ratios[-1] <= _WORSE:
            yield Verdict("k steps", True, text)
            continue
        good = [k for k, ratio in enumerate(ratios, start=1) if ratio <= _WORSE]
        advice = "No step is worth it: fit the model longer, or on more data."
        if good:
            advice = (
                f"It is worth something up to step {good[-1]}: set rollout_length to that, "
                "or fit the model on more data."
            )
        yield Verdict("k steps", False, f"{text} {advice}")


def _penalty(found: Diagnosis) -> Iterator[Verdict]:
    shares = [
        c.unexplained for c in found.one_step.columns if c.unexplained is not None
    ]
    best = max(found.penalties, key=lambda each: each.spearman or -1.0, default=None)
    for penalty in found.penalties:
        if not penalty.own or penalty.spearman is None or best is None:
            continue
        null, best_rank = penalty.null_spearman or 0.0, best.spearman or 0.0
        text = (
            f"{penalty.name} ranks rows as their errors do with {penalty.spearman:.2f}; "
            f"{null:.2f} were the model's own deviations right."
        )
        promised = null >= _SEEN_BY_NULL or best_rank >= _SEEN_BY_OTHER
        blind = promised and penalty.spearman < _BLIND
        # The standard error of a rank correlation of nothing is 1 / sqrt(rows).
        inverted = penalty.spearman < -_BLIND - 3 / math.sqrt(found.rows)
        if not blind and not inverted:
            yield Verdict("penalty", True, text)
            continue
        if max(shares, default=0.0) < _EXACT:
            yield Verdict(
                "penalty", True, f"{text} The errors are too small to matter."
            )
            continue
        advice = "No other that is known does: imagine short rollouts, or without it."
        if best_rank >= _SEEN_BY_OTHER:
            advice = f"Of those known {best.name} has {best_rank:.2f}: take that."
        fault = "inverted" if inverted else "blind"
        yield Verdict("penalty", False, f"{fault}: {text} {advice}")


def _termination(found: Ends) -> Verdict:
    advice = (
        "Give termination=mbo.termination_for(env), or LearnedTerminationConfig() where "
        "nobody knows the rule."
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
    if min(precision, recall) >= _TERMINATION:
        return Verdict("termination", True, text)
    return Verdict("termination", False, f"{text} {advice}")


def _imagined_rewards(found: Rollouts) -> Verdict:
    low, high = found.real_rewards.quantiles[0], found.real_rewards.quantiles[-1]
    seen = found.rewards.quantiles
    margin = (high - low) / 2
    text = (
        f"imagined {seen[1]:.3g} to {seen[-2]:.3g} (5 to 95 %), real {low:.3g} to "
        f"{high:.3g}."
    )
    # Nine of ten imagined rewards lie between these quantiles.
    if not margin or (seen[1] >= low - margin and seen[-2] <= high + margin):
        return Verdict("imagined rewards", True, text)
    return Verdict(
        "imagined rewards",
        False,
        f"{text} The model invents rewards that nobody got: shorten rollout_length, or "
        "give a penalty or a reward_function.",
    )


def _states(found: Rollouts) -> Verdict:
    last, limit = found.states.median[-1], found.states.real_high
    text = (
        f"half of those in step {len(found.states.median)} are within {last:.2f} of real "
        f"ones, as 95 % of real states are within {limit:.2f}."
    )
    if last <= _FAR * limit:
        return Verdict("states", True, text)
    return Verdict(
        "states",
        False,
        f"{text} Rollouts leave the data: shorten rollout_length, take actions nearer to "
        "the data's (BehaviorCloningPolicyConfig), or give a penalty.",
    )


def _values(found: Values) -> Iterator[Verdict]:
    if found.returns is None or found.rollout_ends is None:
        return
    low, high = found.returns.quantiles[0], found.returns.quantiles[-1]
    at_end = found.rollout_ends.quantiles[2]
    text = (
        f"half of the rollouts end where Q is above {at_end:.4g}; real returns-to-go are "
        f"{low:.4g} to {high:.4g}."
    )
    if at_end <= high + (high - low) / 2:
        yield Verdict("values", True, text)
        return
    yield Verdict(
        "values",
        False,
        f"{text} The learner believes in what lies beyond the rollouts: raise "
        "real_ratio, imagine longer, in reverse, or with a "
        "penalty, or take a pessimistic learner such as CQL.",
    )


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
