"""The only readers of learners, d3rlpy's algorithms: public names of this module."""

from .asking import state_value
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
    q_value,
    sample_action,
)

__all__ = [
    "Learner",
    "acts_greedily",
    "check",
    "check_actions",
    "check_built",
    "discount",
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
