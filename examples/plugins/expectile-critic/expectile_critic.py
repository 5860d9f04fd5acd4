"""A loss of your own on imagined rows: LEQ's critic (Park and Lee, ICLR 2025), alone.

Not LEQ: it has no lambda-returns, no actor that is led through the model, and no
regulariser towards the critic's slow copy. Targets of one step and the actor are SAC's.
"""

import dataclasses

import d3rlpy
import d3rlpy_mbo as mbo
import torch
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseCriticLoss
from d3rlpy.algos.qlearning.torch.sac_impl import SACImpl


@dataclasses.dataclass()
class ExpectileSACConfig(d3rlpy.algos.SACConfig):
    """SAC whose critics learn a low expectile of what imagined rows promise.

    Args:
        expectile: tau, between 0 and 1. An imagined row whose target lies below its value
            weighs 1 - tau, one above it tau: with a low tau a model that errs upwards is
            hardly believed. The paper's are 0.1 to 0.5, by task; with 0.5 it is SAC.
    """

    expectile: float = 0.1

    @staticmethod
    def get_type():
        return "expectile_sac"

    def create(self, device=False, enable_ddp=False):
        return ExpectileSAC(self, device, enable_ddp)


class ExpectileSAC(d3rlpy.algos.SAC):
    """Makes SAC's networks, and puts the other loss around them."""

    def __init__(self, config, device, enable_ddp):
        if not 0 < config.expectile < 1:
            raise mbo.CompositionError(
                f"ExpectileSACConfig.expectile is {config.expectile!r}, expected a number "
                "between 0 and 1, such as 0.1."
            )
        if config.compile_graph:
            raise mbo.CompositionError(
                "ExpectileSAC cannot train with compile_graph=True: which rows of a batch "
                "are imagined does not reach a captured graph. Leave it False."
            )
        super().__init__(config, device, enable_ddp)

    def inner_create_impl(self, observation_shape, action_size):
        super().inner_create_impl(observation_shape, action_size)
        made = self._impl
        self._impl = ExpectileSACImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=made.modules,
            q_func_forwarder=made._q_func_forwarder,
            targ_q_func_forwarder=made._targ_q_func_forwarder,
            gamma=self.config.gamma,
            tau=self.config.tau,
            compiled=False,
            device=self._device,
        )
        self._impl.expectile = self.config.expectile


class ExpectileSACImpl(SACImpl):
    """SAC's, but for the critics' loss."""

    def compute_critic_loss(self, batch, q_tpn):
        discount = self._gamma**batch.intervals
        target = batch.rewards + discount * q_tpn * (1 - batch.terminals)  # (B, 1)
        values = self._q_func_forwarder.compute_expected_q(
            batch.observations, batch.actions, "none"
        )  # (N, B, 1): of each critic
        errors = target - values
        below = (errors < 0).to(errors.dtype)
        # Twice, so that real rows, and all of them at 0.5, have d3rlpy's squared error.
        weights = torch.where(
            self._imagined(batch), 2 * (self.expectile - below).abs(), 1.0
        )
        # All rows in one mean, which a batch without one of the two kinds has as well.
        losses = (weights * errors.square()).mean(dim=(1, 2))  # (N,)
        return DDPGBaseCriticLoss(losses.sum())

    def _imagined(self, batch):
        """Returns (B, 1) bool; a batch of another buffer says nothing, and is real."""
        rows = batch.numpy_batch
        if isinstance(rows, mbo.ImaginedMiniBatch):
            return torch.from_numpy(rows.imagined).to(batch.device)
        return torch.zeros_like(batch.rewards, dtype=torch.bool)


@mbo.hookimpl
def register_components():
    return [ExpectileSACConfig]
