"""A simulated device, whose tensors do not mix with the CPU's.

They are the CPU's tensors, wrapped, so every number is the CPU's; but as on a GPU, an
operation refuses tensors of both devices, and NumPy cannot read them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Optional

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["ANOTHER_DEVICE", "another_device"]

# A type that torch knows, for which nothing here has a path of its own.
ANOTHER_DEVICE = "xpu:0"

_THERE = torch.device(ANOTHER_DEVICE)

_aten = torch.ops.aten
# Those that carry numbers over, and indices from here, which GPUs take too.
_MAY_MIX = {
    _aten.copy_.default,
    _aten.index.Tensor,
    _aten.index_put_.default,
    _aten.index_put.default,
    _aten._index_put_impl_.default,
}
_TO_NUMPY: set[Callable[..., Any]] = {torch.Tensor.numpy, torch.Tensor.__array__}


@contextmanager
def another_device() -> Iterator[str]:
    """Makes `ANOTHER_DEVICE` a device of this process, and yields its name.

    This shows without a GPU whether every tensor is moved to where it is used. What
    remains to be tested on a GPU is its numbers, its speed, and that nothing waits for
    it.
    """
    # Parameters that are moved must become others: they are tensors of another class.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Moving(), _MadeByTorch():  # type: ignore[no-untyped-call]
            yield ANOTHER_DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


class _There(torch.Tensor):
    """A tensor of the CPU that says it lies on the other device."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "_There":
        made: _There = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            # So that what torch itself makes beside it is known by it.
            device=torch.device("meta"),
        )
        made.numbers = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return _THERE

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.numbers.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        tensors: list[torch.Tensor] = []
        args, kwargs = _inner(args, tensors), _inner(kwargs or {}, tensors)
        if function not in _MAY_MIX:
            for tensor in tensors:
                if not isinstance(tensor, _There) and tensor.dim() > 0:
                    raise RuntimeError(  # as torch does
                        f"{function} expects all tensors to be on the same device: one of "
                        f"shape {tuple(tensor.shape)} lies on the CPU, others on "
                        f"{ANOTHER_DEVICE}"
                    )
        found = function(*args, **kwargs)
        # What was changed in place is what was given, wherever that lies.
        given = {id(_inner(tensor)): tensor for tensor in tensors}
        return _there(found, given)


# Of the nesting that operations have, and no more: torch has trees, ten times as slow.
def _inner(value: Any, seen: Optional[list[torch.Tensor]] = None) -> Any:
    """Returns what lies inside tensors, and adds the tensors to those that were seen."""
    if isinstance(value, torch.Tensor):
        if seen is not None:
            seen.append(value)
        return value.numbers if isinstance(value, _There) else value
    if isinstance(value, (list, tuple)):
        return type(value)([_inner(each, seen) for each in value])
    if isinstance(value, dict):
        return {name: _inner(each, seen) for name, each in value.items()}
    return value


def _there(value: Any, given: Mapping[int, torch.Tensor] = MappingProxyType({})) -> Any:
    """Returns tensors wrapped, but for what was given."""
    if isinstance(value, torch.Tensor):
        if isinstance(value, _There):
            return value
        return given[id(value)] if id(value) in given else _There(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_there(each, given) for each in value])
    return value


class _Carry(torch.autograd.Function):
    """There and back, with gradients."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, there: bool) -> torch.Tensor:
        context.there = isinstance(value, _There)
        copied: torch.Tensor = _inner(value.detach()).clone()
        return _There(copied) if there else copied

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> Any:
        gradient = _inner(gradient)
        return (_There(gradient) if context.there else gradient), None


class _MadeByTorch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Puts there what torch makes for its own use beside a tensor that is there."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "meta":
            return func(*args, **kwargs)
        kwargs = {**_inner(kwargs), "device": "cpu"}
        return _there(func(*_inner(args), **kwargs))


class _Moving(TorchFunctionMode):
    """Makes tensors there, and carries them over, where somebody says so."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        if func is torch.Tensor.cpu:
            return _carried(args[0], torch.device("cpu"))
        if func is torch.Tensor.type_as:
            return self._to(*args)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == _THERE.type:
            if isinstance(first, _There):
                del kwargs["device"]
                return func(*args, **kwargs)
            return _there(func(*args, **{**kwargs, "device": "cpu"}))
        if not isinstance(first, _There):
            return func(*args, **kwargs)
        if func in _TO_NUMPY:
            raise TypeError(
                f"can't convert a tensor on {ANOTHER_DEVICE} to numpy; call .cpu() first"
            )
        if func == torch.Tensor.data.__set__:  # type: ignore[attr-defined]
            first.numbers = _inner(args[1])
        elif device is not None:  # something like it, here
            return func(first.numbers.detach(), *args[1:], **kwargs)
        elif func is torch.Tensor.new_tensor:
            return _there(func(first.numbers.detach(), *args[1:], **kwargs))
        elif func is torch.Tensor.tolist:
            return first.numbers.detach().tolist()
        return func(*args, **kwargs)

    @staticmethod
    def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        given = [*args, *kwargs.values()]
        for like in [each for each in given if isinstance(each, torch.Tensor)]:
            given += [like.device, like.dtype]
        places = [torch.device(x) for x in given if isinstance(x, (str, torch.device))]
        dtypes = [each for each in given if isinstance(each, torch.dtype)]
        copy = bool(kwargs.get("copy", False))
        tensor = tensor.to(dtype=dtypes[0] if dtypes else tensor.dtype, copy=copy)
        return _carried(tensor, places[0]) if places else tensor


def _carried(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    there = device.type == _THERE.type
    if isinstance(tensor, _There) == there:
        return tensor
    carried: torch.Tensor = _Carry.apply(  # type: ignore[no-untyped-call]
        tensor, there
    )
    return carried
