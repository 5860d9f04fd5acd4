"""What a diagnosis says: plain numbers, and verdicts on them."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Optional, Union

from ...support.errors import CompositionError
from ...support.json_values import plain
from .reading import read_as
from .render import rendered

__all__ = [
    "Calibration",
    "ColumnCalibration",
    "ColumnError",
    "Diagnosis",
    "Distribution",
    "Ends",
    "Maze",
    "MonteCarlo",
    "Nearness",
    "OneStep",
    "OpenLoop",
    "Outside",
    "PenaltyRank",
    "RareReward",
    "Rollouts",
    "UnseenReturns",
    "Values",
    "Verdict",
]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A judgement by a rule that docs/diagnosis.md states.

    Args:
        subject: What is judged, such as ``"reward"``.
        ok: Whether nothing speaks against it.
        text: The numbers behind it; if it is not ok, also what to change.
    """

    subject: str
    ok: bool
    text: str


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Numbers, summed up.

    Args:
        mean: Their mean.
        std: Their standard deviation (of the population).
        quantiles: 0, 5, 50, 95 and 100 %.
    """

    mean: float
    std: float
    quantiles: list[float]


@dataclasses.dataclass(frozen=True)
class ColumnError:
    """One step's error in a column, in dataset units.

    Args:
        name: Of the column.
        error: Root mean square of what the imagining members' means are off by.
        bias: Mean of predicted minus true.
        naive_error: Of predicting no change; for the reward, of predicting its mean.
        unexplained: Share of the variance of the column's change (for the reward, of the
            reward itself) that the model leaves unexplained; None if nothing varies.
        spread: Standard deviation of the column itself.
    """

    name: str
    error: float
    bias: float
    naive_error: float
    unexplained: Optional[float]
    spread: float


@dataclasses.dataclass(frozen=True)
class RareReward:
    """The reward's error where it is not its commonest value, in dataset units.

    Args:
        commonest: That value; at least half of the data's rows have it.
        rows: How many of the judged rows have another.
        error: Root mean square over these.
        naive_error: Of predicting the mean reward, over these.
    """

    commonest: float
    rows: int
    error: float
    naive_error: float


@dataclasses.dataclass(frozen=True)
class OneStep:
    """Errors of one step.

    Args:
        columns: Of the observation (in reverse of s), the reward last.
        rare_reward: None if no value has half of the rows, or no judged row has another.
        alignment: Cosine between predicted and true changes, each column in units of its
            own change; None if nothing changes. Near -1, time runs backwards.
        finite_share: Share of the rows for which all members predict finite numbers; only
            these are judged.
    """

    columns: list[ColumnError]
    rare_reward: Optional[RareReward]
    alignment: Optional[float]
    finite_share: float


@dataclasses.dataclass(frozen=True)
class ColumnCalibration:
    """How far the predicted spread of a column can be believed.

    Args:
        name: Of the column.
        within_one_std: Share of the targets within one predicted standard deviation of
            the predicted mean, over the imagining members: 0.683 of a calibrated one.
        within_two_stds: Likewise two: 0.954.
        log_likelihood: Mean logarithm of the density of the members' equal mixture.
        pit: Shares of the targets in tenths of the mixture's distribution function: 0.1
            each of a calibrated one.
        median_std: Of the predicted standard deviations; NaN in what 0.1 wrote.
    """

    name: str
    within_one_std: float
    within_two_stds: float
    log_likelihood: float
    pit: list[float]
    median_std: float = math.nan


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far the predicted spread can be believed.

    Args:
        columns: Those that vary and have a predicted spread.
        members: For each member, elites first, the share of targets within two of its
            standard deviations, over these columns.
    """

    columns: list[ColumnCalibration]
    members: list[float]


@dataclasses.dataclass(frozen=True)
class OpenLoop:
    """Errors after k steps along real action sequences, for k = 1, 2, ...

    A reverse model goes backwards along them. Each sequence follows the means of one
    imagining member.

    Args:
        sequences: How many, each from within one episode.
        median: Over sequences, of the root mean square over observation columns, each in
            units of its standard deviation in the data.
        low: Likewise the 10 % quantile ...
        high: ... and the 90 % quantile.
        standing_still: The median of a predictor that stays where the sequence starts.
        columns: For each step, root mean squares by column in dataset units, reward last.
        finite: Share of the sequences that are finite so far; only these are judged.
    """

    sequences: int
    median: list[float]
    low: list[float]
    high: list[float]
    standing_still: list[float]
    columns: list[list[float]]
    finite: list[float]


@dataclasses.dataclass(frozen=True)
class PenaltyRank:
    """A penalty against the true error: the norm over (s', r) in dataset units.

    Args:
        name: As it is registered.
        own: Whether it is the imagination's.
        spearman: Rank correlation; None where either never varies.
        worst_tenth: Share of the worst tenth of the rows that is in the penalty's own
            worst tenth; 0.1 by chance.
        null_spearman: The rank correlation if errors were drawn from the model's own
            standard deviations.
        null_worst_tenth: Likewise, the share.
    """

    name: str
    own: bool
    spearman: Optional[float]
    worst_tenth: float
    null_spearman: Optional[float]
    null_worst_tenth: float


@dataclasses.dataclass(frozen=True)
class Ends:
    """The termination on real steps, asked as rollouts ask it.

    Args:
        terminals: Rows that are terminal in the data.
        rows: All rows that were asked about.
        claimed: Rows that the termination says are terminal.
        precision: Share of the claimed rows that are terminal; None if none is claimed.
        recall: Share of the terminal rows that are claimed; None if none is terminal.
        model_recall: Likewise with the model's s' instead of the true one, on at most
            10,000 terminal rows; None in reverse, or if none is terminal.
        model_false_alarms: Share of the judged rows that are not terminal, but claimed
            given the model's s'; None in reverse.
        learned: Whether the termination was learned, from most of these rows unless ...
        held_out: ... they are of data that were held out.
        unseen_terminals: Terminal rows that a learned termination held out when it was
            fitted; None for a rule, and if they are not known ...
        unseen_precision: ... its precision on the rows that it held out ...
        unseen_recall: ... and its recall.
    """

    terminals: int
    rows: int
    claimed: int
    precision: Optional[float]
    recall: Optional[float]
    model_recall: Optional[float]
    model_false_alarms: Optional[float]
    learned: bool = False
    held_out: bool = False
    unseen_terminals: Optional[int] = None
    unseen_precision: Optional[float] = None
    unseen_recall: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Nearness:
    """Distances to the nearest of real rows, in standard deviations of the columns.

    Args:
        median: Of imagined rows, by step as counted from the real state where rollouts
            start; None for steps without rows. (Older files end with the last that has
            any.)
        high: Likewise the 95 % quantile.
        real_median: Of other real rows.
        real_high: Likewise.
    """

    median: list[Optional[float]]
    high: list[Optional[float]]
    real_median: float
    real_high: float

    def at(self, step: int) -> tuple[Optional[float], Optional[float]]:
        """Returns median and high of a step, from 1; None where no rollout has a row."""
        if step > len(self.median):
            return None, None
        return self.median[step - 1], self.high[step - 1]


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """What is imagined, beside what is real.

    Args:
        rollouts: How many were started.
        rows: How many rows they left.
        rewards: Imagined, before the penalty, and without rows to which a halt gave a
            reward of its own (unless there are no others).
        real_rewards: The data's.
        survival: Share of the rollouts that made a row in step 1, 2, ...
        real_survival: The same for real episodes from random rows on, by Kaplan and
            Meier's estimator, as some were cut; in reverse 1, since what leads to real
            states has not ended.
        clipped_share: Share of the proposed action entries outside the action set.
        dropped_share: Share of the rows that were dropped because they were not finite.
        states: Distance of the states reached to the nearest real states.
        actions: Distance of the actions to the action of the nearest real state; in
            reverse to the one that led into it.
        halted: Share of each step's rows that the halt stopped; empty without a halt.
    """

    rollouts: int
    rows: int
    rewards: Distribution
    real_rewards: Distribution
    survival: list[float]
    real_survival: list[float]
    clipped_share: float
    dropped_share: float
    states: Nearness
    actions: Nearness
    halted: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Values:
    """The learner's Q-values: the least of its critics', in dataset units.

    Args:
        real: On real states and actions.
        imagined: On imagined ones.
        rollout_ends: Where rollouts end, with the learner's action there; in reverse
            where they begin in time; None if all of them end in a terminal.
        returns: Discounted real returns-to-go, of the rows whose episode goes on long
            enough to hold all but 5 % of them; None if there are none. Near a time limit
            these are of episodes that ended, to which mean and quantiles lean; least and
            greatest are what was seen.
        returns_rows: How many rows these are.
        unseen: What a cut row among these may lack of its return: the data's greatest
            reward for ever. 0 if none was cut, and in what older versions wrote; infinite
            if nothing is discounted.
        entropy: What the values may hold for the entropy of the learner's policy, as SAC's
            do: its mean in real states, for ever. 0 if it is a cost, or counts nothing,
            and in what older versions wrote; infinite as `unseen` is.
        reward_scaler: The type of the learner's, if it shifts or clips rewards: Q-values
            sum what it leaves of them, and so do the returns, these and a simulator's.
    """

    real: Distribution
    imagined: Distribution
    rollout_ends: Optional[Distribution]
    returns: Optional[Distribution]
    returns_rows: int
    unseen: float = 0.0
    entropy: float = 0.0
    reward_scaler: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Outside:
    """The model where no data is, by a simulator: real states, random actions.

    Errors are those of the imagining members' mean, by observation column in dataset
    units; a reverse model's s is led forward again and compared with s'.

    Args:
        rows: How many rows.
        errors: Root mean squares there ...
        errors_inside: ... and with the data's own actions, likewise by the simulator.
        penalties: Against the true error there.
    """

    rows: int
    errors: list[float]
    errors_inside: list[float]
    penalties: list[PenaltyRank]


@dataclasses.dataclass(frozen=True)
class UnseenReturns:
    """A second model, fitted without the episodes of greatest returns; judged on them.

    Args:
        episodes: How many were left out, with about a third of the rows.
        rows: How many of their rows were judged.
        least_return: Of these episodes, not discounted ...
        greatest_seen: ... and the greatest return of the others.
        errors: Root mean squares there, by column in dataset units, reward last ...
        errors_inside: ... and on its own hold-out rows (all, if it keeps none).
        penalties: Against the true error there.
    """

    episodes: int
    rows: int
    least_return: float
    greatest_seen: float
    errors: list[float]
    errors_inside: list[float]
    penalties: list[PenaltyRank]


@dataclasses.dataclass(frozen=True)
class MonteCarlo:
    """What the learner's policy gets in a simulator, and the learner's Q-values.

    Args:
        steps: The most steps that episodes are followed for.
        real_q: The learner's values of its own actions in real states ...
        real_returns: ... and the discounted returns of its policy from there: of these
            actions, then of those that its Q-values suppose, sampled ones if it is a SAC.
        real_excess: Mean of the first minus the second.
        end_q: Likewise where rollouts end ...
        end_returns: ...
        end_excess: ...
        unseen: What may have followed these steps where rollouts end, mean over episodes:
            for each that had not ended the greatest reward that data or simulator gave,
            for ever. 0 if all of them ended, and in what older versions wrote; infinite
            if nothing is discounted.
        entropy: As in `Values`, of the states where rollouts end.
    """

    steps: int
    real_q: Distribution
    real_returns: Distribution
    real_excess: float
    end_q: Distribution
    end_returns: Distribution
    end_excess: float
    unseen: float = 0.0
    entropy: float = 0.0


@dataclasses.dataclass(frozen=True)
class Maze:
    """Some rollouts, in their maze; one unit is a cell.

    Args:
        walls: Centres (x, y) of the squares that are wall.
        goal: Its centre.
        data: Some real positions.
        rollouts: The positions of each, in time order.
    """

    walls: list[list[float]]
    goal: list[float]
    data: list[list[float]]
    rollouts: list[list[list[float]]]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found. ``print`` and notebooks show it as tables.

    A part that could not be measured is None, and `left_out` says why.

    Args:
        imagination: Its name.
        direction: ``"forward"`` or ``"reverse"``.
        rollout_length: h, the most steps of its rollouts.
        rows: How many rows the one-step numbers are of.
        judged_on: Which rows these are, in words.
        seed: See `diagnose`.
        one_step: Errors of one step, by column.
        calibration: None if no column varies and has a predicted spread.
        open_loop: Errors along real action sequences of h and of 10 h steps, if an
            episode is long enough.
        penalties: The imagination's own, and every registered one that needs no critic
            and does not learn.
        ends: None without a termination.
        rollouts: None if the rollout policy, or a penalty that is subtracted when rows
            are imagined, asks a learner and none was given, if a component broke its
            contract, or if no row was kept.
        values: None without `rollouts`, or without a learner that has a critic.
        left_out: Parts that were left out, each with its reason.
        verdicts: Judgements, see `Verdict`.
        maze: None if the environment is no maze, or was not given.
        outside: None without a simulator that repeats the data's steps.
        monte_carlo: None without such a simulator, or without `values`.
        unseen_returns: None if it was not asked for.
    """

    imagination: str
    direction: str
    rollout_length: int
    rows: int
    judged_on: str
    seed: int
    one_step: OneStep
    calibration: Optional[Calibration]
    open_loop: list[OpenLoop]
    penalties: list[PenaltyRank]
    ends: Optional[Ends]
    rollouts: Optional[Rollouts]
    values: Optional[Values]
    left_out: list[str]
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    maze: Optional[Maze] = None
    outside: Optional[Outside] = None
    monte_carlo: Optional[MonteCarlo] = None
    unseen_returns: Optional[UnseenReturns] = None

    @classmethod
    def from_json(cls, text: str) -> "Diagnosis":
        """Returns the diagnosis that `to_json` wrote, also in an older version.

        Raises:
            CompositionError: The text is damaged, or no diagnosis.
        """
        try:
            content = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise CompositionError(
                f"This is no diagnosis, or a damaged one: {error}. Expected the text of a "
                'file, not its name: Path(FILE).read_text("utf-8"). Write it anew with '
                "Diagnosis.to_json or `d3rlpy-mbo diagnose --json FILE`."
            ) from error
        return read_as(cls, content, "the diagnosis")

    def to_json(self) -> str:
        """Returns every number as JSON; names are those of the fields.

        Numbers that are not finite are null; `from_json` reads them as NaN.
        """
        return json.dumps(plain(self), indent=1, allow_nan=False)

    def __str__(self) -> str:
        return rendered(self)

    __repr__ = __str__  # what a notebook shows; the fields are thousands of characters

    def save_html(self, path: Union[str, Path]) -> None:
        """Writes a page of it: one HTML file that needs nothing else.

        Args:
            path: The file; its folder is made if it is missing.

        Raises:
            CompositionError: The extra ``report`` is not installed, or the file cannot be
                written.
        """
        # An extra, and slow to import.
        from ..pages.html import require_pages, save_page
        from ..pages.parts import Page
        from .page import section

        require_pages()
        found = section(self, "Diagnosis")
        title = f"Is this model any good? {self.imagination}, {self.direction}"
        save_page(Page(title, [], [found]), Path(path))
