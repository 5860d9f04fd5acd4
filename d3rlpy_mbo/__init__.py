"""Model-based offline reinforcement learning for d3rlpy: the public names."""

from .support import gym_notice  # noqa: F401  # before anything imports d3rlpy

# isort: split

from . import learners, metrics
from .buffer.mini_batch import ImaginedMiniBatch
from .buffer.replay_buffer import ImaginedReplayBuffer
from .components.base import LearnedComponent
from .components.context import Context
from .components.dynamics.ensemble import ProbabilisticEnsembleConfig
from .components.dynamics.interface import Dynamics, DynamicsConfig, Prediction
from .components.dynamics_updaters import DynamicsUpdater, DynamicsUpdaterConfig
from .components.halts import Halt, HaltConfig, HaltDecision
from .components.known_rewards import (
    AntAngleReward,
    HalfCheetahJumpReward,
    HIVReward,
)
from .components.penalties import LearnedPenalty, LearnedPenaltyConfig, Penalty
from .components.rewards import RewardFunction
from .components.rollout_policies.behavior_cloning import BehaviorCloningPolicyConfig
from .components.rollout_policies.interface import RolloutPolicy, RolloutPolicyConfig
from .components.rollout_policies.learner import LearnerPolicyConfig
from .components.rollout_policies.uniform import UniformPolicyConfig
from .components.terminations.classic_control import (
    AcrobotTermination,
    CartPoleTermination,
    MountainCarTermination,
)
from .components.terminations.gymnasium import (
    AntTermination,
    HopperTermination,
    HumanoidTermination,
    InvertedDoublePendulumTermination,
    InvertedPendulumTermination,
    Walker2dTermination,
)
from .components.terminations.icu_sepsis import ICUSepsisTermination
from .components.terminations.interface import NoTermination, Termination
from .components.terminations.learned import LearnedTerminationConfig
from .components.terminations.lookup import termination_for
from .data.action_sets import ActionChoices, ActionRange, ActionSet
from .data.arrays import dataset_from_arrays
from .data.hdf5 import load_hdf5
from .data.minari import load_minari
from .data.real_data import RealData
from .data.transitions import Direction, Transitions
from .imagination.imagination import Imagination, ImaginationConfig
from .imagination.loading import load_imagination
from .learners import Learner
from .learners.loading import load_learner
from .learners.pretraining import pretrain_policy
from .metrics import imagination_evaluators
from .registry.component import Component
from .registry.discovery import get_component
from .registry.fields import (
    choice,
    component_field,
    flag,
    interval,
    number,
    number_list,
    text,
)
from .registry.hookspecs import hookimpl
from .runs.diagnosis.diagnose import diagnose
from .runs.diagnosis.results import Diagnosis, Verdict
from .runs.fit import fit
from .runs.selection import Candidate, rank_by_q_values
from .support.cuda_graphs import recorded, recorded_halves
from .support.errors import (
    CheckpointError,
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
from .support.version import __version__
from .tasks.interface import Task

__all__ = [
    "AcrobotTermination",
    "ActionChoices",
    "ActionRange",
    "ActionSet",
    "AntAngleReward",
    "AntTermination",
    "BehaviorCloningPolicyConfig",
    "Candidate",
    "CartPoleTermination",
    "CheckpointError",
    "Component",
    "CompositionError",
    "Context",
    "D3RLPyMBOError",
    "DatasetError",
    "Diagnosis",
    "Direction",
    "DivergedError",
    "DuplicateComponentError",
    "Dynamics",
    "DynamicsConfig",
    "DynamicsUpdater",
    "DynamicsUpdaterConfig",
    "HIVReward",
    "HalfCheetahJumpReward",
    "Halt",
    "HaltConfig",
    "HaltDecision",
    "HopperTermination",
    "HumanoidTermination",
    "ICUSepsisTermination",
    "Imagination",
    "ImaginationConfig",
    "ImaginedMiniBatch",
    "ImaginedReplayBuffer",
    "InvertedDoublePendulumTermination",
    "InvertedPendulumTermination",
    "LearnedComponent",
    "LearnedPenalty",
    "LearnedPenaltyConfig",
    "LearnedTerminationConfig",
    "Learner",
    "LearnerMismatchError",
    "LearnerPolicyConfig",
    "LoadError",
    "MountainCarTermination",
    "NoTermination",
    "NotFittedError",
    "Penalty",
    "PluginError",
    "Prediction",
    "ProbabilisticEnsembleConfig",
    "RealData",
    "RewardFunction",
    "RolloutPolicy",
    "RolloutPolicyConfig",
    "Task",
    "Termination",
    "TerminationRequiredError",
    "Transitions",
    "UniformPolicyConfig",
    "UnknownComponentError",
    "Verdict",
    "Walker2dTermination",
    "__version__",
    "choice",
    "component_field",
    "dataset_from_arrays",
    "diagnose",
    "fit",
    "flag",
    "get_component",
    "hookimpl",
    "imagination_evaluators",
    "interval",
    "learners",
    "load_hdf5",
    "load_imagination",
    "load_learner",
    "load_minari",
    "metrics",
    "number",
    "number_list",
    "pretrain_policy",
    "rank_by_q_values",
    "recorded",
    "recorded_halves",
    "termination_for",
    "text",
]
