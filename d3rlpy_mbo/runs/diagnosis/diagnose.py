"""diagnose(): is this model any good?"""

import dataclasses
import math
from typing import Any, Optional, Union

import gymnasium
import torch
from d3rlpy.dataset import ReplayBufferBase
from tqdm.auto import tqdm

from ...buffer.shares import validate_imagination
from ...components.dynamics.interface import Dynamics
from ...components.penalties import LearnedPenalty
from ...data.real_data import RealData
from ...data.transitions import Transitions
from ...imagination.imagination import Imagination
from ...imagination.readiness import validate_model_rows
from ...learners import check, check_actions, check_built
from ...learners.q_values import counted_reward
from ...learners.reading import Learner, has_critic, modes_kept
from ...registry.fields import COUNT, SEED
from ...support.errors import CompositionError, DatasetError, DivergedError
from ..environments import validate_single_environment
from .calibration import calibration
from .column_names import column_names
from .ends import ends
from .episodes import unseen_episodes
from .generators import own_generators
from .mazes import maze_of
from .monte_carlo import monte_carlo
from .one_step import one_step
from .open_loop import open_loop
from .outside import outside
from .penalties import penalty_ranks
from .penalty_verdicts import penalty_undecided
from .predictions import Predicted, predicted, some_rows, with_known_rewards
from .results import (
    Calibration,
    Diagnosis,
    Ends,
    Maze,
    MonteCarlo,
    OpenLoop,
    Outside,
    Rollouts,
    UnseenReturns,
    Values,
)
from .rollout_verdicts import monte_carlo_undecided, values_undecided
from .rollouts import imagined_rows, rollouts
from .simulators import Simulator, simulator_of
from .unseen_returns import unseen_returns
from .values import rollout_ends, values
from .verdicts import verdicts

__all__ = ["diagnose", "validate_learner"]

# Ours: the error on a model's own hold-out rows repeats up to rounding; if it differs by
# more than this share, the rows are others.
_OTHER_ROWS = 0.05


def diagnose(
    imagination: Imagination,
    dataset: Union[ReplayBufferBase, RealData],
    learner: Optional[Learner] = None,
    n_rollouts: int = 1000,
    seed: int = 0,
    *,
    held_out: Union[ReplayBufferBase, RealData, None] = None,
    env: Optional[gymnasium.Env[Any, Any]] = None,
    leave_out_returns: bool = False,
) -> Diagnosis:
    """Compares a fitted imagination with real data. Shows a progress bar on a terminal.

    One step by column, calibration, k steps along real action sequences, every penalty
    against the true error, the termination, what is imagined and a learner's values of
    it: docs/diagnosis.md explains the numbers and the verdicts. Nothing is changed:
    neither model, learner and buffers, nor the state of any random generator.

    Args:
        imagination: Fitted.
        dataset: What it was fitted on. One step is judged on the model's hold-out rows,
            if it keeps any. Random rows, whose neighbours the model has seen, can flatter
            it; if whole episodes were held out (``holdout="episodes"`` of the ensemble),
            k steps are judged on them too.
        learner: For rollout policies that ask it, and to compare its Q-values.
        n_rollouts: How many rollouts to look at.
        seed: From 0 to 2^32 - 1; the same seed gives the same numbers.
        held_out: Other data of the same task, best whole episodes that were set aside
            before `fit`: one step, k steps and the termination are then judged on it.
        env: The data's environment. If the names of its observation columns are known,
            they are used; if it is one of our mazes, some rollouts are kept to be drawn
            in it. If a copy of it can be put into the data's states and repeats the
            data's steps, it is the truth for the model outside the data, and for the
            learner's values.
        leave_out_returns: Whether to fit a second model without the episodes of the
            greatest returns, and judge it on these: without a simulator, the nearest to
            truth outside the data. It takes as long as a fit.

    Raises:
        NotFittedError: The imagination is not fitted.
        CompositionError: `imagination` or `env` is something else; imagination or learner
            have other sizes than the data; or the learner has no networks or is for
            another kind of actions.
        DatasetError: There is no row with a known next observation.
        DivergedError: The model predicts nothing finite.
    """
    validate_imagination(imagination)
    COUNT.validated("n_rollouts", n_rollouts)
    seed = SEED.validated("seed", seed)
    if env is not None:
        validate_single_environment(env)
    real = RealData.of(dataset)
    imagination.check_ready(real.transitions)
    validate_model_rows(real.transitions)
    other = None if held_out is None else RealData.of(held_out)
    sizes = real.transitions.observation_size, real.transitions.action_size
    if other is not None:
        _validate_held_out(other.transitions, real.transitions)
    if learner is not None:
        validate_learner(learner, real.transitions)
    with own_generators(seed), modes_kept(learner), torch.no_grad():
        parts = _Parts(imagination, real, other, learner, n_rollouts, env)
        names = [*column_names(env, sizes[0]), "reward"]
        return parts.diagnosed(seed, names, leave_out_returns)


def _validate_held_out(given: Transitions, rows: Transitions) -> None:
    """Refuses data that the imagination could not have been fitted on.

    Args:
        given: As held_out.
        rows: Of the dataset that it was fitted on.

    Raises:
        CompositionError: They have other sizes, or another kind of actions.
        DatasetError: Nothing can be judged on them.
    """
    theirs, ours = map(_columns, (given, rows))
    if theirs != ours:
        raise CompositionError(
            f"held_out has {theirs}, but the dataset has {ours}. Expected other data of "
            "the same task."
        )
    if not len(given.for_models()):
        raise DatasetError(
            "No transition of held_out has a known next observation, so nothing can be "
            "judged on it. Build it as the dataset was built, or leave it out."
        )


def _columns(rows: Transitions) -> str:
    actions = f"continuous actions of size {rows.action_size}"
    if rows.n_actions is not None:
        actions = f"{rows.n_actions} choices"
    return f"observations of size {rows.observation_size} and {actions}"


def validate_learner(learner: Learner, transitions: Transitions) -> None:
    """Refuses a learner that has no networks, or networks for other data.

    Raises:
        CompositionError: See `diagnose`.
    """
    check(learner)
    check_actions(learner, transitions.n_actions)
    sizes = transitions.observation_size, transitions.action_size
    check_built(learner, *sizes, n_actions=transitions.n_actions)


class _Parts:
    """The parts of a diagnosis, and what had to be left out.

    Args: See `diagnose`, which has validated them.
    """

    def __init__(
        self,
        imagination: Imagination,
        real: RealData,
        held_out: Optional[RealData],
        learner: Optional[Learner],
        n_rollouts: int,
        env: Optional[gymnasium.Env[Any, Any]],
    ):
        self._env = env
        self._episodes: Optional[torch.Tensor] = None  # (episodes,) bool: unseen ones
        self._broken: Optional[str] = None  # how a component broke its contract
        self._maze: Optional[Maze] = None
        self._imagination, self._dynamics = imagination, imagination.dynamics
        self._real, self._held_out = real, held_out
        # Kept, or each part that asks for them would copy them anew.
        self._kept = [each.for_models for each in (real, held_out) if each is not None]
        self._learner, self._n_rollouts = learner, n_rollouts
        self._reverse = self._dynamics.direction == "reverse"
        self._left_out: list[str] = []
        self._ends_of_rollouts: Optional[torch.Tensor] = None  # (M, D), to ask values

    def diagnosed(
        self, seed: int, names: list[str], leave_out_returns: bool
    ) -> Diagnosis:
        """Returns the whole diagnosis, with its verdicts."""
        against = _other_data(self._dynamics, self._real.for_models)
        rows, judged_on = self._judged(against is None)
        config = self._imagination.config
        with tqdm(total=6, desc="Diagnosing", unit=" parts", disable=None) as progress:
            judged = predicted(self._dynamics, rows)
            means = judged.elite_means
            known_reward = config.reward_function is not None
            if config.reward_function is not None:
                means = with_known_rewards(
                    judged, config.reward_function, self._dynamics
                )
            progress.update()
            loops = self._open_loops()
            progress.update()
            ranks, not_asked = penalty_ranks(
                judged,
                self._imagination.penalty,
                self._learner,
                (means.mean(dim=0) - judged.targets).norm(dim=1),
                known_reward=known_reward,
            )
            self._left_out += not_asked
            progress.update()
            found_ends = self._ends(judged.rows)
            progress.update()
            found_rollouts, found_values = self._imagined()
            progress.update()
            # Last, so that the numbers above are the same with and without it.
            found_outside, found_returns = self._truth()
            found_unseen = self._unseen_returns() if leave_out_returns else None
            progress.update()
        found = Diagnosis(
            imagination=config.get_type(),
            direction=self._dynamics.direction,
            rollout_length=config.rollout_length,
            rows=len(judged.rows),
            judged_on=judged_on,
            seed=seed,
            one_step=one_step(judged, means, names, self._real.transitions.rewards),
            calibration=self._calibration(judged, names),
            open_loop=loops,
            penalties=ranks,
            ends=found_ends,
            rollouts=found_rollouts,
            values=found_values,
            left_out=self._left_out,
            maze=self._maze,
            outside=found_outside,
            monte_carlo=found_returns,
            unseen_returns=found_unseen,
        )
        undecided = (
            penalty_undecided(found),
            values_undecided(found.values),
            monte_carlo_undecided(found.monte_carlo),
        )
        self._left_out += [each for each in undecided if each is not None]
        return dataclasses.replace(
            found, verdicts=verdicts(found, against, self._broken)
        )

    def _judged(self, own_data: bool) -> tuple[Transitions, str]:
        """Returns the rows to judge one step on, and words that say which they are."""
        if self._held_out is not None:
            rows = some_rows(self._held_out.for_models)
            return rows, f"{len(rows)} rows of data that were held out"
        known = self._real.for_models
        unseen = self._dynamics.holdout_indices if own_data else torch.empty(0)
        if not len(unseen):
            rows = some_rows(known)
            return rows, f"{len(rows)} rows that the model may have been fitted on"
        rows = known[unseen]
        episodes = unseen_episodes(self._real, unseen)
        if episodes is not None:
            self._episodes = episodes
            return rows, (
                f"{len(rows)} hold-out rows: {int(episodes.sum())} whole episodes that the "
                "model was not fitted on"
            )
        return rows, (
            f"{len(rows)} hold-out rows (random ones, of whose episodes the model has seen "
            "the rest: that can flatter it; give held_out=)"
        )

    def _calibration(
        self, judged: Predicted, names: list[str]
    ) -> Optional[Calibration]:
        known_reward = self._imagination.config.reward_function is not None
        found = calibration(judged, names, with_reward=not known_reward)
        if found is None:
            why = "no column varies and has a predicted spread"
            if not bool((judged.stds > 0).any()):
                why = "the model predicts no spread"
            self._left_out.append(f"calibration: {why}")
        return found

    def _open_loops(self) -> list[OpenLoop]:
        length = self._imagination.config.rollout_length
        real = self._real if self._held_out is None else self._held_out
        found = []
        for n_steps in (length, 10 * length):
            loop = open_loop(self._dynamics, real, n_steps, self._episodes)
            if loop is not None:
                reached = len(loop.median)
                if reached:
                    found.append(loop)
                if reached < n_steps:
                    self._left_out.append(
                        f"steps {reached + 1} to {n_steps} along real actions: the "
                        "predictions there are NaN or infinite in every sequence"
                    )
                continue
            lengths = real.episode_starts.diff()
            if self._episodes is not None:
                lengths = lengths[self._episodes]
            whose = "" if self._episodes is None else " that was held out"
            self._left_out.append(
                f"{n_steps} steps along real actions: the longest episode{whose} has "
                f"only {int(lengths.max())}"
            )
        return found

    def _ends(self, judged: Transitions) -> Optional[Ends]:
        termination = self._imagination.termination
        if termination is None:
            return None
        held_out = self._held_out is not None
        real = self._real if self._held_out is None else self._held_out
        known = real.for_models
        lost = int(real.transitions.terminals.sum() - known.terminals.sum())
        if lost:
            self._left_out.append(
                f"termination on {lost} terminal rows: d3rlpy lost where they lead, "
                "mbo.load_minari keeps it"
            )
        found = ends(termination, self._dynamics, known, judged)
        return dataclasses.replace(found, held_out=held_out)

    def _imagined(self) -> tuple[Optional[Rollouts], Optional[Values]]:
        imagination, learner = self._imagination, self._learner
        asks = _who_asks(imagination)
        if asks is not None and learner is None:
            self._left_out += [
                f"rollouts: {asks} asks a learner; give learner= (from the shell --learner "
                "FILE)",
                "values: no learner was given",
            ]
            return None, None
        try:
            imagined = imagined_rows(imagination, self._real, self._n_rollouts, learner)
        except CompositionError as error:
            # As when a model's spread is too large to be squared: told with all the rest.
            self._broken = str(error)
            self._left_out.append(
                "rollouts, and values: they end in an error, see below"
            )
            return None, None
        if not len(imagined.rows):
            self._left_out.append("rollouts: not one of their rows was kept")
            return None, None
        halts = imagination.halt is not None
        found = rollouts(imagined, self._real, self._reverse, halts)
        self._maze = maze_of(self._env, imagined, self._real.transitions)
        if learner is None:
            self._left_out.append("values: no learner was given")
            return found, None
        if not has_critic(learner):
            self._left_out.append(f"values: {type(learner).__name__} has no critic")
            return found, None
        device = imagination.device
        asked = values(learner, self._real, imagined, self._reverse, device)
        if asked is None:
            name = type(learner).__name__
            self._left_out.append(
                f"values: those of {name} are NaN or infinite; it has diverged, or "
                "the states that it is asked about have"
            )
        else:
            self._ends_of_rollouts = rollout_ends(imagined, self._reverse)
        return found, asked

    def _truth(self) -> tuple[Optional[Outside], Optional[MonteCarlo]]:
        simulator, why = simulator_of(self._env, self._real.for_models)
        if simulator is None:
            self._left_out.insert(0, f"truth outside the data: not measured, {why}")
            return None, None
        found, gained = None, None
        try:
            found = outside(
                self._dynamics,
                self._real,
                simulator,
                self._imagination.penalty,
                self._learner,
            )
            if found is None:
                self._left_out.append(
                    "truth outside the data: the model predicts nothing finite there, or "
                    "leads to where the simulator returns nothing finite"
                )
            gained = self._gained(simulator)
        except Exception as error:  # imagined states may break a simulator
            self._left_out.append(
                "truth outside the data: the simulator failed in a state that the model "
                f"or a policy leads to: {type(error).__name__}: {error}"
            )
        return found, gained

    def _gained(self, simulator: Simulator) -> Optional[MonteCarlo]:
        learner, ends = self._learner, self._ends_of_rollouts
        if learner is None or ends is None:
            return None
        if not len(ends):
            self._left_out.append(
                "values in the simulator: every rollout ends in a terminal"
            )
            return None
        rows, device = self._real.transitions, self._imagination.device
        greatest = float(counted_reward(learner, rows.rewards).max())
        gained = monte_carlo(
            learner, simulator, rows.observations, ends, device, greatest
        )
        if gained is None:
            self._left_out.append(
                "values in the simulator: a value or a return is not finite"
            )
        return gained

    def _unseen_returns(self) -> Optional[UnseenReturns]:
        try:
            found = unseen_returns(self._imagination, self._real, self._learner)
        except (DatasetError, DivergedError) as error:  # all else is measured already
            self._left_out.append(f"returns left out: {error}")
            return None
        if found is None:
            self._left_out.append("returns left out: there is one episode only")
            return None
        self._left_out += found[1]
        return found[0]


def _who_asks(imagination: Imagination) -> Optional[str]:
    """Returns what asks the learner in rollouts, None if nothing does."""
    policy, penalty = imagination.rollout_policy, imagination.penalty_when("imagined")
    if policy.needs_learner:
        return f"the policy {policy.config.get_type()}"
    if penalty is not None and penalty.needs_critic:
        config = penalty.config if isinstance(penalty, LearnedPenalty) else penalty
        return f"the penalty {config.get_type()}"
    return None


def _other_data(dynamics: Dynamics, known: Transitions) -> Optional[str]:
    """Returns the evidence that a model was fitted on other rows; None without any."""
    if dynamics.fitted_on is not None and dynamics.fitted_on[0] != len(known):
        return (
            f"the model was fitted on {dynamics.fitted_on[0]} rows, this dataset has "
            f"{len(known)}."
        )
    kept = dynamics.metrics.get("model_holdout_error")
    try:
        measured = dynamics.holdout_errors(known) if kept is not None else {}
    except CompositionError:  # raised by `ProbabilisticEnsemble` for other rows
        return "the rows of this dataset are not those that the model was fitted on."
    found = measured.get("model_holdout_error")
    if kept is None or found is None or not math.isfinite(kept + found):
        return None  # the errors of a ruined model tell nothing
    if abs(found - kept) <= _OTHER_ROWS * kept:
        return None
    return (
        f"on its hold-out rows the model had an error of {kept:.3g}, on the same indices "
        f"of this dataset it has {found:.3g}."
    )
