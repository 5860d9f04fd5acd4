"""The termination on real steps."""

from collections.abc import Iterator
from typing import Optional, Union

import torch

from ...components.dynamics.interface import Dynamics
from ...components.terminations.interface import Termination
from ...components.terminations.learned import LearnedTermination
from ...data.transitions import Transitions
from ...support.devices import ROWS_OF_A_TERMINATION
from .results import Ends

__all__ = ["ends"]

# Terminal rows for which the model is asked as well (ours).
_TERMINAL_ROWS = 10_000


@torch.no_grad()
def ends(
    termination: Union[Termination, LearnedTermination],
    dynamics: Dynamics,
    known: Transitions,
    judged: Transitions,
) -> Ends:
    """Asks a termination about real steps, as rollouts of that direction would.

    A forward rollout asks about (s, a, s'). A reverse one asks about each state that it
    reaches, as s and as s': there the true ends are the s' of terminal rows, and the s of
    all rows are no ends.

    Args:
        termination: The imagination's.
        dynamics: Gives direction and device, and its own s' to ask about.
        known: Real rows with known next observations.
        judged: Those among them, or others, that the model has not seen.
    """
    terminal = known.terminals[:, 0] > 0
    if dynamics.direction == "reverse":
        # One after the other: as one table they would be a copy of the data.
        reached, led = known.next_observations[terminal], known.actions[terminal]
        said = torch.cat(
            [
                _asked(termination, dynamics.device, states, actions, states)
                for states, actions in (
                    (known.observations, known.actions),
                    (reached, led),
                )
            ]
        )
        truth = torch.arange(len(said)) >= len(known)
        return _compared(truth, said, None, None, termination)
    steps = known.observations, known.actions, known.next_observations
    said = _asked(termination, dynamics.device, *steps)
    rows = torch.nonzero(terminal)[:, 0]
    rows = rows[torch.randperm(len(rows))[:_TERMINAL_ROWS]]
    return _compared(
        terminal,
        said,
        _share_by_model(termination, dynamics, known[rows]),
        _share_by_model(termination, dynamics, judged[judged.terminals[:, 0] == 0]),
        termination,
    )


def _compared(
    truth: torch.Tensor,
    said: torch.Tensor,
    model_recall: Optional[float],
    model_false_alarms: Optional[float],
    termination: Union[Termination, LearnedTermination],
) -> Ends:
    metrics = None  # of a rule, which held nothing out
    if isinstance(termination, LearnedTermination):
        metrics = termination.metrics
    held_out = metrics or {}
    n_held_out = held_out.get("termination_holdout_terminals")
    n_true, n_said, n_both = (
        int(truth.sum()),
        int(said.sum()),
        int((truth & said).sum()),
    )
    return Ends(
        terminals=n_true,
        rows=len(truth),
        claimed=n_said,
        precision=n_both / n_said if n_said else None,
        recall=n_both / n_true if n_true else None,
        model_recall=model_recall,
        model_false_alarms=model_false_alarms,
        learned=metrics is not None,
        unseen_terminals=None if n_held_out is None else int(n_held_out),
        unseen_precision=held_out.get("termination_precision"),
        unseen_recall=held_out.get("termination_recall"),
    )


def _share_by_model(
    termination: Union[Termination, LearnedTermination],
    dynamics: Dynamics,
    rows: Transitions,
) -> Optional[float]:
    """Returns the share of rows that end with the model's s'; None without rows."""
    if not len(rows):
        return None
    on_device = rows.to(dynamics.device)
    prediction = dynamics.predict(on_device.observations, on_device.actions, False)
    reached = torch.nan_to_num(prediction.observations)
    said = _asked(
        termination, dynamics.device, rows.observations, rows.actions, reached
    )
    return float(said.double().mean())


def _asked(
    termination: Union[Termination, LearnedTermination],
    device: str,
    *columns: torch.Tensor,
) -> torch.Tensor:
    """Returns (B,) bool on the CPU."""

    def blocks() -> Iterator[torch.Tensor]:
        for first in range(0, len(columns[0]), ROWS_OF_A_TERMINATION):
            rows = slice(first, first + ROWS_OF_A_TERMINATION)
            block = [column[rows].to(device) for column in columns]
            yield termination(*block)[:, 0].cpu()

    return torch.cat([torch.zeros(0, dtype=torch.bool), *blocks()])
