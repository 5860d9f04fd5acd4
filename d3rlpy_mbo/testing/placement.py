"""Plays a GPU on a machine without one: notices what would stay behind on the CPU."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["OtherDevice", "is_left_behind"]

# torch.from_numpy is not among them: torch does not announce it.
_MAKERS = {
    torch.arange, torch.as_tensor, torch.asarray, torch.empty, torch.eye, torch.full,
    torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn,
    torch.randperm, torch.tensor, torch.zeros,
}  # fmt: skip
_INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
_TO_NUMPY: set[Callable[..., Any]] = {torch.Tensor.numpy, torch.Tensor.__array__}


class OtherDevice(TorchFunctionMode):
    """Within it, tensors from outside count as lying on a GPU.

    What a component makes without ``device=`` is marked as left behind on the CPU. As on a
    GPU, marked tensors mix with others only if they are scalars or indices, and `to`
    moves them.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Any:
        """Calls the function and notes where its result would lie."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _MAKERS:
            return _marked(result, kwargs.get("device") is None)
        if func is torch.Tensor.to:
            return _marked(
                result, is_left_behind(args[0]) and not _names_device(args, kwargs)
            )
        if func is torch.Tensor.cpu:
            return _marked(result, True)
        if func in _TO_NUMPY and not is_left_behind(args[0]):
            raise TypeError(
                "can't convert a tensor on a GPU to numpy; call .cpu() first"
            )
        if func in _INDEXING:
            return _marked(result, is_left_behind(args[0]))
        tensors = [t for t in _tensors([args, kwargs]) if t.dim() > 0]
        left_behind = [is_left_behind(tensor) for tensor in tensors]
        if any(left_behind):
            if not all(left_behind):
                raise RuntimeError(  # as torch does
                    f"{getattr(func, '__name__', func)} mixes a tensor made without "
                    "device=, which lies on the CPU, with tensors on another device"
                )
            return _marked(result, True)
        return result


def is_left_behind(tensor: torch.Tensor) -> bool:
    """Whether the tensor would lie on the CPU beside a GPU's."""
    return getattr(tensor, "_left_behind", False)


def _marked(result: Any, left_behind: bool) -> Any:
    if not isinstance(result, torch.Tensor) or result.dim() == 0:
        return result
    if is_left_behind(result) != left_behind:
        result = result.view_as(result)  # the same object may have come in
        result._left_behind = left_behind
    return result


def _names_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    given = [*args[1:], *kwargs.values()]
    kinds = str | int | torch.device | torch.Tensor
    return any(isinstance(v, kinds) and not isinstance(v, bool) for v in given)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
