"""COMBO the learner: CQL whose conservative term tells real rows from imagined ones."""

import dataclasses
from typing import Any, Optional, cast

import d3rlpy
import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.algos.qlearning.torch.cql_impl import CQLCriticLoss, CQLImpl
from d3rlpy.models import EncoderFactory, VectorEncoderFactory

import d3rlpy_mbo as mbo

__all__ = ["COMBO", "COMBOConfig", "COMBOCriticLoss", "COMBOImpl"]

_RHO = ("imagined", "all")


# How d3rlpy writes and reads an encoder in JSON.
_ENCODER = d3rlpy.algos.CQLConfig.__dataclass_fields__["actor_encoder_factory"].metadata


def _encoder() -> EncoderFactory:
    return VectorEncoderFactory([256, 256, 256])


@dataclasses.dataclass()
class COMBOConfig(d3rlpy.algos.CQLConfig):
    """Config of COMBO (Yu et al. 2021, equation 2, in CQL(H)'s form as every port has it).

    Q-values are pushed down at states of rho, by the logarithm of a sum of exponentials
    over the policy's actions and uniform ones, and up at the data's own (s, a), in real
    rows only. Defaults are OfflineRL-Kit's (run_combo.py): no Lagrange multiplier,
    targets without entropy, ten actions of each kind; but targets take the policy's best
    action, as in d3rlpy's CQL, where OfflineRL-Kit draws one. For conservative_weight per
    task see ``benchmarks/settings/combo.toml``. It is the beta of the ports: the paper
    has a half before the squared error, so a beta of the paper is 2 beta here.

    Args:
        rho: At which rows' states Q-values are pushed down: the ``"imagined"`` ones, as
            in the paper, or ``"all"`` of the batch, for which OfflineRL-Kit's settings
            are.

    Raises:
        CompositionError: By `create`: another rho, or compile_graph, since later batches
            would reach a captured graph without their flags.
    """

    alpha_learning_rate: float = 0.0
    actor_encoder_factory: EncoderFactory = dataclasses.field(
        default_factory=_encoder, metadata=_ENCODER
    )
    critic_encoder_factory: EncoderFactory = dataclasses.field(
        default_factory=_encoder, metadata=_ENCODER
    )
    rho: str = "imagined"

    def create(
        self, device: d3rlpy.base.DeviceArg = False, enable_ddp: bool = False
    ) -> "COMBO":
        """Returns the algorithm."""
        return COMBO(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Returns ``"combo"``."""
        return "combo"


class COMBO(d3rlpy.algos.CQL):
    """CQL on `d3rlpy_mbo.ImaginedReplayBuffer`, with any imagination."""

    _config: COMBOConfig
    _impl: Optional["COMBOImpl"]

    def __init__(
        self, config: COMBOConfig, device: d3rlpy.base.DeviceArg, enable_ddp: bool
    ):
        if config.rho not in _RHO:
            raise mbo.CompositionError(
                f"COMBOConfig.rho is {config.rho!r}, expected 'imagined' or 'all'."
            )
        if config.compile_graph:
            raise mbo.CompositionError(
                "COMBO cannot train with compile_graph=True: which rows of a batch are "
                "imagined does not reach a captured graph. Leave it False."
            )
        super().__init__(config, device, enable_ddp)

    def validate_real_ratio(self, real_ratio: float) -> None:
        """Refuses shares of real rows with which there is nothing to push down, or up.

        Raises:
            CompositionError: Says which rows are missing.
        """
        if self._config.rho == "imagined" and real_ratio == 1:
            raise mbo.CompositionError(
                "COMBO with rho='imagined' pushes Q-values down at imagined states, but "
                "with a real_ratio of 1 there are none. Give it an imagination and a "
                "real_ratio below 1, or rho='all', which is then CQL."
            )
        if real_ratio == 0:
            raise mbo.CompositionError(
                "COMBO pushes Q-values up at real actions, but with a real_ratio of 0 "
                "there are none. Raise real_ratio, to 0.5 for example."
            )

    def inner_create_impl(
        self, observation_shape: d3rlpy.types.Shape, action_size: int
    ) -> None:
        """Makes CQL's networks, and the loss that treats real rows by themselves."""
        super().inner_create_impl(observation_shape, action_size)
        config, made = self._config, cast(Any, self._impl)
        self._impl = COMBOImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=made.modules,
            q_func_forwarder=made._q_func_forwarder,
            targ_q_func_forwarder=made._targ_q_func_forwarder,
            gamma=config.gamma,
            tau=config.tau,
            alpha_threshold=config.alpha_threshold,
            conservative_weight=config.conservative_weight,
            n_action_samples=config.n_action_samples,
            soft_q_backup=config.soft_q_backup,
            max_q_backup=config.max_q_backup,
            compiled=False,
            device=self._device,
        )
        self._impl.rho = config.rho


@dataclasses.dataclass(frozen=True)
class COMBOCriticLoss(CQLCriticLoss):
    """CQL's, and how far Q-values at rho lie above those of the data.

    Args:
        value_difference: Mean over rho and the policy's actions, less the mean over real
            rows. Offline, the paper chooses the smallest beta for which it is low.
    """

    value_difference: torch.Tensor


class COMBOImpl(CQLImpl):
    """CQL's implementation with the conservative term of COMBO.

    Attributes:
        rho: See `COMBOConfig`.
    """

    rho: str = "imagined"

    def compute_critic_loss(
        self, batch: d3rlpy.torch_utility.TorchMiniBatch, q_tpn: torch.Tensor
    ) -> CQLCriticLoss:
        """Returns the squared error on all rows and the conservative term.

        The term is left out if a batch has no row to push down or none to push up: the
        mean of nothing is NaN.

        Raises:
            CompositionError: The batch does not say which rows are imagined.
        """
        imagined = self._imagined(batch)
        if self.rho == "all" and not imagined.any():
            return super().compute_critic_loss(batch, q_tpn)  # CQL itself
        error = super(CQLImpl, self).compute_critic_loss(batch, q_tpn).critic_loss
        real = np.flatnonzero(~imagined)
        pushed = np.arange(len(imagined))
        if self.rho == "imagined":
            pushed = np.flatnonzero(imagined)
        alpha = self._alpha()
        if not len(real) or not len(pushed):
            return CQLCriticLoss(error, torch.zeros_like(error), alpha)
        term, difference = self._conservative(batch, pushed, real)
        if self._modules.alpha_optim:
            self.update_alpha(term.detach())
            alpha = self._alpha()
        scaled = (alpha * term).sum()
        return COMBOCriticLoss(error + scaled, scaled, alpha, difference)

    def _imagined(
        self, batch: d3rlpy.torch_utility.TorchMiniBatch
    ) -> npt.NDArray[np.bool_]:
        """Returns (B,) which rows are imagined."""
        rows = batch.numpy_batch
        if isinstance(rows, mbo.ImaginedMiniBatch):
            return rows.imagined[:, 0]
        if self.rho == "imagined":
            raise mbo.CompositionError(
                "COMBO with rho='imagined' got a batch that does not say which rows are "
                "imagined. Train it on mbo.ImaginedReplayBuffer(dataset, imagination, "
                "learner), or on the dataset alone with rho='all', which is then CQL. "
                "Online (fit_online) go on with SAC: sac.create_impl("
                "combo.observation_shape, combo.action_size), then "
                "sac.copy_policy_from(combo) and sac.copy_q_function_from(combo), with "
                "the same scalers and encoders."
            )
        return np.zeros(len(batch.rewards), dtype=np.bool_)

    def _alpha(self) -> torch.Tensor:
        # As CQL bounds it; only `update_alpha` has use for its gradient.
        log_alpha = next(iter(self._modules.log_alpha.parameters())).detach()
        return log_alpha.exp().clamp(0, 1e6)[0][0]

    def _conservative(
        self,
        batch: d3rlpy.torch_utility.TorchMiniBatch,
        pushed: npt.NDArray[np.int64],
        real: npt.NDArray[np.int64],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the term of each critic, (N,), and the difference that is logged.

        Args:
            batch: The whole of it.
            pushed: Rows whose states are pushed down.
            real: Rows whose actions are pushed up.
        """
        down, up = (torch.from_numpy(rows).to(batch.device) for rows in (pushed, real))
        observations = cast(torch.Tensor, batch.observations)
        states = observations[down]
        after = cast(torch.Tensor, batch.next_observations)[down]
        nothing = batch.returns_to_go
        own, own_log_probs = self._compute_policy_is_values(states, states, nothing)
        next_, next_log_probs = self._compute_policy_is_values(after, states, nothing)
        uniform, uniform_log_prob = self._compute_random_is_values(states)
        # (N, B, 3 n): all actions of a state in one sum, as importance weights want it.
        weighted = [
            own - own_log_probs,
            next_ - next_log_probs,
            uniform - uniform_log_prob,
        ]
        soft_maximum = torch.logsumexp(torch.cat(weighted, dim=2), dim=2)
        data = self._q_func_forwarder.compute_expected_q(
            observations[up], batch.actions[up], "none"
        )
        term = soft_maximum.mean(dim=1) - data.mean(dim=(1, 2))
        difference = own.detach().mean() - data.detach().mean()
        return self._conservative_weight * (term - self._alpha_threshold), difference
