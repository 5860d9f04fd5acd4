"""Rules on what the model says of real rows; docs/diagnosis.md says them in words."""

import math
from collections.abc import Iterator, Sequence

from .results import Calibration, ColumnError, OneStep, OpenLoop, Verdict
from .words import places

__all__ = [
    "judge_calibration",
    "judge_direction",
    "judge_one_step",
    "judge_open_loop",
    "judge_reward",
    "rounding",
]

# Each limit is ours, see `verdicts`.
_UNLEARNED = 0.8  # share of variance, or of the naive error, that is left
_WORSE = 1.1  # times the error of predicting no change
_BACKWARDS = -0.3  # cosine of predicted and true changes ...
_NOWHERE = 0.1  # ... below which they have nothing to do with each other
_NO_BETTER = 0.9  # of the error of standing still is left: 0.8 of its square
_OVERCONFIDENT = 0.75  # share within two standard deviations; 0.954 if calibrated
_VAGUE = 0.99  # share within one, from which a spread may be too large
_RARE_ROWS = 5  # rows from which a mean square means something
_SEQUENCES = 20  # likewise


def rounding(column: ColumnError) -> float:
    """Returns what a column that never changes may be off by.

    A thousandth of its spread, or of 1 where it has none either, as in `judge_reward`.
    """
    return 1e-3 * (max(column.spread, column.naive_error) or 1)


def judge_one_step(found: OneStep) -> Verdict:
    """Says whether a column is worse than unchanged, shifted, or nothing is learned."""
    columns = found.columns[:-1]
    worse = [c for c in columns if c.error > _WORSE * c.naive_error + rounding(c)]
    if worse:
        listed = _listed(
            [f"{c.name} ({c.error:.3g} against {c.naive_error:.3g})" for c in worse]
        )
        return Verdict(
            "one step",
            False,
            f"the error is larger than that of predicting no change in {listed}. Either "
            "the model was fitted on other columns, shifted or in another order, or it "
            "has hardly learned: look at bias, and fit it on this dataset, or longer.",
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
            f"predictions are shifted to one side in {listed}. The model was fitted on "
            "other data, or the column was shifted since: fit it on this dataset.",
        )
    shares = [c.unexplained for c in columns if c.unexplained is not None]
    if not shares:
        return Verdict("one step", True, "no column of the observation ever changes.")
    mean = sum(shares) / len(shares)
    text = f"{places(mean)} of the variance of the changes is unexplained, mean of columns."
    if mean <= _UNLEARNED:
        return Verdict("one step", True, text)
    return Verdict(
        "one step",
        False,
        f"{text} The model has learned next to nothing: fit it longer, or on more data; "
        "if the task is that random, imagine with rollout_length=1 or not at all.",
    )


def judge_direction(found: OneStep, direction: str) -> list[Verdict]:
    """Says whether changes point the way that they do in truth."""
    if found.alignment is None:
        return []
    text = f"predicted and true changes have a cosine of {found.alignment:.2f}."
    if found.alignment >= _NOWHERE:
        return [Verdict("direction", True, text)]
    if found.alignment >= _BACKWARDS:
        return [
            Verdict(
                "direction",
                False,
                f"{text} They have nothing to do with each other: the model has not "
                "learned where the steps lead, see one step.",
            )
        ]
    led = "s from (s', a)" if direction == "reverse" else "s' from (s, a)"
    return [
        Verdict(
            "direction",
            False,
            f"{text} The model goes the wrong way in time: with direction={direction!r} it "
            f"must predict {led}.",
        )
    ]


def judge_reward(found: OneStep) -> Verdict:
    """Says whether the reward is learned, where it is rare above all."""
    column, rare = found.columns[-1], found.rare_reward
    advice = (
        "Fit the model longer, with larger n_models or bounds_weight, or give a "
        "reward_function if the reward is known."
    )
    if rare is not None and rare.rows >= _RARE_ROWS:
        text = (
            f"where it is not {rare.commonest:.3g} ({rare.rows} rows), the model is off "
            f"by {rare.error:.3g}; the mean reward would be off by "
            f"{rare.naive_error:.3g}."
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
        text = f"{places(column.unexplained)} of its variance is unexplained."
    if column.unexplained is not None and column.unexplained > _UNLEARNED:
        text = f"{places(column.unexplained)} of its variance is unexplained."
        return Verdict("reward", False, f"not learned: {text} {advice}")
    return Verdict("reward", True, text)


def judge_calibration(found: Calibration, errors: OneStep) -> Verdict:
    """Says whether a member or a column is overconfident, or a column says nothing."""
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
            "overconfident: less than 0.75 of the targets are within two predicted "
            f"standard deviations (calibrated: 0.954) for {listed}. Raise the lower end "
            "of log_variance_bounds, or fit with more patience or more data, and trust "
            "no aleatoric penalty until then.",
        )
    spreads = {column.name: column.spread for column in errors.columns}
    vague = [
        c.name
        for c in found.columns
        if c.within_one_std >= _VAGUE and c.median_std > spreads[c.name]
    ]
    if vague:
        return Verdict(
            "calibration",
            False,
            "vague: the predicted standard deviations are larger than those of the data "
            f"itself in {_listed(vague)}, and imagined rows are drawn with them. Lower "
            "the upper end of log_variance_bounds, or fit longer, and trust no aleatoric "
            "penalty until then.",
        )
    worst = min(c.within_two_stds for c in found.columns)
    return Verdict(
        "calibration",
        True,
        f"at least {worst:.2f} of the targets are within two predicted standard "
        "deviations, in every column.",
    )


def judge_open_loop(
    found: Sequence[OpenLoop], rollout_length: int
) -> Iterator[Verdict]:
    """Says whether the rollout's last step is better than standing still."""
    for loop in found[:1]:  # of h steps; the other is of 10 h
        if loop.sequences < _SEQUENCES or loop.standing_still[-1] == 0:
            continue
        reached = len(loop.median)
        if reached < rollout_length:
            yield Verdict(
                "k steps",
                False,
                f"after {reached + 1} of {rollout_length} the predictions are NaN or "
                "infinite in every sequence. Look for outliers in the dataset, lower the "
                "model's learning rate, or shorten rollout_length.",
            )
            continue
        ratios = [
            error / still if still else math.inf
            for error, still in zip(loop.median, loop.standing_still, strict=True)
        ]
        text = (
            f"after {rollout_length} the error is {places(ratios[-1])} of that of standing "
            "still."
        )
        if ratios[-1] <= _NO_BETTER:
            yield Verdict("k steps", True, text)
            continue
        good = [k for k, ratio in enumerate(ratios, start=1) if ratio <= _NO_BETTER]
        advice = "No step is better: fit the model longer, or on more data."
        if good:
            advice = (
                f"It is better up to step {good[-1]}: set rollout_length to that, or fit "
                "the model on more data."
            )
        yield Verdict("k steps", False, f"{text} {advice}")


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
