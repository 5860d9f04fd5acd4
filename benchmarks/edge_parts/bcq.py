"""d3rlpy's BCQ with one thing changed: its targets, what it imitates, or its decoder."""

import dataclasses
from typing import Any, Optional, cast

import d3rlpy
import torch
from d3rlpy.algos.qlearning.torch.bcq_impl import BCQImpl
from d3rlpy.torch_utility import TorchMiniBatch

import d3rlpy_mbo as mbo

__all__ = ["ControlledBCQ", "ControlledBCQConfig", "ControlledBCQImpl"]


@dataclasses.dataclass()
class ControlledBCQConfig(d3rlpy.algos.BCQConfig):
    """Config of BCQ with controls, each off by default: then it is d3rlpy's.

    Args:
        least_target: The value of the next state counts as no less in a target; None for
            no bound.
        greatest_target: Nor as more. With rewards in [0, 1] and gamma 0.99, bounds of 0
            and 100 keep the whole target, r + gamma times that value, within [0, 100],
            where every true value lies.
        imitates_imagined: Whether the VAE that proposes actions learns from imagined rows
            too, as in d3rlpy. Without, a batch with no real row leaves it as it is.
        squashes_decoder: Whether the VAE's decoder ends in a tanh, as in the official
            code. In d3rlpy it does not.

    Raises:
        CompositionError: Bounds that leave nothing, or compile_graph: a captured graph
            would be given later batches' tensors without their flags.
    """

    least_target: Optional[float] = None
    greatest_target: Optional[float] = None
    imitates_imagined: bool = True
    squashes_decoder: bool = False

    def create(
        self, device: d3rlpy.base.DeviceArg = False, enable_ddp: bool = False
    ) -> "ControlledBCQ":
        """Returns the algorithm."""
        return ControlledBCQ(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Returns ``"controlled_bcq"``."""
        return "controlled_bcq"


class ControlledBCQ(d3rlpy.algos.BCQ):
    """BCQ on `d3rlpy_mbo.ImaginedReplayBuffer`, or on a dataset alone."""

    _config: ControlledBCQConfig
    _impl: Optional["ControlledBCQImpl"]

    def __init__(
        self,
        config: ControlledBCQConfig,
        device: d3rlpy.base.DeviceArg,
        enable_ddp: bool,
    ):
        least, greatest = config.least_target, config.greatest_target
        if least is not None and greatest is not None and least > greatest:
            raise mbo.CompositionError(
                f"ControlledBCQConfig has least_target {least} and greatest_target "
                f"{greatest}, expected the former to be no more than the latter."
            )
        if config.compile_graph:
            raise mbo.CompositionError(
                "ControlledBCQ cannot train with compile_graph=True: which rows of a batch "
                "are imagined does not reach a captured graph. Leave it False."
            )
        super().__init__(config, device, enable_ddp)

    def inner_create_impl(
        self, observation_shape: d3rlpy.types.Shape, action_size: int
    ) -> None:
        """Makes BCQ's networks, and the losses that are changed."""
        super().inner_create_impl(observation_shape, action_size)
        config, made = self._config, cast(Any, self._impl)
        self._impl = ControlledBCQImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=made.modules,
            q_func_forwarder=made._q_func_forwarder,
            targ_q_func_forwarder=made._targ_q_func_forwarder,
            gamma=config.gamma,
            tau=config.tau,
            lam=config.lam,
            n_action_samples=config.n_action_samples,
            action_flexibility=config.action_flexibility,
            beta=config.beta,
            rl_start_step=config.rl_start_step,
            compiled=False,
            device=self._device,
        )
        self._impl.target_bounds = config.least_target, config.greatest_target
        self._impl.imitates_imagined = config.imitates_imagined
        if config.squashes_decoder:
            made.modules.vae_decoder.register_forward_hook(_squashed)


def _squashed(module: Any, given: Any, decoded: torch.Tensor) -> torch.Tensor:
    return torch.tanh(decoded)


class ControlledBCQImpl(BCQImpl):
    """BCQ's implementation with targets that are bounded, and a choice of what to imitate.

    Attributes:
        target_bounds: Least and greatest value of a next state, None for no bound.
        imitates_imagined: See `ControlledBCQConfig`.
    """

    target_bounds: tuple[Optional[float], Optional[float]] = (None, None)
    imitates_imagined: bool = True

    def compute_target(self, batch: TorchMiniBatch) -> torch.Tensor:
        """Returns (B, 1) the values of the next states, within the bounds."""
        values = super().compute_target(batch)
        least, greatest = self.target_bounds
        if least is None and greatest is None:
            return values
        return values.clamp(least, greatest)

    def update_imitator(self, batch: TorchMiniBatch) -> dict[str, float]:
        """Updates the VAE on the rows that it imitates; nothing if there are none."""
        rows = batch.numpy_batch
        if self.imitates_imagined or not isinstance(rows, mbo.ImaginedMiniBatch):
            return super().update_imitator(batch)
        real = torch.from_numpy(~rows.imagined[:, 0]).to(batch.device)
        if not real.any():  # the mean of nothing is no number
            return {}
        observations = cast(torch.Tensor, batch.observations)
        return super().update_imitator(
            dataclasses.replace(
                batch, observations=observations[real], actions=batch.actions[real]
            )
        )
