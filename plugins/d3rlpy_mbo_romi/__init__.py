"""ROMI: offline reinforcement learning with reverse model-based imagination.

Wang et al. 2021. Its ablation FOMI is the same with ``direction="forward"``.
"""

from collections.abc import Iterable

import d3rlpy_mbo as mbo

from .cvae import CVAEPolicy, CVAEPolicyConfig
from .romi import ROMIConfig

__all__ = ["CVAEPolicy", "CVAEPolicyConfig", "ROMIConfig"]


@mbo.hookimpl
def register_components() -> Iterable[type[mbo.Component]]:
    """Returns ROMI and its rollout policy."""
    return [ROMIConfig, CVAEPolicyConfig]
