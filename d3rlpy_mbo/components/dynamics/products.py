"""Evaluates the members of an ensemble: where an imagination's time goes.

On a CPU there are three ways. oneDNN takes member by member, to ask in blocks that stay
in the cache from layer to layer, with the activation fused; torch.addmm (MKL, mostly)
takes the same blocks; torch.bmm takes all members together. Which is the fastest depends
on the processor: on AMD's CPUs with AVX-512 MKL uses half the vector width (85 GFLOP/s on
a core of an EPYC where oneDNN does 170; ours, with 256 rows and 200 units), on Intel's it
does not. So it is measured, once on a machine, with the papers' sizes.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch
from torch.nn import functional

from ...support.devices import ROWS_IN_CACHE
from ...support.fastest import about_processor, fastest

__all__ = ["evaluate_members"]

# Not public in torch, but there since 2.0; where a build lacks it, others do the work.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)

Layers = Sequence[torch.Tensor]
Way = Callable[[torch.Tensor, Layers, Layers], torch.Tensor]

_SIZES = (23, 200, 200, 200, 200, 36)  # HalfCheetah's, with the papers' hidden layers
_LEARNING, _ASKING = (7, 256), (5, ROWS_IN_CACHE)  # members and rows


def evaluate_members(
    inputs: torch.Tensor, weights: Layers, biases: Layers
) -> torch.Tensor:
    """Returns (M, B, D_out) of the members' layers, SiLU between them.

    Args:
        inputs: (M, B, D_in), rows for each of the M members.
        weights: (M, D_in, D_out) of each layer.
        biases: (M, 1, D_out) of each layer.
    """
    if inputs.device.type != "cpu":
        return _all_at_once(inputs, weights, biases)
    learns, threads = torch.is_grad_enabled(), torch.get_num_threads()
    return _ways(learns)[_chosen(learns, threads)](inputs, weights, biases)


def _ways(learns: bool) -> dict[str, Way]:
    """Returns what can be done here, by name."""
    if learns:
        ways: dict[str, Way] = {"onednn": _one_after_the_other, "bmm": _all_at_once}
    else:
        ways = {"onednn": _in_blocks, "addmm": _in_blocks_of_addmm}
    if _ONEDNN is None:
        del ways["onednn"]
    return ways


@functools.cache
def _chosen(learns: bool, threads: int) -> str:
    """Returns the name of the fastest way, see `fastest`. Draws nothing."""
    members, rows = _LEARNING if learns else _ASKING

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    pairs = list(itertools.pairwise(_SIZES))
    # As large as in training: numbers next to zero take a processor far longer.
    weights = [drawn(members, *pair) / pair[0] ** 0.5 for pair in pairs]
    biases = [drawn(members, 1, out) for _, out in pairs]
    inputs, above = (drawn(members, rows, size) for size in (_SIZES[0], _SIZES[-1]))
    for parameter in (*weights, *biases):
        parameter.requires_grad_(learns)

    def work(way: Way) -> Callable[[], object]:
        def once() -> None:
            with torch.set_grad_enabled(learns):
                outputs = way(inputs, weights, biases)
                if learns:
                    torch.autograd.grad(outputs, [*weights, *biases], above)

        return once

    about = {**about_processor(), "threads": threads}
    name = f"products-{'learning' if learns else 'asking'}"
    return fastest(name, about, {k: work(way) for k, way in _ways(learns).items()})


def _all_at_once(inputs: torch.Tensor, weights: Layers, biases: Layers) -> torch.Tensor:
    hidden = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = torch.baddbmm(bias, functional.silu(hidden) if i else hidden, weight)
    return hidden


def _in_blocks_of_addmm(
    inputs: torch.Tensor, weights: Layers, biases: Layers
) -> torch.Tensor:
    outputs = inputs.new_empty(*inputs.shape[:2], weights[-1].shape[-1])
    for member, of_member in enumerate(outputs):
        for hidden, out in zip(
            torch.split(inputs[member], ROWS_IN_CACHE),
            torch.split(of_member, ROWS_IN_CACHE),
            strict=True,
        ):
            for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                entering = functional.silu(hidden, inplace=True) if i else hidden
                hidden = torch.addmm(bias[member, 0], entering, weight[member])
            out.copy_(hidden)
    return outputs


def _in_blocks(inputs: torch.Tensor, weights: Layers, biases: Layers) -> torch.Tensor:
    activations = ["swish"] * (len(weights) - 1) + ["none"]
    outputs = inputs.new_empty(*inputs.shape[:2], weights[-1].shape[-1])
    for member, of_member in enumerate(outputs):
        layers = [
            (weight[member], bias[member, 0], activation)
            for weight, bias, activation in zip(
                weights, biases, activations, strict=True
            )
        ]
        for hidden, out in zip(
            torch.split(inputs[member], ROWS_IN_CACHE),
            torch.split(of_member, ROWS_IN_CACHE),
            strict=True,
        ):
            for layer in layers:
                hidden = _product(hidden, *layer)
            out.copy_(hidden)
    return outputs


def _one_after_the_other(
    inputs: torch.Tensor, weights: Layers, biases: Layers
) -> torch.Tensor:
    learn: Any = _OneAfterTheOther.apply
    outputs: torch.Tensor = learn(inputs, *weights, *biases)
    return outputs


class _OneAfterTheOther(torch.autograd.Function):
    """The members' layers and their gradients: inputs, then weights, then biases."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, *parameters: torch.Tensor
    ) -> torch.Tensor:
        n_layers = len(parameters) // 2
        layers = list(zip(parameters[:n_layers], parameters[n_layers:], strict=True))
        outputs = inputs.new_empty(*inputs.shape[:2], parameters[-1].shape[-1])
        kept: list[torch.Tensor] = []  # a member's: what enters each layer, what leaves
        for member, hidden in enumerate(inputs):
            entering: list[torch.Tensor] = []
            leaving: list[torch.Tensor] = []
            for weight, bias in layers:
                entering.append(functional.silu(leaving[-1]) if leaving else hidden)
                leaving.append(_product(entering[-1], weight[member], bias[member, 0]))
            outputs[member] = leaving.pop()
            kept += entering + leaving
        ctx.save_for_backward(*parameters[:n_layers], *kept)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, gradients: torch.Tensor
    ) -> tuple[Optional[torch.Tensor], ...]:
        n_members = len(gradients)
        n_layers = (len(ctx.saved_tensors) + n_members) // (2 * n_members + 1)
        weights, kept = ctx.saved_tensors[:n_layers], ctx.saved_tensors[n_layers:]
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_biases = [w.new_empty(n_members, 1, w.shape[-1]) for w in weights]
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = gradients.new_empty(*gradients.shape[:2], weights[0].shape[1])
        for member, gradient in enumerate(gradients):
            first = member * (2 * n_layers - 1)
            entering = kept[first : first + n_layers]
            leaving = kept[first + n_layers : first + 2 * n_layers - 1]
            for i in reversed(range(n_layers)):
                of_weights[i][member] = _product(entering[i].mT, gradient)
                of_biases[i][member] = gradient.sum(dim=0)
                if i > 0:
                    gradient = torch.ops.aten.silu_backward(
                        _product(gradient, weights[i][member].mT), leaving[i - 1]
                    )
            if of_inputs is not None:
                of_inputs[member] = _product(gradient, weights[0][member].mT)
        return (of_inputs, *of_weights, *of_biases)


def _product(
    left: torch.Tensor,
    right: torch.Tensor,
    bias: Optional[torch.Tensor] = None,
    activation: str = "none",
) -> torch.Tensor:
    """Returns activation(left @ right + bias)."""
    assert _ONEDNN is not None
    # The operator takes the right factor transposed, as torch's linear does.
    result: torch.Tensor = _ONEDNN(left, right.mT, bias, activation, [], "")
    return result
