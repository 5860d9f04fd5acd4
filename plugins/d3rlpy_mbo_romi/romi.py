"""ROMI as a set of defaults."""

import dataclasses
from typing import Literal, Optional

import d3rlpy_mbo as mbo

from .cvae import CVAEPolicyConfig


@dataclasses.dataclass()
class ROMIConfig(mbo.ImaginationConfig):
    """Config of ROMI: rollouts that lead back from real states, imagined once.

    Paper and official code agree on rollout_length 5 (1 on walker2d, halfcheetah;
    Table 6); the official code imagines 4 million rows before training, and so does this
    from 80,000 rows on, fewer on less data (see the docs of `imagination`): 800,000
    rollouts of 5 steps. Rollouts of one step are as many rows only with
    ``rollout_batch_size=4_000_000``. Mazes and hopper use ``UniformPolicyConfig()``.
    real_ratio is 1 - eta: 0.3, 0.5, 0.7 on umaze, medium, large, else 0.9.

    Targets are the real s' of the paper's equation 4, not the s of the official code.

    Where an action leads to one state, as in mazes, the length is free. Where the world is
    random, take ``rollout_length=1``: with cloned proposals the step into a real state has
    the world's own law, those before it reach states as often as the data left them, ends
    never (ICU-Sepsis by exact tables: .031 of imagined outcomes are ends, not .123).

    Args:
        direction: Given, the dynamics' direction: ``"forward"`` makes it FOMI.
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
