"""d3rlpy's fit from wherever a run is: epochs counted on, logs and metrics continued."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from d3rlpy.logging import LoggerAdapter, LoggerAdapterFactory

from .checkpoint import RunCheckpoint
from .logging import file_adapters, file_folders
from .transformers import fit_with_evaluators

__all__ = ["LogFiles", "fit_with_checkpoints"]


class LogFiles:
    """The files that d3rlpy's file logger writes for a run: each grows at its end.

    Args:
        factory: The logger's.
        experiment_name: Of the run; a folder of that name is its own.
    """

    def __init__(self, factory: LoggerAdapterFactory, experiment_name: str):
        self._folders = file_folders(factory, experiment_name)

    def sizes(self) -> list[dict[str, int]]:
        """Returns the bytes of each file, folder by folder."""
        return [
            {path.name: path.stat().st_size for path in _ours(folder)}
            for folder in self._folders
        ]

    def cut_back(self, sizes: Sequence[dict[str, int]]) -> None:
        """Removes what was written after a checkpoint."""
        for folder, known in zip(self._folders, sizes, strict=False):
            for path in _ours(folder):
                if path.name not in known:
                    path.unlink()
                elif path.stat().st_size > known[path.name]:
                    with path.open("r+b") as file:
                        file.truncate(known[path.name])


def _ours(folder: Path) -> list[Path]:
    found = [*folder.glob("*.csv"), *folder.glob("model_*.d3")]
    return [*found, *folder.glob("params.json")]


def fit_with_checkpoints(
    learner: Any,
    buffer: Any,
    kept: RunCheckpoint,
    *,
    n_steps: int,
    n_steps_per_epoch: int,
    logger_adapter: LoggerAdapterFactory,
    **fit_arguments: Any,
) -> list[tuple[int, dict[str, float]]]:
    """Calls `learner.fit` for what is left of a run.

    Args:
        learner: A d3rlpy algorithm.
        buffer: What it trains on.
        kept: The run's checkpoints.
        n_steps: Of the whole run.
        n_steps_per_epoch: As d3rlpy's.
        logger_adapter: As d3rlpy's.
        **fit_arguments: As d3rlpy's.

    Returns:
        The metrics of all epochs, those before the checkpoint included.
    """
    rest = _Rest(kept, n_steps, n_steps_per_epoch)
    save_interval = fit_arguments.pop("save_interval", 1)
    callbacks = {
        name: fit_arguments.pop(name)
        for name in ("callback", "epoch_callback")
        if fit_arguments.get(name) is not None
    }
    for segment_steps, steps_per_epoch in rest.segments():
        n_epochs, first_step = kept.n_epochs, rest.n_steps_done
        with _recorded(learner, kept.losses) as losses:
            counted = {
                name: _from(callback, n_epochs, first_step)
                for name, callback in callbacks.items()
            }
            fit_with_evaluators(
                learner,
                buffer,
                n_steps=segment_steps,
                n_steps_per_epoch=steps_per_epoch,
                logger_adapter=_Factory(
                    logger_adapter, kept, rest, losses, save_interval
                ),
                save_interval=1,  # every epoch's end is told; which save, we know
                **{
                    **fit_arguments,
                    **counted,
                    "callback": _watched(kept, rest, losses, counted),
                },
            )
    kept.restore_generators()  # if nothing was left
    return kept.results


def _from(
    callback: Callable[[Any, int, int], None], n_epochs: int, n_steps: int
) -> Callable[[Any, int, int], None]:
    """Returns a callback that is told the epochs and steps of the whole run."""

    def counted(algo: Any, epoch: int, total_step: int) -> None:
        callback(algo, epoch + n_epochs, total_step + n_steps)

    return counted


def _watched(
    kept: RunCheckpoint,
    rest: "_Rest",
    losses: dict[str, list[float]],
    callbacks: dict[str, Callable[[Any, int, int], None]],
) -> Callable[[Any, int, int], None]:
    """Returns a callback after which the run may stop, amid an epoch."""
    callback, first_step = callbacks.get("callback"), rest.n_steps_done

    def watched(algo: Any, epoch: int, total_step: int) -> None:
        if callback is not None:
            callback(algo, epoch, total_step)
        n_steps = (first_step + total_step) % rest.n_steps_per_epoch
        if n_steps:  # else the evaluations come first
            kept.step_done(n_steps, losses)

    return watched


@contextlib.contextmanager
def _recorded(
    learner: Any, before: dict[str, list[float]]
) -> Iterator[dict[str, list[float]]]:
    """Yields the losses of the epoch that is on its way, by name, in the order drawn.

    d3rlpy keeps them where nobody can reach, and a run that stops amid an epoch needs
    them for its mean.
    """
    own, update = vars(learner).get("update"), learner.update
    learner.update = _Recorded(update, before)
    try:
        yield before
    finally:
        del learner.update
        if own is not None:  # a user's, in the place of the class's
            learner.update = own


class _Recorded:
    """A learner's `update` that keeps the losses; a copy of the learner has its own one.

    Callbacks copy the best learner, or pickle it: the copy must train itself, not the
    learner that it was made of.

    Args:
        update: The learner's.
        losses: By name, which grow.
    """

    def __init__(self, update: Callable[..., Any], losses: dict[str, list[float]]):
        self._update, self._losses = update, losses

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = self._update(*args, **kwargs)
        for name, value in found.items():
            self._losses.setdefault(name, []).append(value)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self._update,)


def _itself(update: Callable[..., Any]) -> Callable[..., Any]:
    return update


class _Rest:
    """What is left of a run.

    Args:
        kept: Says how far it is.
        n_steps: Of the whole run.
        n_steps_per_epoch: Of an epoch.
    """

    def __init__(self, kept: RunCheckpoint, n_steps: int, n_steps_per_epoch: int):
        self._kept = kept
        self.n_epochs = n_steps // n_steps_per_epoch
        self.n_steps_per_epoch = n_steps_per_epoch

    @property
    def n_steps_done(self) -> int:
        """Gradient steps so far."""
        return self._kept.n_epochs * self.n_steps_per_epoch + self._kept.n_steps

    def segments(self) -> Iterator[tuple[int, int]]:
        """Yields steps, and steps of an epoch: an epoch's rest first, then whole ones."""
        if self._kept.n_steps:
            rest = self.n_steps_per_epoch - self._kept.n_steps
            yield rest, rest
        n_left = self.n_epochs - self._kept.n_epochs
        if n_left > 0:
            yield n_left * self.n_steps_per_epoch, self.n_steps_per_epoch


class _Factory(LoggerAdapterFactory):
    """Makes adapters that know the whole run, of a factory whose adapters know a part."""

    def __init__(
        self,
        factory: LoggerAdapterFactory,
        kept: RunCheckpoint,
        rest: _Rest,
        losses: dict[str, list[float]],
        save_interval: int,
    ):
        self._factory, self._save_interval = factory, save_interval
        self._kept, self._rest, self._losses = kept, rest, losses

    def create(
        self, algo: Any, experiment_name: str, n_steps_per_epoch: int
    ) -> LoggerAdapter:
        adapter = self._factory.create(
            algo, experiment_name, self._rest.n_steps_per_epoch
        )
        return _Adapter(
            adapter, self._kept, self._rest, self._losses, self._save_interval
        )


class _Adapter(LoggerAdapter):
    """Counts epochs and steps on from where the run was, and ends each with a checkpoint.

    The end of an epoch is where its model is saved: nothing follows it there.
    """

    def __init__(
        self,
        adapter: LoggerAdapter,
        kept: RunCheckpoint,
        rest: _Rest,
        losses: dict[str, list[float]],
        save_interval: int,
    ):
        self._adapter, self._kept, self._rest = adapter, kept, rest
        self._losses, self._save_interval = losses, save_interval
        self._cut = bool(losses)  # d3rlpy knows the rest of this epoch alone
        self._epochs, self._steps = kept.n_epochs, rest.n_steps_done
        self._metrics: dict[str, float] = {}

    def write_params(self, params: dict[str, Any]) -> None:
        if self._kept.trained:
            for leaf in file_adapters(self._adapter):
                leaf._is_model_watched = self._epochs > 0  # their headers are there
        self._adapter.write_params(params)
        self._kept.restore_generators()

    def before_write_metric(self, epoch: int, step: int) -> None:
        self._metrics = {}
        self._adapter.before_write_metric(epoch + self._epochs, step + self._steps)

    def write_metric(self, epoch: int, step: int, name: str, value: float) -> None:
        if self._cut and name in self._losses:
            value = sum(self._losses[name]) / len(self._losses[name])
        self._metrics[name] = value
        epoch, step = epoch + self._epochs, step + self._steps
        self._adapter.write_metric(epoch, step, name, value)

    def after_write_metric(self, epoch: int, step: int) -> None:
        self._adapter.after_write_metric(epoch + self._epochs, step + self._steps)
        self._losses.clear()
        self._cut = False

    def watch_model(self, epoch: int, step: int) -> None:
        self._adapter.watch_model(epoch + self._epochs, step + self._steps)

    def save_model(self, epoch: int, algo: Any) -> None:
        step = epoch + self._steps  # d3rlpy says "epoch" and gives the step
        number = step // self._rest.n_steps_per_epoch
        if number % self._save_interval == 0:
            self._adapter.save_model(step, algo)
        last = number == self._rest.n_epochs
        self._kept.epoch_done(number, self._metrics, last=last)

    def close(self) -> None:
        self._adapter.close()
