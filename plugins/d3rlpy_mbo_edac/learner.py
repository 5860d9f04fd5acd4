"""EDAC the learner: SAC with many critics whose action gradients are kept apart."""

import dataclasses
import math
import numbers
from typing import Any, Optional, cast

import d3rlpy
import torch
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseCriticLoss
from d3rlpy.algos.qlearning.torch.sac_impl import SACImpl
from d3rlpy.models import EncoderFactory, VectorEncoderFactory
from d3rlpy.torch_utility import TorchMiniBatch
from torch.nn import functional

import d3rlpy_mbo as mbo

__all__ = ["EDAC", "EDACConfig", "EDACCriticLoss", "EDACImpl"]

# How d3rlpy writes and reads an encoder in JSON.
_ENCODER = d3rlpy.algos.SACConfig.__dataclass_fields__["actor_encoder_factory"].metadata

# What a gradient's norm is at least where it is divided by (official code).
_LEAST_NORM = 1e-10


def _encoder() -> EncoderFactory:
    return VectorEncoderFactory([256, 256, 256])


@dataclasses.dataclass()
class EDACConfig(d3rlpy.algos.SACConfig):
    """Config of EDAC (An et al. 2021): SAC with the least of n_critics, kept diverse.

    If all critics rise in the same direction from the data's actions, they agree,
    wrongly, on some action beyond these, and the least of many is then no lower than a
    single one. So the critics' loss gets eta / (N - 1) times the sum, over ordered pairs
    of critics, of the inner product of their normalised gradients with respect to the
    action, averaged over rows.

    Defaults are the official code's; n_critics and eta per task are in
    ``benchmarks/settings/edac.toml``. With ``eta=0`` it is SAC-N, d3rlpy's SAC with as
    many critics.

    Args:
        n_critics: N, at least 2.
        eta: Weight of the term, at least 0.

    Raises:
        CompositionError: By `create`: a value out of range; compile_graph, since a
            compiled loss has no second derivatives; or, with eta above 0, several
            processes, likewise.
    """

    actor_encoder_factory: EncoderFactory = dataclasses.field(
        default_factory=_encoder, metadata=_ENCODER
    )
    critic_encoder_factory: EncoderFactory = dataclasses.field(
        default_factory=_encoder, metadata=_ENCODER
    )
    n_critics: int = 10
    eta: float = 1.0

    def create(
        self, device: d3rlpy.base.DeviceArg = False, enable_ddp: bool = False
    ) -> "EDAC":
        """Returns the algorithm."""
        return EDAC(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Returns ``"edac"``."""
        return "edac"


class EDAC(d3rlpy.algos.SAC):
    """SAC with EDAC's critics, on real data or with any imagination."""

    _config: EDACConfig
    _impl: Optional["EDACImpl"]

    def __init__(
        self, config: EDACConfig, device: d3rlpy.base.DeviceArg, enable_ddp: bool
    ):
        _validate(config, enable_ddp)
        super().__init__(config, device, enable_ddp)

    def inner_create_impl(
        self, observation_shape: d3rlpy.types.Shape, action_size: int
    ) -> None:
        """Makes SAC's networks, and the loss that keeps critics apart."""
        super().inner_create_impl(observation_shape, action_size)
        config, made = self._config, cast(Any, self._impl)
        self._impl = EDACImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=made.modules,
            q_func_forwarder=made._q_func_forwarder,
            targ_q_func_forwarder=made._targ_q_func_forwarder,
            gamma=config.gamma,
            tau=config.tau,
            compiled=False,
            device=self._device,
        )
        self._impl.eta = config.eta


def _validate(config: EDACConfig, enable_ddp: bool) -> None:
    n_critics, eta = config.n_critics, config.eta
    if not isinstance(n_critics, numbers.Integral) or n_critics < 2:
        raise mbo.CompositionError(
            f"EDACConfig.n_critics is {n_critics!r}, expected a whole number, at least 2: "
            "one critic has no other to differ from."
        )
    is_number = isinstance(eta, numbers.Real) and not isinstance(eta, bool)
    if not is_number or not 0 <= eta < math.inf:
        raise mbo.CompositionError(
            f"EDACConfig.eta is {eta!r}, expected a number, at least 0."
        )
    if config.compile_graph:
        raise mbo.CompositionError(
            "EDAC cannot train with compile_graph=True: its loss needs gradients of "
            "gradients, which a compiled loss does not have. Leave it False."
        )
    if enable_ddp and eta:
        raise mbo.CompositionError(
            "EDAC cannot train in several processes (enable_ddp=True): torch does not "
            "share gradients of gradients. Use one process, or eta=0, which is SAC-N."
        )


@dataclasses.dataclass(frozen=True)
class EDACCriticLoss(DDPGBaseCriticLoss):
    """SAC's, and how alike the critics are.

    Args:
        gradient_similarity: Mean cosine between the action gradients of two critics, at
            the batch's actions: 1 where all rise in one direction, at least -1 / (N - 1).
    """

    gradient_similarity: torch.Tensor


class EDACImpl(SACImpl):
    """SAC's implementation with the term of EDAC.

    Attributes:
        eta: See `EDACConfig`.
    """

    eta: float = 1.0

    def compute_critic_loss(
        self, batch: TorchMiniBatch, q_tpn: torch.Tensor
    ) -> DDPGBaseCriticLoss:
        """Returns SAC's squared errors, and eta times how alike the critics are."""
        loss = super().compute_critic_loss(batch, q_tpn)
        if not self.eta:
            return loss  # SAC-N itself
        n_critics = len(self._modules.q_funcs)
        similarity = self._gradient_similarity(batch)
        # A sum over N (N - 1) ordered pairs, divided by N - 1.
        term = self.eta * n_critics * similarity
        return EDACCriticLoss(loss.critic_loss + term, similarity.detach())

    def _gradient_similarity(self, batch: TorchMiniBatch) -> torch.Tensor:
        """Returns the mean cosine of two critics' action gradients, differentiable."""
        critics = self._modules.q_funcs
        # A leaf for each critic, so that one backward pass gives the gradients of all.
        actions = [batch.actions.detach().requires_grad_() for _ in critics]
        values = [
            critic(batch.observations, each).q_value.sum()
            for critic, each in zip(critics, actions, strict=True)
        ]
        gradients = torch.autograd.grad(
            torch.stack(values).sum(), actions, create_graph=True
        )
        directions = functional.normalize(
            torch.stack(gradients), dim=2, eps=_LEAST_NORM
        )
        # (N, B, A): the square of the sum is all pairs, those of one critic included.
        pairs = directions.sum(dim=0).square() - directions.square().sum(dim=0)
        n_pairs = len(critics) * (len(critics) - 1)
        return pairs.sum(dim=1).mean() / n_pairs
