"""EDAC: an ensemble-diversified actor critic.

An et al. 2021. A learner alone: SAC with many critics that are kept from agreeing. On
forward rollouts without a penalty it is RAVL (Sims et al. 2024).
"""

from collections.abc import Iterable
from typing import Union

import d3rlpy

import d3rlpy_mbo as mbo

from .learner import EDAC, EDACConfig

__all__ = ["EDAC", "EDACConfig"]


@mbo.hookimpl
def register_components() -> Iterable[
    Union[type[mbo.Component], type[d3rlpy.base.LearnableConfig]]
]:
    """Returns EDAC the learner."""
    return [EDACConfig]
