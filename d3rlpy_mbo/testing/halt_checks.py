"""Checks of halts."""

import torch

from .running import conformance_check
from .subjects import N_ROWS, Subject

__all__ = [
    "check_halt_consistent",
    "check_halt_shapes_and_types",
    "check_halt_state_kept_by_row",
]


@conformance_check("halt")
def check_halt_shapes_and_types(subject: Subject) -> None:
    """Checks that its decisions are (B, 1) truth values, its rewards (B, 1) and finite."""
    answers, dtypes = subject.answers(), {"reward": torch.float32}
    for name in ("stop", "keep", "terminal", "reward"):
        if name not in answers:
            continue
        values, dtype = answers[name], dtypes.get(name, torch.bool)
        if tuple(values.shape) != (N_ROWS, 1) or values.dtype != dtype:
            raise subject.violation(
                f"{name} of {N_ROWS} rows must have shape {(N_ROWS, 1)} and be {dtype}",
                f"{tuple(values.shape)} of {values.dtype}",
                "a dimension lost in a reduction without keepdim=True, or a number where a "
                "comparison was meant",
            )
    stop, reward = answers["stop"], answers.get("reward")
    if reward is not None and not bool(torch.isfinite(reward[stop]).all()):
        raise subject.violation(
            "the rewards of rows that stop must be finite",
            reward[stop][:3].tolist(),
            "a division by 1 - gamma where gamma is 1, or a minimum over no rows",
        )


@conformance_check("halt")
def check_halt_consistent(subject: Subject) -> None:
    """Checks that rows which are terminal stop their rollouts, and are kept."""
    answers = subject.answers()
    stop, keep, terminal = (answers[name] for name in ("stop", "keep", "terminal"))
    contradictory = terminal & ~(stop & keep)
    if bool(contradictory.any()):
        raise subject.violation(
            "a row that is terminal must stop its rollout, and be kept",
            f"{int(contradictory.sum())} of {N_ROWS} rows that are terminal, and dropped "
            "or not stopped",
            "keep and terminal made of the same comparison; a dropped row says nothing",
        )


@conformance_check("halt")
def check_halt_state_kept_by_row(subject: Subject) -> None:
    """Checks that its state has a row for each rollout."""
    for n_rows in (N_ROWS, 1):
        state = subject.answers(n_rows).get("state")
        if state is not None and tuple(state.shape[:1]) != (n_rows,):
            raise subject.violation(
                f"the state of {n_rows} rollouts must have as many rows",
                tuple(state.shape),
                "a sum over the rows of the batch; a rollout must not know of others",
            )
