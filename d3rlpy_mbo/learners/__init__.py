"""What may be asked of learners, d3rlpy's algorithms: the public names."""

from .asking import state_value
from .q_values import counted_reward, entropy_reward, q_value
from .reading import (
    Learner,
    acts_greedily,
    check,
    check_actions,
    check_built,
    discount,
    grad_step,
    is_built,
    is_discrete,
    is_transformer,
    needs_returns_to_go,
    predict_action,
    sample_action,
)

__all__ = [
    "Learner",
    "acts_greedily",
    "check",
    "check_actions",
    "check_built",
    "counted_reward",
    "discount",
    "entropy_reward",
    "grad_step",
    "is_built",
    "is_discrete",
    "is_transformer",
    "needs_returns_to_go",
    "predict_action",
    "q_value",
    "sample_action",
    "state_value",
]
