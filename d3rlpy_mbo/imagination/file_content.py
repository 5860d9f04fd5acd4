"""What a file of fitted components holds: validated before anything is built of it."""

import contextlib
import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..data.action_sets import is_range
from ..support.errors import LoadError

__all__ = [
    "bounded",
    "digest_of",
    "validate_archive",
    "validate_content",
    "validate_state",
]

_ENTRIES = {"version": str, "config": str, "components": list, "state": dict}
_PART = ("kind", "type", "distribution", "version")
_STATE = {
    "components": dict,
    "metrics": dict,
    "action_range": dict,
    "observation_size": int,
    "n_rows": int,
}

# A network may take this many times the bytes of the file that fills it (ours: weights
# are built, then filled), and so much in any case.
_BUILT, _AT_LEAST = 8, 64_000_000


def digest_of(content: Any) -> str:
    """Returns a digest of tensors, plain values, lists and dicts, and of their order."""
    sha256 = hashlib.sha256()
    _add(sha256, content)
    return sha256.hexdigest()


def _add(sha256: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        sha256.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        plain = torch.empty(value.numel(), dtype=value.dtype)  # of stride 1, surely
        plain.copy_(value.detach().reshape(-1))
        sha256.update(plain.view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        sha256.update(f"dict {len(value)}".encode())
        for key, each in value.items():
            _add(sha256, key)
            _add(sha256, each)
    elif isinstance(value, list | tuple):
        sha256.update(f"list {len(value)}".encode())
        for each in value:
            _add(sha256, each)
    else:
        sha256.update(f"{type(value).__name__} {value!r}".encode())


def validate_archive(path: Union[str, Path]) -> None:
    """Refuses a file that grows as it is read: what we write is not compressed.

    Raises:
        LoadError: It is packed, or claims more than it holds.
    """
    if not zipfile.is_zipfile(path):
        return  # the loader says what it is
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile's are of every type
        raise _damaged(path, repr(error)) from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    size = sum(entry.file_size for entry in entries)
    if packed or size > Path(path).stat().st_size:
        raise LoadError(
            f"{str(path)!r} would grow to {size:,} bytes when read, which no file that "
            "save wrote does. It is damaged, or not what it seems."
        )


def validate_content(path: Union[str, Path], content: Mapping[str, Any]) -> None:
    """Refuses content that is not what `save` writes, entry by entry.

    Args:
        path: For messages.
        content: As the file has it; one of version 0.1 has no digest.

    Raises:
        LoadError: Names the entry.
    """
    for name, kind in _ENTRIES.items():
        _require(path, content, name, kind)
    for i, part in enumerate(content["components"]):
        if not isinstance(part, dict) or not all(
            isinstance(part.get(name), str) for name in _PART
        ):
            raise _damaged(path, f"components[{i}] is {part!r}")
    for where, tensor in _tensors("", content):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _damaged(path, f"{where} claims a size that the file does not hold")
    digest = content.get("digest")
    rest = {name: value for name, value in content.items() if name != "digest"}
    if digest is not None and digest != digest_of(rest):
        raise _damaged(path, "its digest does not match: some of it was changed")


def validate_state(path: Union[str, Path], content: Mapping[str, Any]) -> None:
    """Refuses the state of an imagination whose values cannot be.

    Raises:
        LoadError: Names the entry: a size, an action range, NaN in core's networks.
    """
    state = content["state"]
    for name, kind in _STATE.items():
        _require(path, state, name, kind, "state.")
    for name in ("observation_size", "n_rows"):
        if state[name] < 1:
            raise _damaged(path, f"state.{name} is {state[name]}")
    if not isinstance(state.get("changed", False), bool):
        raise _damaged(path, f"state.changed is {state['changed']!r}, expected bool")
    _validate_range(path, state["action_range"])
    ours = {part["distribution"] for part in content["components"]} <= {"d3rlpy-mbo"}
    for where, tensor in _tensors("state.components", state["components"]):
        # Strangers may keep an infinity; our own parts never do.
        if ours and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise _damaged(path, f"{where} holds NaN or an infinity")
    dynamics = state["components"].get("dynamics", {})
    if ours and "holdout_indices" in dynamics:
        _validate_indices(path, dynamics["holdout_indices"], dynamics.get("n_rows"))


def _validate_range(path: Union[str, Path], found: Mapping[str, Any]) -> None:
    low, high = found.get("low"), found.get("high")
    if low is None and high is None:
        return  # a set of choices
    if not is_range(low, high):
        raise _damaged(path, f"state.action_range is no range: {found!r}")


def _validate_indices(path: Union[str, Path], indices: Any, n_rows: Any) -> None:
    usable = (
        isinstance(indices, torch.Tensor)
        and indices.dtype == torch.int64
        and isinstance(n_rows, int)
        and len(indices) > 0
        and int(indices.min()) >= 0
        and int(indices.max()) < n_rows
        and len(set(indices.tolist())) == len(indices)
    )
    if not usable:
        raise _damaged(path, f"holdout_indices are no rows of {n_rows!r}")


def _require(
    path: Union[str, Path],
    entries: Mapping[str, Any],
    name: str,
    kind: type,
    where: str = "",
) -> None:
    value = entries.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        found = "missing" if name not in entries else type(value).__name__
        raise _damaged(path, f"{where}{name} is {found}, expected {kind.__name__}")


def _tensors(where: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield where, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _tensors(f"{where}.{name}", each)
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            yield from _tensors(f"{where}[{i}]", each)


def _damaged(path: Union[str, Path], why: str) -> LoadError:
    return LoadError(
        f"{str(path)!r} is damaged, or not what save wrote: {why}. Save it again where it "
        "was fitted, or fit anew."
    )


@contextlib.contextmanager
def bounded(path: Union[str, Path], state: Mapping[str, Any]) -> Iterator[None]:
    """Refuses to build what is larger by far than the state that is to fill it.

    A config in a file may ask for networks of any size; nothing of a size that the file
    does not fill is allocated inside.

    Raises:
        LoadError: The config asks for more.
    """
    n_bytes = sum(t.numel() * t.element_size() for _, t in _tensors("", state))
    with _Bounded(path, max(_BUILT * n_bytes, _AT_LEAST)):
        yield


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are made from nothing."""

    def __init__(self, path: Union[str, Path], left: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self._path, self._left = path, left

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in ("empty", "zeros", "ones", "full", "rand", "randn", "empty_strided"):
            shape = args[0] if args else ()
            self._left -= 4 * math.prod(shape if isinstance(shape, Sequence) else ())
            if self._left < 0:
                raise LoadError(
                    f"The config in {str(self._path)!r} asks for more than its state "
                    f"fills: a tensor of shape {tuple(shape)}. It is damaged, or not what "
                    "save wrote."
                )
        return func(*args, **(kwargs or {}))
