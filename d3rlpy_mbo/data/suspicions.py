"""Warnings of data that look like a mistake, before models learn from them."""

import warnings
from collections.abc import Iterator

import torch

from .choices import never_taken
from .transitions import Transitions

__all__ = ["warn_of_suspicions"]

# Of the rows, or of the episodes looked at (ours).
_MOST = 0.5
_NEARLY_ALL = 0.8
_FEW = 0.1

_LISTED = 10  # of many that could be named (ours)

# Fewer episodes say nothing about all of them (ours).
_ENOUGH = 10


def warn_of_suspicions(transitions: Transitions, episode_starts: torch.Tensor) -> None:
    """Warns of what looks like a mistake of whoever made the dataset.

    Args:
        transitions: All of the dataset's.
        episode_starts: (episodes + 1,) see `RealData`.
    """
    for message in _suspicions(transitions, episode_starts):
        warnings.warn(message, stacklevel=4)


def _suspicions(transitions: Transitions, starts: torch.Tensor) -> Iterator[str]:
    if transitions.n_actions is not None:
        missing = never_taken(transitions.actions, transitions.n_actions)
        if missing:
            listed = ", ".join(map(str, missing[:_LISTED]))
            more = ", ..." if len(missing) > _LISTED else ""
            yield (
                f"The dataset never takes {len(missing)} of its {transitions.n_actions} "
                f"actions: {listed}{more}. What models and critics say about them is a "
                "guess, and learners train on it if a rollout policy (uniform) proposes "
                "them."
            )
    elif _are_one_hot(transitions.actions):
        yield (
            f"Each action is 1 in one of {transitions.action_size} columns and 0 in the "
            "others. If these are choices, continuous learners do not know that: give "
            "their indices, actions.argmax(axis=1), and "
            f"n_actions={transitions.action_size} of mbo.dataset_from_arrays."
        )
    n_drawn = int(transitions.learner_rows().sum())
    if 0 < n_drawn < _FEW * len(transitions):  # none is refused
        yield (
            f"Learners can draw {n_drawn} of {len(transitions)} rows: the others are the "
            "last ones of episodes that were cut, which have no next action. Were the "
            "rows shuffled? Sort them by episode and step. Are they the steps of several "
            "environments in turn? Put one environment after the other "
            "(docs/own-data.md)."
        )
    terminal = transitions.terminals[:, 0] > 0
    share = float(terminal.float().mean())
    if share > _MOST:
        known = transitions.next_observation_known
        usable = 1.0 if known is None else float(known.float().mean())
        yield (
            f"{share:.0%} of the dataset's rows are terminal, and models learn from "
            f"{usable:.0%} of them. Are its terminals masks, 1 where the episode goes on?"
        )
    lengths = starts.diff()
    ended = lengths[terminal[starts[1:] - 1]]
    if len(ended) >= _ENOUGH and int(ended[0]) > 1 and bool((ended == ended[0]).all()):
        yield (
            f"All {len(ended)} episodes that end with a terminal have {int(ended[0])} "
            "steps. If that is a time limit, they are truncated, not terminated: give "
            "their ends as timeouts, or learners will take their last states for "
            "worthless."
        )
    shifted = _shifted_share(transitions.observations, starts)
    if shifted > _NEARLY_ALL:
        yield (
            "The largest jump of the observations is one step later in each episode than "
            "in the one before: d3rlpy.datasets.get_minari (2.8.1) shifts the episodes "
            "of a Minari dataset so, the k-th by k rows. Load it with mbo.load_minari."
        )


def _are_one_hot(actions: torch.Tensor) -> bool:
    """Returns whether every row of (N, A) is 1 in one column, not always the same."""
    chosen = actions == 1
    if not bool((chosen | (actions == 0)).all()):
        return False
    taken = int(chosen.any(dim=0).sum())
    return taken > 1 and bool((chosen.sum(dim=1) == 1).all())


def _shifted_share(observations: torch.Tensor, starts: torch.Tensor) -> float:
    """Returns the share of episodes whose largest jump is that of a shift by their number.

    Minari keeps T + 1 observations for T actions; read without a gap, the k-th episode
    begins with k rows of the one before it.
    """
    found = looked_at = 0
    for k in range(1, min(len(starts) - 1, 50)):
        rows = observations[int(starts[k]) : int(starts[k + 1])]
        if len(rows) <= k + 1:
            continue
        jumps = torch.linalg.vector_norm(rows.diff(dim=0), dim=1)
        looked_at += 1
        found += int(jumps.argmax()) == k - 1
    return found / looked_at if looked_at >= _ENOUGH else 0.0
