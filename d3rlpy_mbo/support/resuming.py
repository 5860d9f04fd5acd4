"""Long fits that go on where a checkpoint has them.

A run that may be killed fits its parts inside `fits_kept`. What is fitted asks `fit_once`,
and a loop that may take long says with `Loop` what changes in it and where it may be
left. A fit begins again with the generators where they stood, so that everything before
its loop is done again alike: a loop keeps only what the loop changes.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional, Protocol

from .generators import generator_states, set_generator_states

__all__ = ["Fits", "Loop", "Stateful", "TorchState", "fit_once", "fits_kept"]


class Stateful(Protocol):
    """What a checkpoint asks of every part that has a state."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns what decides how it goes on: tensors, plain values, lists, dicts."""

    def restore_checkpoint(self, state: dict[str, Any]) -> None:
        """Takes over what `checkpoint_state` returned."""


class TorchState(Protocol):
    """What a loop changes: networks, optimizers, schedulers."""

    def state_dict(self) -> Any:
        """Returns it."""

    def load_state_dict(self, state: Any) -> Any:
        """Takes it over."""


class Fits:
    """The fits of a run, one after the other, each done once.

    Args:
        reached: Called where a checkpoint may be written: with True once a part is
            fitted, with False amid a loop.
        state: Where a checkpoint has them; None to begin.
    """

    def __init__(
        self,
        reached: Callable[[bool], None],
        state: Optional[Mapping[str, Any]] = None,
    ):
        self._reached = reached
        self.done: dict[str, Stateful] = {}
        self._saved_done: dict[str, Any] = {}
        self._saved_loop: Optional[Mapping[str, Any]] = None
        self._saved_part: Optional[str] = None
        self._generators: Optional[dict[str, Any]] = None
        if state is not None:
            self._saved_done = dict(state["done"])
            self._saved_loop, self._saved_part = state["loop"], state["part"]
            self._generators = state["generators"]
            if not self._saved_done and self._saved_part is None:
                self._go_on()
        self._started = generator_states()
        self._part: Optional[str] = None
        self._loop_state: Optional[Callable[[], dict[str, Any]]] = None
        self._n_loops = 0

    def checkpoint_state(self) -> dict[str, Any]:
        """Returns where the fits stand; what is done is kept beside it, as `done`."""
        loop = None
        if self._loop_state is not None:
            loop = {
                "index": self._n_loops - 1,
                "state": self._loop_state(),
                "generators": generator_states(),
            }
        return {
            "generators": self._started,
            "names": list(self.done),
            "part": self._part,
            "loop": loop,
        }

    def once(self, name: str, part: Stateful, fit: Callable[[], Any]) -> None:
        """Fits a part, or takes over what a checkpoint has of it."""
        if name in self._saved_done:
            part.restore_checkpoint(self._saved_done.pop(name))
            self.done[name] = part
            if not self._saved_done and self._saved_part is None:
                self._go_on()
            return
        if name == self._saved_part:
            self._go_on()
        self._started, self._part, self._n_loops = generator_states(), name, 0
        fit()
        self._saved_part = self._saved_loop = self._loop_state = None
        self._started, self._part = generator_states(), None
        self.done[name] = part
        self._reached(True)

    def _go_on(self) -> None:
        if self._generators is not None:
            set_generator_states(self._generators)
            self._started, self._generators = self._generators, None

    def begin_loop(self, state: Callable[[], dict[str, Any]]) -> Optional[Any]:
        """Notes that a loop begins; returns where a checkpoint has it."""
        index, self._n_loops = self._n_loops, self._n_loops + 1
        self._loop_state = state
        saved = self._saved_loop
        if saved is None or self._part != self._saved_part or index != saved["index"]:
            return None
        self._saved_loop = None
        return saved

    def loop_reached(self) -> None:
        """Notes that the loop may be left here."""
        self._reached(False)


_current: contextvars.ContextVar[Optional[Fits]] = contextvars.ContextVar(
    "_current", default=None
)
_prefix: contextvars.ContextVar[str] = contextvars.ContextVar("_prefix", default="")


@contextlib.contextmanager
def fits_kept(fits: Optional[Fits], prefix: str = "") -> Iterator[None]:
    """Lets what is fitted inside be done once, by names that begin with the prefix."""
    tokens = _current.set(fits), _prefix.set(prefix)
    try:
        yield
    finally:
        _current.reset(tokens[0])
        _prefix.reset(tokens[1])


def fit_once(name: str, part: Stateful, fit: Callable[[], Any]) -> None:
    """Fits a part, unless the run goes on from a checkpoint that has it.

    Args:
        name: Of the part in its imagination.
        part: Whose state is kept once it is fitted.
        fit: Fits it.
    """
    fits = _current.get()
    if fits is None:
        fit()
    else:
        fits.once(_prefix.get() + name, part, fit)


class Loop:
    """A loop that may take long, inside a fit.

    Made before its first step; `go_on` then loads what a checkpoint has of it, and
    returns its counters.

    Args:
        **changed: What its steps change, by name: networks, optimizers, schedulers.
    """

    def __init__(self, **changed: TorchState):
        self._changed = changed
        self._fits = _current.get()
        self._counters: dict[str, Any] = {}

    def go_on(self, **counters: Any) -> dict[str, Any]:
        """Returns these counters, or where a checkpoint has them."""
        self._counters = counters
        saved = None if self._fits is None else self._fits.begin_loop(self._state)
        if saved is not None:
            for name, part in self._changed.items():
                part.load_state_dict(saved["state"]["changed"][name])
            set_generator_states(saved["generators"])
            self._counters = saved["state"]["counters"]
        return self._counters

    def reached(self, **counters: Any) -> None:
        """Says that the loop may be left here, and with which counters it goes on."""
        self._counters = counters
        if self._fits is not None:
            self._fits.loop_reached()

    def _state(self) -> dict[str, Any]:
        changed = {name: part.state_dict() for name, part in self._changed.items()}
        return {"changed": changed, "counters": self._counters}
