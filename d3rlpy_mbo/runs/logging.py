"""Loggers of a run: validated beforehand, told of the imaginations, never shared."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from d3rlpy.logging import (
    FileAdapter,
    FileAdapterFactory,
    LoggerAdapter,
    LoggerAdapterFactory,
)

from ..components.history import FitRecord
from ..imagination.imagination import Imagination
from ..imagination.prefixes import log_prefixes, validate_name
from ..registry.json_form import encode
from ..support.errors import CompositionError
from ..support.files import can_be_made

__all__ = [
    "LoggerOfImaginations",
    "claimed_name",
    "file_adapters",
    "file_folders",
    "validate_logger",
]

# What d3rlpy imports once training begins, by its factory's name.
_PACKAGES = {
    "TensorboardAdapterFactory": "tensorboardX",
    "WanDBAdapterFactory": "wandb",
}


def validate_logger(logger_adapter: Any) -> None:
    """Refuses what d3rlpy could not log with, before anything is trained.

    Raises:
        CompositionError: It is no factory but a class or something else, its package is
            missing, or its folder cannot be written to.
    """
    if isinstance(logger_adapter, type):
        name = logger_adapter.__name__
        raise CompositionError(
            f"logger_adapter is the class {name}, expected an instance: {name}(...)."
        )
    if not callable(getattr(logger_adapter, "create", None)):
        raise CompositionError(
            f"logger_adapter is {logger_adapter!r}, expected one of d3rlpy's factories "
            "such as d3rlpy.logging.FileAdapterFactory()."
        )
    for factory in _factories(logger_adapter):
        package = _PACKAGES.get(type(factory).__name__)
        if package is not None and importlib.util.find_spec(package) is None:
            raise CompositionError(
                f"logger_adapter is a {type(factory).__name__}, which needs the package "
                f"{package!r}. Run: pip install {package}"
            )
        root = getattr(factory, "_root_dir", None)
        if root is not None and not can_be_made(Path(root)):
            raise CompositionError(
                f"d3rlpy's logs cannot be written to {str(Path(root).absolute())!r}. Give "
                f"logger_adapter=d3rlpy.logging.{type(factory).__name__}(...) another "
                "folder, or d3rlpy.logging.NoopAdapterFactory() for none."
            )


def _factories(factory: Any) -> Iterator[Any]:
    """Yields a factory and those that it combines."""
    yield factory
    for each in getattr(factory, "_adapter_factories", ()):
        yield from _factories(each)


class LoggerOfImaginations(LoggerAdapterFactory):
    """Adds what d3rlpy cannot know: the imaginations' configs, and how their fits went.

    The configs are written among the hyperparameters. What the fits measured follows at
    once, before anything of the training, as metrics with names of their own:
    ``romi_fit_dynamics_holdout_error`` beside the training's
    ``romi_model_holdout_error``. Their epoch and step are the fit's.

    Args:
        factory: d3rlpy's.
        imaginations: Whose configs and fits are written.
        own_folder: Whether the run needs a log folder of its own: d3rlpy's names hold
            the second, and two runs that start within it would write into one.
        goes_on: Returns whether a run goes on: its files hold all of that already, and
            what shows it live, which is made anew, is told the hyperparameters alone.
    """

    def __init__(
        self,
        factory: LoggerAdapterFactory,
        imaginations: Sequence[Imagination],
        own_folder: bool,
        goes_on: Callable[[], bool],
    ):
        self._factory = factory
        self._configs = [encode(each.config) for each in imaginations]
        self._records = _records(imaginations)
        self._own_folder = own_folder
        self._goes_on = goes_on

    def create(
        self, algo: Any, experiment_name: str, n_steps_per_epoch: int
    ) -> LoggerAdapter:
        """See d3rlpy's `LoggerAdapterFactory`."""
        if self._own_folder:
            experiment_name = claimed_name(self._factory, experiment_name)
        adapter = self._factory.create(algo, experiment_name, n_steps_per_epoch)
        write_params = adapter.write_params

        def write_all(params: dict[str, Any]) -> None:
            # Once: a factory may return the same adapter for the next run.
            adapter.write_params = write_params  # type: ignore[method-assign]
            params = {**params, "imaginations": self._configs}
            if self._goes_on():
                for leaf in _leaves(adapter):
                    if not isinstance(leaf, FileAdapter):
                        leaf.write_params(params)
                return
            adapter.write_params(params)
            for leaf in _leaves(adapter):
                _write(leaf, self._records)

        adapter.write_params = write_all  # type: ignore[method-assign]
        return adapter


def claimed_name(factory: LoggerAdapterFactory, experiment_name: str) -> str:
    """Returns a name whose folders nobody has, and makes them."""
    roots = {
        Path(each._root_dir)
        for each in _factories(factory)
        if hasattr(each, "_root_dir")
    }
    name, i = experiment_name, 1
    while any((root / name).exists() for root in roots):
        i += 1
        name = f"{experiment_name}_{i}"
    try:
        for root in roots:
            (root / name).mkdir(parents=True)
    except FileExistsError:  # another process was faster
        return claimed_name(factory, experiment_name)
    return name


def file_folders(factory: LoggerAdapterFactory, experiment_name: str) -> list[Path]:
    """Returns where d3rlpy's file logger writes, if it is the factory, or among them."""
    return [
        Path(each._root_dir) / experiment_name
        for each in _factories(factory)
        if isinstance(each, FileAdapterFactory)
    ]


def file_adapters(adapter: LoggerAdapter) -> list[Any]:
    """Returns the file loggers among what an adapter combines."""
    return [each for each in _leaves(adapter) if isinstance(each, FileAdapter)]


def _records(imaginations: Sequence[Imagination]) -> list[FitRecord]:
    """Returns what the fits measured, by the names that it has in logs."""
    records = []
    prefixes = log_prefixes(imaginations)
    for prefix, imagination in zip(prefixes, imaginations, strict=True):
        for part, history in imagination.fit_history.items():
            for epoch, step, name, value in history:
                validate_name(imagination, name)
                name = f"{prefix}_fit_{part}_{name}"
                records.append(FitRecord(epoch, step, name, value))
    return records


def _leaves(adapter: Any) -> Iterator[Any]:
    """Yields an adapter, or those that it combines."""
    combined = getattr(adapter, "_adapters", None)
    if combined is None:
        yield adapter
    for each in combined or ():
        yield from _leaves(each)


def _write(adapter: Any, records: Sequence[FitRecord]) -> None:
    """Writes records, those of one epoch together, as d3rlpy does; two go another way.

    Weights & Biases drops whatever comes at a step below its last: a fit of 500,000
    steps would cost it the training. All of a fit comes before the training's first
    step, so there it stands at step 0, where the last of each name is kept. TensorBoard
    makes a file of hyperparameters after each epoch; those are the training's.
    """
    kind = type(adapter).__name__
    by_epoch = itertools.groupby(records, lambda record: (record.epoch, record.step))
    for (epoch, step), some in by_epoch:
        step = 0 if kind == "WanDBAdapter" else step
        adapter.before_write_metric(epoch, step)
        for record in some:
            adapter.write_metric(epoch, step, record.name, record.value)
        if kind != "TensorboardAdapter":
            adapter.after_write_metric(epoch, step)
