"""The same random numbers on every device, so that CPU and GPU can be compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import torch
from torch.overrides import TorchFunctionMode

_FACTORIES = {torch.rand, torch.randn, torch.randint, torch.randperm}
_LIKE = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}
_OF_TENSORS = {torch.normal, torch.multinomial, torch.bernoulli}
_IN_PLACE = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.random_}
_DROPOUTS = {torch.dropout, torch.nn.functional.dropout}


def _dropout(
    values: torch.Tensor, p: float, training: bool = True, **_: Any
) -> torch.Tensor:
    if not training:
        return values
    kept = torch.rand(values.shape) >= p
    return values * kept.to(values.device) / (1 - p)


class SameDraws(TorchFunctionMode):
    """Within it, random numbers come from the CPU's generator, whatever the device."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _FACTORIES:
            device = named.pop("device", None)
            return func(*args, **named).to(device or "cpu")
        if func in _LIKE:
            return _LIKE[func](args[0].shape, dtype=args[0].dtype).to(args[0].device)
        if func in _OF_TENSORS:
            moved = [each.cpu() if torch.is_tensor(each) else each for each in args]
            return func(*moved, **named).to(args[0].device)
        if func in _DROPOUTS:
            return _dropout(*args, **named)
        if func in _IN_PLACE:
            drawn = func(torch.empty_like(args[0], device="cpu"), *args[1:], **named)
            return args[0].copy_(drawn)
        return func(*args, **named)
