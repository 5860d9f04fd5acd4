"""A run's checkpoints: what they hold, when they are written, who may go on from them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from ..buffer.replay_buffer import ImaginedReplayBuffer
from ..data.real_data import RealData
from ..imagination.imagination import Imagination
from ..support.checkpoints import Checkpoint, CheckpointFolder, Part
from ..support.errors import CheckpointError, CompositionError
from ..support.generators import generator_states, set_generator_states
from ..support.locks import held_alone
from ..support.resuming import Fits, Stateful, fits_kept
from .identity import (
    fit_identity_of,
    is_of_these_versions,
    models_of,
    validate_same_run,
    warn_of_another_seed,
    warn_of_other_models,
)
from .interrupts import Interrupts

__all__ = ["FitCheckpoint", "RunCheckpoint", "lost"]

# Ours: by default the next checkpoint follows after this many times what the last one
# cost, so that they take a hundredth of the time.
_PATIENCE = 100

_FITTING, _TRAINING = "fitting", "training"


class RunCheckpoint:
    """The checkpoints of one run, from its first fit to its last epoch.

    A context manager: inside, it alone holds the folder, and takes signals. Call `begin`
    before the first fit, `begin_training` once there is a buffer, and from then on
    `step_done` and `epoch_done`.

    Args:
        path: Their folder.
        interval: Epochs from one to the next, in the training and in models' fits; by
            default so many that checkpoints take a hundredth of the time.
        about: What the run is, see `identity_of`; checkpoints of another are refused.
        go_on: The sentence that tells the user how to go on.

    Raises:
        CheckpointError: The checkpoints are of another run, or none is complete.
        CompositionError: The folder cannot be used, or another process uses it.
    """

    def __init__(
        self, path: Path, interval: Optional[int], about: Mapping[str, Any], go_on: str
    ):
        self._path, self._interval, self._about = path, interval, dict(about)
        self._go_on = go_on
        self._interrupts = Interrupts()
        self._saved: Optional[dict[str, Any]] = None
        self._n_reached, self._cost, self._written = 0, 0.0, time.monotonic()
        self._logs: Optional[Callable[[], Any]] = None
        self._run: dict[str, Any] = {
            "stage": _FITTING,
            "results": [],
            "n_steps": 0,
            "losses": {},
            "seconds": 0.0,
        }
        self._entered = time.monotonic()
        self._parts: dict[str, Part] = {}
        self._training: dict[str, Stateful] = {}
        self._generators: Optional[dict[str, Any]] = None
        self.fits: Optional[Fits] = None

    def __enter__(self) -> "RunCheckpoint":
        _made(self._path)
        with contextlib.ExitStack() as stack:
            what = f"checkpoints into {str(self._path)!r}"
            stack.enter_context(held_alone(self._path / ".lock", what))
            self._folder = CheckpointFolder(self._path)
            saved = self._last()
            if saved is not None:
                self._saved = saved.parts
                self._run = dict(saved.parts["run"])
                warn_of_another_seed(saved.about, self._about, self._path)
                fitting, ours = not self.trained, self._about
                warn_of_other_models(saved.about, ours, self._path, fitting)
                # What it was at the beginning: by now its scalers may be fitted.
                self._about = {**ours, **saved.about}
                if fitting:  # no checkpoint holds models that were given
                    given = zip(*map(models_of, (saved.about, ours)), strict=False)
                    self._about["models"] = [before and now for before, now in given]
            stack.enter_context(self._interrupts)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._stack.close()

    def validate(self) -> None:
        """Refuses what entering would refuse, and leaves the folder as it is.

        Raises:
            CheckpointError: The checkpoints are of another run, or none is complete.
        """
        self._folder = CheckpointFolder(self._path)
        self._last()

    def _last(self) -> Optional[Checkpoint]:
        saved = self._folder.last()
        if saved is not None:
            fitting = saved.parts["run"]["stage"] == _FITTING
            validate_same_run(saved.about, self._about, self._path, fitting)
        return saved

    @property
    def seconds(self) -> float:
        """Seconds that the run took so far, in all its processes."""
        return float(self._run["seconds"]) + time.monotonic() - self._entered

    def note(self, name: str) -> Any:
        """Returns what the run noted under this name, or None."""
        return self._run.get(name)

    def noted(self, name: str, value: Any) -> Any:
        """Returns what the run noted under this name; this value, if it noted none."""
        return self._run.setdefault(name, value)

    def begin(self, **parts: Stateful) -> None:
        """Takes over the fits that are done, or writes the first checkpoint.

        Args:
            **parts: Restored first, and kept in every checkpoint: the learner.
        """
        self._parts = {name: Part(p.checkpoint_state) for name, p in parts.items()}
        state = None
        if self._saved is not None:
            for name, part in parts.items():
                part.restore_checkpoint(self._saved[name])
            if self.trained:
                self._generators = self._run["generators"]
            else:
                names = self._saved["fits"]["names"]
                done = {name: self._saved[f"fitted-{name}"] for name in names}
                state = {**self._saved["fits"], "done": done}
        self.fits = Fits(self._fit_reached, state)
        if self._saved is None:
            self._write()

    def keep_logs(
        self, sizes: Callable[[], Any], cut_back: Callable[[Any], None]
    ) -> None:
        """Cuts the logs back to the checkpoint, and keeps their sizes from now on.

        Args:
            sizes: Returns their sizes.
            cut_back: Cuts them back to given sizes.
        """
        self._logs = sizes
        if self._saved is not None:
            cut_back(self._run.get("logs", []))

    @property
    def trained(self) -> bool:
        """Whether the training has begun, so that all models are fitted."""
        return bool(self._run["stage"] == _TRAINING)

    def take_over(self, imaginations: Sequence[Imagination], learner: Any) -> None:
        """Gives imaginations their state, once the training has begun."""
        assert self._saved is not None
        for i, each in enumerate(imaginations):
            each.restore_checkpoint(self._saved[f"imagination-{i}"], learner)

    def begin_training(self, buffer: ImaginedReplayBuffer) -> None:
        """Gives the buffer its state, or notes that its training begins now."""
        restored: dict[str, Stateful] = {"buffer": buffer}
        for i, source in enumerate(buffer.sources):
            restored[f"rows-{i}"] = source.ring
            self._training[f"imagination-{i}"] = source.imagination
        if self.trained:
            assert self._saved is not None
            for name, part in restored.items():
                part.restore_checkpoint(self._saved[name])
        self._training |= restored
        self.fits = None

    def restore_generators(self) -> None:
        """Puts the generators back to where they were, once and last of all."""
        if self._generators is not None:
            set_generator_states(self._generators)
        self._generators = None
        self._saved = None  # its rows are copied by now

    @property
    def results(self) -> list[tuple[int, dict[str, float]]]:
        """The metrics of each epoch so far."""
        return [(epoch, dict(metrics)) for epoch, metrics in self._run["results"]]

    @property
    def n_epochs(self) -> int:
        """Epochs that are complete."""
        return len(self._run["results"])

    @property
    def n_steps(self) -> int:
        """Gradient steps so far in the epoch that is not complete."""
        return int(self._run["n_steps"])

    @property
    def losses(self) -> dict[str, list[float]]:
        """The losses of those steps, by name."""
        return {name: list(each) for name, each in self._run["losses"].items()}

    def step_done(self, n_steps: int, losses: Mapping[str, Sequence[float]]) -> None:
        """Stops after a step amid an epoch, if a signal asked for it.

        Args:
            n_steps: Of the epoch so far.
            losses: Of those steps, by name.
        """
        if self._interrupts.received:
            self._run["n_steps"] = n_steps
            self._run["losses"] = {
                name: [float(value) for value in each] for name, each in losses.items()
            }
            self._stop()

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], last: bool) -> None:
        """Notes that an epoch is complete; writes a checkpoint if one is due."""
        numbers = {name: float(value) for name, value in metrics.items()}
        self._run["results"] = [*self._run["results"], [epoch, numbers]]
        self._run["n_steps"], self._run["losses"] = 0, {}
        if self._interrupts.received:  # after the last one, too: a loop of runs ends
            self._stop()
        if self._is_due() or last:
            self._write()

    def clear(self) -> None:
        """Removes the checkpoints, once the run needs them no more."""
        self._folder.clear()

    def _fit_reached(self, done: bool) -> None:
        if self._interrupts.received:
            self._stop()
        if self._is_due() or done:
            self._write()

    def _is_due(self) -> bool:
        if self._interval is not None:
            self._n_reached += 1
            return self._n_reached % self._interval == 0
        return time.monotonic() - self._written >= _PATIENCE * self._cost

    def _stop(self) -> None:
        self._write()
        self._interrupts.stop(
            f"Stopped; a checkpoint is written to {self._path}. {self._go_on}"
        )

    def _version_of(self, part: Any) -> Optional[int]:
        """Returns that of a part which seldom changes, None of any other.

        A model that imaginations share is in the part of each, whoever changes it.
        """
        version: Optional[int] = getattr(part, "version", None)
        if not isinstance(part, Imagination):
            return version
        every = {id(each): each for each in self._training.values()}.values()
        imaginations = [each for each in every if isinstance(each, Imagination)]
        return sum(e.version for e in imaginations if e.dynamics is part.dynamics)

    def _write(self) -> None:
        started = time.monotonic()
        if self._logs is not None:
            self._run["logs"] = self._logs()
        parts = dict(self._parts)
        if self.fits is not None:
            fits = self.fits
            parts["fits"] = Part(fits.checkpoint_state)
            for name, part in fits.done.items():
                parts[f"fitted-{name}"] = Part(part.checkpoint_state, version=0)
        else:
            self._run["stage"] = _TRAINING
            for name, each in self._training.items():
                parts[name] = Part(each.checkpoint_state, self._version_of(each))
        self._run["generators"] = generator_states()
        run = {**self._run, "seconds": self.seconds}
        parts["run"] = Part(lambda: run)
        self._folder.write(self._about, parts)
        self._written = time.monotonic()
        self._cost = self._written - started


class FitCheckpoint:
    """The checkpoints of a fit that belongs to no run.

    Args:
        path: Their folder; emptied if the fit cannot go on from them.
    """

    def __init__(self, path: Path):
        self._folder = CheckpointFolder(path)

    @contextlib.contextmanager
    def of(self, imagination: Imagination, real: RealData) -> Iterator[None]:
        """Lets an imagination's `fit` inside go on where it was, and write checkpoints."""
        about = fit_identity_of(imagination, real)
        try:
            saved = self._folder.last()
            if saved is not None:
                validate_same_run(saved.about, about, self._folder.path)
        except CheckpointError:
            self.clear()
        go_on = "The same command goes on from there."
        with RunCheckpoint(self._folder.path, None, about, go_on) as kept:
            kept.begin()
            with fits_kept(kept.fits):
                yield

    def clear(self) -> None:
        """Removes them."""
        self._folder.clear()


def lost(path: Path) -> bool:
    """Whether a folder has checkpoints, but none that a run can go on from here.

    They are torn, or of another version.
    """
    try:
        saved = CheckpointFolder(path).last()
    except CheckpointError:
        return True
    return saved is not None and not is_of_these_versions(saved.about)


def _made(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompositionError(
            f"The folder {str(path)!r} for checkpoints cannot be made: {error.strerror}. "
            "Choose another."
        ) from error
