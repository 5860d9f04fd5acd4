"""Evaluates the members of an ensemble: where an imagination's time goes.

On a CPU, rows that nothing is learned from go to oneDNN, member by member and in blocks
that stay in the cache from layer to layer, with the activation fused. To learn, all
members' products go to ``torch.bmm`` together, behind which stands MKL; but on AMD's
CPUs with AVX-512 MKL uses half the vector width (85 GFLOP/s on a core of an EPYC where
oneDNN does 170; ours, with 256 rows and 200 units), so there it is oneDNN too.
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch.nn import functional

__all__ = ["evaluate_members"]

# Not public in torch, but there since 2.0; where a build lacks it, bmm does the work.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _mkl_is_slow() -> bool:
    try:
        maker = Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        maker = platform.processor()
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in maker
    )


_MKL_IS_SLOW = _mkl_is_slow()

# Rows of a member that pass all its layers together (ours: 1000 times 200 units, a
# layer's input and output, are about what a core's cache holds).
_ROWS_TOGETHER = 1000


def evaluate_members(
    inputs: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    members: Optional[torch.Tensor] = None,
) -> torch.Tensor:
    """Returns (M, B, D_out) of the members' layers, SiLU between them.

    Args:
        inputs: (M, B, D_in), rows for each of the M members.
        weights: (E, D_in, D_out) of each layer.
        biases: (E, 1, D_out) of each layer.
        members: (M,) which of the E; None for all in order.
    """
    learns = torch.is_grad_enabled()
    onednn = _ONEDNN is not None and (_MKL_IS_SLOW or not learns)
    if inputs.device.type != "cpu" or not onednn:
        if members is not None:
            weights = [weight[members] for weight in weights]
            biases = [bias[members] for bias in biases]
        return _all_at_once(inputs, weights, biases)
    chosen = range(len(inputs)) if members is None else members.tolist()
    # Views: members that are not asked cost nothing, forwards or backwards.
    weights_of = list(zip(*(weight.unbind() for weight in weights), strict=True))
    biases_of = list(zip(*(bias[:, 0].unbind() for bias in biases), strict=True))
    evaluate = _MemberNetwork.apply if learns else _in_blocks
    return torch.stack(
        [
            evaluate(rows, *weights_of[member], *biases_of[member])
            for rows, member in zip(inputs.unbind(), chosen, strict=True)
        ]
    )


def _all_at_once(
    inputs: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
) -> torch.Tensor:
    hidden = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = torch.baddbmm(bias, functional.silu(hidden) if i else hidden, weight)
    return hidden


def _in_blocks(rows: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    """Returns (B, D_out) of one member; parameters are its weights, then its biases."""
    assert _ONEDNN is not None
    n_layers = len(parameters) // 2
    weights = [weight.mT for weight in parameters[:n_layers]]
    activations = ["swish"] * (n_layers - 1) + ["none"]
    layers = list(zip(weights, parameters[n_layers:], activations, strict=True))
    outputs = rows.new_empty(len(rows), weights[-1].shape[0])
    for hidden, out in zip(
        *(torch.split(each, _ROWS_TOGETHER) for each in (rows, outputs)), strict=True
    ):
        for weight, bias, activation in layers:
            hidden = _ONEDNN(hidden, weight, bias, activation, [], "")
        out.copy_(hidden)
    return outputs


class _MemberNetwork(torch.autograd.Function):
    """One member's layers and their gradients; arguments as of `_in_blocks`."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, *parameters: torch.Tensor
    ) -> torch.Tensor:
        n_layers = len(parameters) // 2
        entering, before_activation = [rows], []
        for i, weight in enumerate(parameters[:n_layers]):
            outputs = _product(entering[-1], weight, parameters[n_layers + i])
            if i < n_layers - 1:
                before_activation.append(outputs)
                entering.append(functional.silu(outputs))
        ctx.save_for_backward(*entering, *before_activation, *parameters[:n_layers])
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[Optional[torch.Tensor], ...]:
        n_layers = (len(ctx.saved_tensors) + 1) // 3
        entering = ctx.saved_tensors[:n_layers]
        before_activation = ctx.saved_tensors[n_layers : 2 * n_layers - 1]
        weights = ctx.saved_tensors[2 * n_layers - 1 :]
        of_weights: list[torch.Tensor] = []
        of_biases: list[torch.Tensor] = []
        for i in reversed(range(n_layers)):
            of_weights.insert(0, _product(entering[i].mT, gradient))
            of_biases.insert(0, gradient.sum(dim=0))
            if i > 0:
                gradient = torch.ops.aten.silu_backward(
                    _product(gradient, weights[i].mT), before_activation[i - 1]
                )
        of_rows = _product(gradient, weights[0].mT) if ctx.needs_input_grad[0] else None
        return (of_rows, *of_weights, *of_biases)


def _product(
    left: torch.Tensor, right: torch.Tensor, bias: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Returns left @ right (+ bias)."""
    assert _ONEDNN is not None
    # The operator takes the right factor transposed, as torch's linear does.
    result: torch.Tensor = _ONEDNN(left, right.mT, bias, "none", [], "")
    return result
