"""A run whose parts are validated: models fitted, learner trained, kept on its way."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Optional, cast

import gymnasium
import numpy as np
from d3rlpy.logging import FileAdapterFactory, LoggerAdapterFactory
from d3rlpy.metrics import EvaluatorProtocol

from ..buffer.replay_buffer import ImaginedReplayBuffer
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..learners.building import take_plain_numbers
from ..learners.pretraining import pretrain_policy
from ..learners.reading import AnyLearner, Learner
from ..learners.state import LearnerState
from ..metrics import imagination_evaluators
from ..support.errors import CheckpointError
from ..support.progress import progress_shown
from ..support.resuming import fit_once, fits_kept
from .checkpoint import RunCheckpoint
from .continuation import LogFiles, fit_with_checkpoints
from .evaluation import EnvironmentEvaluations
from .identity import identity_of
from .logging import LoggerOfImaginations, claimed_name
from .transformers import environment_evaluator, fit_with_evaluators
from .validation import build_for_critics

__all__ = ["Run"]

_GO_ON = "The same call of mbo.fit goes on from there."


@dataclasses.dataclass
class Run:
    """What `fit` trains, validated.

    Args: see `fit`.
    """

    learner: AnyLearner
    real: RealData
    imaginations: Sequence[Imagination]
    n_steps: int
    n_steps_per_epoch: int
    env: Optional[gymnasium.Env[Any, Any]] = None
    n_trials: int = 10
    real_ratio: Optional[float] = None
    shares: Optional[Sequence[float]] = None
    n_pretraining_epochs: int = 0
    target_return: Optional[float] = None

    def __post_init__(self) -> None:
        # Or d3rlpy fails to log it, once the models are fitted.
        take_plain_numbers(self.learner)

    def checkpoints(
        self, path: Path, interval: Optional[int] = None, go_on: str = _GO_ON
    ) -> RunCheckpoint:
        """Returns the run's checkpoints in a folder, to be entered.

        Args:
            path: The folder.
            interval: See `fit`.
            go_on: The sentence that says how to go on.
        """
        about = identity_of(
            self.learner,
            self.real,
            self.imaginations,
            n_steps_per_epoch=self.n_steps_per_epoch,
            n_trials=self.n_trials,
            real_ratio=self.real_ratio,
            shares=self.shares,
            has_environment=self.env is not None,
            n_pretraining_epochs=self.n_pretraining_epochs,
            target_return=self.target_return,
        )
        return RunCheckpoint(path, interval, about, go_on)

    def train(
        self,
        kept: Optional[RunCheckpoint],
        evaluators: Optional[Mapping[str, EvaluatorProtocol]],
        logger_adapter: Optional[LoggerAdapterFactory],
        fit_arguments: dict[str, Any],
    ) -> list[tuple[int, dict[str, float]]]:
        """Does all of it, or what is left of it.

        Args:
            kept: Its checkpoints, entered; None to keep none.
            evaluators: See `fit`, as for the others.
            logger_adapter: d3rlpy's.
            fit_arguments: For the learner's `fit`.

        Returns:
            (epoch, metrics) for each epoch.
        """
        factory = logger_adapter or FileAdapterFactory()
        to_fit = [not each.fitted for each in self.imaginations]
        # Drawn first, so that runs with the same seed are evaluated from the same
        # starts whatever they imagine, build or pretrain.
        seed = int(np.random.randint(2**31))
        if kept is not None:
            seed = kept.noted("seed", seed)
            self._validate_steps(kept)
            fit_arguments = _with_own_folder(kept, factory, self.learner, fit_arguments)
            to_fit = kept.noted("to_fit", to_fit)
            kept.begin(learner=LearnerState(self.learner, self.real))
        with progress_shown(fit_arguments.get("show_progress", True)):
            if self.n_pretraining_epochs:
                self._pretrain(kept)
            build_for_critics(self.learner, self.real, self.imaginations)
            self._fit_models(kept, to_fit)
            buffer = ImaginedReplayBuffer(
                self.real, self.imaginations, self.learner, self.real_ratio, self.shares
            )
            n_done = 0
            if kept is not None:
                kept.begin_training(buffer)
                n_done = kept.n_epochs
            every: dict[str, EvaluatorProtocol] = {**imagination_evaluators(buffer)}
            if self.env is not None:
                sampler = fit_arguments.get("eval_action_sampler")
                evaluator = environment_evaluator(
                    self.learner, self.env, self.n_trials, self.target_return, sampler
                )
                every["environment"] = EnvironmentEvaluations(
                    self.env, evaluator, seed, n_done
                )
            arguments: dict[str, Any] = {
                "n_steps": self.n_steps,
                "n_steps_per_epoch": self.n_steps_per_epoch,
                "evaluators": {**every, **(evaluators or {})},
                "logger_adapter": LoggerOfImaginations(
                    factory,
                    self.imaginations,
                    own_folder=fit_arguments.get("with_timestamp", True),
                    goes_on=lambda: kept is not None and kept.trained,
                ),
                **fit_arguments,
            }
            if kept is None:
                return fit_with_evaluators(self.learner, buffer, **arguments)
            return fit_with_checkpoints(self.learner, buffer, kept, **arguments)

    def _pretrain(self, kept: Optional[RunCheckpoint]) -> None:
        """Clones the data's behavior, unless a checkpoint has it."""
        build_for_critics(self.learner, self.real, self.imaginations)
        if kept is not None and kept.trained:
            return
        state = LearnerState(self.learner, self.real)

        def pretrain() -> None:
            epochs = self.n_pretraining_epochs
            learner = cast(Learner, self.learner)  # no transformer: those are refused
            pretrain_policy(learner, self.real, n_epochs=epochs)

        with fits_kept(None if kept is None else kept.fits):
            fit_once("pretraining", state, pretrain)

    def _fit_models(
        self, kept: Optional[RunCheckpoint], to_fit: Sequence[bool]
    ) -> None:
        """Fits the imaginations that are not, or takes them over."""
        if kept is not None and kept.trained:
            kept.take_over(self.imaginations, self.learner)
            return
        fits = None if kept is None else kept.fits
        for i, (each, wanted) in enumerate(zip(self.imaginations, to_fit, strict=True)):
            if wanted:
                with fits_kept(fits, f"{i}-"):
                    each.fit(self.real)

    def _validate_steps(self, kept: RunCheckpoint) -> None:
        done = kept.n_epochs * self.n_steps_per_epoch + kept.n_steps
        if done > self.n_steps:
            raise CheckpointError(
                f"n_steps is {self.n_steps}, but the checkpoint has {done} steps "
                f"already. Give {done} or more, or choose another folder."
            )


def _with_own_folder(
    kept: RunCheckpoint,
    factory: LoggerAdapterFactory,
    learner: AnyLearner,
    fit_arguments: dict[str, Any],
) -> dict[str, Any]:
    """Returns arguments that name the run's log folder: the one that it had before."""
    arguments = dict(fit_arguments)
    name = arguments.get("experiment_name") or type(learner).__name__
    if arguments.get("with_timestamp", True) and kept.note("experiment") is None:
        name = claimed_name(factory, f"{name}_{datetime.now():%Y%m%d%H%M%S}")
    name = kept.noted("experiment", name)
    files = LogFiles(factory, name)
    kept.keep_logs(files.sizes, files.cut_back)
    return {**arguments, "experiment_name": name, "with_timestamp": False}
