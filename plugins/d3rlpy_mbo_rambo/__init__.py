"""RAMBO: robust adversarial model-based offline reinforcement learning.

Rigter et al. 2022. MOPO's composition without the penalty and with an adversary: a
dynamics updater that lowers the value of the learner's policy where there is no data.
"""

from collections.abc import Iterable

import d3rlpy_mbo as mbo

from .adversarial import AdversarialUpdaterConfig
from .rambo import RAMBOConfig

# Of use with any method; the names were first published here.
Candidate, rank_by_q_values = mbo.Candidate, mbo.rank_by_q_values

__all__ = ["AdversarialUpdaterConfig", "Candidate", "RAMBOConfig", "rank_by_q_values"]


@mbo.hookimpl
def register_components() -> Iterable[type[mbo.Component]]:
    """Returns RAMBO and its updater."""
    return [RAMBOConfig, AdversarialUpdaterConfig]
