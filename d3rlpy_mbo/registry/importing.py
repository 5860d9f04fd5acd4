"""Imports of plugins' modules: one that hangs or is interrupted is named."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Optional

from ..support.errors import PluginError

__all__ = ["LIMIT", "blamed"]

# Seconds after which an import is named, and after which it is given up (ours: jax takes
# 5 from a cold disk).
_NOTICE, LIMIT = 10.0, 120.0


@contextlib.contextmanager
def blamed(name: str, switch_off: str) -> Iterator[None]:
    """Names the plugin whose import takes long, hangs or is interrupted.

    Args:
        name: Of the plugin, with its version.
        switch_off: How to switch it off, for messages.

    Raises:
        PluginError: It took too long; only in the main thread, on a system with alarms.
        KeyboardInterrupt: It was interrupted; names the plugin.
    """
    ended = threading.Event()

    def notice() -> None:
        if not ended.wait(_NOTICE):
            print(
                f"Plugin {name} has been importing for {_NOTICE:.0f} seconds. If it "
                f"hangs, interrupt, and switch it off: {switch_off}.",
                file=sys.stderr,
                flush=True,
            )

    watcher = threading.Thread(target=notice, daemon=True)
    watcher.start()
    try:
        with _given_up_after(LIMIT):
            yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(
            f"Interrupted while the plugin {name} was imported. To go without it: "
            f"{switch_off}."
        ) from interrupt
    finally:
        ended.set()


@contextlib.contextmanager
def _given_up_after(seconds: float) -> Iterator[None]:
    """Raises PluginError after so long, if Python can and the alarm is not in use."""
    usable = (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    )
    if not usable:
        yield
        return

    def give_up(number: int, frame: Optional[FrameType]) -> None:
        raise PluginError(f"its import had not ended after {seconds:g} seconds")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
