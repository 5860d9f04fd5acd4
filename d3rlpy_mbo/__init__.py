"""Model-based offline reinforcement learning for d3rlpy: the public names."""

from . import (
    _gym_notice,  # noqa: F401  # before anything imports d3rlpy
    learners,
    metrics,
)
from ._version import __version__
from .components.behavior_cloning import BehaviorCloningPolicyConfig
from .components.dynamics import Dynamics, DynamicsConfig, Prediction
from .components.dynamics_updaters import DynamicsUpdater, DynamicsUpdaterConfig
from .components.ensemble import ProbabilisticEnsembleConfig
from .components.gymnasium_terminations import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from .components.known_rewards import AntAngleReward, HalfCheetahJumpReward
from .components.learned_termination import LearnedTerminationConfig
from .components.penalties import Penalty
from .components.rewards import RewardFunction
from .components.rollout_policies import (
    LearnerPolicyConfig,
    RolloutPolicy,
    RolloutPolicyConfig,
    UniformPolicyConfig,
)
from .components.termination_lookup import termination_for
from .components.terminations import NoTermination, Termination
from .configs import Component, component_field
from .datasets import load_minari
from .discovery import get_component
from .errors import (
    CompositionError,
    D3RLPyMBOError,
    DatasetError,
    DivergedError,
    DuplicateComponentError,
    LearnerMismatchError,
    LoadError,
    NotFittedError,
    PluginError,
    TerminationRequiredError,
    UnknownComponentError,
)
from .hookspecs import hookimpl
from .imagination import Imagination, ImaginationConfig, load_imagination
from .metrics import imagination_evaluators
from .pretraining import pretrain_policy
from .replay_buffer import ImaginedReplayBuffer
from .training import fit
from .transitions import ActionRange, Transitions

__all__ = [
    "ActionRange",
    "AntAngleReward",
    "AntTermination",
    "BehaviorCloningPolicyConfig",
    "Component",
    "CompositionError",
    "D3RLPyMBOError",
    "DatasetError",
    "DivergedError",
    "DuplicateComponentError",
    "Dynamics",
    "DynamicsConfig",
    "DynamicsUpdater",
    "DynamicsUpdaterConfig",
    "HalfCheetahJumpReward",
    "HopperTermination",
    "HumanoidTermination",
    "Imagination",
    "ImaginationConfig",
    "ImaginedReplayBuffer",
    "InvertedDoublePendulumTermination",
    "InvertedPendulumTermination",
    "LearnedTerminationConfig",
    "LearnerMismatchError",
    "LearnerPolicyConfig",
    "LoadError",
    "NoTermination",
    "NotFittedError",
    "Penalty",
    "PluginError",
    "Prediction",
    "ProbabilisticEnsembleConfig",
    "RewardFunction",
    "RolloutPolicy",
    "RolloutPolicyConfig",
    "Termination",
    "TerminationRequiredError",
    "Transitions",
    "UniformPolicyConfig",
    "UnknownComponentError",
    "Walker2dTermination",
    "__version__",
    "component_field",
    "fit",
    "get_component",
    "hookimpl",
    "imagination_evaluators",
    "learners",
    "load_imagination",
    "load_minari",
    "metrics",
    "pretrain_policy",
    "termination_for",
]
