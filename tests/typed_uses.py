"""What a user's ``mypy --strict`` has to accept: nothing here is run.

Each call is one that a docstring allows; `make check` reads the file as a script of a user.
"""

import dataclasses
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import torch
from d3rlpy.base import DeviceArg
from d3rlpy.dataset import ReplayBufferBase

import d3rlpy_mbo as mbo
from d3rlpy_mbo import testing
from d3rlpy_mbo_mobile import MOBILEConfig
from d3rlpy_mbo_mopo import MOPOConfig


@dataclasses.dataclass()
class LearnedConfig(mbo.LearnedPenaltyConfig):
    @staticmethod
    def get_type() -> str:
        return "of_typed_uses"

    def create(self, device: DeviceArg = False) -> "Learned":
        return Learned(self, device)


class Learned(mbo.LearnedPenalty):
    config: LearnedConfig
    compares = "members"
    fitted = True

    def fit(self, dynamics: mbo.Dynamics, transitions: mbo.Transitions) -> None: ...

    def __call__(
        self, prediction: mbo.Prediction, learner: Optional[mbo.Learner] = None
    ) -> torch.Tensor:
        return torch.zeros_like(prediction.rewards)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def presets_take_penalties_that_learn() -> list[mbo.ImaginationConfig]:
    return [MOPOConfig(penalty=LearnedConfig()), MOBILEConfig(penalty=LearnedConfig())]


def a_torch_device_is_a_device(file: Path) -> None:
    device = torch.device("cpu")
    MOPOConfig().create(device)
    mbo.Imagination(MOPOConfig(), device)
    mbo.load_imagination(file, device)
    mbo.load_learner(file, device)


def what_was_read_once_is_taken_for_a_dataset(
    dataset: ReplayBufferBase, learner: mbo.Learner
) -> None:
    real = mbo.RealData.of(dataset)
    mbo.Transitions.from_dataset(real)
    mbo.pretrain_policy(learner, real.dataset)


def a_loaded_learner_is_a_learner(file: Path, imagination: mbo.Imagination) -> None:
    learner = mbo.load_learner(file)
    mbo.learners.is_discrete(learner)
    dataset = mbo.dataset_from_arrays([], [], [])
    mbo.fit(learner, dataset, imagination, 10)
    if isinstance(learner, d3rlpy.algos.QLearningAlgoBase):
        mbo.diagnose(imagination, dataset, learner)


def rows_are_iterated_over(transitions: mbo.Transitions) -> list[torch.Tensor]:
    return [row.rewards for row in transitions]


def evaluators_may_be_of_one_kind(
    learner: mbo.Learner, dataset: ReplayBufferBase, imagination: mbo.Imagination
) -> None:
    evaluators = {"td_error": d3rlpy.metrics.TDErrorEvaluator()}
    mbo.fit(learner, dataset, imagination, 10, evaluators=evaluators)


def checks_have_names_and_say_what_they_take() -> list[str]:
    testing.check_penalty_shape(component=LearnedConfig)
    return [check.__name__ for check in testing.checks_for(MOPOConfig)]
