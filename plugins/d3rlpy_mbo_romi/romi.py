"""ROMI as a set of defaults."""

import dataclasses
from typing import Literal, Optional

import d3rlpy_mbo as mbo

from .cvae import CVAEPolicyConfig


@dataclasses.dataclass()
class ROMIConfig(mbo.ImaginationConfig):
    """Config of ROMI: rollouts that lead back from real states, imagined once.

    Paper and official code agree on rollout_length 5 (1 on walker2d, halfcheetah;
    Table 6). The official code imagines 4 million rows before training, 800,000 rollouts
    of 5 steps, and so does this if the data has 80,000 rows or more; with less data it
    imagines fewer (see the docs of `imagination`). With rollouts of one step, it takes
    ``rollout_batch_size=4_000_000`` for as many rows. Mazes and hopper use
    ``UniformPolicyConfig()``. real_ratio is 1 - eta: 0.3, 0.5, 0.7 on umaze, medium,
    large, else 0.9.

    Rollouts start from the real s' of the paper's equation 4, not from the s of the
    official code.

    If an action always leads to the same state, as in mazes, any length is right. If the
    task is random, use ``rollout_length=1``: with cloned proposals the step into a real
    state then has the true distribution, but the steps before it reach states as often as
    the data left them, and so never ends (ICU-Sepsis by exact tables: .031 of imagined
    outcomes are ends, not .123).

    Args:
        direction: If given, the dynamics' direction: ``"forward"`` makes it FOMI.
    """

    dynamics: mbo.DynamicsConfig = mbo.component_field(
        "dynamics", lambda: mbo.ProbabilisticEnsembleConfig(direction="reverse")
    )
    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", CVAEPolicyConfig
    )
    rollout_batch_size: int = 800_000
    real_ratio: float = 0.9
    direction: dataclasses.InitVar[Optional[Literal["forward", "reverse"]]] = None

    def __post_init__(self, direction: Optional[Literal["forward", "reverse"]]) -> None:
        super().__post_init__()
        if direction is not None:
            self.dynamics = dataclasses.replace(self.dynamics, direction=direction)

    @staticmethod
    def get_type() -> str:
        """Returns ``"romi"``."""
        return "romi"
