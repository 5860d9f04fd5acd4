"""Evaluates the members of an ensemble: where an imagination's time goes.

On a CPU every product goes to oneDNN, member by member. Behind ``torch.bmm`` stands
MKL, which gives other makers' CPUs kernels for half their vector width: 85 GFLOP/s on
a core of an AMD EPYC where oneDNN does 170 (ours: measured with 256 rows, 200 units).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import torch
from torch.nn import functional

__all__ = ["evaluate_members"]

# Not public in torch, but there since 2.0; where a build lacks it, bmm does the work.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

# Rows of a member that pass all its layers together (ours: 1000 times 200 units, a
# layer's input and output, are about what a core's cache holds).
_ROWS_TOGETHER = 1000


def evaluate_members(
    inputs: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Returns (M, B, D_out) of each member's layers, SiLU between them.

    Args:
        inputs: (M, B, D_in), rows for each of the M members.
        weights: (M, D_in, D_out) of each layer.
        biases: (M, 1, D_out) of each layer.
    """
    if inputs.device.type != "cpu" or _ONEDNN is None:
        return _layer_by_layer(torch.baddbmm, inputs, weights, biases)
    if torch.is_grad_enabled():
        return _layer_by_layer(_MemberLinear.apply, inputs, weights, biases)
    return _member_by_member(inputs, weights, biases)


def _layer_by_layer(
    linear: Any,
    inputs: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> torch.Tensor:
    hidden = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = linear(bias, functional.silu(hidden) if i else hidden, weight)
    return hidden


def _member_by_member(
    inputs: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> torch.Tensor:
    """Takes blocks of rows through all layers: what lies between stays in the cache."""
    assert _ONEDNN is not None
    layers = list(
        zip(
            zip(*(weight.mT.unbind() for weight in weights), strict=True),
            zip(*(bias[:, 0].unbind() for bias in biases), strict=True),
            strict=True,
        )
    )
    activations = ["swish"] * (len(weights) - 1) + ["none"]
    outputs = inputs.new_empty(*inputs.shape[:2], weights[-1].shape[-1])
    for rows, out, member in zip(
        inputs.unbind(), outputs.unbind(), layers, strict=True
    ):
        for block, of_block in zip(
            *(torch.split(each, _ROWS_TOGETHER) for each in (rows, out)), strict=True
        ):
            hidden = block
            for weight, bias, activation in zip(*member, activations, strict=True):
                hidden = _ONEDNN(hidden, weight, bias, activation, [], "")
            of_block.copy_(hidden)
    return outputs


class _MemberLinear(torch.autograd.Function):
    """`torch.baddbmm` with its gradients, by oneDNN."""

    @staticmethod
    def forward(
        ctx: Any, biases: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weights)
        return _products(inputs, weights, biases[:, 0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, Optional[torch.Tensor], torch.Tensor]:
        inputs, weights = ctx.saved_tensors
        of_inputs = None
        if ctx.needs_input_grad[1]:
            of_inputs = _products(gradient, weights.mT)
        of_weights = _products(inputs.mT, gradient)
        return gradient.sum(dim=1, keepdim=True), of_inputs, of_weights


def _products(
    left: torch.Tensor, right: torch.Tensor, biases: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Returns left @ right (+ biases), member by member."""
    assert _ONEDNN is not None
    each_bias: Iterable[Any] = [None] * len(left) if biases is None else biases.unbind()
    # The operator takes the right factor transposed, as torch's linear does.
    factors = zip(left.unbind(), right.mT.unbind(), each_bias, strict=True)
    return torch.stack([_ONEDNN(a, b, bias, "none", [], "") for a, b, bias in factors])
