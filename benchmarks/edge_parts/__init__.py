"""Controls of the studies edge-of-reach and bcq, as a plugin beside d3rlpy-mbo.

    python -m pip install --no-deps benchmarks/edge_parts

They take something out of a method, or put something in that no method has, to see what
follows from it. Nobody should train with them for any other reason.
"""

from collections.abc import Iterable
from typing import Union

import d3rlpy

import d3rlpy_mbo as mbo

from .bcq import ControlledBCQ, ControlledBCQConfig
from .links import WithoutLastLink, WithoutLastLinkConfig

__all__ = [
    "ControlledBCQ",
    "ControlledBCQConfig",
    "WithoutLastLink",
    "WithoutLastLinkConfig",
]


@mbo.hookimpl
def register_components() -> Iterable[
    Union[type[mbo.Component], type[d3rlpy.base.LearnableConfig]]
]:
    """Returns the learner and the imagination."""
    return [ControlledBCQConfig, WithoutLastLinkConfig]
