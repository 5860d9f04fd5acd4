"""SIGTERM and Ctrl-C: a run first writes where it is, then ends."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn, Optional

__all__ = ["INTERRUPTED", "TERMINATED", "Interrupts", "sigterm_raises"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Exit codes, as shells have them.
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Interrupts:
    """Takes note of the first signal, so that the run can stop where it can go on.

    The second one ends it at once. Outside the main thread, where Python lets nobody
    take signals, it notes none.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._received: Optional[int] = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # somebody else answers
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def received(self) -> bool:
        """Whether the run is to stop."""
        return self._received is not None

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if self._received is not None:
            self.stop("Stopped at once: the last checkpoint is the one written before.")
        self._received = number
        _say(
            "Stopping as soon as a checkpoint can be written, at the end of this step or "
            "of a model's epoch. A second signal stops the run at once."
        )

    def stop(self, message: str) -> NoReturn:
        """Ends the run: exit code 143 after SIGTERM, KeyboardInterrupt after Ctrl-C."""
        if self._received == signal.SIGTERM:
            _say(message)
            raise SystemExit(TERMINATED)
        raise KeyboardInterrupt(message)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Lets SIGTERM end what is inside by SystemExit(TERMINATED), as Ctrl-C by its error.

    Outside the main thread, where Python lets nobody take signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Optional[FrameType]) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(message: str) -> None:
    # Whoever stops a run looks at its errors, and progress bars are there too.
    print(f"\n{message}", file=sys.stderr, flush=True)
