"""A device that no machine needs to have: what is there does not mix with what is here.

Its tensors are the CPU's, wrapped, so every number is the CPU's; but as on a GPU, an
operation refuses tensors of both places, and NumPy does not see what is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# A type that torch knows and that no machine of ours has.
THERE = torch.device("xpu:0")

_aten = torch.ops.aten
# Those that carry numbers over, and reading with indices from here, which GPUs allow too.
_MAY_MIX = {
    _aten.copy_.default,
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
}


class ThereTensor(torch.Tensor):
    """A tensor of the CPU that says it is `THERE`."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "ThereTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=inner.device,
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:
        return THERE

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [
            x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)
        ]
        if function not in _MAY_MIX:
            for tensor in tensors:
                if not isinstance(tensor, ThereTensor) and tensor.dim() > 0:
                    raise RuntimeError(
                        f"{function}: expected all tensors to be on the same device, "
                        f"found one of shape {tuple(tensor.shape)} on the CPU."
                    )
        found = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if function is _aten.copy_.default:
            return args[0]
        given = {id(_inner(x)): x for x in tensors}
        return tree_map(lambda x: given.get(id(x), _there(x)), found)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, ThereTensor) else value


def _there(value: Any) -> Any:
    plain = isinstance(value, torch.Tensor) and not isinstance(value, ThereTensor)
    return ThereTensor(value) if plain else value


class _Carry(torch.autograd.Function):
    """There and back, with gradients."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, there: bool) -> torch.Tensor:
        context.there = isinstance(value, ThereTensor)
        value = _inner(value.detach())
        return ThereTensor(value.clone()) if there else value.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        gradient = _inner(gradient)
        return (ThereTensor(gradient) if context.there else gradient), None


class _Mode(TorchFunctionMode):
    """Makes tensors there, and carries them over, where somebody says so."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name in ("numpy", "__array__") and isinstance(args[0], ThereTensor):
            raise TypeError("can't convert a tensor of another device to numpy.")
        if function == torch.Tensor.data.__set__ and isinstance(args[0], ThereTensor):
            args[0].inner = _inner(args[1])
        if name == "one_hot":  # it makes its columns where it thinks that it is
            return _there(function(_inner(args[0]), *args[1:], **kwargs))
        if name == "tolist":
            return _inner(args[0].detach()).tolist()
        if name in ("cpu", "cuda"):
            return self._carried(args[0], torch.device("cpu"))
        if name == "to":
            return self._to(function, *args, **kwargs)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == THERE.type:
            kwargs["device"] = "cpu"
            if args and isinstance(args[0], ThereTensor):
                del kwargs["device"]
                return function(*args, **kwargs)
            made = function(*args, **kwargs)
            return _there(made) if isinstance(made, torch.Tensor) else made
        if device is not None and args and isinstance(args[0], ThereTensor):
            return function(_inner(args[0].detach()), *args[1:], **kwargs)
        return function(*args, **kwargs)

    def _to(
        self, function: Any, tensor: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        given = [*args, *kwargs.values()]
        for like in [each for each in given if isinstance(each, torch.Tensor)]:
            given += [like.device, like.dtype]
        device = [torch.device(x) for x in given if isinstance(x, (str, torch.device))]
        dtype = [each for each in given if isinstance(each, torch.dtype)]
        copy = kwargs.get("copy", False)
        tensor = function(tensor, dtype=dtype[0] if dtype else tensor.dtype, copy=copy)
        return self._carried(tensor, device[0]) if device else tensor

    @staticmethod
    def _carried(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        there = device.type == THERE.type
        if isinstance(tensor, ThereTensor) == there:
            return tensor
        return _Carry.apply(tensor, there)  # type: ignore[no-any-return]


@contextmanager
def another_device() -> Iterator[str]:
    """Makes `THERE` a device of this process; its name."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Mode():
            yield str(THERE)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
