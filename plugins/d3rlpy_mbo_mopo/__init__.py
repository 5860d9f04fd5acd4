"""MOPO: model-based offline policy optimization with a penalty on uncertainty.

Yu et al. 2020. Without the penalty it is MBPO (Janner et al. 2019) on offline data.
"""

from collections.abc import Iterable

import d3rlpy_mbo as mbo

from .mopo import MOPOConfig
from .penalties import Disagreement, MaxAleatoric, MeanAleatoric

__all__ = ["Disagreement", "MOPOConfig", "MaxAleatoric", "MeanAleatoric"]


@mbo.hookimpl
def register_components() -> Iterable[type[mbo.Component]]:
    """Returns MOPO and its penalties."""
    return [MOPOConfig, MaxAleatoric, MeanAleatoric, Disagreement]
