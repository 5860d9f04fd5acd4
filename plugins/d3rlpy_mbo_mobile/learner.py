"""The SAC of MOBILE's settings: targets without entropy, a bounded temperature."""

import dataclasses
import math
import numbers
from typing import Any, Optional, cast

import d3rlpy
import numpy as np
import torch
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseCriticLoss
from d3rlpy.algos.qlearning.torch.sac_impl import SACActorLoss, SACImpl
from d3rlpy.algos.qlearning.torch.utility import sample_q_values_with_policy
from d3rlpy.models.torch import ActionOutput, build_squashed_gaussian_distribution
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo

__all__ = ["MOBILESAC", "MOBILESACConfig", "MOBILESACImpl"]

_TRUTH = (bool, np.bool_)


@dataclasses.dataclass()
class MOBILESACConfig(d3rlpy.algos.SACConfig):
    """Config of the SAC with which MOBILE was published (Sun et al. 2023, official code).

    Defaults are those of its D4RL gym tasks; other tasks' are in
    ``benchmarks/settings/mobile.toml``. A fixed alpha is d3rlpy's
    ``temp_learning_rate=0`` with ``initial_temperature=0.2``; the cosine schedule of the
    actor's learning rate is d3rlpy's too: ``actor_optim_factory=AdamFactory(
    lr_scheduler_factory=CosineAnnealingLRFactory(T_max=3_000_000))``.

    Differences from the official code: the critics' squared errors are summed, as
    everywhere in d3rlpy, where that code takes their mean; the temperature's loss has
    alpha instead of its logarithm, as everywhere in d3rlpy.

    Args:
        deterministic_backup: Whether targets leave the entropy out. Actions at s' are
            drawn either way.
        max_q_backup: Whether targets take, critic by critic, the best of n_action_samples
            actions (adroit).
        n_action_samples: For max_q_backup.
        max_temperature: alpha is at most this when it is learned; None for no bound.
        target_floor: Targets, in the learner's reward units, are at least this. The
            official code silently has 0 on all of its tasks: right if rewards are never
            negative, and wrong otherwise, as on its halfcheetah-random. None for no
            bound (ours).
    """

    actor_learning_rate: float = 1e-4
    temp_learning_rate: float = 1e-4
    deterministic_backup: bool = True
    max_q_backup: bool = False
    n_action_samples: int = 10
    max_temperature: Optional[float] = 1.0
    target_floor: Optional[float] = None

    def create(
        self, device: d3rlpy.base.DeviceArg = False, enable_ddp: bool = False
    ) -> "MOBILESAC":
        """Returns the algorithm."""
        return MOBILESAC(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Returns ``"mobile_sac"``."""
        return "mobile_sac"


class MOBILESAC(d3rlpy.algos.SAC):
    """SAC with MOBILE's targets and temperature.

    Raises:
        CompositionError: A setting out of range.
    """

    _config: MOBILESACConfig
    _impl: Optional["MOBILESACImpl"]

    def __init__(
        self,
        config: MOBILESACConfig,
        device: d3rlpy.base.DeviceArg,
        enable_ddp: bool,
    ):
        _validate(config)
        super().__init__(config, device, enable_ddp)

    def inner_create_impl(
        self, observation_shape: d3rlpy.types.Shape, action_size: int
    ) -> None:
        """Makes SAC's networks, and MOBILE's losses."""
        super().inner_create_impl(observation_shape, action_size)
        config, made = self._config, cast(Any, self._impl)
        self._impl = MOBILESACImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=made.modules,
            q_func_forwarder=made._q_func_forwarder,
            targ_q_func_forwarder=made._targ_q_func_forwarder,
            gamma=config.gamma,
            tau=config.tau,
            compiled=self.compiled,
            device=self._device,
        )
        self._impl.config = config


def _validate(config: MOBILESACConfig) -> None:
    bound, floor = config.max_temperature, config.target_floor
    allowed = {
        "deterministic_backup": (
            isinstance(config.deterministic_backup, _TRUTH),
            "True or False",
        ),
        "max_q_backup": (isinstance(config.max_q_backup, _TRUTH), "True or False"),
        "n_action_samples": (
            isinstance(config.n_action_samples, numbers.Integral)
            and _is_number(config.n_action_samples)
            and config.n_action_samples >= 1,
            "a whole number, at least 1",
        ),
        "max_temperature": (
            bound is None or (_is_number(bound) and bound > 0),
            "a number, more than 0, or None",
        ),
        "target_floor": (
            floor is None or (_is_number(floor) and math.isfinite(floor)),
            "a number, or None",
        ),
    }
    for name, (is_allowed, expected) in allowed.items():
        if not is_allowed:
            raise mbo.CompositionError(
                f"MOBILESACConfig.{name} is {getattr(config, name)!r}, expected "
                f"{expected}."
            )


def _is_number(value: Any) -> bool:
    """Returns whether it is a number, NumPy's included; truth values are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class MOBILESACImpl(SACImpl):
    """SAC's implementation with the target, and the temperature, of MOBILE.

    Attributes:
        config: The learner's.
    """

    config: MOBILESACConfig

    def _temperature(self) -> torch.Tensor:
        """Returns alpha: at most max_temperature if it is learned."""
        alpha = next(iter(self._modules.log_temp.parameters())).exp()
        if self._modules.temp_optim and self.config.max_temperature is not None:
            alpha = alpha.clamp(max=self.config.max_temperature)
        return alpha

    @torch.no_grad()
    def compute_target(self, batch: TorchMiniBatch) -> torch.Tensor:
        """Returns (B, 1) what s' is worth: the least target critic, at drawn actions."""
        states = batch.next_observations
        if self.config.max_q_backup:
            values, _ = sample_q_values_with_policy(
                policy=self._modules.policy,
                q_func_forwarder=self._targ_q_func_forwarder,
                policy_observations=states,
                value_observations=states,
                n_action_samples=self.config.n_action_samples,
                detach_policy_output=True,
            )
            # The best action of each critic, then the least critic.
            return values.amax(dim=2).amin(dim=0)[:, None]
        distribution = build_squashed_gaussian_distribution(
            self._modules.policy(states)
        )
        actions, log_probs = distribution.sample_with_log_prob()
        values = self._targ_q_func_forwarder.compute_target(states, actions, "min")
        if self.config.deterministic_backup:
            return values
        return values - self._temperature() * log_probs

    def compute_critic_loss(
        self, batch: TorchMiniBatch, q_tpn: torch.Tensor
    ) -> DDPGBaseCriticLoss:
        """Returns the critics' squared errors from targets that are bounded below."""
        if self.config.target_floor is None:
            return super().compute_critic_loss(batch, q_tpn)
        gamma = self._gamma**batch.intervals
        targets = batch.rewards + gamma * (1 - batch.terminals) * q_tpn
        zeros = torch.zeros_like(batch.rewards)
        loss = self._q_func_forwarder.compute_error(
            observations=batch.observations,
            actions=batch.actions,
            rewards=zeros,
            target=targets.clamp(min=self.config.target_floor),
            terminals=zeros,
            gamma=1.0,
        )
        return DDPGBaseCriticLoss(loss)

    def compute_actor_loss(
        self, batch: TorchMiniBatch, action: ActionOutput
    ) -> SACActorLoss:
        """Returns alpha log pi less the least critic; alpha learns after it was used."""
        distribution = build_squashed_gaussian_distribution(action)
        actions, log_probs = distribution.sample_with_log_prob()
        alpha = self._temperature().detach()
        temperature_loss = torch.zeros((), device=alpha.device)
        if self._modules.temp_optim:
            # Before the loss, or a compiled one would compute alpha anew afterwards.
            temperature_loss = self.update_temp(log_probs)
        values = self._q_func_forwarder.compute_expected_q(
            batch.observations, actions, "min"
        )
        loss = (alpha * log_probs - values).mean()
        return SACActorLoss(loss, self._temperature()[0][0], temperature_loss)
