"""COMBO: conservative offline model-based policy optimization.

Yu et al. 2021. A learner, CQL that knows which rows are imagined, and the imagination
that it was published with; either works without the other.
"""

from collections.abc import Iterable
from typing import Union

import d3rlpy

import d3rlpy_mbo as mbo

from .imagination import COMBOImaginationConfig
from .learner import COMBO, COMBOConfig

__all__ = ["COMBO", "COMBOConfig", "COMBOImaginationConfig"]


@mbo.hookimpl
def register_components() -> Iterable[
    Union[type[mbo.Component], type[d3rlpy.base.LearnableConfig]]
]:
    """Returns COMBO the learner, and its imagination."""
    return [COMBOConfig, COMBOImaginationConfig]
