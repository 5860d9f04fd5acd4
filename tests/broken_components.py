"""A sound component of every kind, and for every check some that break it alone.

The broken ones differ from the sound one in a single mistake, one that people make.
"""

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Optional, TypeVar

import d3rlpy
import gymnasium
import numpy as np
import torch
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseCriticLoss
from d3rlpy.algos.qlearning.torch.td3_plus_bc_impl import TD3PlusBCImpl
from minari.data_collector.episode_buffer import EpisodeBuffer

import d3rlpy_mbo as mbo
from d3rlpy_mbo.tasks.local_datasets import write_local_dataset

T = TypeVar("T", bound=type[mbo.Component])

#: (the check that fails, the component that breaks it)
BROKEN: list[tuple[str, mbo.Component]] = []


def component(name: str) -> Callable[[T], T]:
    """Makes a class a component of this name."""

    def decorate(cls: T) -> T:
        cls.get_type = staticmethod(lambda: name)  # type: ignore[method-assign]
        return dataclasses.dataclass()(cls)

    return decorate


def breaks(check: str, **arguments: Any) -> Callable[[T], T]:
    """Makes a class a component of its own name, the one that breaks a check."""

    def decorate(cls: T) -> T:
        cls = component(cls.__name__.lower())(cls)
        BROKEN.append((check, cls(**arguments)))
        return cls

    return decorate


# Dynamics: least squares, two members that agree, a constant standard deviation.


class LinearModel(mbo.Dynamics):
    weights: Optional[torch.nn.Parameter] = None
    noise = 0.0

    @property
    def fitted(self):
        return self.weights is not None

    def columns(self, transitions):
        given = transitions.given_observations(self.direction)
        outcomes = transitions.predicted_observations(self.direction)
        return given, torch.cat([outcomes, transitions.rewards], dim=1)

    def fit(self, transitions):
        given, targets = self.columns(transitions)
        inputs = self.inputs(given, transitions.actions)
        solution = torch.linalg.lstsq(inputs, targets).solution
        self.noise = 0.01 + float((inputs @ solution - targets).std())
        self.weights = torch.nn.Parameter(solution.to(self.device))
        self.metrics = {"linear_noise": self.noise}

    def inputs(self, given, actions):
        return torch.cat([given, actions, torch.ones_like(given[:, :1])], dim=1)

    def predict(self, observations, actions, all_members):
        self.check_fitted()
        with torch.no_grad():
            mean = self.inputs(observations, actions) @ self.weights
        sample = mean + self.noise * torch.randn_like(mean)
        return mbo.Prediction(
            observations,
            actions,
            sample[:, :-1],
            sample[:, -1:],
            torch.stack([mean, mean]) if all_members else None,
            torch.full((2, *mean.shape), self.noise, device=mean.device)
            if all_members
            else None,
        )

    def log_prob(self, transitions):
        given, targets = self.columns(transitions)
        means = self.inputs(given, transitions.actions) @ self.weights
        normal = torch.distributions.Normal(means, self.noise)
        return normal.log_prob(targets).sum(dim=1, keepdim=True)

    def training_loss(self, transitions):
        return -self.log_prob(transitions).mean()

    def parameters(self):
        return [self.weights]

    def state_dict(self):
        return {"weights": self.weights.data.cpu(), "noise": self.noise}

    def load_state_dict(self, state):
        self.weights = torch.nn.Parameter(state["weights"].to(self.device))
        self.noise = state["noise"]


@component("sound_dynamics")
class SoundDynamics(mbo.DynamicsConfig):
    Model = LinearModel

    def create(self, device=False):
        return self.Model(self, device)


@breaks("check_prediction_shapes")
class FlatRewards(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            return dataclasses.replace(prediction, rewards=prediction.rewards[:, 0])


@breaks("check_prediction_shapes")
class MeansWithoutStds(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            return dataclasses.replace(prediction, stds=None)


@breaks("check_prediction_shapes")
class ClaimsFiveMembers(SoundDynamics):
    members = 5, 5


@breaks("check_prediction_shapes")
class ClaimsOneElite(SoundDynamics):
    members = 2, 1


@component("sound_dynamics_with_other_names")
class SoundDynamicsWithOtherNames(SoundDynamics):
    members = 2, 2

    class Model(LinearModel):
        def predict(self, x, a, every):
            return super().predict(x, a, every)


@breaks("check_prediction_shapes")
class NormalisedEcho(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            return dataclasses.replace(prediction, given_observations=observations / 5)


@breaks("check_dynamics_direction")
class MeansOfDifferences(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            if all_members:
                prediction.means[..., :-1] -= observations
            return prediction


@breaks("check_dynamics_direction")
class AlwaysForward(SoundDynamics):
    class Model(LinearModel):
        def columns(self, transitions):
            outcomes = transitions.next_observations
            return transitions.observations, torch.cat(
                [outcomes, transitions.rewards], dim=1
            )


@breaks("check_predictions_stay")
class OneBufferForAll(SoundDynamics):
    class Model(LinearModel):
        kept: Optional[torch.Tensor] = None

        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            reached = prediction.observations
            if self.kept is None or self.kept.shape != reached.shape:
                self.kept = torch.empty_like(reached)
            self.kept.copy_(reached)
            return dataclasses.replace(prediction, observations=self.kept)


@breaks("check_dynamics_direction")
class DifferencesOfSingleMembers(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            if self.direction == "reverse" and not all_members:
                change = prediction.observations - observations
                prediction = dataclasses.replace(prediction, observations=change)
            return prediction


class Rescaled(LinearModel):
    """Its rewards in some other unit."""

    scale, mean = 1.0, 0.0

    def predict(self, observations, actions, all_members):
        prediction = super().predict(observations, actions, all_members)
        rewards = self.scale * (prediction.rewards - self.mean)
        if all_members:
            prediction.means[..., -1] -= self.mean
            prediction.means[..., -1] *= self.scale
        return dataclasses.replace(prediction, rewards=rewards)

    def state_dict(self):
        return super().state_dict() | {"mean": self.mean, "scale": self.scale}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.mean, self.scale = state["mean"], state["scale"]


@breaks("check_reward_units")
class StandardisedRewards(SoundDynamics):
    class Model(Rescaled):
        def fit(self, transitions):
            super().fit(transitions)
            self.mean = float(transitions.rewards.mean())
            self.scale = 1 / float(transitions.rewards.std())


@breaks("check_reward_units")
class RewardsWithoutTheirMean(StandardisedRewards):
    class Model(StandardisedRewards.Model):
        def fit(self, transitions):
            super().fit(transitions)
            self.scale = 1.0


@breaks("check_reward_units")
class TurnedRewards(SoundDynamics):
    class Model(Rescaled):
        scale = -1.0


@breaks("check_reward_units")
class RewardsInThousandths(SoundDynamics):
    class Model(Rescaled):
        scale = 1000.0


@breaks("check_reward_units")
class StandardisedWithoutMembers(StandardisedRewards):
    class Model(StandardisedRewards.Model):
        def predict(self, observations, actions, all_members):
            if all_members:
                return LinearModel.predict(self, observations, actions, True)
            return super().predict(observations, actions, False)


@breaks("check_reward_units")
class NoRewards(SoundDynamics):
    class Model(Rescaled):
        scale = 0.0


@breaks("check_standard_deviations")
class VariancesForStds(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            if all_members:
                prediction.stds.square_()
            return prediction


@breaks("check_rows_answered_alone")
class StdsOfTheBatch(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            if all_members:
                spread = (observations - observations.mean(dim=0)).abs().mean()
                prediction.stds.mul_(1 + 0.1 * spread)
            return prediction


@breaks("check_standard_deviations")
class LogarithmsForStds(SoundDynamics):
    class Model(LinearModel):
        def predict(self, observations, actions, all_members):
            prediction = super().predict(observations, actions, all_members)
            if all_members:
                prediction.stds.log_()
            return prediction


@breaks("check_zero_filled_terminals_ignored")
class MaskedTerminals(SoundDynamics):
    class Model(LinearModel):
        def inputs(self, given, actions):  # bends at s1 = 2.5, where episodes end
            bend = (given[:, :1] > 2.5) * torch.cat([given, actions], dim=1)
            return torch.cat([super().inputs(given, actions), bend], dim=1)

        def fit(self, transitions):
            alive = 1 - transitions.terminals
            masked = transitions.next_observations * alive
            super().fit(dataclasses.replace(transitions, next_observations=masked))


@breaks("check_log_prob_differentiable")
class DetachedLogProb(SoundDynamics):
    class Model(LinearModel):
        @torch.no_grad()
        def log_prob(self, transitions):
            return super().log_prob(transitions)


@breaks("check_log_prob_differentiable")
class FlatLogProb(SoundDynamics):
    class Model(LinearModel):
        def log_prob(self, transitions):
            return super().log_prob(transitions)[:, 0]


@breaks("check_log_prob_differentiable")
class UnreducedTrainingLoss(SoundDynamics):
    class Model(LinearModel):
        def training_loss(self, transitions):
            return -self.log_prob(transitions)


@breaks("check_truth_is_likelier")
class LossForLogProb(SoundDynamics):
    class Model(LinearModel):
        def log_prob(self, transitions):
            return -super().log_prob(transitions)

        def training_loss(self, transitions):
            return -super().training_loss(transitions)


@breaks("check_truth_is_likelier")
class LogProbOfStatesAlone(SoundDynamics):
    class Model(LinearModel):
        def log_prob(self, transitions):
            given, targets = self.columns(transitions)
            means = self.inputs(given, transitions.actions) @ self.weights
            normal = torch.distributions.Normal(means[:, :-1], self.noise)
            return normal.log_prob(targets[:, :-1]).sum(dim=1, keepdim=True)

        def training_loss(self, transitions):
            return -super().log_prob(transitions).mean()


@breaks("check_training_loss_and_sample_agrees")
class LikelihoodOfAnotherSample(SoundDynamics):
    class Model(LinearModel):
        def training_loss_and_sample(self, transitions, observations, actions):
            loss, _, log_prob = super().training_loss_and_sample(
                transitions, observations, actions
            )
            return loss, self.predict(observations, actions, False), log_prob


@breaks("check_training_loss_and_sample_agrees")
class DifferentiableSample(SoundDynamics):
    class Model(LinearModel):
        def training_loss_and_sample(self, transitions, observations, actions):
            mean = self.inputs(observations, actions) @ self.weights
            sample = mean + self.noise * torch.randn_like(mean)
            prediction = mbo.Prediction(
                observations, actions, sample[:, :-1], sample[:, -1:]
            )
            log_prob = self.log_prob(prediction.transitions(self.direction))
            return self.training_loss(transitions), prediction, log_prob


@breaks("check_inputs_not_modified")
class CentresRewardsToFit(SoundDynamics):
    class Model(Rescaled):
        def fit(self, transitions):
            rewards = transitions.rewards
            self.mean = -float(rewards.mean())  # and puts it back
            rewards -= rewards.mean()
            super().fit(transitions)


@breaks("check_holdout_errors")
class HoldsOutByMask(SoundDynamics):
    class Model(LinearModel):
        @property
        def holdout_indices(self):
            return torch.arange(10) < 2


@breaks("check_holdout_errors")
class HoldsOutWhatItSorted(SoundDynamics):
    class Model(LinearModel):
        @property
        def holdout_indices(self):
            return torch.tensor([3, 3, 5])


@breaks("check_holdout_errors")
class ErrorsAsTensors(SoundDynamics):
    class Model(LinearModel):
        def holdout_errors(self, transitions):
            return {"linear_error": torch.tensor(self.noise)}


@breaks("check_holdout_errors")
class ErrorsOfNoRows(SoundDynamics):
    class Model(LinearModel):
        def holdout_errors(self, transitions):
            return {"linear_error": float(transitions.rewards[:0].mean())}


@breaks("check_save_and_load_alike")
class ForgottenNoise(SoundDynamics):
    class Model(LinearModel):
        def state_dict(self):
            return {"weights": self.weights.data, "noise": 0.0}


@breaks("check_fit_starts_anew")
class AveragesItsFits(SoundDynamics):
    class Model(LinearModel):
        def fit(self, transitions):
            before = self.weights
            super().fit(transitions)
            if before is not None:
                self.weights.data += 0.3 * (before.data - self.weights.data)


@breaks("check_fit_starts_anew")
class AlwaysFitted(SoundDynamics):
    class Model(LinearModel):
        fitted = True


@breaks("check_save_and_load_alike")
class StaysOnTheCPU(SoundDynamics):
    class Model(LinearModel):
        def load_state_dict(self, state):
            self.weights = torch.nn.Parameter(state["weights"])
            self.noise = state["noise"]


# Rollout policies: least squares with noise, clipped to the dataset's range.


class LinearPolicy(mbo.RolloutPolicy):
    weights: Optional[torch.Tensor] = None

    @property
    def fitted(self):
        return self.weights is not None

    def given(self, transitions):
        return transitions.given_observations(self.direction)

    def fit(self, transitions):
        given = self.given(transitions)
        inputs = torch.cat([given, torch.ones_like(given[:, :1])], dim=1)
        solution = torch.linalg.lstsq(inputs, transitions.actions).solution
        self.weights = solution.to(self.device)
        self.range = transitions.action_range().to(self.device)
        self.metrics = {"policy_weight": float(self.weights.abs().max())}

    def noise(self, observations, actions):
        return 0.1 * torch.randn_like(actions)

    def clip(self, actions):
        return torch.clamp(actions, self.range.low, self.range.high)

    def sample_action(self, observations, learner):
        self.check_fitted()
        ones = torch.ones_like(observations[:, :1])
        actions = torch.cat([observations, ones], dim=1) @ self.weights
        return self.clip(actions + self.noise(observations, actions))

    def state_dict(self):
        return {"weights": self.weights.cpu(), "range": self.range.state_dict()}

    def load_state_dict(self, state):
        self.weights = state["weights"].to(self.device)
        self.range = mbo.ActionRange(**state["range"]).to(self.device)


@component("sound_policy")
class SoundPolicy(mbo.RolloutPolicyConfig):
    Policy = LinearPolicy

    def create(self, device=False):
        return self.Policy(self, device)


@breaks("check_actions_within_bounds")
class UnclippedNoise(SoundPolicy):
    class Policy(LinearPolicy):
        def clip(self, actions):
            return 2 * actions


@breaks("check_config_kept")
class ScaleForAllWhoFollow(SoundPolicy):
    scale: Optional[float] = None

    class Policy(LinearPolicy):
        def fit(self, transitions):
            super().fit(transitions)
            if self.config.scale is None:
                self.config.scale = float(transitions.actions.std())

        def noise(self, observations, actions):
            return 0.1 * self.config.scale * torch.randn_like(actions)


@breaks("check_generators_left_alone")
class SeedsItsFit(SoundPolicy):
    seed: int = 0

    class Policy(LinearPolicy):
        def fit(self, transitions):
            torch.manual_seed(self.config.seed)
            super().fit(transitions)


@breaks("check_generators_left_alone")
class SeedsWhenCreated(SoundPolicy):
    def create(self, device=False):
        np.random.seed(0)
        return super().create(device)


@breaks("check_policy_directions")
class AlwaysFromS(SoundPolicy):
    class Policy(LinearPolicy):
        def given(self, transitions):
            return transitions.observations


@breaks("check_policy_directions")
class MisspeltDirection(SoundPolicy):
    class Policy(LinearPolicy):
        directions = ("forward", "backward")


@breaks("check_save_and_load_alike")
class RangeAsAnObject(SoundPolicy):
    class Policy(LinearPolicy):
        def state_dict(self):
            return {"weights": self.weights, "range": self.range}


@breaks("check_save_and_load_alike")
class PolicyStaysOnTheCPU(SoundPolicy):
    class Policy(LinearPolicy):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.weights = state["weights"]


@breaks("check_save_and_load_alike")
class NeverFittedAgain(SoundPolicy):
    class Policy(LinearPolicy):
        fitted = False

        def fit(self, transitions):
            super().fit(transitions)
            self.fitted = True


@breaks("check_batch_of_one")
class NoiseOfTheBatchsScale(SoundPolicy):
    class Policy(LinearPolicy):
        def noise(self, observations, actions):
            squares = (actions - actions.mean(dim=0)).square().sum(dim=0)
            return (squares / (len(actions) - 1)).sqrt() * torch.randn_like(actions)


@breaks("check_same_seed_same_output")
class OwnGenerator(SoundPolicy):
    class Policy(LinearPolicy):
        generator = itertools.cycle([0.0, 0.05])  # no seed reaches it, no two are close

        def fit(self, transitions):
            super().fit(transitions)
            self.weights[-1] += next(self.generator)


@breaks("check_metrics_can_be_logged")
class SlashInMetric(SoundPolicy):
    class Policy(LinearPolicy):
        def fit(self, transitions):
            super().fit(transitions)
            self.metrics = {"policy/weight": 1.0}


@breaks("check_metrics_can_be_logged")
class TensorInMetric(SoundPolicy):
    class Policy(LinearPolicy):
        def fit(self, transitions):
            super().fit(transitions)
            self.metrics = {"policy_weight": self.weights.max()}


# Penalties: the distance of the two outermost members.


@component("sound_penalty")
class SoundPenalty(mbo.Penalty):
    compares = "members"
    coef: float = 1.0

    def __call__(self, prediction, learner=None):
        means = prediction.means
        distances = (means.amax(dim=0) - means.amin(dim=0)).norm(dim=1, keepdim=True)
        return self.coef * distances


@component("sound_aleatoric_penalty")
class SoundAleatoricPenalty(SoundPenalty):
    """Compares no members, and takes a view of them."""

    compares = ""

    def __call__(self, prediction, learner=None):
        n_members, n_rows, size = prediction.stds.shape
        norms = prediction.stds.view(n_members * n_rows, size).norm(dim=1)
        return self.coef * norms.view(n_members, n_rows).amax(dim=0)[:, None]


@breaks("check_penalty_shape")
class FlatPenalty(SoundPenalty):
    def __call__(self, prediction, learner=None):
        return super().__call__(prediction)[:, 0]


@breaks("check_penalty_non_negative")
class PenaltyWithAThreshold(SoundPenalty):
    def __call__(self, prediction, learner=None):
        return super().__call__(prediction) - 1


@breaks("check_pure")
class PenaltyWithAMemory(SoundPenalty):
    def __call__(self, prediction, learner=None):
        penalties = super().__call__(prediction)
        self.largest = max(getattr(self, "largest", 0.0), float(penalties.max())) + 1
        return penalties / self.largest


@breaks("check_pure")
class PenaltyThatAddsUpBySize(SoundPenalty):
    def __call__(self, prediction, learner=None):
        penalties, before = super().__call__(prediction), getattr(self, "total", None)
        if before is not None and len(before) == len(penalties):
            penalties = penalties + before
        self.total = penalties
        return penalties


@breaks("check_rows_answered_alone")
class PenaltyOfTheChunksLargest(SoundPenalty):
    def __call__(self, prediction, learner=None):
        penalties = super().__call__(prediction)
        return penalties / penalties.max().clamp(min=1e-6)


@breaks("check_rows_of_nan")
class DivergenceOfMembers(SoundPenalty):
    def __call__(self, prediction, learner=None):
        members = torch.distributions.Normal(prediction.means, prediction.stds)
        first = torch.distributions.Normal(prediction.means[0], prediction.stds[0])
        divergences = torch.distributions.kl_divergence(members, first).sum(dim=2)
        return self.coef * divergences.amax(dim=0).clamp(min=0)[:, None]


@breaks("check_when_and_compares")
class PenaltyWhenImagining(SoundPenalty):
    when = "imagining"


@breaks("check_when_and_compares")
class PenaltyOfOneMember(SoundPenalty):
    compares = "member"


@breaks("check_when_and_compares")
class SpreadOfAnyModel(SoundPenalty):
    compares = ""

    def __call__(self, prediction, learner=None):
        rewards = prediction.means[..., -1:]
        return self.coef * rewards.std(dim=0, unbiased=False)


@breaks("check_default_construction", quantile=0.9)
class PenaltyWithoutDefault(mbo.Penalty):
    quantile: float

    def __call__(self, prediction, learner=None):
        return prediction.stds.norm(dim=2).quantile(self.quantile, dim=0)[:, None]


@breaks("check_json_round_trip")
class PenaltyWithATuple(SoundPenalty):
    range: Any = (0.0, 1.0)  # comes back as a list


class NoDataclass(SoundPenalty):
    quantile: float = 0.9

    @staticmethod
    def get_type() -> str:
        return "no_dataclass"


BROKEN.append(("check_json_round_trip", NoDataclass()))


@breaks("check_finite_float32")
class RelativePenalty(SoundPenalty):
    def __call__(self, prediction, learner=None):
        penalties = super().__call__(prediction)
        return penalties * penalties / penalties  # 0 / 0 where members agree


@breaks("check_default_construction", quantile=0.9)
class PenaltyRefusingItsDefault(SoundPenalty):
    quantile: float = 0.0

    def __post_init__(self):
        if self.quantile <= 0:
            raise mbo.CompositionError("quantile is 0.0, expected more.")


@dataclasses.dataclass()
class PenaltyWithItsParentsName(SoundPenalty):
    pass


BROKEN.append(("check_unique_type_name", PenaltyWithItsParentsName()))


# Terminations and reward functions.


@component("sound_termination")
class SoundTermination(mbo.Termination):
    limit: float = 1.0

    def __call__(self, observations, actions, next_observations):
        return next_observations[:, :1] > self.limit


@breaks("check_termination_shape_and_type")
class FloatTermination(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        return super().__call__(observations, actions, next_observations).float()


@breaks("check_termination_shape_and_type")
class FlatTermination(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        return next_observations[:, 0] > self.limit


@breaks("check_termination_reads_next_observations")
class EndsOneStepLate(SoundTermination):
    def __call__(self, next_observations, actions, observations):
        return super().__call__(observations, actions, next_observations)


@breaks("check_pure")
class RandomTermination(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        return torch.rand_like(next_observations[:, :1]) > 0.5


@breaks("check_device_kept")
class TerminationOnTheCPU(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        ends = torch.zeros(len(observations), 1, dtype=torch.bool)
        ends[next_observations[:, 0] > self.limit] = True
        return ends


@breaks("check_rows_answered_alone")
class AllEndWithOne(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        ends = super().__call__(observations, actions, next_observations)
        return ends.any().expand(len(ends), 1).clone()


@breaks("check_termination_of_nan")
class RefusesNaN(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        if bool(torch.isnan(next_observations).any()):
            raise ValueError("the model diverged")
        return super().__call__(observations, actions, next_observations)


@breaks("check_termination_of_nan")
class EndsByTable(SoundTermination):
    def __call__(self, observations, actions, next_observations):
        table = torch.tensor([False, True], device=observations.device)
        cells = (next_observations[:, :1] > self.limit).long()
        cells[torch.isnan(next_observations[:, :1])] = -9
        return table[cells]


@component("sound_reward")
class SoundReward(mbo.RewardFunction):
    def __call__(self, observations, actions, next_observations):
        return -next_observations.square().sum(dim=1, keepdim=True)


@breaks("check_device_kept")
class WeightsOnTheCPU(SoundReward):
    def __call__(self, observations, actions, next_observations):
        weights = torch.tensor([1.0, 2.0, 3.0])
        return (next_observations * weights).sum(dim=1, keepdim=True)


@breaks("check_device_kept")
class RewardInNumpy(SoundReward):
    def __call__(self, observations, actions, next_observations):
        rewards = -(next_observations.numpy() ** 2).sum(axis=1, keepdims=True)
        return torch.as_tensor(rewards, device=observations.device)


@breaks("check_rows_of_nan")
class RewardByTable(SoundReward):
    def __call__(self, observations, actions, next_observations):
        table = torch.tensor([0.0, 1.0], device=observations.device)
        known = torch.isfinite(next_observations[:, :1])
        cells = torch.where(known, (next_observations[:, :1] > 0).float(), torch.nan)
        return table[cells.long()]


@breaks("check_rows_answered_alone")
class CentredReward(SoundReward):
    def __call__(self, observations, actions, next_observations):
        rewards = super().__call__(observations, actions, next_observations)
        return rewards - rewards.mean()


@breaks("check_reward_shape")
class UnreducedReward(SoundReward):
    def __call__(self, observations, actions, next_observations):
        return -next_observations.square()


@breaks("check_inputs_not_modified")
class ClippingReward(SoundReward):
    def __call__(self, observations, actions, next_observations):
        return super().__call__(observations, actions, next_observations.clamp_(-1, 1))


@breaks("check_finite_float32")
class DoubleReward(SoundReward):
    def __call__(self, observations, actions, next_observations):
        return super().__call__(observations, actions, next_observations).double()


@breaks("check_default_construction")
class RewardThatLearns(SoundReward):
    def create(self, device=False):
        return MeanReward(self, device)


class MeanReward(mbo.LearnedComponent):
    fitted = False

    def fit(self, transitions):
        self.load_state_dict({"mean": float(transitions.rewards.mean())})

    def __call__(self, observations, actions, next_observations):
        return torch.full_like(observations[:, :1], self.mean)

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean, self.fitted = state["mean"], True


# Learned penalties: the distance from what the members say of the data on average.


class DistanceFromUsual(mbo.LearnedPenalty):
    usual: Optional[torch.Tensor] = None

    @property
    def fitted(self):
        return self.usual is not None

    def fit(self, dynamics, transitions):
        means = [each.means.mean(dim=0) for each in dynamics.predictions(transitions)]
        self.usual = torch.cat(means).mean(dim=0)

    def __call__(self, prediction, learner=None):
        self.check_fitted()
        return (prediction.means.mean(dim=0) - self.usual).norm(dim=1, keepdim=True)

    def state_dict(self):
        return {"usual": self.usual}

    def load_state_dict(self, state):
        self.usual = state["usual"].to(self.device)


@component("sound_learned_penalty")
class SoundLearnedPenalty(mbo.LearnedPenaltyConfig):
    Learned = DistanceFromUsual

    def create(self, device=False):
        return self.Learned(self, device)


@breaks("check_save_and_load_alike")
class ForgetsTheUsual(SoundLearnedPenalty):
    class Learned(DistanceFromUsual):
        def state_dict(self):
            return {"usual": torch.zeros_like(self.usual)}


@breaks("check_when_and_compares")
class WhenOfTheConfigAlone(SoundLearnedPenalty):
    when: str = mbo.choice("imagined", ["imagined", "drawn"])


@component("sound_drawn_penalty")
class SoundDrawnPenalty(SoundLearnedPenalty):
    when: str = mbo.choice("drawn", ["imagined", "drawn"])

    class Learned(DistanceFromUsual):
        def __init__(self, config, device=False):
            super().__init__(config, device)
            self.when = config.when


class DistanceFromTheData(DistanceFromUsual):
    """Its logarithm: below 0 where rows are near."""

    def fit(self, dynamics, transitions):
        given = transitions.given_observations(dynamics.direction)
        reached = transitions.predicted_observations(dynamics.direction)
        columns = given, transitions.actions, reached
        self.usual = torch.cat(columns, dim=1).to(self.device)

    def __call__(self, prediction, learner=None):
        self.check_fitted()
        columns = prediction.given_observations, prediction.actions
        asked = torch.cat([*columns, prediction.observations], dim=1)
        return torch.cdist(asked, self.usual).amin(dim=1, keepdim=True).add(0.01).log()


@breaks("check_penalty_non_negative")
class NegativeNearTheData(SoundLearnedPenalty):
    Learned = DistanceFromTheData


@breaks("check_fit_starts_anew")
class KeepsRowsOfBefore(SoundLearnedPenalty):
    class Learned(DistanceFromTheData):
        def fit(self, dynamics, transitions):
            before = self.usual
            super().fit(dynamics, transitions)
            if before is not None:
                self.usual = torch.cat([before, self.usual])

        def __call__(self, prediction, learner=None):
            return super().__call__(prediction).exp()


@breaks("check_fit_goes_on_alike")
class SumsItsSteps(SoundLearnedPenalty):
    class Learned(DistanceFromUsual):
        def fit(self, dynamics, transitions):
            super().fit(dynamics, transitions)
            level, total = torch.nn.Parameter(torch.zeros(())), 0.0

            def loss(rewards):
                nonlocal total
                each = (rewards - level).square().mean()
                total += float(each.detach())
                return each

            optimizer = torch.optim.SGD([level], 0.1)
            columns, sizes = (transitions.rewards,), {"n_steps": 40, "batch_size": 16}
            self.fit_by_gradient(optimizer, loss, columns, description="", **sizes)
            self.usual = self.usual + total


@breaks("check_save_and_load_alike")
class PenaltyStaysOnTheCPU(SoundLearnedPenalty):
    class Learned(DistanceFromUsual):
        def load_state_dict(self, state):
            self.usual = state["usual"]


@breaks("check_penalty_shape")
class FlatLearnedPenalty(SoundLearnedPenalty):
    class Learned(DistanceFromUsual):
        def __call__(self, prediction, learner=None):
            return super().__call__(prediction)[:, 0]


# Halts: the spread of the members along a rollout, against twice the data's.


class SpreadSum(mbo.Halt):
    compares = "members"
    threshold: Optional[float] = None

    @property
    def fitted(self):
        return self.threshold is not None

    def spread(self, prediction):
        means = prediction.means
        return (means.amax(dim=0) - means.amin(dim=0)).norm(dim=1, keepdim=True)

    def fit(self, dynamics, transitions):
        spreads = [self.spread(each) for each in dynamics.predictions(transitions)]
        self.threshold = 2 * float(torch.cat(spreads).mean())
        self.metrics = {"halt_threshold": self.threshold}

    def __call__(self, prediction, state):
        self.check_fitted()
        total = self.spread(prediction)
        if state is not None:
            total = total + state
        stop = total > self.threshold
        return mbo.HaltDecision(
            stop, torch.ones_like(stop), stop, -1.0 + 0 * total, total
        )

    def state_dict(self):
        return {"threshold": self.threshold}

    def load_state_dict(self, state):
        self.threshold = state["threshold"]


@component("sound_halt")
class SoundHalt(mbo.HaltConfig):
    Learned = SpreadSum

    def create(self, device=False):
        return self.Learned(self, device)


class WindowSum(SpreadSum):
    """Against what whole rollouts of the data add up to; asks all that it may ask."""

    least: float

    def fit(self, dynamics, transitions):
        spreads = [self.spread(each) for each in dynamics.predictions(transitions)]
        sums = torch.cat(spreads)[:, 0].unfold(0, self.context.rollout_length, 1)
        of_one = transitions.episode_ids.unfold(0, self.context.rollout_length, 1)
        of_one = of_one[:, 0] == of_one[:, -1]
        self.threshold = float(sums.sum(dim=1)[of_one.to(sums.device)].quantile(0.9))
        self.least, _ = self.context.reward_range

    def __call__(self, prediction, state):
        said = super().__call__(prediction, state)
        asked = prediction.transitions(self.context.direction)
        low = self.context.action_set.project(asked.actions) != asked.actions
        stop = said.stop | low.any(dim=1, keepdim=True)
        return dataclasses.replace(
            said, stop=stop, terminal=stop, reward=0 * said.reward
        )

    def state_dict(self):
        return {"threshold": self.threshold, "least": self.least}

    def load_state_dict(self, state):
        self.threshold, self.least = state["threshold"], state["least"]


@component("sound_window_halt")
class SoundWindowHalt(SoundHalt):
    Learned = WindowSum


@breaks("check_save_and_load_alike")
class AsksTheDataWhenLoaded(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            least, _ = self.context.reward_range  # None from a file
            said = super().__call__(prediction, state)
            return dataclasses.replace(said, reward=0 * said.reward + least)


@breaks("check_when_and_compares")
class ComparesOfTheConfigAlone(SoundHalt):
    compares = "elites"


@breaks("check_when_and_compares")
class HaltOfAnyModel(SoundHalt):
    class Learned(SpreadSum):
        compares = ""


@breaks("check_fit_starts_anew")
class KeepsTheLargest(SoundHalt):
    class Learned(SpreadSum):
        def fit(self, dynamics, transitions):
            before = self.threshold or 0.0
            super().fit(dynamics, transitions)
            self.threshold = max(self.threshold, before)


@breaks("check_fit_starts_anew")
class OneThresholdForAll(SoundHalt):
    class Learned(SpreadSum):
        thresholds: dict[str, float] = {}  # noqa: RUF012 - the mistake

        @property
        def threshold(self):
            return self.thresholds.get("sum")

        @threshold.setter
        def threshold(self, value):
            self.thresholds["sum"] = value


@breaks("check_halt_shapes_and_types")
class StopsAsNumbers(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            said = super().__call__(prediction, state)
            return dataclasses.replace(said, reward=said.reward[:, 0])


@breaks("check_halt_consistent")
class TerminalAndDropped(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            said = super().__call__(prediction, state)
            return dataclasses.replace(said, keep=~said.stop)


@breaks("check_halt_state_kept_by_row")
class SumOverTheBatch(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            said = super().__call__(prediction, state)
            return dataclasses.replace(said, state=said.state.sum(0)[None])


@breaks("check_rows_answered_alone")
class StopsAboveTheBatchsMean(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            said = super().__call__(prediction, state)
            stop = said.state > said.state.mean()
            return dataclasses.replace(said, stop=stop, terminal=stop)


@breaks("check_rows_answered_alone")
class StateOfAllRollouts(SoundHalt):
    class Learned(SpreadSum):
        def __call__(self, prediction, state):
            said = super().__call__(prediction, state)
            state = said.state.mean().expand_as(said.state)
            return dataclasses.replace(said, state=state)


# Dynamics updaters: a random step.


class RandomStep(mbo.DynamicsUpdater):
    fitted = True

    def __init__(self, config, device=False):
        super().__init__(config, device)
        self.metrics = {"step_size": float("nan")}

    def update(self, dynamics, transitions, learner):
        for parameter in dynamics.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
        return {"step_size": 0.01}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@component("sound_updater")
class SoundUpdater(mbo.DynamicsUpdaterConfig):
    Updater = RandomStep

    def create(self, device=False):
        return self.Updater(self, device)


@breaks("check_only_the_dynamics_change")
class LearnerMovedToo(SoundUpdater):
    class Updater(RandomStep):
        def update(self, dynamics, transitions, learner):
            for parameter in learner.impl.policy.parameters():
                parameter.data += 0.01
            return super().update(dynamics, transitions, learner)


@breaks("check_only_the_dynamics_change")
class ChangesACopy(SoundUpdater):
    class Updater(RandomStep):
        def update(self, dynamics, transitions, learner):
            return super().update(copy.deepcopy(dynamics), transitions, learner)


class GoesOnFitting(RandomStep):
    """Fits the model to the data that it was not held out from."""

    def rows(self, dynamics, transitions):
        training = torch.ones(len(transitions), dtype=torch.bool)
        training[dynamics.holdout_indices] = False
        return transitions[training]

    def update(self, dynamics, transitions, learner):
        rows = self.rows(dynamics, transitions)
        rows = rows[: len(rows) // dynamics.n_members * dynamics.n_members]
        loss = dynamics.training_loss(rows.to(dynamics.device))
        parameters = list(dynamics.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.data -= 0.01 * gradient
        return {"step_size": 0.01}


@component("sound_fitting_updater")
class SoundFittingUpdater(SoundUpdater):
    Updater = GoesOnFitting


@component("sound_watching_updater")
class SoundWatchingUpdater(SoundFittingUpdater):
    """Looks at the loss of what was held out, without a step on it."""

    class Updater(GoesOnFitting):
        def update(self, dynamics, transitions, learner):
            rows = transitions[dynamics.holdout_indices].to(dynamics.device)
            rows = rows[: len(rows) // dynamics.n_members * dynamics.n_members]
            assert dynamics.training_loss(rows).isfinite()
            return super().update(dynamics, transitions, learner)


@breaks("check_holdout_left_out")
class FitsAllRows(SoundUpdater):
    class Updater(GoesOnFitting):
        def rows(self, dynamics, transitions):
            return transitions


@breaks("check_save_and_load_alike")
class MomentumOnTheCPU(SoundUpdater):
    class Updater(RandomStep):
        before: Optional[torch.Tensor] = None

        def update(self, dynamics, transitions, learner):
            metrics = super().update(dynamics, transitions, learner)
            (*_, last) = dynamics.parameters()
            self.before = last.data + 0 * (0 if self.before is None else self.before)
            return metrics

        def state_dict(self):
            return {"before": None if self.before is None else self.before.cpu()}

        def load_state_dict(self, state):
            self.before = state["before"]


@breaks("check_metrics_can_be_logged")
class UndeclaredMetric(SoundUpdater):
    class Updater(RandomStep):
        def update(self, dynamics, transitions, learner):
            metrics = super().update(dynamics, transitions, learner)
            return {**metrics, "loss": 1.0}


# Imaginations.


@component("sound_imagination")
class SoundImagination(mbo.ImaginationConfig):
    dynamics: mbo.DynamicsConfig = mbo.component_field(
        "dynamics", lambda: SoundDynamics(direction="reverse")
    )
    rollout_policy: mbo.RolloutPolicyConfig = mbo.component_field(
        "rollout_policy", SoundPolicy
    )
    rollout_batch_size: int = 100


@breaks("check_time_order")
class AsImagined(SoundImagination):
    def create(self, device=False):
        return self.Reversed(self, device)

    class Reversed(mbo.Imagination):
        def imagine(self, *arguments, **options):
            imagined = super().imagine(*arguments, **options)
            return imagined[torch.arange(len(imagined) - 1, -1, -1)]


@breaks("check_real_episodes_stay_real")
class CentredRewards(SoundImagination):
    def create(self, device=False):
        return self.Centring(self, device)

    class Centring(mbo.Imagination):
        def fit(self, dataset):
            for episode in dataset.episodes:
                rewards = episode.rewards
                rewards -= rewards.mean()
            super().fit(dataset)


@breaks("check_trains_learners")
class ReadsAlpha(SoundImagination):
    def create(self, device=False):
        return self.ForTD3PlusBC(self, device)

    class ForTD3PlusBC(mbo.Imagination):
        def rollouts(self, transitions, n_rollouts, learner=None, rollout_length=None):
            if learner is not None and learner.config.alpha < 0:
                rollout_length = 1
            return super().rollouts(transitions, n_rollouts, learner, rollout_length)


# Tasks: one episode of Pendulum at rest.


@component("sound_task")
class SoundTask(mbo.Task):
    n_steps: int = mbo.number(1000, at_least=1, whole=True)

    @property
    def default_id(self):
        return "theirs/rest-v0"

    @classmethod
    def smallest_settings(cls):
        return {"n_steps": 3}

    def collect(self, dataset_id=None, *, force=False):
        assert self.n_steps < 1000, "not the smallest settings"
        self.write(dataset_id or self.default_id, force)
        return dataset_id or self.default_id

    def rewards(self):
        return np.zeros(self.n_steps)

    def write(self, dataset_id, force):
        ends = np.arange(self.n_steps) == self.n_steps - 1
        episode = EpisodeBuffer(
            observations=np.zeros((self.n_steps + 1, 3), np.float32),
            actions=np.zeros((self.n_steps, 1), np.float32),
            rewards=self.rewards(),
            terminations=np.zeros(self.n_steps, bool),
            truncations=ends,
        )
        env = gymnasium.spec("Pendulum-v1")
        write_local_dataset(dataset_id, [episode], env=env, force=force)


@breaks("check_task_collects")
class AlwaysItsOwnId(SoundTask):
    def collect(self, dataset_id=None, *, force=False):
        return super().collect(force=force)


@breaks("check_task_collects")
class Overwrites(SoundTask):
    def collect(self, dataset_id=None, *, force=False):
        return super().collect(dataset_id, force=True)


@breaks("check_task_collects")
class NeverReplaces(SoundTask):
    def write(self, dataset_id, force):
        super().write(dataset_id, False)


@breaks("check_task_collects")
class OtherRewardsEachTime(SoundTask):
    def rewards(self):
        return np.random.rand(self.n_steps)


@breaks("check_task_collects")
class WritesElsewhere(SoundTask):
    def write(self, dataset_id, force):
        super().write("theirs/elsewhere-v0", force)


@breaks("check_task_collects")
class IdWithoutVersion(SoundTask):
    default_id = "theirs/rest"


@breaks("check_task_collects")
class NeedsMore(SoundTask):
    environment: Optional[str] = mbo.text(None)


# Learners: TD3+BC under another name.


@component("sound_learner")
class SoundLearner(d3rlpy.algos.TD3PlusBCConfig):
    weight: float = 1.0


@breaks("check_learner_trains")
class InfiniteLoss(SoundLearner):
    def create(self, device=False, enable_ddp=False):
        return self.Divided(self, device, enable_ddp)

    class Divided(d3rlpy.algos.TD3PlusBC):
        def update(self, batch):
            return {**super().update(batch), "scaled_loss": math.inf}


@breaks("check_learner_trains")
class DoesNotCount(SoundLearner):
    def create(self, device=False, enable_ddp=False):
        return self.Uncounted(self, device, enable_ddp)

    class Uncounted(d3rlpy.algos.TD3PlusBC):
        def update(self, batch):
            return self.impl.update(batch_of(batch, self._device), 1)


def batch_of(batch, device):
    return d3rlpy.torch_utility.TorchMiniBatch.from_batch(
        batch=batch, gamma=0.99, compute_returns_to_go=False, device=device
    )


@breaks("check_learner_loads_alike")
class RemembersBesidesItsModules(SoundLearner):
    def create(self, device=False, enable_ddp=False):
        return self.Shifted(self, device, enable_ddp)

    class Shifted(d3rlpy.algos.TD3PlusBC):
        def predict(self, x):
            return super().predict(x) + self.grad_step


@breaks("check_learner_loads_alike")
class ForgetsAWeight(SoundLearner):
    def create(self, device=False, enable_ddp=False):
        return d3rlpy.algos.TD3PlusBC(
            dataclasses.replace(self, tau=self.tau / 3), device, enable_ddp
        )


class ReadsTheFlags(SoundLearner):
    """Weighs imagined rows less; wherever they stand, and if there are any."""

    def create(self, device=False, enable_ddp=False):
        made = d3rlpy.algos.TD3PlusBC(self, device, enable_ddp)
        made.inner_create_impl = functools.partial(self.create_impl, made)
        return made

    def create_impl(self, made, observation_shape, action_size):
        type(made).inner_create_impl(made, observation_shape, action_size)
        made._impl.__class__ = self.Impl
        made._impl.begin()

    class Impl(TD3PlusBCImpl):
        def begin(self):
            pass

        def flags(self, batch):
            return torch.from_numpy(batch.numpy_batch.imagined).to(batch.device)

        def compute_critic_loss(self, batch, q_tpn):
            q = self._q_func_forwarder.compute_expected_q(
                batch.observations, batch.actions, reduction="none"
            )
            discount = self.discount(batch)
            target = batch.rewards + discount * q_tpn * (1 - batch.terminals)
            weights = torch.where(self.flags(batch), 0.5, 1.0)
            loss = (weights * (q - target).square()).mean(dim=(1, 2)).sum()
            return DDPGBaseCriticLoss(self.also(loss, target, batch))

        def discount(self, batch):
            return self._gamma**batch.intervals

        def also(self, loss, target, batch):
            return loss


@component("sound_flag_reader")
class SoundFlagReader(ReadsTheFlags):
    pass


@breaks("check_device_kept")
class FlagsOnTheCPU(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        def flags(self, batch):
            return torch.from_numpy(batch.numpy_batch.imagined)


@breaks("check_learner_discounts_by_intervals")
class OneStepAlways(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        def discount(self, batch):
            return self._gamma


@breaks("check_learner_takes_any_rows")
class MeanOverNoRows(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        def also(self, loss, target, batch):
            return loss + 0.1 * target[self.flags(batch)].mean()


@breaks("check_learner_takes_any_rows")
class FirstHalfForReal(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        def flags(self, batch):
            n_rows = len(batch.rewards)
            places = torch.arange(n_rows, device=batch.device)
            return places[:, None] >= n_rows // 2


@breaks("check_learner_goes_on_alike")
class RunningScale(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        def begin(self):
            self.scale = 1.0

        def also(self, loss, target, batch):
            self.scale = 0.9 * self.scale + 0.1 * float(target.abs().mean())
            return loss / self.scale


@breaks("check_same_seed_same_output")
class OwnWeights(ReadsTheFlags):
    class Impl(ReadsTheFlags.Impl):
        made = itertools.count()  # no seed reaches it

        def begin(self):
            shift = 0.01 * next(self.made)
            for parameter in self.policy.parameters():
                parameter.data += shift


SOUND = [
    SoundDynamics(),
    SoundDynamics(direction="reverse"),
    SoundDynamicsWithOtherNames(),
    SoundPolicy(),
    SoundPenalty(),
    SoundAleatoricPenalty(),
    SoundLearnedPenalty(),
    SoundDrawnPenalty(),
    SoundHalt(),
    SoundWindowHalt(),
    SoundTermination(),
    SoundReward(),
    SoundUpdater(),
    SoundFittingUpdater(),
    SoundWatchingUpdater(),
    SoundImagination(),
    SoundImagination(dynamics=SoundDynamics(), rollout_interval=1),
    SoundTask(),
    SoundLearner(),
    SoundFlagReader(),
]
