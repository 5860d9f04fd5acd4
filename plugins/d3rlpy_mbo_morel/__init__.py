"""MOReL: model-based offline reinforcement learning with a pessimistic model.

Kidambi et al. 2020: rollouts halt where the members of the ensemble disagree, with a
reward that is to be avoided.
"""

from collections.abc import Iterable

import d3rlpy_mbo as mbo

from .halt import DisagreementHalt, DisagreementHaltConfig
from .morel import MOReLConfig

__all__ = ["DisagreementHalt", "DisagreementHaltConfig", "MOReLConfig"]


@mbo.hookimpl
def register_components() -> Iterable[type[mbo.Component]]:
    """Returns MOReL and its halt."""
    return [MOReLConfig, DisagreementHaltConfig]
