"""Runs that are not finished: what their logs say so far."""

import math
from pathlib import Path
from typing import Any, Optional

from ..runs.experiment import UNFINISHED

__all__ = ["logged_so_far"]

_RETURN = "environment"


def logged_so_far(run: Path) -> Optional[dict[str, Any]]:
    """Returns what d3rlpy's logs of an unfinished run hold, as ``result.json`` has it.

    Args:
        run: Its folder.

    Returns:
        ``evaluations`` and ``metrics``, an entry an epoch; None if there is no log yet.
    """
    logs = run / UNFINISHED / "logs"
    epochs: dict[int, dict[str, float]] = {}
    steps: dict[int, int] = {}
    for path in sorted(logs.glob("*.csv")):
        # Gradients of every weight are of no use here; what the models' fits measured
        # counts other epochs.
        if path.stem.endswith("_grad") or "_fit_" in path.stem:
            continue
        for epoch, step, value in _lines(path):
            epochs.setdefault(epoch, {})[path.stem] = value
            steps[epoch] = step
    if not epochs:
        return None
    numbers = sorted(epochs)
    return {
        "evaluations": [
            {"step": steps[number], "return": _finite(epochs[number][_RETURN])}
            for number in numbers
            if _RETURN in epochs[number]
        ],
        "metrics": [
            {name: _finite(value) for name, value in epochs[number].items()}
            for number in numbers
        ],
        "steps": [steps[number] for number in numbers],
    }


def _lines(path: Path) -> list[tuple[int, int, float]]:
    """Returns (epoch, step, value) of each line that is whole."""
    found = []
    try:
        lines = path.read_text("utf-8", "replace").splitlines(keepends=True)
    except OSError:  # the run has just been finished, and moved
        return []
    for line in lines:
        try:
            epoch, step, value = line.split(",")
            if line.endswith("\n"):  # else it is being written
                found.append((int(epoch), int(step), float(value)))
        except ValueError:
            continue
    return found


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None
