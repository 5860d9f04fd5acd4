"""MOBILE: model-Bellman inconsistency as a penalty.

Sun et al. 2023. A penalty that is computed anew for each batch, the imagination that it
was published with, and the SAC that its settings want; each works without the others.
"""

from collections.abc import Iterable
from typing import Union

import d3rlpy

import d3rlpy_mbo as mbo

from .learner import MOBILESAC, MOBILESACConfig
from .mobile import BellmanSpread, MOBILEConfig

__all__ = ["MOBILESAC", "BellmanSpread", "MOBILEConfig", "MOBILESACConfig"]


@mbo.hookimpl
def register_components() -> Iterable[
    Union[type[mbo.Component], type[d3rlpy.base.LearnableConfig]]
]:
    """Returns MOBILE, its penalty and its learner."""
    return [MOBILEConfig, BellmanSpread, MOBILESACConfig]
