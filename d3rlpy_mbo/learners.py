"""The only reader of learners: d3rlpy's algorithms, asked without visiting the host."""

from typing import Any, TypeAlias, cast

import torch
from d3rlpy.algos import CalQLConfig, QLearningAlgoBase
from d3rlpy.constants import ActionSpace

from .errors import CompositionError

__all__ = ["Learner", "check", "grad_step", "needs_returns_to_go", "sample_action"]

# Rows, times the actions sampled for each, that go through a learner at once (ours:
# 100,000 times 750 hidden units are 300 MB).
_ROWS_TOGETHER = 100_000

Learner: TypeAlias = QLearningAlgoBase[Any, Any]


def check(learner: Any) -> None:
    """Refuses what cannot train on imagined transitions.

    Raises:
        CompositionError: Transformers, discrete actions, Cal-QL, or no d3rlpy
            algorithm at all.
    """
    name = type(learner).__name__
    if not isinstance(learner, QLearningAlgoBase):
        raise CompositionError(
            f"{name} cannot train on imagined transitions: expected one of d3rlpy's "
            "Q-learning algorithms (SAC, CQL, IQL, BCQ, ...), which draw single "
            "transitions. Transformers draw whole trajectories."
        )
    if learner.get_action_type() == ActionSpace.DISCRETE:
        raise CompositionError(
            f"{name} is for discrete actions, which are not supported yet. Use a "
            "continuous algorithm such as SAC, CQL, IQL or BCQ."
        )
    if isinstance(learner.config, CalQLConfig):
        raise CompositionError(needs_returns_to_go(name))


def needs_returns_to_go(name: str) -> str:
    """Returns the message for learners that need what imagined rows do not have."""
    return (
        f"{name} needs returns-to-go, which imagined transitions do not have. Use CQL "
        "on this buffer, or train it on the real dataset alone."
    )


def grad_step(learner: Learner) -> int:
    """Returns how many gradient steps the learner has taken."""
    return learner.grad_step


@torch.no_grad()
def sample_action(learner: Learner, observations: torch.Tensor) -> torch.Tensor:
    """Samples the learner's actions, as `learner.sample_action` would.

    Args:
        learner: Any continuous d3rlpy algorithm, built.
        observations: (B, D) in dataset units, on any device.

    Returns:
        (B, A) in dataset units, on the device of the observations.

    Raises:
        CompositionError: The learner has no networks yet.
    """
    impl, config = learner.impl, learner.config
    if impl is None:
        raise CompositionError(
            f"{type(learner).__name__} is not built, so it cannot act. Call "
            "learner.build_with_dataset(dataset), or start learner.fit."
        )

    def act(rows: torch.Tensor) -> torch.Tensor:
        x = rows.to(impl.device)
        if config.observation_scaler:
            x = config.observation_scaler.transform(x)
        actions = impl.sample_action(x)
        if config.action_scaler:
            actions = config.action_scaler.reverse_transform(actions)
        return cast(torch.Tensor, actions).to(rows.device)

    # BCQ, BEAR, CRR and PLAS choose among this many actions for each row.
    size = max(_ROWS_TOGETHER // getattr(config, "n_action_samples", 1), 1)
    starts = range(0, len(observations), size)
    return torch.cat([act(observations[first : first + size]) for first in starts])
